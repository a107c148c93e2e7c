"""Checks of notebook 00: the loss mask, the pairs of a ranking, the rewards of PPO, the loss that PPO-ptx recovers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from utils.lessons.exercises.common import FunctionCheck

# --- SFT: which tokens count ---------------------------------------------------------------------------------------


def loss_mask(n_prompt: int, n_completion: int) -> list[int]:
    """Which tokens of prompt + completion + end token count in the SFT loss: 1 for the completion and the end token."""
    return [0] * n_prompt + [1] * (n_completion + 1)


check_loss_mask = FunctionCheck(
    loss_mask,
    [(1, 1), (3, 2), (2, 4), (4, 0)],
    [
        (lambda p, c: [1] * (p + c + 1), "you count the prompt too; the model should learn answers, not questions."),
        (lambda p, c: [0] * p + [1] * c + [0], "you do not count the end token, so the model would never learn to stop."),
        (lambda p, c: [0] * p + [1] * c, "one entry is missing: the end token is part of the sequence, and it counts."),
        (lambda p, c: [1] * p + [0] * (c + 1), "0 and 1 are swapped: 1 marks the tokens that count."),
        (lambda p, c: [0] * (p + 1) + [1] * c, "your mask starts one token late: the first token of the completion counts."),
    ],
)

# --- reward model: which pairs count -------------------------------------------------------------------------------


def pairs_in_ranking(ranks: Sequence[int]) -> int:
    """How many pairs of one ranking Eq. 1 compares: ties are dropped (C.2)."""
    return sum(a != b for a, b in itertools.combinations(ranks, 2))


check_pairs = FunctionCheck(
    pairs_in_ranking,
    [([1, 2, 3],), ([1, 1, 2, 3],), ([1, 2, 2, 2, 3],), ([1, 1],)],
    [
        (lambda r: math.comb(len(r), 2), "ties are dropped: two completions of equal rank make no pair."),
        (lambda r: 2 * pairs_in_ranking(r), "every pair is counted twice, once from each side."),
        (
            lambda r: math.comb(len(set(r)), 2),
            "you count pairs of ranks; two completions may share a rank, and each of them is compared.",
        ),
        (lambda r: len(r) - 1, "you count neighbours only; a ranking compares every completion with every other one."),
    ],
)

# --- PPO: the reward of each token ---------------------------------------------------------------------------------


def token_rewards(score: float, logprobs: Sequence[float], ref_logprobs: Sequence[float], beta: float) -> list[float]:
    """Reward of each token of one response (Eq. 2): the KL penalty everywhere, the score at the last token."""
    rewards = _penalties(logprobs, ref_logprobs, beta)
    return [*rewards[:-1], rewards[-1] + score]


def _penalties(new: Sequence[float], old: Sequence[float], beta: float) -> list[float]:
    return [-beta * (a - b) for a, b in zip(new, old, strict=True)]


def _score_everywhere(score: float, new: Sequence[float], old: Sequence[float], beta: float) -> list[float]:
    return [score + penalty for penalty in _penalties(new, old, beta)]


def _score_first(score: float, new: Sequence[float], old: Sequence[float], beta: float) -> list[float]:
    first, *rest = _penalties(new, old, beta)
    return [first + score, *rest]


def _all_at_the_end(score: float, new: Sequence[float], old: Sequence[float], beta: float) -> list[float]:
    return [0.0] * (len(new) - 1) + [score + sum(_penalties(new, old, beta))]


check_token_rewards = FunctionCheck(
    token_rewards,
    [
        (1.0, [-0.5, -1.0, -0.2], [-0.7, -0.8, -0.6], 0.1),
        (-2.0, [-0.1, -0.3], [-0.4, -0.2], 0.5),
        (0.5, [-1.0], [-1.5], 0.2),
    ],
    [
        (
            lambda s, a, b, beta: token_rewards(s, b, a, beta),
            "the sign of the penalty is wrong: you reward moving away from the reference.",
        ),
        (_score_everywhere, "you add the score at every token; add it once, at the last token."),
        (_score_first, "you add the score at the first token; add it at the last one, when the answer is complete."),
        (lambda s, a, b, beta: token_rewards(s, a, b, 1.0), "beta is missing."),
        (_all_at_the_end, "the sum is right, but each penalty belongs to the token that caused it."),
        (lambda s, a, b, beta: _penalties(a, b, beta), "the score is missing."),
    ],
)

# --- PPO-ptx: the loss that it recovers ----------------------------------------------------------------------------


def tax_undone(base: float, ppo: float, ppo_ptx: float) -> float:
    """Share of PPO's rise in pretraining loss over the base that PPO-ptx undoes (4.2)."""
    return (ppo - ppo_ptx) / (ppo - base)


check_tax_undone = FunctionCheck(
    tax_undone,
    [(1.0, 2.0, 1.25), (0.9, 1.1, 0.95), (2.0, 3.0, 3.0)],
    [
        (
            lambda base, ppo, ptx: (ptx - base) / (ppo - base),
            "this is the share of the rise that is left; return the share that is undone.",
        ),
        (lambda base, ppo, ptx: ppo - ptx, "this is the recovered loss in nats; divide it by the whole rise."),
        (
            lambda base, ppo, ptx: (ppo - ptx) / ppo,
            "divide by the rise, ppo - base: the base's own loss is not part of the tax.",
        ),
        (lambda base, ppo, ptx: (ppo - ptx) / base, "divide by the rise, ppo - base, not by the base's loss."),
        (lambda base, ppo, ptx: (ptx - ppo) / (ppo - base), "the sign is wrong: undoing the whole rise is 1."),
    ],
)
