"""Preferences between policies: win rates whose interval is over prompts and judges, strengths of many policies at once.

Ten judges who see the same 900 prompts are not 9,000 independent opinions: another ten judges would prefer other things, and
other prompts would show other answers. `crossed_win_rate` says how far the win rate may be off for both reasons.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from utils.core.runtime import numpy_rng
from utils.evaluation.statistics import normal_quantile, score_interval, student_t_quantile

FloatArray = npt.NDArray[np.float64]
ROUNDS = 10_000  # of the fit, at most
NEAR = 1e-10  # change of a log-strength below which the fit ends


class CrossedMean(NamedTuple):
    """A mean over judgements and its interval over prompts and judges; n: judgements.

    judges_sd, prompts_sd: standard error from each of the two alone (nan for a single judge or prompt).
    """

    mean: float
    low: float
    high: float
    n: int
    judges: int
    prompts: int
    judges_sd: float
    prompts_sd: float


class CrossedWinRate(NamedTuple):
    """A win rate with ties counted half and its interval over prompts and judges; n: judgements, ties: of them.

    judges_sd, prompts_sd: as in `CrossedMean`.
    """

    mean: float
    low: float
    high: float
    n: int
    ties: int
    judges: int
    prompts: int
    judges_sd: float
    prompts_sd: float


def crossed_mean(
    values: npt.ArrayLike,
    judge: Sequence[int | str],
    prompt: Sequence[int | str],
    confidence: float = 0.95,
    bounds: tuple[float, float] = (-math.inf, math.inf),
) -> CrossedMean:
    """Mean of judgements (n,), each with its judge and its prompt. bounds: between which all values lie, such as 1 and 7.

    The variance of the mean is that of clusters by judge, plus by prompt, minus by both, so judges and prompts may be crossed
    in any way (Cameron, Gelbach and Miller 2011); the quantile is Student's t with Satterthwaite's degrees of freedom. The
    interval is never narrower than the one for independent judgements; a single judgement says nothing, so its interval is
    the whole scale. With one judge it is over prompts alone, and the other way round. Raises ValueError for lists of different
    lengths.
    """
    found = np.asarray(values, dtype=np.float64)
    _check_lengths(found, judge, prompt)
    n, mean = len(found), float(found.mean())
    half, counts, sd = _crossed(found - mean, judge, prompt, confidence)
    alone = normal_quantile(confidence) * float(found.std(ddof=1)) / math.sqrt(n) if n > 1 else math.inf
    half = max(half, alone)
    return CrossedMean(mean, max(bounds[0], mean - half), min(bounds[1], mean + half), n, *counts, *sd)


def crossed_win_rate(
    wins: npt.ArrayLike, judge: Sequence[int | str], prompt: Sequence[int | str], confidence: float = 0.95
) -> CrossedWinRate:
    """Win rate of judgements (n,): 1 won, 0.5 tie, 0 lost, each with its judge and its prompt (sec. 3.6, Fig. 1).

    The interval is that of `crossed_mean`, and never narrower than the score interval for independent judgements. A share of
    judges who say yes is a win rate without ties. Raises ValueError for other outcomes and lists of different lengths.
    """
    outcome = np.asarray(wins, dtype=np.float64)
    _check_lengths(outcome, judge, prompt)
    if not np.isin(outcome, (0.0, 0.5, 1.0)).all():
        raise ValueError("wins: write 1 for a win, 0.5 for a tie, 0 for a loss.")
    n, mean = len(outcome), float(outcome.mean())
    half, counts, sd = _crossed(outcome - mean, judge, prompt, confidence)
    ties = int((outcome == 0.5).sum())
    low, high = score_interval(mean, n, ties / n, confidence)
    low, high = min(low, max(0.0, mean - half)), max(high, min(1.0, mean + half))
    return CrossedWinRate(mean, low, high, n, ties, *counts, *sd)


def _check_lengths(values: FloatArray, judge: Sequence[object], prompt: Sequence[object]) -> None:
    if values.ndim != 1 or not len(values) or not len(values) == len(judge) == len(prompt):
        raise ValueError("values, judge and prompt must be lists of one length, with at least one judgement.")


def _crossed(
    errors: FloatArray, judge: Sequence[object], prompt: Sequence[object], confidence: float
) -> tuple[float, tuple[int, int], tuple[float, float]]:
    """Half of the interval of a mean from its errors (n,), 0 if both sides have one cluster; the numbers of judges and prompts;
    the standard error from each of the two."""
    by_judge, judges = _cluster_variance(errors, judge)
    by_prompt, prompts = _cluster_variance(errors, prompt)
    by_both, _ = _cluster_variance(errors, list(zip(judge, prompt, strict=True)))
    parts = [(variance, count - 1) for variance, count in ((by_judge, judges), (by_prompt, prompts)) if count > 1]
    half = 0.0
    if parts:
        largest = max(variance for variance, _ in parts)
        variance = max(sum(variance for variance, _ in parts) - (by_both if len(parts) == 2 else 0.0), largest)
        freedom = variance**2 / spread if (spread := sum(v**2 / df for v, df in parts)) else math.inf
        quantile = student_t_quantile(confidence, max(1, int(freedom))) if freedom < 1e4 else normal_quantile(confidence)
        half = quantile * math.sqrt(variance)
    of_judges, of_prompts = (
        math.sqrt(variance) if count > 1 else math.nan for variance, count in ((by_judge, judges), (by_prompt, prompts))
    )
    return half, (judges, prompts), (of_judges, of_prompts)


def _cluster_variance(errors: FloatArray, names: Sequence[object]) -> tuple[float, int]:
    """Variance of a mean whose errors (n,) depend on each other within clusters, and the number of clusters."""
    numbers: dict[object, int] = {}
    place = np.array([numbers.setdefault(name, len(numbers)) for name in names])
    sums, count = np.bincount(place, errors), len(numbers)
    small = count / (count - 1) if count > 1 else 0.0
    return float((sums**2).sum() / len(errors) ** 2 * small), count


# --- many policies -------------------------------------------------------------------------------------------------


class Strengths(NamedTuple):
    """Bradley-Terry log-strengths (M,) with mean 0, and their intervals: exp(a - b) are the odds that a is preferred to b."""

    values: FloatArray
    low: FloatArray
    high: FloatArray


def win_table(first: npt.ArrayLike, second: npt.ArrayLike, wins: npt.ArrayLike, policies: int) -> FloatArray:
    """(M, M) how often the policy of the row was preferred to that of the column, from comparisons (n,) of policies by their
    numbers; a tie counts half for both."""
    a, b, outcome = np.asarray(first), np.asarray(second), np.asarray(wins, dtype=np.float64)
    table = np.zeros((policies, policies))
    np.add.at(table, (a, b), outcome)
    np.add.at(table, (b, a), 1.0 - outcome)
    return table


def fit_strengths(table: FloatArray) -> FloatArray:
    """(M,) maximum-likelihood log-strengths of a `win_table`, mean 0, by the iteration of Hunter (2004, Annals of Statistics
    32).

    Raises ValueError if they are not finite: a policy, or a group of them, that never wins or never loses against the rest.
    """
    if not _connected(table):
        raise ValueError("a policy or a group of policies wins or loses all comparisons with the others: compare more prompts.")
    games = table + table.T
    strength = np.ones(len(table))
    for _ in range(ROUNDS):
        share = np.where(games > 0, 1.0 / (strength[:, None] + strength[None, :]), 0.0)
        new = table.sum(1) / (games * share).sum(1)
        new /= np.exp(np.log(new).mean())
        change, strength = np.abs(np.log(new / strength)).max(), new
        if change < NEAR:
            break
    return np.log(strength)


def bradley_terry(
    first: npt.ArrayLike, second: npt.ArrayLike, wins: npt.ArrayLike, prompt: Sequence[int | str], confidence: float = 0.95,
    draws: int = 300, seed: int = 0,
) -> Strengths:  # fmt: skip
    """Strengths of M policies from comparisons (n,) on prompts, with percentile intervals of a bootstrap over prompts.

    first, second: numbers of the policies from 0. wins: 1 if the first is preferred, 0.5 for a tie, else 0. Raises ValueError
    if the strengths are not finite (`fit_strengths`); draws in which they are not are left out.
    """
    a, b, outcome = np.asarray(first), np.asarray(second), np.asarray(wins, dtype=np.float64)
    policies = int(max(a.max(), b.max())) + 1
    values = fit_strengths(win_table(a, b, outcome, policies))
    numbers: dict[object, int] = {}
    place = np.array([numbers.setdefault(name, len(numbers)) for name in prompt])
    tables = np.zeros((len(numbers), policies, policies))
    np.add.at(tables, (place, a, b), outcome)
    np.add.at(tables, (place, b, a), 1.0 - outcome)
    rng = numpy_rng(seed, "preference", "bradley_terry")
    found: list[FloatArray] = []
    for _ in range(draws):
        table = tables[rng.integers(0, len(tables), len(tables))].sum(0)
        if _connected(table):
            found.append(fit_strengths(table))
    tail = (1 - confidence) / 2
    low, high = np.quantile(found, (tail, 1 - tail), axis=0) if found else np.full((2, policies), np.nan)
    return Strengths(values, low, high)


def _connected(table: FloatArray) -> bool:
    """Whether every policy beats every other one directly or through others, so that strengths are finite."""
    reach = (table > 0) | np.eye(len(table), dtype=bool)
    for _ in range(max(1, math.ceil(math.log2(len(table))))):
        reach = (reach.astype(int) @ reach.astype(int)) > 0
    return bool(reach.all())
