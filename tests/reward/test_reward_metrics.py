"""Pair accuracy, clustered standard errors, calibration, weights of rubric parts: against counting."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.reward.metrics import calibration, calibration_error, clustered_mean, pair_accuracy, part_weights, rank_values

score_and_value = st.tuples(st.integers(-4, 4), st.integers(0, 4))
nested = st.lists(st.lists(score_and_value, min_size=2, max_size=5), min_size=1, max_size=5)


@settings(deadline=None, max_examples=60)
@given(nested, st.sampled_from([0.0, 1.0]))
def test_pair_accuracy_equals_counting(rows: list[list[tuple[int, int]]], tie: float) -> None:
    right, pairs = 0.0, 0
    for row in rows:
        for (r, v), (s, w) in itertools.combinations(row, 2):
            if abs(v - w) > tie:
                pairs += 1
                right += 0.5 if r == s else float((r > s) == (v > w))
    result = pair_accuracy([[r for r, _ in row] for row in rows], [[v for _, v in row] for row in rows], tie)
    assert result.pairs == pairs
    assert result.mean == pytest.approx(right / pairs) if pairs else math.isnan(result.mean)


def test_standard_error_is_clustered_by_prompt() -> None:
    rng = np.random.default_rng(0)
    means = []
    for _ in range(400):  # 30 prompts, each all right or all wrong on its 6 pairs
        means.append(clustered_mean(6.0 * (rng.random(30) < 0.7), [6] * 30))
    spread = float(np.std([m.mean for m in means]))
    assert float(np.mean([m.se for m in means])) == pytest.approx(spread, rel=0.1)
    assert spread > 2 * math.sqrt(0.7 * 0.3 / 180), "the pairs were not dependent"
    assert math.isnan(clustered_mean([1.0], [2]).se) and math.isnan(clustered_mean([], []).mean)


def test_calibration_finds_a_calibrated_and_an_overconfident_model() -> None:
    rng = np.random.default_rng(1)
    truth = rng.normal(size=(4000, 2)) * 1.5
    first = rng.random(4000) < 1 / (1 + np.exp(truth[:, 1] - truth[:, 0]))
    ranks = rank_values(np.where(first[:, None], [1, 2], [2, 1]).tolist())
    table = calibration(truth.tolist(), ranks)
    assert calibration_error(table) < 0.02 and sum(row.pairs for row in table) == 4000
    assert all(row.low <= row.predicted <= row.high for row in table) and len(table) == 5
    assert calibration_error(calibration((4 * truth).tolist(), ranks)) > 0.1
    assert calibration([], []) == [] and math.isnan(calibration_error([]))


def test_scores_and_values_must_match() -> None:
    with pytest.raises(ValueError, match="2 scores for 3 values"):
        pair_accuracy([[1.0, 2.0]], [[1.0, 2.0, 3.0]])


def test_marked_pairs_are_worse_marked_against_better_unmarked() -> None:
    scores, values, marked = [[3.0, 1.0, 2.0]], [[3.0, 2.0, 1.0]], [[False, True, True]]
    assert pair_accuracy(scores, values, marked=marked)[::2] == (1.0, 2)  # not the pair of the two marked ones
    assert pair_accuracy(scores, values).pairs == 3
    assert pair_accuracy(scores, values, marked=[[True, False, False]]).pairs == 0  # here the marked one is better


def test_part_weights_find_the_weights_whatever_a_prompt_is_worth() -> None:
    rng = np.random.default_rng(0)
    parts = [rng.random((4, 3)) for _ in range(300)]
    true = np.array([2.0, 0.0, -1.0])
    scores = [p @ true + rng.normal() * 5 + rng.normal(0, 0.1, 4) for p in parts]  # the 5 is the prompt's own
    found = part_weights([s.tolist() for s in scores], [p.tolist() for p in parts])
    assert [w for w, _ in found] == pytest.approx(true, abs=0.05)
    assert all(abs(w - t) < 4 * se and 0.001 < se < 0.02 for (w, se), t in zip(found, true, strict=True))
    with pytest.raises(ValueError, match="never differ"):
        part_weights([[1.0, 2.0]], [[[1.0, 1.0], [0.0, 0.0]]])
