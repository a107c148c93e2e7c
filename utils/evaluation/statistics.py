"""Means, intervals, win rates and spreads, as pure numpy functions of numbers. Bad numbers raise ValueError.

Intervals are two-sided and cover the truth with probability `confidence` (default 0.95; paper: 95 %, Fig. 1).
A standard error is over prompts and says nothing about training noise: for that, `spread_over_seeds`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Numbers = Sequence[float] | npt.NDArray[np.floating]


class MeanSE(NamedTuple):
    """A mean, its standard error (nan for n = 1) and the number of values."""

    mean: float
    se: float
    n: int


class PairedDifference(NamedTuple):
    """Mean of a - b over the same prompts, its standard error, z = mean / se, number of pairs."""

    mean: float
    se: float
    z: float
    n: int


class WinRate(NamedTuple):
    """A win rate with ties counted half, its interval, and the counts behind it.

    decided: share of the n comparisons that are not ties. decided_win_rate: share won of those (nan if all tie),
    with its own interval decided_low .. decided_high.
    """

    mean: float
    low: float
    high: float
    n: int
    wins: int
    losses: int
    ties: int
    decided: float
    decided_win_rate: float
    decided_low: float
    decided_high: float


class GoldComparison(NamedTuple):
    """Shares of the n prompts on which a is above, below, or within the tie of b; `decided` = won / (won + lost)."""

    won: float
    lost: float
    tied: float
    decided: float
    n: int


class SeedSpread(NamedTuple):
    """Mean over seeds, its t-interval, the standard deviation between seeds, the extremes, the number of seeds."""

    mean: float
    low: float
    high: float
    sd: float
    smallest: float
    largest: float
    n: int


def _vector(values: Numbers, name: str = "values") -> npt.NDArray[np.float64]:
    """`values` as a float vector (n,), n >= 1, all finite; else ValueError."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{name}: expected a list of at least one number, got shape {array.shape}; give one per prompt.")
    bad = np.flatnonzero(~np.isfinite(array))
    if bad.size:
        raise ValueError(f"{name}: entry {bad[0]} is {array[bad[0]]}, not a finite number; correct or remove that entry.")
    return array


def _pair(a: Numbers, b: Numbers) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    first, second = _vector(a, "first"), _vector(b, "second")
    if first.size != second.size:
        raise ValueError(f"paired comparison: {first.size} values against {second.size}; give both policies the same prompts.")
    return first, second


def normal_quantile(confidence: float) -> float:
    """z with P(|Z| < z) = confidence for a standard normal Z; 1.960 at 0.95. Raises ValueError outside (0, 1)."""
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence is {confidence}; it must lie strictly between 0 and 1, for example 0.95.")
    return NormalDist().inv_cdf(0.5 + confidence / 2.0)


def _t_within(theta: float, df: int) -> float:
    """P(|T| < sqrt(df) tan(theta)) for Student's t with whole `df` (Abramowitz & Stegun 26.7.3, 26.7.4)."""
    cos2, term, total = math.cos(theta) ** 2, 1.0, 0.0
    odd = df % 2 == 1
    for k in range((df - 1) // 2 if odd else df // 2):
        total += term
        term *= cos2 * ((2 * k + 2) / (2 * k + 3) if odd else (2 * k + 1) / (2 * k + 2))
    if odd:
        return 2.0 / math.pi * (theta + math.sin(theta) * math.cos(theta) * total)
    return math.sin(theta) * total


@cache
def student_t_quantile(confidence: float, df: int) -> float:
    """t with P(|T| < t) = confidence for Student's t with whole df >= 1; 2.776 at 0.95 and df = 4."""
    normal_quantile(confidence)  # the same check of `confidence`
    if df < 1:
        raise ValueError(f"a t-interval needs at least 2 values, got {df + 1}; run more seeds.")
    low, high = 0.0, math.pi / 2.0
    for _ in range(200):  # bisection on the angle: P rises from 0 to 1 on [0, pi/2]
        middle = (low + high) / 2.0
        low, high = (middle, high) if _t_within(middle, df) < confidence else (low, middle)
    return math.sqrt(df) * math.tan((low + high) / 2.0)


def mean_se(values: Numbers) -> MeanSE:
    """Mean and standard error: se = sqrt(sum (x_i - mean)^2 / (n - 1)) / sqrt(n). values: (n,)."""
    array = _vector(values)
    se = float(array.std(ddof=1) / math.sqrt(array.size)) if array.size > 1 else math.nan
    return MeanSE(float(array.mean()), se, int(array.size))


def paired_difference(a: Numbers, b: Numbers) -> PairedDifference:
    """Mean of d_i = a_i - b_i, its standard error, and z = mean / se.

    a, b: (n,) scores of two policies on the same prompts; pairing removes the effect of how hard a prompt is. z is 0 if all
    differences are 0 and +-inf if they are all the same other number.
    """
    first, second = _pair(a, b)
    mean, se, n = mean_se(first - second)
    if se == 0.0:
        z = 0.0 if mean == 0.0 else math.copysign(math.inf, mean)
    else:
        z = mean / se
    return PairedDifference(mean, se, z, n)


def score_interval(mean: float, n: int, ties: float = 0.0, confidence: float = 0.95) -> tuple[float, float]:
    """Score (Wilson) interval of the mean of n outcomes in {1, 1/2, 0}, of which a share `ties` are 1/2.

    An outcome with mean p and tie share t has variance p (1 - p) - t / 4. The interval is every p with
        (mean - p)^2 <= z^2 / n * (p (1 - p) - t' / 4),   t' = ties * n / (n + z^2).
    Without ties this is Wilson's interval for a proportion. t' shrinks the observed tie share a little, as Wilson
    shrinks the mean, so that a run of ties alone keeps an interval wider than one point. It always contains
    the mean, lies in [0, 1] and mirrors when both sides are swapped, and needs no bootstrap.
    """
    c = normal_quantile(confidence) ** 2 / n
    shrunk = ties / (1.0 + c)
    root = math.sqrt(max(0.0, c * (4.0 * mean * (1.0 - mean) - shrunk) + c * c * (1.0 - shrunk)))
    low, high = ((2.0 * mean + c - root) / (2.0 * (1.0 + c)), (2.0 * mean + c + root) / (2.0 * (1.0 + c)))
    return min(mean, max(0.0, low)), max(mean, min(1.0, high))


def win_rate(wins: Numbers, confidence: float = 0.95) -> WinRate:
    """Win rate of n comparisons, ties counted half (sec. 3.6), with its tie-aware `score_interval`.

    wins: (n,) 1 = won, 0.5 = tie, 0 = lost; one entry per prompt, so that entries are independent. Any other value
    raises ValueError.
    """
    array = _vector(wins, "wins")
    bad = np.flatnonzero((array != 0.0) & (array != 0.5) & (array != 1.0))
    if bad.size:
        raise ValueError(f"wins: entry {bad[0]} is {array[bad[0]]}; write 1 for a win, 0.5 for a tie, 0 for a loss.")
    n = int(array.size)
    won, lost = int((array == 1.0).sum()), int((array == 0.0).sum())
    ties, decided = n - won - lost, won + lost
    mean = (won + 0.5 * ties) / n
    low, high = score_interval(mean, n, ties / n, confidence)
    share = won / decided if decided else math.nan
    share_low, share_high = score_interval(share, decided, 0.0, confidence) if decided else (math.nan, math.nan)
    return WinRate(mean, low, high, n, won, lost, ties, decided / n, share, share_low, share_high)


def gold_wins(gold_a: Numbers, gold_b: Numbers, tie: float) -> npt.NDArray[np.float64]:
    """(n,) outcomes of a against b under gold: 1 if a_i - b_i > tie, 0 if < -tie, else 0.5; feed to `win_rate`.

    A difference within 1e-9 of `tie` is a tie, so that rounding of sums does not decide.
    """
    first, second = _pair(gold_a, gold_b)
    if not tie >= 0.0:
        raise ValueError(f"tie is {tie}; it must be 0 or a positive number of gold points.")
    difference, edge = first - second, tie + 1e-9
    return np.where(difference > edge, 1.0, np.where(difference < -edge, 0.0, 0.5))


def gold_comparison(gold_a: Numbers, gold_b: Numbers, tie: float) -> GoldComparison:
    """Shares of prompts won, lost and tied by a against b under gold. gold_a, gold_b: (n,) points; tie: points.

    `decided` = won / (won + lost), nan if every prompt ties.
    """
    wins = gold_wins(gold_a, gold_b, tie)
    won, lost = float((wins == 1.0).mean()), float((wins == 0.0).mean())
    decided = won / (won + lost) if won + lost > 0.0 else math.nan
    return GoldComparison(won, lost, float((wins == 0.5).mean()), decided, int(wins.size))


def spread_over_seeds(values: Numbers, confidence: float = 0.95) -> SeedSpread:
    """One metric over training seeds: mean +- t(confidence, n - 1) sd / sqrt(n).

    values: (n,) one number per seed. A single seed has no interval: its ends and sd are nan.
    """
    array = _vector(values)
    mean, se, n = mean_se(array)
    half = student_t_quantile(confidence, n - 1) * se if n > 1 else math.nan
    sd = float(array.std(ddof=1)) if n > 1 else math.nan
    return SeedSpread(mean, mean - half, mean + half, sd, float(array.min()), float(array.max()), n)
