"""The micro-batches of a step: every row once, weights that make any division the mean over the whole batch."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.training.micro_batches import Share, micro_batches

COUNTS = st.lists(st.integers(1, 40), min_size=1, max_size=12)


@given(counts=COUNTS, size=st.integers(0, 5), world=st.integers(1, 5), more=st.integers(0, 30))
def test_any_division_gives_the_mean_over_the_whole_batch(counts: list[int], size: int, world: int, more: int) -> None:
    """Row i holds the number i + 1 `counts[i]` times; `more` items of the same mean lie in another part of the batch."""
    values = [float(i + 1) for i in range(len(counts))]
    total = sum(counts) + more
    expected = sum(v * n for v, n in zip(values, counts, strict=True)) / total
    seen, by_mean, by_sum, passes = [], 0.0, 0.0, set()
    for rank in range(world):
        parts = list(micro_batches(counts, size, Share(rank, world), total))
        passes.add(len(parts))
        for part in parts:
            summed = sum(values[row] * counts[row] for row in part.rows)
            by_sum += part.sum_weight * summed / world
            by_mean += part.mean_weight * summed / sum(counts[row] for row in part.rows) / world
            assert not size or len(part.rows) <= size
            seen += [] if part.is_dummy else part.rows
    assert sorted(seen) == list(range(len(counts))), "every row exactly once"
    assert len(passes) == 1, "a process would wait for another"
    assert by_sum == pytest.approx(expected) and by_mean == pytest.approx(expected)


def test_a_process_without_rows_runs_a_dummy_pass() -> None:
    parts = [list(micro_batches([3, 5, 2], 1, Share(rank, 2))) for rank in range(2)]
    assert [list(part.rows) for part in parts[0]] == [[0], [2]]
    assert [list(part.rows) for part in parts[1]] == [[1], [0]]
    assert [part.is_dummy for part in parts[1]] == [False, True]


def test_one_part_of_one_process_has_weight_one() -> None:
    (part,) = micro_batches([3, 5, 2])
    assert (list(part.rows), part.mean_weight, part.sum_weight) == ([0, 1, 2], 1.0, 0.1)
