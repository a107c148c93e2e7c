"""Checks of notebook 02: labels, the mean over tokens, the checkpoint, the learning rate, the weight of the mix."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from utils.lessons.exercises.common import FunctionCheck

IGNORED = -100

# --- which tokens carry loss ---------------------------------------------------------------------------------------


def labels(prompt: Sequence[int], completion: Sequence[int], end: int) -> list[int]:
    """Labels of prompt + completion + end token: -100 where there is no loss, else the token itself."""
    return [IGNORED] * len(prompt) + [*completion, end]


check_labels = FunctionCheck(
    labels,
    [([5, 6], [7, 8], 1), ([5], [9, 9, 9], 2), ([4, 4, 4], [], 1)],
    [
        (lambda p, c, e: [*p, *c, e], "your labels give the prompt a loss too: put -100 in place of its tokens."),
        (
            lambda p, c, e: [*([IGNORED] * len(p)), *c, IGNORED],
            "the end token has no loss, so the model never learns to stop.",
        ),
        (lambda p, c, e: [*([IGNORED] * len(p)), *c], "the end token is missing: the model must learn it too."),
        (lambda p, c, e: [0] * len(p) + [1] * (len(c) + 1), "these are a mask; a label is the token's own id, or -100."),
        (lambda p, c, e: [*p, *([IGNORED] * (len(c) + 1))], "the two parts are swapped: -100 marks the tokens without loss."),
        (
            lambda p, c, e: [IGNORED] * (len(p) - 1) + [*c, e],
            "you have shifted the labels by one position: return one label per token; the loss function does the shift.",
        ),
    ],
)

# --- the mean of a batch -------------------------------------------------------------------------------------------


def batch_loss(logprobs: Sequence[Sequence[float]]) -> float:
    """SFT's loss of a batch: minus the mean log-prob over all its answer tokens (each inner list is one answer)."""
    every = [value for answer in logprobs for value in answer]
    return -sum(every) / len(every)


check_batch_loss = FunctionCheck(
    batch_loss,
    [([[-1.0, -3.0], [-2.0]],), ([[-0.5], [-0.1, -0.2, -0.3]],), ([[-4.0]],)],
    [
        (lambda a: -batch_loss(a), "the sign is wrong: a log-prob is negative, the loss is positive."),
        (
            lambda a: -sum(sum(x) / len(x) for x in a) / len(a),
            "this is a mean of means: it gives tokens of short answers more weight; here every token has the same weight.",
        ),
        (lambda a: -sum(map(sum, a)), "this is a sum, which grows with the batch; divide by the number of tokens."),
        (lambda a: -sum(map(sum, a)) / len(a), "you divide by the number of answers; divide by the number of tokens."),
        (
            lambda a: -sum(math.exp(v) for x in a for v in x) / sum(map(len, a)),
            "you converted to probabilities; take the mean of the log-probs.",
        ),
    ],
)

# --- which checkpoint ----------------------------------------------------------------------------------------------


def choose(valid_loss: Mapping[int, float], reward: Mapping[int, float]) -> int:
    """The epoch that the paper keeps: the highest reward on validation prompts, the earlier one if two are equal."""
    return max(sorted(reward), key=lambda epoch: reward[epoch])


check_choose = FunctionCheck(
    choose,
    [
        ({1: 0.70, 2: 0.68, 4: 0.75}, {1: -0.3, 2: -0.1, 4: 0.2}),
        ({1: 0.70, 2: 0.66, 4: 0.75, 8: 0.8}, {1: -0.3, 2: 0.1, 4: 0.4, 8: 0.4}),
        ({8: 0.9, 4: 0.8, 2: 0.6}, {8: 0.1, 4: 0.5, 2: 0.2}),
    ],
    [
        (lambda v, r: min(v, key=lambda e: v[e]), "this is the lowest loss, which the paper found a worse guide (3.5)."),
        (lambda v, r: min(r, key=lambda e: r[e]), "this is the lowest reward: a reward is better when it is higher."),
        (lambda v, r: max(r), "this is the last epoch; compare the rewards."),
        (
            lambda v, r: max(r, key=lambda e: (r[e], e)),
            "if two rewards are equal, take the earlier epoch: it is less overfitted.",
        ),
        (lambda v, r: r[choose(v, r)], "this is the reward; return its epoch."),
    ],
)

# --- the learning rate ---------------------------------------------------------------------------------------------


def rate(step: int, total: int, peak: float) -> float:
    """Cosine from the peak at step 0 to a tenth of it at the last step, without warm-up (C.1)."""
    return peak * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * step / (total - 1))))


def _linear(step: int, total: int, peak: float) -> float:
    return peak * (1 - 0.9 * step / (total - 1))


check_rate = FunctionCheck(
    rate,
    [(0, 11, 1e-3), (10, 11, 1e-3), (5, 11, 2e-3), (2, 5, 1.0), (1, 5, 1.0)],
    [
        (
            lambda s, n, p: p * 0.5 * (1 + math.cos(math.pi * s / (n - 1))),
            "it falls to 0; the schedule of the paper ends at a tenth of the peak.",
        ),
        (
            lambda s, n, p: p * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * s / n))),
            "at the last step, total - 1, the rate is still above a tenth of the peak: divide by total - 1.",
        ),
        (_linear, "both ends are right, but this is a straight line: a cosine falls slowly at first and at the end."),
        (
            lambda s, n, p: p * (0.1 + 0.5 * (1 + math.cos(math.pi * s / (n - 1)))),
            "it starts above the peak: multiply the cosine by the remaining nine tenths.",
        ),
        (lambda s, n, p: p * (0.1 + 0.9 * 0.5 * (1 - math.cos(math.pi * s / (n - 1)))), "it rises; it has to fall."),
    ],
)

# --- the weight of the mix -----------------------------------------------------------------------------------------


def web_share(batch: int, fraction: float, answer_tokens: float, web_tokens: float) -> float:
    """Share of pretraining text in the loss of a batch, counted in loss tokens; `fraction` is its share of the rows.

    answer_tokens: mean number of loss tokens of a demonstration. web_tokens: that of a row of pretraining text.
    """
    web = round(batch * fraction)
    return web * web_tokens / (web * web_tokens + (batch - web) * answer_tokens)


check_web_share = FunctionCheck(
    web_share,
    [(30, 0.1, 12.0, 95.0), (32, 0.5, 10.0, 10.0), (20, 0.25, 8.0, 40.0), (20, 0.0, 8.0, 40.0)],
    [
        (
            lambda b, f, a, w: round(b * f) / b,
            "this is the share of rows; the loss is a mean over tokens, and web rows have more of them.",
        ),
        (
            lambda b, f, a, w: round(b * f) * w / ((b - round(b * f)) * a) if f < 1 else 1.0,
            "you divide by the answers' tokens; divide by all tokens of the batch.",
        ),
        (
            lambda b, f, a, w: round(b * f) * w / (round(b * f) * w + b * a),
            "the web rows replace demonstrations: only the other rows of the batch are answers.",
        ),
        (
            lambda b, f, a, w: 1 - web_share(b, f, a, w),
            "this is the share of the answers; return that of the pretraining text.",
        ),
    ],
)
