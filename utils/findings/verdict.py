"""The verdict on a prediction, from the interval of a paired difference over seeds and from nothing else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from utils.evaluation.statistics import spread_over_seeds

REPRODUCED, NOT, OPPOSITE, NOT_ASKED = "reproduced", "not", "opposite", "cannot be asked here"
VERDICTS = (REPRODUCED, NOT, OPPOSITE, NOT_ASKED)
GREATER, LESS, SAME = "greater", "less", "the same"
EXPECTED = (GREATER, LESS, SAME)
FEWEST = 5  # seeds


class Verdict(NamedTuple):
    """A verdict with what it was computed from: mean difference, its t-interval, the number of seeds. reason: one sentence."""

    verdict: str
    mean: float
    low: float
    high: float
    n: int
    reason: str


def judge(differences: Sequence[float], expected: str, margin: float = 0.0, confidence: float = 0.95) -> Verdict:
    """The verdict on paired differences (n,), one per seed.

    expected GREATER: reproduced if the whole interval lies above `margin`, opposite if it lies below 0. LESS: the mirror image.
    SAME: reproduced if the whole interval lies within -margin .. margin, opposite if it lies outside. Anything else is NOT.
    With fewer than FEWEST seeds nothing is decided (NOT_ASKED). Raises ValueError for another `expected`, a margin below 0, and
    SAME with margin 0, which no interval can reach.
    """
    if expected not in EXPECTED:
        raise ValueError(f"expected is {expected!r}; use one of {', '.join(EXPECTED)}.")
    if not margin >= 0 or (expected == SAME and margin == 0):
        raise ValueError(f"margin is {margin}; it must be at least 0, and above 0 for {SAME!r}.")
    n = len(differences)
    if n < FEWEST:
        mean = math.fsum(differences) / n if n else math.nan
        return Verdict(NOT_ASKED, mean, math.nan, math.nan, n, f"{n} seeds have both runs; at least {FEWEST} are needed.")
    found = spread_over_seeds(differences, confidence)
    low, high = found.low, found.high
    if expected == SAME:
        is_met, is_opposite = -margin < low and high < margin, low > margin or high < -margin
    else:
        one, other = (low, high) if expected == GREATER else (-high, -low)  # the interval in the predicted direction
        is_met, is_opposite = one > margin, other < 0
    chosen = REPRODUCED if is_met else OPPOSITE if is_opposite else NOT
    return Verdict(chosen, found.mean, low, high, n, _reason(expected, margin, low, high))


def _reason(expected: str, margin: float, low: float, high: float) -> str:
    """What was predicted beside the interval."""
    bound = {GREATER: f"above {margin:g}", LESS: f"below {-margin:g}", SAME: f"within {-margin:g} and {margin:g}"}[expected]
    return f"Predicted: {bound}; 95 % interval {low:.3g} to {high:.3g}."
