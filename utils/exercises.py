"""Checks of the notebooks' exercises. Each runs the learner's function on small cases and names the likely mistake.

A check returns one sentence that starts with "Right", "Not yet" or "Not written yet"; it never raises.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

Mistake = tuple[Callable[..., Any], str]


def judge(
    learner: Callable[..., Any],
    right: Callable[..., Any],
    cases: Sequence[tuple[Any, ...]],
    mistakes: Sequence[Mistake],
) -> str:
    """One sentence on `learner`, compared with `right` on `cases`.

    mistakes: (wrong function, what to say); the first that agrees with the learner on every case is named.
    """
    try:
        answers = [learner(*case) for case in cases]
    except Exception as error:  # whatever the learner's code raises belongs in the sentence
        return f"Not yet: your function stopped with {type(error).__name__}: {error}"
    if all(answer is None or answer is ... for answer in answers):
        return "Not written yet: replace the dots in the cell above and run it again."
    wanted = [right(*case) for case in cases]
    if _equal(answers, wanted):
        return f"Right, on all {len(cases)} cases."
    for wrong, sentence in mistakes:
        if _equal(answers, [wrong(*case) for case in cases]):
            return f"Not yet: {sentence}"
    case, answer, want = next(t for t in zip(cases, answers, wanted, strict=True) if not _equal(t[1], t[2]))
    return f"Not yet: for {', '.join(map(str, case))} the answer is {want}, yours is {answer}."


def _equal(a: Any, b: Any) -> bool:
    """Equality of nested lists of numbers, up to rounding."""
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(_equal(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, bool | int | float) and isinstance(b, bool | int | float):
        return math.isclose(a, b, abs_tol=1e-6)
    return False


# --- SFT: which tokens count ---------------------------------------------------------------------------------------


def loss_mask(n_prompt: int, n_completion: int) -> list[int]:
    """Which tokens of prompt + completion + end token SFT's loss counts: 1 for the completion and the end token."""
    return [0] * n_prompt + [1] * (n_completion + 1)


_MASK_MISTAKES: list[Mistake] = [
    (lambda p, c: [1] * (p + c + 1), "the prompt counts too; the model is to learn answers, not questions."),
    (lambda p, c: [0] * p + [1] * c + [0], "the end token does not count, so the model would never learn to stop."),
    (lambda p, c: [0] * p + [1] * c, "one entry is missing: the end token is part of the sequence, and it counts."),
    (lambda p, c: [1] * p + [0] * (c + 1), "it is the wrong way round: 1 marks what counts."),
    (lambda p, c: [0] * (p + 1) + [1] * c, "it begins one token late: the first token of the completion counts."),
]


def check_loss_mask(learner: Callable[[int, int], list[int]]) -> str:
    """Check a function (prompt tokens, completion tokens) -> list of 0 and 1, see `loss_mask`."""
    return judge(learner, loss_mask, [(1, 1), (3, 2), (2, 4), (4, 0)], _MASK_MISTAKES)


# --- reward model: which pairs count -------------------------------------------------------------------------------


def pairs_in_ranking(ranks: Sequence[int]) -> int:
    """How many pairs of one ranking Eq. 1 compares: ties are dropped (C.2)."""
    return sum(a != b for a, b in itertools.combinations(ranks, 2))


_PAIR_MISTAKES: list[Mistake] = [
    (lambda r: math.comb(len(r), 2), "ties are dropped: two completions of equal rank make no pair."),
    (lambda r: 2 * pairs_in_ranking(r), "every pair is counted twice, once from each side."),
    (lambda r: math.comb(len(set(r)), 2), "these are pairs of ranks; two completions may share a rank and each is compared."),
    (lambda r: len(r) - 1, "these are neighbours only; a ranking compares every completion with every other."),
]


def check_pairs(learner: Callable[[Sequence[int]], int]) -> str:
    """Check a function (ranks) -> number of pairs, see `pairs_in_ranking`."""
    return judge(learner, pairs_in_ranking, [([1, 2, 3],), ([1, 1, 2, 3],), ([1, 2, 2, 2, 3],), ([1, 1],)], _PAIR_MISTAKES)


# --- PPO: what is paid at which token ------------------------------------------------------------------------------


def token_rewards(score: float, logprobs: Sequence[float], ref_logprobs: Sequence[float], beta: float) -> list[float]:
    """Reward of each token of one response (Eq. 2): the KL penalty everywhere, the score at the last token."""
    rewards = [-beta * (new - old) for new, old in zip(logprobs, ref_logprobs, strict=True)]
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


_REWARD_MISTAKES: list[Mistake] = [
    (lambda s, a, b, beta: token_rewards(s, b, a, beta), "the penalty's sign is wrong: it pays for leaving the reference."),
    (_score_everywhere, "the score is paid at every token; it is paid once, at the last."),
    (_score_first, "the score is paid at the first token, before anything was said."),
    (lambda s, a, b, beta: token_rewards(s, a, b, 1.0), "beta is missing."),
    (_all_at_the_end, "the sum is right, but each penalty belongs to the token that caused it."),
    (lambda s, a, b, beta: _penalties(a, b, beta), "the score is missing."),
]


def check_token_rewards(learner: Callable[[float, Sequence[float], Sequence[float], float], list[float]]) -> str:
    """Check a function (score, log-probs, reference's log-probs, beta) -> reward of each token, see `token_rewards`."""
    cases = [
        (1.0, [-0.5, -1.0, -0.2], [-0.7, -0.8, -0.6], 0.1),
        (-2.0, [-0.1, -0.3], [-0.4, -0.2], 0.5),
        (0.5, [-1.0], [-1.5], 0.2),
    ]
    return judge(learner, token_rewards, cases, _REWARD_MISTAKES)
