from __future__ import annotations

import importlib.util
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.evaluation import statistics as stats

fast = settings(deadline=None, max_examples=60)
finite = st.floats(-100, 100, allow_nan=False)
samples = st.lists(finite, min_size=2, max_size=40)
outcomes = st.lists(st.sampled_from([1.0, 0.5, 0.0]), min_size=1, max_size=80)


@fast
@given(samples)
def test_mean_se_equals_the_plain_loop(values: list[float]) -> None:
    mean = sum(values) / len(values)
    variance = sum((v - mean) ** 2 for v in values) / (len(values) - 1)
    got = stats.mean_se(values)
    assert got.n == len(values)
    assert got.mean == pytest.approx(mean, abs=1e-9)
    assert got.se == pytest.approx(math.sqrt(variance / len(values)), abs=1e-6)


def test_mean_se_of_known_numbers() -> None:
    assert stats.mean_se([1.0, 2.0, 3.0, 4.0]) == pytest.approx((2.5, 0.6454972, 4))
    assert math.isnan(stats.mean_se([3.0]).se)


@fast
@given(samples, finite)
def test_paired_difference_is_antisymmetric_and_ignores_a_shift(values: list[float], shift: float) -> None:
    other = list(reversed(values))
    there, back = stats.paired_difference(values, other), stats.paired_difference(other, values)
    assert there.mean == pytest.approx(-back.mean, abs=1e-9)
    assert there.se == pytest.approx(back.se, abs=1e-9)
    moved = stats.paired_difference([v + shift for v in values], [v + shift for v in other])
    assert moved.mean == pytest.approx(there.mean, abs=1e-6)


def test_paired_difference_takes_out_prompt_difficulty() -> None:
    rng = np.random.default_rng(0)
    hard = rng.normal(0, 10, 300)
    gain = rng.normal(0.5, 1, 300)
    got = stats.paired_difference(hard + gain, hard)
    assert got.se < 0.1 and got.z > 5
    assert stats.paired_difference([1, 2], [1, 2]).z == 0.0
    assert stats.paired_difference([2, 3], [1, 2]).z == math.inf


def test_normal_quantile() -> None:
    assert stats.normal_quantile(0.95) == pytest.approx(1.959964, abs=1e-6)
    for wrong in (0.0, 1.0, 95.0):
        with pytest.raises(ValueError, match="confidence"):
            stats.normal_quantile(wrong)


@pytest.mark.parametrize(
    ("df", "table"),
    [(1, 12.7062), (2, 4.302653), (3, 3.182446), (4, 2.776445), (9, 2.262157), (30, 2.042272), (999, 1.962341)],
)
def test_student_t_quantile_against_the_table(df: int, table: float) -> None:
    assert stats.student_t_quantile(0.95, df) == pytest.approx(table, rel=1e-5)


@pytest.mark.skipif(importlib.util.find_spec("scipy") is None, reason="scipy is not installed")
def test_student_t_quantile_equals_scipy() -> None:
    from scipy.stats import t

    for df in (1, 2, 5, 8, 41):
        assert stats.student_t_quantile(0.9, df) == pytest.approx(t.ppf(0.95, df), rel=1e-9)


@fast
@given(outcomes)
def test_win_rate_mirrors_when_the_sides_are_swapped(wins: list[float]) -> None:
    there, back = stats.win_rate(wins), stats.win_rate([1.0 - w for w in wins])
    assert there.mean == pytest.approx(1 - back.mean)
    assert there.low == pytest.approx(1 - back.high) and there.high == pytest.approx(1 - back.low)
    assert (there.wins, there.losses, there.ties) == (back.losses, back.wins, back.ties)
    assert 0.0 <= there.low <= there.mean <= there.high <= 1.0
    assert there.high > there.low
    assert there.mean == pytest.approx(sum(wins) / len(wins))


@fast
@given(outcomes)
def test_win_rate_of_decided_comparisons(wins: list[float]) -> None:
    got = stats.win_rate(wins)
    decided = [w for w in wins if w != 0.5]
    assert got.wins + got.losses + got.ties == got.n == len(wins)
    assert got.decided == pytest.approx(len(decided) / len(wins))
    if decided:
        assert got.decided_win_rate == pytest.approx(sum(decided) / len(decided))
        assert got.decided_low <= got.decided_win_rate <= got.decided_high
    else:
        assert math.isnan(got.decided_win_rate)


def test_score_interval_without_ties_is_wilsons() -> None:
    n, p, z = 50, 0.8, stats.normal_quantile(0.95)
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    assert stats.score_interval(p, n) == pytest.approx((centre - half, centre + half))


def test_ties_narrow_the_interval_and_unanimous_wins_keep_one() -> None:
    tied = stats.win_rate([1.0] * 30 + [0.5] * 40 + [0.0] * 30)
    split = stats.win_rate([1.0] * 50 + [0.0] * 50)
    assert tied.high - tied.low < split.high - split.low
    assert stats.win_rate([1.0] * 20).low < 0.9
    assert stats.win_rate([0.5] * 20).low < 0.5 < stats.win_rate([0.5] * 20).high


@pytest.mark.parametrize("shares", [(0.4, 0.5, 0.1), (0.65, 0.25, 0.1), (0.2, 0.0, 0.8), (0.05, 0.9, 0.05)])
def test_win_rate_interval_covers_the_truth(shares: tuple[float, float, float]) -> None:
    rng = np.random.default_rng(11)
    truth = shares[0] + shares[1] / 2
    draws = rng.choice([1.0, 0.5, 0.0], p=shares, size=(2000, 100))
    covered = np.mean([(w := stats.win_rate(row)).low <= truth <= w.high for row in draws])
    assert 0.93 <= covered <= 0.99


@fast
@given(samples, st.floats(0, 5))
def test_gold_comparison_equals_the_plain_loop(gold: list[float], tie: float) -> None:
    other = list(reversed(gold))
    won = sum(a - b > tie + 1e-9 for a, b in zip(gold, other, strict=True)) / len(gold)
    lost = sum(b - a > tie + 1e-9 for a, b in zip(gold, other, strict=True)) / len(gold)
    got = stats.gold_comparison(gold, other, tie)
    assert (got.won, got.lost, got.tied) == pytest.approx((won, lost, 1 - won - lost))
    if won + lost:
        assert got.decided == pytest.approx(won / (won + lost))
    wins = stats.win_rate(stats.gold_wins(gold, other, tie))
    assert wins.ties == round(got.tied * len(gold))


def test_gold_difference_at_the_tie_is_a_tie_in_spite_of_rounding() -> None:
    assert stats.gold_comparison([0.3], [0.2], 0.1).tied == 1.0  # 0.3 - 0.2 < 0.1 in floats
    assert stats.gold_comparison([1.1], [1.0], 0.1).tied == 1.0  # 1.1 - 1.0 > 0.1 in floats
    assert math.isnan(stats.gold_comparison([1.0], [1.0], 0.1).decided)


def test_spread_over_seeds() -> None:
    got = stats.spread_over_seeds([1.0, 2.0, 3.0, 4.0, 5.0])
    half = 2.776445 * math.sqrt(2.5 / 5)
    assert got == pytest.approx((3.0, 3 - half, 3 + half, math.sqrt(2.5), 1.0, 5.0, 5), abs=1e-5)
    alone = stats.spread_over_seeds([2.0])
    assert alone.mean == 2.0 and math.isnan(alone.low) and math.isnan(alone.sd)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: stats.mean_se([]), "at least one number"),
        (lambda: stats.mean_se([1.0, math.nan]), "entry 1 is nan"),
        (lambda: stats.paired_difference([1.0], [1.0, 2.0]), "1 values against 2"),
        (lambda: stats.win_rate([1.0, 0.7]), "entry 1 is 0.7"),
        (lambda: stats.gold_comparison([1.0], [1.0], -1.0), "tie is -1.0"),
        (lambda: stats.student_t_quantile(0.95, 0), "at least 2 values"),
    ],
)
def test_bad_input_is_one_clear_sentence(call: object, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        call()  # type: ignore[operator]
    assert "\n" not in str(caught.value)
