"""Metrics of a group: differences of two models are of the same items, by hand and by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from utils.core.runtime import numpy_rng
from utils.evaluation.estimates import Bleu, Mean, Share, rouge_l


def test_a_difference_counts_the_items_that_are_known_in_both() -> None:
    found = Mean([0.5, None, 1.0, 0.0], 100.0).minus(Mean([0.0, 1.0, 0.5, None], 100.0))
    assert found.value == pytest.approx(50.0) and found.half_width == pytest.approx(0.0)
    assert math.isnan(Mean([None]).minus(Mean([1.0])).value)
    assert Share([1.0, None, 0.0]).estimate().n == 2 and math.isnan(Share([None]).estimate().value)


def test_a_share_of_none_has_an_interval_and_a_mean_stays_in_its_range() -> None:
    assert Share([0.0] * 50).estimate().high == pytest.approx(0.0713, abs=1e-3), "Wilson's"
    assert Mean([1.0, 1.0, 0.9], 100.0).estimate().high == 100.0


def test_the_difference_of_bleu_is_paired() -> None:
    """The same texts differ by nothing, whatever is drawn; better texts differ by more than the error."""
    rng = numpy_rng(3, "bleu")
    golds = [[" ".join(map(str, rng.integers(0, 50, 12)))] for _ in range(40)]
    worse = [" ".join(word if rng.random() < 0.7 else "x" for word in gold.split()) for (gold,) in golds]
    good, bad = Bleu.of([gold for (gold,) in golds], golds), Bleu.of(worse, golds)
    assert good.minus(good) == (0.0, 0.0)
    gap = good.minus(bad)
    assert gap.value == pytest.approx(good.estimate().value - bad.estimate().value) and 0 < gap.half_width < gap.value
    again = [Bleu(bad.counts[rows]).estimate().value for rows in rng.integers(0, 40, (30, 40))]
    assert np.std(again) * 1.96 == pytest.approx(gap.half_width, rel=0.5)


def test_rouge_takes_the_best_reference() -> None:
    assert rouge_l(["no", "the cat"], "the cat") == 1.0 and rouge_l([], "x") == 0.0
