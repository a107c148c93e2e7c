"""Agreement of labelers: on pairs that both decide (sec. 3.4), Cohen's and Fleiss' kappa, Krippendorff's alpha.

Rankings are ranks, 1 best, equal ranks are ties, 0 where there is no completion or the labeler saw none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from utils.core.runtime import numpy_rng
from utils.labeling.items import BoolArray, FloatArray, IntArray

DRAWS_AT_ONCE = 20  # of a bootstrap, to save memory
Rankings = Sequence[Sequence[ArrayLike | None]] | IntArray


@dataclass(frozen=True)
class Agreement:
    """How similarly labelers rank.

    mean: average over pairs of labelers of the share of the pairs decided by both that they order
    in the same way. se: its bootstrap standard error over prompts and labelers. labeler_pairs: pairs of labelers with a
    common decision. decided: number of common decisions in all.
    """

    mean: float
    se: float
    labeler_pairs: int
    decided: int


def pair_signs(ranks: ArrayLike) -> NDArray[np.int8]:
    """(..., C(K, 2)) for ranks (..., K): 1 if the first of a pair is better, -1 if the second, 0 for a tie or a missing
    item."""
    array = np.asarray(ranks)
    first, second = np.triu_indices(array.shape[-1], k=1)
    a, b = array[..., first], array[..., second]
    return np.where((a > 0) & (b > 0), np.sign(b - a), 0).astype(np.int8)


def pair_agreement(rankings_a: Sequence[ArrayLike], rankings_b: Sequence[ArrayLike]) -> float:
    """Share of the pairs decided by both labelers that they order in the same way, over a list of rankings each.

    The i-th rankings (K_i,) are of the same completions. NaN if no pair is decided by both.
    """
    stacked = stack_rankings([rankings_a, rankings_b])
    agreed, decided = _counts(stacked)
    total = decided[:, 0, 1].sum()
    return float(agreed[:, 0, 1].sum() / total) if total else float("nan")


def stack_rankings(rankings: Rankings) -> IntArray:
    """(L, P, K) ranks padded with 0 from rankings[labeler][prompt] (None: not seen).

    Raises ValueError if lengths differ.
    """
    if isinstance(rankings, np.ndarray):
        return rankings
    if len({len(one) for one in rankings}) != 1:
        raise ValueError("agreement: the labelers' lists differ in length, give one ranking (or None) per prompt to each.")
    n_prompts = len(rankings[0])
    widths = [{len(np.atleast_1d(r)) for one in rankings if (r := one[p]) is not None} for p in range(n_prompts)]
    wrong = next((p for p, width in enumerate(widths) if len(width) > 1), None)
    if wrong is not None:
        raise ValueError(f"agreement: rankings of prompt {wrong} differ in length, rank the same completions.")
    stacked = np.zeros((len(rankings), n_prompts, max((max(w) for w in widths if w), default=1)), dtype=np.int64)
    for one, row in enumerate(rankings):
        for p, ranks in enumerate(row):
            if ranks is not None:
                values = np.atleast_1d(np.asarray(ranks, dtype=np.int64))
                stacked[one, p, : len(values)] = values
    return stacked


def mean_agreement(rankings: Rankings, n_bootstrap: int = 200, seed: int = 0) -> Agreement:
    """Mean agreement over all pairs of labelers with a bootstrap standard error.

    rankings: (L, P, K) ranks or rankings[labeler][prompt] with None where a labeler did not see a prompt. Each
    bootstrap draw samples prompts and labelers with replacement (a labeler is never compared with themselves). Raises
    ValueError if no two labelers decided a common pair.
    """
    agreed, decided = _counts(stack_rankings(rankings))
    n_prompts, n_labelers = agreed.shape[:2]
    upper = np.triu_indices(n_labelers, k=1)
    a, d = agreed[:, upper[0], upper[1]], decided[:, upper[0], upper[1]]
    total = d.sum(axis=0)
    if not total.any():
        raise ValueError("agreement: no two labelers decided a common pair, let several labelers rank the same prompts.")
    mean = float(np.mean(a.sum(axis=0)[total > 0] / total[total > 0]))
    # Bootstrap: how often each draw takes each prompt (B, P) and each labeler (B, L).
    prompts, people = _resampled(n_prompts, n_labelers, n_bootstrap, seed)
    se = _bootstrap_se(prompts @ a, prompts @ d, people[:, upper[0]] * people[:, upper[1]])
    return Agreement(mean, se, int((total > 0).sum()), int(total.sum()))


def _resampled(n_prompts: int, n_labelers: int, n_bootstrap: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """How often each bootstrap draw takes each prompt (B, P) and each labeler (B, L)."""
    rng = numpy_rng(seed, "agreement", "bootstrap")
    prompts = rng.multinomial(n_prompts, np.full(n_prompts, 1 / n_prompts), size=n_bootstrap).astype(np.float32)
    return prompts, rng.multinomial(n_labelers, np.full(n_labelers, 1 / n_labelers), size=n_bootstrap)


def _drawn(rng: np.random.Generator, n: int, n_bootstrap: int) -> NDArray[np.float32]:
    """How often each of n is in a sample of n with replacement, (B, n); much faster than `multinomial` for large n."""
    return np.stack([np.bincount(rng.integers(0, n, n), minlength=n) for _ in range(n_bootstrap)]).astype(np.float32)


def _bootstrap_se(agreed: NDArray[np.float32], decided: NDArray[np.float32], often: NDArray[Any]) -> float:
    """Standard error of the mean over labeler pairs, from draws (B, pairs): agreed, decided, how often the pair was drawn.

    Pairs without a common decision do not count.
    """
    weights = np.where(decided > 0, often.astype(np.float64), 0.0)
    rates = np.divide(agreed, decided, out=np.zeros_like(decided), where=decided > 0)
    used = weights.sum(axis=1)
    draws = (rates * weights).sum(axis=1)[used > 0] / used[used > 0]
    return float(np.std(draws, ddof=1)) if len(draws) > 1 else float("nan")


@dataclass(frozen=True, eq=False)
class CommonDecisions:
    """What two labelers decided on one prompt, one entry for each prompt and each two of its labelers.

    prompt (E,): index of the prompt. first, second (E,): rows of the two rankings. agreed, decided (E,): how many pairs of
    completions both ordered in the same way, and how many both decided.
    """

    prompt: IntArray
    first: IntArray
    second: IntArray
    agreed: FloatArray
    decided: FloatArray

    def where(self, chosen: BoolArray) -> CommonDecisions:
        """The chosen entries (E,)."""
        return CommonDecisions(*(getattr(self, one.name)[chosen] for one in fields(self)))


def common_decisions(prompt: IntArray, ranks: IntArray) -> CommonDecisions:
    """All entries for n rankings (n, K) of the prompts (n,), one per labeler and prompt; padded with 0 as everywhere here.

    The same counts as those in `mean_agreement`, for labels of which every labeler has only a few: the work grows with the
    entries, not with labelers times prompts.
    """
    order = np.argsort(prompt, kind="stable")
    ordered = prompt[order]
    # The rows of a prompt are neighbours now: compare each row with the row `lag` places on.
    first, second = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    for lag in range(1, int(np.unique(ordered, return_counts=True)[1].max(initial=1))):
        here = np.flatnonzero(ordered[:-lag] == ordered[lag:])
        first.append(order[here])
        second.append(order[here + lag])
    one, two = np.concatenate(first), np.concatenate(second)
    signs = pair_signs(ranks)
    product = signs[one] * signs[two]
    return CommonDecisions(
        prompt=prompt[one],
        first=one,
        second=two,
        agreed=(product > 0).sum(axis=1).astype(np.float64),
        decided=(product != 0).sum(axis=1).astype(np.float64),
    )


@dataclass(frozen=True, eq=False)
class AgreementMatrix:
    """Agreement of each two of L labelers: agreed, decided (L, L), and the standard error (L, L) of agreed / decided over
    prompts. overall: as by `mean_agreement`, None if no two labelers decided a common pair."""

    agreed: FloatArray
    decided: FloatArray
    se: FloatArray
    overall: Agreement | None


def agreement_matrix(
    common: CommonDecisions, labeler: IntArray, n_labelers: int, n_bootstrap: int = 200, seed: int = 0
) -> AgreementMatrix:
    """The matrix of n rankings by the labelers (n,), numbers below n_labelers."""
    a, b = labeler[common.first], labeler[common.second]
    low, high = np.minimum(a, b), np.maximum(a, b)
    pairs, place = np.unique(low * n_labelers + high, return_inverse=True)
    agreed = np.bincount(place, common.agreed, len(pairs))
    decided = np.bincount(place, common.decided, len(pairs))
    rate = np.divide(agreed, decided, out=np.full(len(pairs), np.nan), where=decided > 0)
    # Decisions on one prompt depend on each other: the error of a ratio of sums over prompts.
    misses = np.bincount(place, (common.agreed - np.nan_to_num(rate)[place] * common.decided) ** 2, len(pairs))
    error = np.divide(np.sqrt(misses), decided, out=np.full(len(pairs), np.nan), where=decided > 0)
    shape = (n_labelers, n_labelers)
    matrices = [np.zeros(shape), np.zeros(shape), np.full(shape, np.nan)]
    i, j = pairs // max(n_labelers, 1), pairs % max(n_labelers, 1)
    for matrix, values in zip(matrices, (agreed, decided, error), strict=True):
        matrix[i, j] = matrix[j, i] = values
    if not decided.any():
        return AgreementMatrix(matrices[0], matrices[1], matrices[2], None)
    se = _sparse_se(common, place, (i, j), n_labelers, n_bootstrap, seed)
    overall = Agreement(float(np.mean(rate[decided > 0])), se, int((decided > 0).sum()), int(decided.sum()))
    return AgreementMatrix(matrices[0], matrices[1], matrices[2], overall)


def _sparse_se(
    common: CommonDecisions, place: IntArray, pairs: tuple[IntArray, IntArray], n_labelers: int, n_bootstrap: int, seed: int
) -> float:
    """The bootstrap of `mean_agreement` on entries: place (E,) is each entry's pair of labelers."""
    names, prompt = np.unique(common.prompt, return_inverse=True)
    present, who = np.unique(np.concatenate(pairs), return_inverse=True)
    i, j = who[: len(pairs[0])], who[len(pairs[0]) :]
    rng = numpy_rng(seed, "agreement", "bootstrap", "entries")
    prompts, people = (_drawn(rng, n, n_bootstrap) for n in (len(names), len(present)))
    # Sum the entries of a pair of labelers: they are neighbours after sorting.
    order = np.argsort(place, kind="stable")
    starts = np.flatnonzero(np.diff(place[order], prepend=-1))
    both = np.stack([common.agreed[order], common.decided[order]]).astype(np.float32)  # (2, E)
    parts = []
    for some in np.array_split(prompts, max(1, len(prompts) // DRAWS_AT_ONCE)):
        drawn = some[:, None, prompt[order]] * both  # (B, 2, E)
        parts.append(np.add.reduceat(drawn, starts, axis=2))
    agreed, decided = np.concatenate(parts).swapaxes(0, 1)
    return _bootstrap_se(agreed, decided, people[:, i] * people[:, j])


def mean_rate(ranks: IntArray) -> float:
    """`mean_agreement(ranks).mean` for ranks (L, P, K) without the bootstrap; calibration calls it many times."""
    signs = pair_signs(ranks).reshape(len(ranks), -1).astype(np.float32)
    decided = np.abs(signs) @ np.abs(signs).T
    agreed = (signs @ signs.T + decided) / 2
    upper = np.triu_indices(len(ranks), k=1)
    total = decided[upper]
    return float(np.mean(agreed[upper][total > 0] / total[total > 0])) if total.any() else float("nan")


def _counts(ranks: IntArray) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Pairs agreed on and decided by both, each (P, L, L), for ranks (L, P, K)."""
    signs = pair_signs(ranks).astype(np.float32).transpose(1, 0, 2)
    decided = np.abs(signs) @ np.abs(signs).transpose(0, 2, 1)
    return (signs @ signs.transpose(0, 2, 1) + decided) / 2, decided


def cohens_kappa(a: ArrayLike, b: ArrayLike) -> float:
    """Cohen's kappa (1960) of two raters' categories (n,): agreement beyond chance, 1 perfect, 0 chance.

    NaN if both always give the same category. Raises ValueError if the lists differ in length or are empty.
    """
    x, y = np.asarray(a), np.asarray(b)
    if x.shape != y.shape or x.ndim != 1 or not len(x):
        raise ValueError(f"agreement: kappa needs two equally long lists, found shapes {x.shape} and {y.shape}.")
    categories = np.unique(np.concatenate([x, y]))
    observed = float(np.mean(x == y))
    chance = float(sum(np.mean(x == c) * np.mean(y == c) for c in categories))
    return (observed - chance) / (1 - chance) if chance < 1 else float("nan")


def krippendorff_alpha(ratings: ArrayLike) -> float:
    """Krippendorff's alpha for ordinal ratings (raters, units); NaN marks a missing rating (Krippendorff 2011).

    1 - observed / expected disagreement, with the squared ordinal distance (sum of the counts from c to k, half of both
    ends). NaN if all pairable ratings are equal.
    """
    table = np.asarray(ratings, dtype=np.float64)
    values = np.unique(table[~np.isnan(table)])
    counts = (table[:, :, None] == values).sum(axis=0).astype(np.float64)  # (units, values)
    per_unit = counts.sum(axis=1)
    counts, per_unit = counts[per_unit > 1], per_unit[per_unit > 1]
    # Coincidences of two values within a unit (V, V), and how often each value is paired at all (V,).
    weighted = counts / (per_unit - 1)[:, None]
    coincidence = weighted.T @ counts - np.diag(weighted.sum(axis=0))
    margin = coincidence.sum(axis=1)
    # Ordinal distance: the number of ratings between two values, with half of both ends.
    middle = np.cumsum(margin) - margin / 2
    distance = (middle[:, None] - middle[None, :]) ** 2
    expected = float((np.outer(margin, margin) * distance).sum())
    observed = float((coincidence * distance).sum())
    return 1.0 - (margin.sum() - 1) * observed / expected if expected else float("nan")


def fleiss_kappa(counts: ArrayLike) -> float:
    """Fleiss' kappa (1971) of counts (units, categories): how many raters gave each unit each category.

    The raters may differ from unit to unit, their number may not. NaN if all ratings are of one category. Raises ValueError
    for units with different numbers of ratings or fewer than two.
    """
    table = np.asarray(counts, dtype=np.float64)
    raters = table.sum(axis=1)
    if not len(table) or (raters != raters[0]).any() or raters[0] < 2:
        raise ValueError("agreement: Fleiss' kappa needs units with the same number of ratings, at least 2 each.")
    observed = float(((table**2).sum(axis=1) - raters).mean() / (raters[0] * (raters[0] - 1)))
    chance = float(((table.sum(axis=0) / table.sum()) ** 2).sum())
    return (observed - chance) / (1 - chance) if chance < 1 else float("nan")


class Measured(NamedTuple):
    """A measure of agreement with the ends of its interval."""

    value: float
    low: float
    high: float


def over_units(
    measure: Callable[[FloatArray], float], units: ArrayLike, confidence: float = 0.95, n_bootstrap: int = 500, seed: int = 0
) -> Measured:
    """A measure of ratings with its percentile bootstrap interval over units (columns or rows that were rated).

    units: (units, ...) ratings or counts, one row per unit; measure: takes such an array, such as
    `lambda rows: cohens_kappa(*rows.T)`, `fleiss_kappa`, or `lambda rows: krippendorff_alpha(rows.T)`. Draws in which the
    measure is not defined are left out.
    """
    rows = np.asarray(units, dtype=np.float64)
    rng = numpy_rng(seed, "agreement", "units")
    drawn = [measure(rows[rng.integers(0, len(rows), len(rows))]) for _ in range(n_bootstrap)]
    defined = [value for value in drawn if not np.isnan(value)]
    tail = (1 - confidence) / 2
    low, high = np.quantile(defined, (tail, 1 - tail)) if defined else (np.nan, np.nan)
    return Measured(measure(rows), float(low), float(high))
