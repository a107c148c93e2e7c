"""How good are the two stages? Precision, recall and F1 of extraction and of matching against labels (paper, Supp. Table 3).

Beside them stands the ceiling: the agreement of two annotators, computed in the same way.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from utils.core.errors import UserError
from utils.core.runtime import numpy_rng
from utils.feedback.match import MatchSettings, Scorer, pair_features, real_pairs
from utils.feedback.records import Feedback, MatchLabel, Point, SpanLabel, by_feedback

COVERED = 0.5  # a labelled span counts as found if half of its characters are in points
FOLDS = 6


class Agreement(NamedTuple):
    """Counts of found against labelled items, and the metrics made of them (nan without a denominator)."""

    both: int
    found: int
    labelled: int

    @property
    def precision(self) -> float:
        return self.both / self.found if self.found else math.nan

    @property
    def recall(self) -> float:
        return self.both / self.labelled if self.labelled else math.nan

    @property
    def f1(self) -> float:
        total = self.found + self.labelled
        return 2 * self.both / total if total else math.nan

    def record(self) -> dict[str, float]:
        """Metrics and counts for a file."""
        return {
            "precision": self.precision,
            "recall": self.recall,
            "f1": self.f1,
            "found": self.found,
            "labelled": self.labelled,
        }


def extraction_agreement(points: Sequence[Point], labels: Sequence[SpanLabel]) -> dict[str, Agreement]:
    """By document: labelled spans that are concerns against labelled spans that points cover by half or more.

    Only feedback with labels counts. Raises UserError for a point without spans, or if no label is a concern.
    """
    if not any(label.concern for label in labels):
        raise UserError("No label is a concern, so there is nothing that the extraction should find: label concerns too.")
    groups = by_feedback(points)
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for key, group in by_feedback(labels).items():
        covered = np.zeros(max(label.end for label in group), dtype=bool)
        for point in groups.get(key, ()):
            if not point.spans:
                raise UserError(
                    f"Point {point.point} of {key[1]} on {key[0]} has no spans: extraction cannot be verified without."
                )
            for start, end in point.spans:
                covered[start:end] = True
        for label in group:
            found = bool(covered[label.start : label.end].mean() >= COVERED)
            counts[key[0]][0] += found and label.concern
            counts[key[0]][1] += found
            counts[key[0]][2] += label.concern
    return {document: Agreement(*values) for document, values in counts.items()}


def annotators_agreement(first: Sequence[SpanLabel], second: Sequence[SpanLabel]) -> dict[str, Agreement]:
    """By document: concern labels of two annotators of the same spans. Raises UserError if they share none."""
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for a, b in shared_spans(first, second):
        counts[a.document_id][0] += a.concern and b.concern
        counts[a.document_id][1] += a.concern
        counts[a.document_id][2] += b.concern
    return {document: Agreement(*values) for document, values in counts.items()}


def aspects_kappa(first: Sequence[SpanLabel], second: Sequence[SpanLabel]) -> tuple[float, int]:
    """Cohen's kappa of two annotators' aspects, and the number of spans: those that both call a concern with an aspect.

    nan if there is no such span, or only one aspect. Raises UserError if the annotators share no span.
    """
    from sklearn.metrics import cohen_kappa_score

    shared = [(a.aspect, b.aspect) for a, b in shared_spans(first, second) if a.concern and b.concern and a.aspect and b.aspect]
    if len({aspect for pair in shared for aspect in pair}) < 2:
        return math.nan, len(shared)
    return float(cohen_kappa_score(*zip(*shared, strict=True))), len(shared)


def shared_spans(first: Sequence[SpanLabel], second: Sequence[SpanLabel]) -> list[tuple[SpanLabel, SpanLabel]]:
    """The labels of spans that both annotators labeled. Raises UserError if there is none."""
    other = {(row.document_id, row.reviewer, row.start, row.end): row for row in second}
    pairs = [(row, other[key]) for row in first if (key := (row.document_id, row.reviewer, row.start, row.end)) in other]
    if not pairs:
        raise UserError("The two annotators share no span: both must label the same sentences of the same feedback.")
    return pairs


def boundary_agreement(points: Sequence[Point], labels: Sequence[SpanLabel]) -> Agreement:
    """Neighbouring concerns of labelled groups: in one point by the labels, and in one point here (merging).

    Only neighbouring concern spans that both have a group count, and that points cover.
    """
    groups = by_feedback(points)
    both = found = wanted = 0
    for key, group in by_feedback(labels).items():
        marked = [label for label in group if label.concern]
        for one, two in zip(marked, marked[1:], strict=False):
            owners = [_owner(groups.get(key, ()), label) for label in (one, two)]
            if one.group and two.group and None not in owners:
                same_label, same_here = one.group == two.group, owners[0] == owners[1]
                both, found, wanted = both + (same_label and same_here), found + same_here, wanted + same_label
    return Agreement(both, found, wanted)


def _owner(points: Iterable[Point], label: SpanLabel) -> int | None:
    """The number of the point that holds the middle of a labelled span."""
    middle = (label.start + label.end) // 2
    return next((p.point for p in points if any(a <= middle < b for a, b in p.spans)), None)


def total(parts: Mapping[str, Agreement]) -> Agreement:
    """The sum over documents."""
    return Agreement(*(sum(values) for values in zip(*parts.values(), strict=True)))


def f1_interval(parts: Mapping[str, Agreement], draws: int = 1000, seed: int = 0) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the F1, over documents."""
    table = np.array([tuple(part) for part in parts.values()], dtype=float)  # (documents, 3)
    rng = numpy_rng(seed, "feedback", "f1 interval")
    drawn = table[rng.integers(0, len(table), (draws, len(table)))].sum(axis=1)
    values = 2 * drawn[:, 0] / np.maximum(drawn[:, 1] + drawn[:, 2], 1)
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


# --- matching --------------------------------------------------------------------------------------------------------


class PairTable(NamedTuple):
    """Labelled pairs of points. features: (pairs, len(FEATURES)); matches: (pairs,) bool; documents: (pairs,)."""

    features: np.ndarray
    matches: np.ndarray
    documents: np.ndarray


def labelled_pairs(
    feedback: Sequence[Feedback], points: Sequence[Point], labels: Sequence[MatchLabel], settings: MatchSettings | None = None
) -> PairTable:
    """Features of every labelled pair. Raises UserError if a label names points that are not compared, or for no label."""
    wanted = {(x.document_id, (x.a_reviewer, x.a_point), (x.b_reviewer, x.b_point)): x.match for x in labels}
    pairs, groups = real_pairs(feedback), by_feedback(points)
    features, matches, documents = [], [], []
    for pair, table in zip(pairs, pair_features(feedback, points, pairs, settings or MatchSettings()), strict=True):
        left, right = groups.get(feedback[pair.a].key, []), groups.get(feedback[pair.b].key, [])
        for i, a in enumerate(left):
            for j, b in enumerate(right):
                ends = (a.reviewer, a.point), (b.reviewer, b.point)
                found = wanted.pop((a.document_id, *ends), None)
                found = wanted.pop((a.document_id, *ends[::-1]), None) if found is None else found
                if found is not None:
                    features.append(table[i, j])
                    matches.append(found)
                    documents.append(a.document_id)
    if wanted:
        document, one, two = next(iter(wanted))
        raise UserError(
            f"A label names point {one[1]} of {one[0]} and point {two[1]} of {two[0]} on {document}: there is no such pair."
        )
    if not any(matches) or all(matches):
        raise UserError("The match labels hold one kind only: pairs that match and pairs that do not are both needed.")
    return PairTable(np.array(features), np.array(matches), np.array(documents))


def fit_scorer(table: PairTable, strength: float = 1.0) -> Scorer:
    """Weights for `similarity.FEATURES` from labelled pairs (logistic regression on standardised features)."""
    from sklearn.linear_model import LogisticRegression

    mean, spread = table.features.mean(axis=0), np.maximum(table.features.std(axis=0), 1e-6)
    model = LogisticRegression(C=strength, max_iter=1000).fit((table.features - mean) / spread, table.matches)
    return Scorer(tuple(map(float, model.coef_[0] / spread)), f"fitted on {int(table.matches.sum())} matches")


def matching_metrics(table: PairTable, scorer: Scorer | None = None, folds: int = FOLDS) -> dict[str, float]:
    """Average precision, and F1 at a threshold chosen on other documents, each with a 95 % bootstrap interval over documents.

    scorer: None fits one on the other documents. Raises UserError for labels on one document only.
    """
    names = list(dict.fromkeys(table.documents.tolist()))
    folds = min(folds, len(names))
    if folds < 2:
        raise UserError("Matching is verified across documents: labels on at least two documents are needed.")
    fold = np.array([names.index(name) % folds for name in table.documents.tolist()])
    scores, kept = np.zeros(len(fold)), np.zeros(len(fold), dtype=bool)
    for held in range(folds):
        inside, outside = fold != held, fold == held
        part = PairTable(*(column[inside] for column in table))
        here = scorer or fit_scorer(part)
        scores[outside] = here(table.features[outside])
        kept[outside] = scores[outside] >= best_threshold(here(part.features), part.matches)
    by_name = {name: table.documents == name for name in names}
    parts = {
        name: Agreement(*(int((row & part).sum()) for row in (kept & table.matches, kept, table.matches)))
        for name, part in by_name.items()
    }
    f1_low, f1_high = f1_interval(parts)
    low, high = _average_precision_interval(scores, table.matches, list(by_name.values()))
    return total(parts).record() | {
        "f1_low": f1_low, "f1_high": f1_high, "average_precision": average_precision(scores, table.matches),
        "average_precision_low": low, "average_precision_high": high, "pairs": len(fold),
    }  # fmt: skip


def _average_precision_interval(
    scores: np.ndarray, matches: np.ndarray, documents: Sequence[np.ndarray], draws: int = 400, seed: int = 0
) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the average precision; documents: a mask of the pairs of each."""
    rng = numpy_rng(seed, "feedback", "average precision interval")
    places = [np.flatnonzero(part) for part in documents]
    values = []
    for _ in range(draws):
        chosen = np.concatenate([places[i] for i in rng.integers(0, len(places), len(places))])
        if matches[chosen].any():
            values.append(average_precision(scores[chosen], matches[chosen]))
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def average_precision(scores: np.ndarray, matches: np.ndarray) -> float:
    """Mean over the matches of the precision among pairs scored at least as high."""
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(matches, scores))


def best_threshold(scores: np.ndarray, matches: np.ndarray) -> float:
    """The score with the highest F1 if it and all above count as matches."""
    order = np.argsort(-scores)
    hits = np.cumsum(matches[order])
    f1 = 2 * hits / (np.arange(1, len(order) + 1) + matches.sum())
    return float(scores[order[int(np.argmax(f1))]])
