"""The rule of the verdict: by hand, by its properties, and by simulation of studies whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.findings.verdict import EXPECTED, FEWEST, GREATER, LESS, NOT, NOT_ASKED, OPPOSITE, REPRODUCED, SAME, VERDICTS, judge

NUMBERS = st.lists(st.floats(-100, 100), min_size=FEWEST, max_size=9)
MARGINS = st.floats(0.01, 10)


@pytest.mark.parametrize(
    ("differences", "expected", "margin", "verdict"),
    [
        ([1, 2, 1, 2, 1.5], GREATER, 0.0, REPRODUCED),
        ([-1, -2, -1, -2, -1.5], GREATER, 0.0, OPPOSITE),
        ([-1, -2, -1, -2, -1.5], LESS, 0.0, REPRODUCED),
        ([1, 2, 1, 2, 1.5], LESS, 0.0, OPPOSITE),
        ([1, -1, 1, -1, 0.5], GREATER, 0.0, NOT),
        ([1, 2, 1, 2, 1.5], GREATER, 1.4, NOT),  # surely above 0, not surely above the margin
        ([0.01, -0.01, 0.02, 0.0, 0.0], SAME, 0.1, REPRODUCED),
        ([1, 2, 1, 2, 1.5], SAME, 0.1, OPPOSITE),
        ([-1, -2, -1, -2, -1.5], SAME, 0.1, OPPOSITE),
        ([1, -1, 1, -1, 0.5], SAME, 0.1, NOT),
        ([0.0] * 5, GREATER, 0.0, NOT),
        ([5.0] * 4, GREATER, 0.0, NOT_ASKED),
        ([], SAME, 1.0, NOT_ASKED),
    ],
)
def test_verdicts_by_hand(differences: list[float], expected: str, margin: float, verdict: str) -> None:
    found = judge(differences, expected, margin)
    assert found.verdict == verdict and found.n == len(differences) and found.reason.endswith(".")


@given(NUMBERS, MARGINS, st.sampled_from(EXPECTED))
@settings(deadline=None)
def test_a_verdict_is_one_of_four_and_does_not_depend_on_the_order_of_seeds(
    differences: list[float], margin: float, expected: str
) -> None:
    found = judge(differences, expected, margin)
    assert found.verdict in VERDICTS and found.low <= found.mean <= found.high
    assert judge(sorted(differences), expected, margin).mean == pytest.approx(found.mean)


@given(NUMBERS, MARGINS)
@settings(deadline=None)
def test_swapping_the_arms_mirrors_the_verdict(differences: list[float], margin: float) -> None:
    swapped = [-d for d in differences]
    for one, other in ((GREATER, LESS), (LESS, GREATER), (SAME, SAME)):
        assert judge(differences, one, margin).verdict == judge(swapped, other, margin).verdict


@given(NUMBERS, MARGINS)
@settings(deadline=None)
def test_more_in_the_predicted_direction_never_undoes_a_verdict(differences: list[float], more: float) -> None:
    order = [OPPOSITE, NOT, REPRODUCED]
    before, after = judge(differences, GREATER), judge([d + more for d in differences], GREATER)
    assert order.index(after.verdict) >= order.index(before.verdict)


@given(NUMBERS, MARGINS, st.floats(0.1, 10))
@settings(deadline=None)
def test_a_wider_margin_helps_same_and_hinders_greater(differences: list[float], margin: float, more: float) -> None:
    if judge(differences, SAME, margin).verdict == REPRODUCED:
        assert judge(differences, SAME, margin + more).verdict == REPRODUCED
    if judge(differences, GREATER, margin + more).verdict == REPRODUCED:
        assert judge(differences, GREATER, margin).verdict == REPRODUCED


def rates(expected: str, margin: float, effect: float, studies: int = 4000) -> dict[str, float]:
    """Share of each verdict over simulated studies of five seeds with a true effect and noise of 1."""
    rng = np.random.default_rng(7)
    found = [judge(rng.normal(effect, 1.0, 5).tolist(), expected, margin).verdict for _ in range(studies)]
    return {verdict: found.count(verdict) / studies for verdict in VERDICTS}


def test_without_an_effect_a_direction_is_found_as_often_as_the_interval_misses() -> None:
    found = rates(GREATER, 0.0, 0.0)
    assert 0.018 <= found[REPRODUCED] <= 0.032 and 0.018 <= found[OPPOSITE] <= 0.032


def test_at_the_margin_no_difference_is_rarely_found_and_a_large_effect_always() -> None:
    assert rates(SAME, 2.0, 2.0, 1500)[REPRODUCED] <= 0.035
    assert rates(SAME, 2.0, 0.0, 1500)[REPRODUCED] > 0.7
    large = rates(GREATER, 0.0, 5.0, 500)
    assert large[REPRODUCED] > 0.99 and large[OPPOSITE] == 0


@pytest.mark.parametrize(("expected", "margin"), [("more", 0.0), (SAME, 0.0), (GREATER, -1.0), (SAME, float("nan"))])
def test_a_rule_that_cannot_be_is_rejected(expected: str, margin: float) -> None:
    with pytest.raises(ValueError, match="expected is|margin is"):
        judge([1.0] * 5, expected, margin)
