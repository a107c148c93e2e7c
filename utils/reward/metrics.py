"""How well rewards order completions: pair accuracy with clustered standard errors, calibration. Pure functions.

Scores and reference values are nested: one sequence of K numbers per prompt. Pairs of one prompt are not independent,
so every standard error is clustered by prompt.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

Nested = Sequence[Sequence[float]]
CALIBRATION_BINS = 5


class Accuracy(NamedTuple):
    """Share of pairs ordered right (NaN without pairs), its standard error clustered by prompt, pairs, prompts."""

    mean: float
    se: float
    pairs: int
    prompts: int


class Bin(NamedTuple):
    """Pairs whose predicted probability lies in [low, high): its mean, the share that was right, their number."""

    low: float
    high: float
    predicted: float
    observed: float
    pairs: int


def rank_values(ranks: Nested) -> list[list[float]]:
    """Ranks (1 is best) as values where higher is better."""
    return [[-float(rank) for rank in row] for row in ranks]


def _margins(scores: Sequence[float], values: Sequence[float], tie: float, marked: Sequence[bool] | None = None) -> np.ndarray:
    """Score differences better - worse of every pair of one prompt whose values differ by more than `tie`.

    marked: only pairs of a worse one that is marked and a better one that is not.
    """
    r, v = np.asarray(scores, float), np.asarray(values, float)  # (K,) each
    if r.shape != v.shape:
        raise ValueError(f"{r.size} scores for {v.size} values")
    counts = v[:, None] - v[None, :] > tie  # (K, K): [i, j] is True if i is better than j
    if marked is not None:
        counts &= np.asarray(marked)[None, :] & ~np.asarray(marked)[:, None]
    better, worse = np.nonzero(counts)
    return r[better] - r[worse]


def _right(margins: np.ndarray) -> np.ndarray:
    """1 for a pair that the scores order right, 0 wrong, 1/2 where they are equal."""
    return (margins > 0) + 0.5 * (margins == 0)


def clustered_mean(sums: Iterable[float], counts: Iterable[int]) -> Accuracy:
    """Mean over items in clusters: sum(sums) / sum(counts), with the standard error of that ratio.

    se = sqrt(G / (G - 1) * sum_g (sum_g - mean * count_g)^2) / sum(counts); NaN with fewer than two clusters.
    """
    s, n = np.asarray(list(sums), float), np.asarray(list(counts), float)  # (G,) each
    s, n = s[n > 0], n[n > 0]  # a prompt without pairs is no cluster
    if not len(n):
        return Accuracy(math.nan, math.nan, 0, 0)
    mean, clusters = s.sum() / n.sum(), len(n)
    spread = np.square(s - mean * n).sum()
    se = math.sqrt(clusters / (clusters - 1) * spread) / n.sum() if clusters > 1 else math.nan
    return Accuracy(float(mean), float(se), int(n.sum()), clusters)


def pair_accuracy(scores: Nested, values: Nested, tie: float = 0.0, marked: Sequence[Sequence[bool]] | None = None) -> Accuracy:
    """Share of pairs that the scores order as the values do (higher is better; ranks: see `rank_values`).

    Pairs whose values differ by `tie` or less do not count; equal scores count half. marked: only pairs in which the
    worse one is marked and the better one is not, such as an answer to another prompt against an answer to this one.
    """
    marks = [None] * len(scores) if marked is None else marked
    margins = [_margins(r, v, tie, m) for r, v, m in zip(scores, values, marks, strict=True)]
    return clustered_mean((_right(m).sum() for m in margins), map(len, margins))


def part_weights(scores: Nested, parts: Sequence[Sequence[Sequence[float]]]) -> list[tuple[float, float]]:
    """(weight, standard error) of each part in the scores: least squares of scores on part scores within each prompt.

    parts: K rows of P part scores a prompt. Scores and parts are centred within each prompt, so that what a prompt is
    worth by itself does not count. Standard errors are clustered by prompt. Raises ValueError if parts do not vary
    enough to be told apart.
    """
    groups = [(np.asarray(p, float), np.asarray(s, float)) for p, s in zip(parts, scores, strict=True)]  # (K, P), (K,)
    centred = [(x - x.mean(0), y - y.mean()) for x, y in groups]
    # Least squares over the completions of all prompts: (X'X)^-1 X'y.
    xs, ys = np.concatenate([x for x, _ in centred]), np.concatenate([y for _, y in centred])  # (M, P), (M,)
    gram = xs.T @ xs  # (P, P)
    if np.linalg.matrix_rank(gram) < len(gram):
        raise ValueError("part_weights: some parts never differ, or always together")
    inverse = np.linalg.inv(gram)
    weights = inverse @ (xs.T @ ys)  # (P,)
    # The clustered ("sandwich") variance: residuals are added up within each prompt before they are squared.
    pulls = np.array([x.T @ (y - x @ weights) for x, y in centred])
    spread = inverse @ (pulls.T @ pulls) @ inverse  # (P, P)
    return [(float(w), math.sqrt(v)) for w, v in zip(weights, np.diag(spread), strict=True)]


def calibration(scores: Nested, values: Nested, bins: int = CALIBRATION_BINS) -> list[Bin]:
    """Predicted sigma(|r_i - r_j|) against the share of those pairs that the values order the same way.

    Bins of equal width on [0.5, 1]; empty ones are left out. Ties are dropped. A calibrated model has
    predicted = observed in every bin; noise of the labelers is part of what it has to predict.
    """
    parts = [_margins(r, v, 0.0) for r, v in zip(scores, values, strict=True)]
    margins = np.concatenate(parts) if parts else np.zeros(0)  # (pairs,)
    predicted, right = 1.0 / (1.0 + np.exp(-np.abs(margins))), _right(margins)
    # The bin of each pair; a probability of exactly 1 belongs to the last one.
    edges = np.linspace(0.5, 1.0, bins + 1)
    place = np.minimum(np.searchsorted(edges, predicted, side="right") - 1, bins - 1)
    table = []
    for b in range(bins):
        inside = place == b
        if inside.any():
            means = float(predicted[inside].mean()), float(right[inside].mean())
            table.append(Bin(float(edges[b]), float(edges[b + 1]), *means, int(inside.sum())))
    return table


def calibration_error(table: Sequence[Bin]) -> float:
    """Expected calibration error: mean over pairs of |predicted - observed| of their bin; NaN for an empty table."""
    pairs = sum(row.pairs for row in table)
    return sum(row.pairs * abs(row.predicted - row.observed) for row in table) / pairs if pairs else math.nan
