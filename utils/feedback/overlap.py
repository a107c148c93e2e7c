"""Overlap of two sets of points: hit rate, Szymkiewicz-Simpson, Jaccard, Sorensen-Dice (Liang et al. 2023, Methods p. 9-10).

A and B are the points of two feedbacks on one document. A match is many-to-many: one point of A may match two points of B. The
paper does not say how these count. The hit rate here is the share of A's points with at least one kept match; |A n B| of the
three symmetric metrics is `SetOverlap.intersection`:

- "fewer" (default): the smaller of the matched points of A and of B; symmetric, and never more than min(|A|, |B|);
- "one_to_one": the largest set of matches in which no point is used twice (a maximum matching);
- "a": the matched points of A, as in the hit rate; not symmetric, and |A u B| is then not the size of a set.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from utils.feedback.records import Feedback, Match, Point, PointKey, by_feedback

INTERSECTIONS = ("fewer", "one_to_one", "a")
METRICS = ("hit_rate", "recall", "szymkiewicz_simpson", "jaccard", "sorensen_dice")
ANY = "(any other)"  # the name of side B in rows of the global level


@dataclass(frozen=True)
class SetOverlap:
    """Counts of two sets of points and the metrics made of them. A metric without a denominator is nan.

    n_a, n_b: points of A and of B. matched_a, matched_b: those with at least one kept match. pairs_1to1: size of a maximum
    matching. rule: which |A n B| the symmetric metrics use.
    """

    n_a: int
    n_b: int
    matched_a: int
    matched_b: int
    pairs_1to1: int
    rule: str = "fewer"

    @property
    def intersection(self) -> int:
        """|A n B| under `rule`."""
        return {"fewer": min(self.matched_a, self.matched_b), "one_to_one": self.pairs_1to1, "a": self.matched_a}[self.rule]

    @property
    def hit_rate(self) -> float:
        """|A n B| / |A|: the share of A's points that B has too. This is A's precision if B is the reference."""
        return _share(self.matched_a, self.n_a)

    @property
    def precision(self) -> float:
        """The hit rate under the name it has when A is a system and B the reference."""
        return self.hit_rate

    @property
    def recall(self) -> float:
        """The share of B's points that A has too; 0 if A has no points, nan if B has none."""
        return _share(self.matched_b, self.n_b)

    @property
    def szymkiewicz_simpson(self) -> float:
        """|A n B| / min(|A|, |B|)."""
        return _share(self.intersection, min(self.n_a, self.n_b))

    @property
    def jaccard(self) -> float:
        """|A n B| / |A u B|, with |A u B| = |A| + |B| - |A n B|."""
        return _share(self.intersection, self.n_a + self.n_b - self.intersection)

    @property
    def sorensen_dice(self) -> float:
        """2 |A n B| / (|A| + |B|)."""
        return _share(2 * self.intersection, self.n_a + self.n_b)


@dataclass(frozen=True)
class OverlapRow:
    """The overlap of reviewer a's points with reviewer b's on one document. b is `ANY` at the global level."""

    document_id: str
    a: str
    b: str
    overlap: SetOverlap

    def value(self, metric: str) -> float:
        """One of `METRICS`, or "n_a", "n_b"."""
        return float(getattr(self.overlap, metric))


def set_overlap(n_a: int, n_b: int, pairs: Iterable[tuple[int, int]], rule: str = "fewer") -> SetOverlap:
    """Overlap of n_a and n_b points whose kept matches are `pairs` (i, j), 0 <= i < n_a, 0 <= j < n_b.

    Raises ValueError for an index outside the sets or an unknown rule.
    """
    found = sorted(set(pairs))
    if any(not (0 <= i < n_a and 0 <= j < n_b) for i, j in found):
        raise ValueError(f"a match names a point outside the {n_a} and {n_b} points.")
    if rule not in INTERSECTIONS:
        raise ValueError(f"the rule {rule!r} is unknown; use one of {', '.join(INTERSECTIONS)}.")
    return SetOverlap(n_a, n_b, len({i for i, _ in found}), len({j for _, j in found}), maximum_matching(found), rule)


def maximum_matching(pairs: Iterable[tuple[int, int]]) -> int:
    """Largest number of pairs in which no left and no right index is used twice (augmenting paths)."""
    neighbours: dict[int, list[int]] = defaultdict(list)
    for i, j in pairs:
        neighbours[i].append(j)
    owner: dict[int, int] = {}

    def place(i: int, tried: set[int]) -> bool:
        for j in neighbours[i]:
            if j not in tried:
                tried.add(j)
                if j not in owner or place(owner[j], tried):
                    owner[j] = i
                    return True
        return False

    return sum(place(i, set()) for i in list(neighbours))


def pairwise_overlap(
    points: Sequence[Point], matches: Iterable[Match], feedback: Iterable[Feedback] = (), rule: str = "fewer"
) -> list[OverlapRow]:
    """One row for every ordered pair of reviewers of one document, from the kept real matches.

    feedback: its reviewers count also if they have no point (a system that says nothing has no hit rate, but a recall of 0).
    A match counts in both directions. Raises ValueError for a match whose points are not in `points`.
    """
    kept = _kept_pairs(points, matches)
    rows = []
    for document, sets in _sets(points, feedback).items():
        for a, b in itertools.permutations(sets, 2):
            rows.append(OverlapRow(document, a, b, _between(sets[a], sets[b], kept, rule)))
    return rows


def global_overlap(
    points: Sequence[Point],
    matches: Iterable[Match],
    feedback: Iterable[Feedback] = (),
    rule: str = "fewer",
    others: Collection[str] | None = None,
) -> list[OverlapRow]:
    """One row per reviewer of a document with at least one other one: B is the points of all others.

    others: the reviewers who count as others (the people, if A is a system beside dummies); None: all. Else as
    `pairwise_overlap`.
    """
    kept = _kept_pairs(points, matches)
    rows = []
    for document, sets in _sets(points, feedback).items():
        for a in sets:
            names = [b for b in sets if b != a and (others is None or b in others)]
            if names:
                rest = [key for b in names for key in sets[b]]
                rows.append(OverlapRow(document, a, ANY, _between(sets[a], rest, kept, rule)))
    return rows


def first_points(points: Sequence[Point], limits: int | Mapping[str, int]) -> list[Point]:
    """The first N points of every feedback: the paper's human-human control, in which both sets have the same size.

    limits: N, or N by document (the number of the system's points there); a document without a number keeps all points.
    """
    kept = []
    for (document, _), group in by_feedback(points).items():
        n = limits if isinstance(limits, int) else limits.get(document, len(group))
        kept += sorted(group, key=lambda point: point.point)[:n]
    return kept


def mean_value(rows: Iterable[OverlapRow], metric: str = "hit_rate") -> float:
    """Mean of a metric over the rows that have it; nan if none has it."""
    values = [value for row in rows if not math.isnan(value := row.value(metric))]
    return sum(values) / len(values) if values else math.nan


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def _kept_pairs(points: Sequence[Point], matches: Iterable[Match]) -> set[tuple[PointKey, PointKey]]:
    """Kept real matches, in both directions."""
    known = {point.key for point in points}
    kept: set[tuple[PointKey, PointKey]] = set()
    for match in matches:
        if match.kept and match.null == "real":
            missing = next((key for key in (match.a, match.b) if key not in known), None)
            if missing is not None:
                raise ValueError(
                    f"a match names point {missing.point} of {missing.reviewer} on {missing.document_id}: no such point."
                )
            kept |= {(match.a, match.b), (match.b, match.a)}
    return kept


def _sets(points: Iterable[Point], feedback: Iterable[Feedback]) -> dict[str, dict[str, list[PointKey]]]:
    """Keys of the points by document and reviewer."""
    found: dict[str, dict[str, list[PointKey]]] = defaultdict(dict)
    for row in feedback:
        found[row.document_id].setdefault(row.reviewer, [])
    for point in points:
        found[point.document_id].setdefault(point.reviewer, []).append(point.key)
    return dict(found)


def _between(a: Sequence[PointKey], b: Sequence[PointKey], kept: set[tuple[PointKey, PointKey]], rule: str) -> SetOverlap:
    pairs = [(i, j) for i, left in enumerate(a) for j, right in enumerate(b) if (left, right) in kept]
    return set_overlap(len(a), len(b), pairs, rule)
