"""Overlap metrics: by hand, against brute force, and what they say of a reviewer without points."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.feedback import (
    Feedback,
    Match,
    Point,
    first_points,
    global_overlap,
    maximum_matching,
    mean_value,
    pairwise_overlap,
    set_overlap,
)


def points(document: str, **numbers: int) -> list[Point]:
    """So many points of each reviewer on one document."""
    return [Point(document, reviewer, i, f"{reviewer} {i}") for reviewer, n in numbers.items() for i in range(1, n + 1)]


def match(document: str, a: tuple[str, int], b: tuple[str, int], kept: bool = True, null: str = "real") -> Match:
    return Match(document, a[0], a[1], document, b[0], b[1], 7, kept, null)


def test_metrics_by_hand() -> None:
    """A has 4 points, B has 3. A1 and A2 both match B1, A3 matches B2."""
    found = set_overlap(4, 3, [(0, 0), (1, 0), (2, 1)])
    assert (found.matched_a, found.matched_b, found.pairs_1to1) == (3, 2, 2)
    assert found.hit_rate == found.precision == 3 / 4 and found.recall == 2 / 3
    assert found.szymkiewicz_simpson == 2 / 3 and found.jaccard == 2 / (4 + 3 - 2) and found.sorensen_dice == 4 / 7


def test_rules_for_many_to_many_matches_differ() -> None:
    pairs = [(0, 0), (1, 0), (2, 0), (2, 1), (2, 2)]
    sizes = {rule: set_overlap(3, 3, pairs, rule).intersection for rule in ("fewer", "one_to_one", "a")}
    assert sizes == {"fewer": 3, "one_to_one": 2, "a": 3}


def test_a_reviewer_who_says_nothing_has_no_hit_rate_but_a_recall_of_zero() -> None:
    silent = set_overlap(0, 3, [])
    assert math.isnan(silent.hit_rate) and silent.recall == 0.0
    written = [Feedback("d", "a", "Good work."), Feedback("d", "b", "x")]
    rows = pairwise_overlap(points("d", b=2), [], written)
    by_a = {row.a: row for row in rows}
    assert by_a["a"].value("recall") == 0.0 and by_a["b"].value("hit_rate") == 0.0
    assert pairwise_overlap(points("d", b=2), []) == []


pair_sets = st.sets(st.tuples(st.integers(0, 4), st.integers(0, 3)))


@given(pair_sets)
def test_maximum_matching_equals_brute_force(pairs: set[tuple[int, int]]) -> None:
    def free(chosen: tuple[tuple[int, int], ...]) -> bool:
        return len({i for i, _ in chosen}) == len(chosen) == len({j for _, j in chosen})

    best = max(n for n in range(5) if any(free(c) for c in itertools.combinations(sorted(pairs), n)))
    assert maximum_matching(pairs) == best


@given(pair_sets, st.sampled_from(["fewer", "one_to_one"]))
def test_symmetric_metrics_do_not_depend_on_who_is_a(pairs: set[tuple[int, int]], rule: str) -> None:
    forward = set_overlap(5, 4, pairs, rule)
    back = set_overlap(4, 5, {(j, i) for i, j in pairs}, rule)
    for metric in ("szymkiewicz_simpson", "jaccard", "sorensen_dice"):
        assert getattr(forward, metric) == getattr(back, metric)
        assert 0 <= getattr(forward, metric) <= 1
    assert forward.recall == back.hit_rate
    assert forward.pairs_1to1 <= min(forward.matched_a, forward.matched_b)
    assert forward.jaccard <= forward.sorensen_dice <= forward.szymkiewicz_simpson


def test_pairwise_counts_kept_real_matches_in_both_directions() -> None:
    rows = pairwise_overlap(
        points("d", a=2, b=4),
        [
            match("d", ("a", 1), ("b", 3)),
            match("d", ("a", 2), ("b", 1), kept=False),
            match("d", ("a", 2), ("b", 2), null="shuffled"),
        ],
    )
    assert {(row.a, row.b): row.value("hit_rate") for row in rows} == {("a", "b"): 1 / 2, ("b", "a"): 1 / 4}
    assert mean_value(rows) == pytest.approx(3 / 8)


def test_global_counts_a_point_that_any_other_reviewer_has() -> None:
    found = [match("d", ("a", 1), ("b", 1)), match("d", ("a", 2), ("c", 1))]
    rows = {row.a: row for row in global_overlap(points("d", a=3, b=1, c=1), found)}
    assert rows["a"].value("hit_rate") == 2 / 3 and rows["a"].value("recall") == 1.0
    only_b = {row.a: row for row in global_overlap(points("d", a=3, b=1, c=1), found, others={"b"})}
    assert only_b["a"].value("hit_rate") == 1 / 3 and "b" not in only_b


def test_first_points_have_the_size_of_the_systems_set() -> None:
    kept = first_points([*points("d", a=5, b=2), *points("e", a=3)], {"d": 3})
    assert [(p.document_id, p.reviewer, p.point) for p in kept] == [
        ("d", "a", 1), ("d", "a", 2), ("d", "a", 3), ("d", "b", 1), ("d", "b", 2), ("e", "a", 1), ("e", "a", 2), ("e", "a", 3)
    ]  # fmt: skip


def test_matches_of_points_that_are_not_there_are_rejected() -> None:
    with pytest.raises(ValueError, match="names point 3 of b on d"):
        pairwise_overlap(points("d", a=1, b=2), [match("d", ("a", 1), ("b", 3))])
    with pytest.raises(ValueError, match="outside the 1 and 1"):
        set_overlap(1, 1, [(0, 1)])
    with pytest.raises(ValueError, match="unknown"):
        set_overlap(1, 1, [], "all")
