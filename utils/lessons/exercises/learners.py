"""Checks of notebook 10: hit rate, precision and recall, excess over the shuffle, quotas filled with whole schools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from utils.lessons.exercises.common import FunctionCheck

# --- hit rate --------------------------------------------------------------------------------------------------------


def hit_rate(own: Sequence[str], theirs: Sequence[str]) -> float:
    """Share of `own` points that are among `theirs`; 0 if there are none."""
    return sum(point in theirs for point in own) / len(own) if own else 0.0


check_hit_rate = FunctionCheck(
    hit_rate,
    [(["a", "b"], ["b", "c", "d"]), ([], ["a"]), (["a"], ["a", "b", "c", "d"]), (["a", "b", "c"], [])],
    [
        (
            lambda own, theirs: sum(p in theirs for p in own) / len(theirs) if theirs else 0.0,
            "you divide by the other side's points: that is the recall of them.",
        ),
        (
            lambda own, theirs: len({*own} & {*theirs}) / len({*own, *theirs}) if own or theirs else 0.0,
            "you divide by the points of both sides together: that is the Jaccard index.",
        ),
    ],
)

# --- precision and recall --------------------------------------------------------------------------------------------


def precision_recall(named: Sequence[Sequence[str]], planted: Sequence[Sequence[str]]) -> tuple[float, float]:
    """Over all documents together: share of the named flaws that are planted, and of the planted ones that are named."""
    right = sum(len({*a} & {*b}) for a, b in zip(named, planted, strict=True))
    return right / sum(map(len, named)), right / sum(map(len, planted))


check_precision_recall = FunctionCheck(
    precision_recall,
    [([["a"], ["b", "c"]], [["a", "b"], ["c"]]), ([["a"], []], [["a"], ["b", "c"]]), ([["x"], ["y"]], [["a"], ["y"]])],
    [
        (
            lambda named, planted: precision_recall(named, planted)[::-1],
            "precision and recall are swapped: precision divides by what is named.",
        ),
        (
            lambda named, planted: (lambda right: (right / sum(map(len, named)), right / sum(map(len, planted))))(
                len({p for row in named for p in row} & {p for row in planted for p in row})
            ),
            "you compare all points with all points; a flaw named under another document is not right.",
        ),
    ],
)

# --- excess ----------------------------------------------------------------------------------------------------------


def excess(own: Sequence[Sequence[str]], theirs: Sequence[Sequence[str]]) -> float:
    """Hit rate with the same document minus hit rate with the next one (the last with the first), points together."""
    made = sum(map(len, own))
    real = sum(p in b for a, b in zip(own, theirs, strict=True) for p in a)
    shuffled = sum(p in b for a, b in zip(own, [*theirs[1:], *theirs[:1]], strict=True) for p in a)
    return (real - shuffled) / made


check_excess = FunctionCheck(
    excess,
    [
        ([["a"], ["b"], ["c"]], [["a"], ["b", "c"], ["d"]]),
        ([["a"], ["a"]], [["a"], ["a"]]),
        ([["a", "b"], ["b"], ["c"]], [["c"], ["a", "b"], ["c"]]),
    ],
    [
        (
            lambda own, theirs: sum(p in b for a, b in zip(own, theirs, strict=True) for p in a) / sum(map(len, own)),
            "this is the hit rate; subtract the hit rate with another document.",
        ),
        (
            lambda own, theirs: sum(
                (p in b) - (p in c) for a, b, c in zip(own, theirs, [*theirs[1:], *theirs[:1]], strict=True) for p in a
            ),
            "this is a number of points; divide by how many points are made.",
        ),
    ],
)

# --- quotas ----------------------------------------------------------------------------------------------------------


def schools_for(sizes: Mapping[str, int], quota: int) -> list[str]:
    """Schools, in the order given, each taken if it brings the number of documents nearer to the quota."""
    chosen: list[str] = []
    filled = 0
    for school, size in sizes.items():
        if abs(filled + size - quota) < abs(filled - quota):
            chosen.append(school)
            filled += size
    return chosen


def _first_that_fit(sizes: Mapping[str, int], quota: int) -> list[str]:
    chosen, filled = [], 0
    for school, size in sizes.items():
        if filled + size <= quota:
            chosen.append(school)
            filled += size
    return chosen


def _until_full(sizes: Mapping[str, int], quota: int) -> list[str]:
    chosen, filled = [], 0
    for school, size in sizes.items():
        if filled < quota:
            chosen.append(school)
            filled += size
    return chosen


check_schools_for = FunctionCheck(
    schools_for,
    [({"a": 5, "b": 4, "c": 3}, 10), ({"a": 30, "b": 2, "c": 3}, 5), ({"a": 8, "b": 7}, 12), ({"a": 4, "b": 6, "c": 9}, 12)],
    [
        (_first_that_fit, "you never go above the quota; a school that brings the number nearer is better than a gap."),
        (_until_full, "you take schools until the quota is full, also one that overshoots it by far."),
    ],
)
