"""Checks of notebook 05: Eq. 2, multiple choice, paired differences, win rates, what gamma multiplies."""

from __future__ import annotations

import math
from collections.abc import Sequence

from utils.lessons.exercises.common import FunctionCheck

# --- Eq. 2 ---------------------------------------------------------------------------------------------------------


def objective(score: float, kl: float, pretraining_loss: float, beta: float, gamma: float) -> float:
    """Eq. 2 from its three means: score, KL per answer, loss per pretraining token."""
    return score - beta * kl - gamma * pretraining_loss


check_objective = FunctionCheck(
    objective,
    [(1.0, 2.0, 0.9, 0.1, 0.3), (0.5, 3.0, 1.2, 0.02, 27.8), (-0.5, 0.0, 1.0, 0.1, 0.0)],
    [
        (
            lambda s, k, w, b, g: s - b * k + g * w,
            "the pretraining loss is minus a log-probability: the objective has to fall when it rises.",
        ),
        (lambda s, k, w, b, g: s + b * k - g * w, "the KL is a penalty: the objective has to fall when it rises."),
        (
            lambda s, k, w, b, g: s - g * k - b * w,
            "you swapped beta and gamma: beta weighs the KL, gamma weighs the pretraining loss.",
        ),
        (lambda s, k, w, b, g: s - b * k, "the pretraining term is missing: this is PPO, gamma = 0."),
        (lambda s, k, w, b, g: -objective(s, k, w, b, g), "this is the loss; Eq. 2 is the objective, which is maximised."),
    ],
)

# --- facts as multiple choice --------------------------------------------------------------------------------------


def picked(choices: Sequence[Sequence[float]]) -> int:
    """Index of the model's choice: the one with the highest mean log-probability per token (App. D)."""
    return max(range(len(choices)), key=lambda i: sum(choices[i]) / len(choices[i]))


check_picked = FunctionCheck(
    picked,
    [([[-0.9], [-0.5, -0.6], [-2.0]],), ([[-0.2, -0.2, -0.2], [-0.5], [-0.9]],), ([[-0.1, -2.0], [-0.5], [-0.9, -0.8]],)],
    [
        (
            lambda c: max(range(len(c)), key=lambda i: sum(c[i])),
            "a sum is lower for longer choices: take the mean per token.",
        ),
        (
            lambda c: min(range(len(c)), key=lambda i: sum(c[i]) / len(c[i])),
            "this is the choice the model finds least likely: log-probabilities are better when they are higher.",
        ),
        (
            lambda c: max(range(len(c)), key=lambda i: c[i][0]),
            "you look at the first token only; the rest of the choice counts too.",
        ),
    ],
)

# --- two policies on the same prompts ------------------------------------------------------------------------------


def paired(a: Sequence[float], b: Sequence[float]) -> list[float]:
    """[mean, standard error] of a - b over the same prompts."""
    return _mean_se([x - y for x, y in zip(a, b, strict=True)])


def _mean_se(values: Sequence[float]) -> list[float]:
    mean = sum(values) / len(values)
    return [mean, math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1) / len(values))]


def _apart(a: Sequence[float], b: Sequence[float]) -> list[float]:
    (first, se_first), (second, se_second) = _mean_se(a), _mean_se(b)
    return [first - second, math.hypot(se_first, se_second)]


def _spread(a: Sequence[float], b: Sequence[float]) -> list[float]:
    mean, se = paired(a, b)
    return [mean, se * math.sqrt(len(a))]


check_paired = FunctionCheck(
    paired,
    [([8.0, 5.0, 9.0, 4.0], [7.0, 4.5, 8.0, 3.0]), ([1.0, 2.0, 4.0], [3.0, 1.0, 1.0])],
    [
        (
            _apart,
            "the mean is right, but this is the error for two different sets of prompts. First take the difference per prompt.",
        ),
        (
            _spread,
            "this is the standard deviation of one difference; divide it by the square root of the number of prompts.",
        ),
        (
            lambda a, b: [paired(a, b)[0], paired(a, b)[1] * math.sqrt((len(a) - 1) / len(a))],
            "almost right: divide the sum of squares by n - 1, not by n, because the mean comes from the same prompts.",
        ),
        (lambda a, b: paired(b, a), "the sign is wrong: it is a minus b."),
    ],
)

# --- win rates -----------------------------------------------------------------------------------------------------


def win_rate(a: Sequence[float], b: Sequence[float], tie: float) -> float:
    """Share of prompts that a wins by more than `tie` points; ties count half."""
    return sum(_won(x - y, tie, 0.5) for x, y in zip(a, b, strict=True)) / len(a)


def _won(difference: float, tie: float, half: float) -> float:
    return half if abs(difference) <= tie else float(difference > 0)


def _decided(a: Sequence[float], b: Sequence[float], tie: float) -> float:
    found = [_won(x - y, tie, -1.0) for x, y in zip(a, b, strict=True)]
    decided = [w for w in found if w >= 0]
    return sum(decided) / len(decided) if decided else math.nan


check_win_rate = FunctionCheck(
    win_rate,
    [
        ([8.0, 5.0, 9.0, 4.0], [7.0, 5.2, 8.0, 6.0], 0.5),
        ([3.0, 3.0], [3.0, 1.0], 0.0),
        ([1.0, 2.0, 3.0], [2.0, 2.1, 1.0], 0.25),
    ],
    [
        (
            lambda a, b, tie: sum(_won(x - y, tie, 0.0) for x, y in zip(a, b, strict=True)) / len(a),
            "you count a tie as a loss; count it half, so that a against b and b against a add up to 1.",
        ),
        (_decided, "you leave out ties; count them half. (Both are in use: always say which one you use.)"),
        (lambda a, b, tie: win_rate(a, b, 0.0), "the tie is missing: a difference of at most `tie` points is a tie."),
        (lambda a, b, tie: win_rate(b, a, tie), "this is how often b wins."),
    ],
)

# --- what gamma multiplies -----------------------------------------------------------------------------------------


def same_gamma(gamma: float, answer_tokens: float, web_tokens: float) -> float:
    """The gamma for means per token that gives the gradient the same direction as `gamma` gives for sums.

    Sums: loss summed over the tokens of an answer, plus gamma times the loss summed over the tokens of a web row.
    answer_tokens, web_tokens: number of tokens of one answer and of one row.
    """
    return gamma * web_tokens / answer_tokens


check_same_gamma = FunctionCheck(
    same_gamma,
    [(1.0, 16.0, 96.0), (27.8, 100.0, 100.0), (0.5, 20.0, 10.0)],
    [
        (
            lambda g, a, w: g * a / w,
            "the ratio is inverted: the sum over a long row is larger than its mean, so with means gamma must be larger.",
        ),
        (lambda g, a, w: g, "the same gamma is right only if an answer and a row have the same length."),
        (lambda g, a, w: g * w, "the mean divides by the tokens of the row, but the policy's loss became a mean too."),
        (lambda g, a, w: g / a, "the policy's loss became a mean, but the pretraining loss did too."),
    ],
)
