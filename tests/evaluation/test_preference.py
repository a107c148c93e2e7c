"""Win rates over prompts and judges, by simulation; Bradley-Terry strengths against another implementation."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.core.runtime import numpy_rng
from utils.evaluation.preference import bradley_terry, crossed_mean, crossed_win_rate, fit_strengths, win_table

PHI = NormalDist().cdf


def truth(shift: float, sds: tuple[float, float], tie: float) -> float:
    """Expected win rate of the simulation below, over all judges and prompts."""
    spread = math.sqrt(1 + sds[0] ** 2 + sds[1] ** 2)
    return (PHI((shift - tie) / spread) + PHI((shift + tie) / spread)) / 2


@pytest.mark.parametrize(
    ("judges", "prompts", "sds", "each"),
    [(10, 150, (0.3, 0.6), None), (10, 150, (0.0, 0.6), None), (10, 150, (0.4, 0.0), None), (10, 300, (0.3, 0.6), 1)],
    ids=["crossed", "judges agree", "prompts alike", "one judge per prompt"],
)
def test_the_interval_covers_for_other_judges_and_other_prompts(
    judges: int, prompts: int, sds: tuple[float, float], each: int | None
) -> None:
    rng, shift, tie, covered, narrow = numpy_rng(3, "crossed", judges, *map(str, sds)), 0.2, 0.25, [], []
    right = truth(shift, sds, tie)
    judge, prompt = (x.ravel() for x in np.meshgrid(np.arange(judges), np.arange(prompts), indexing="ij"))
    for _ in range(600):
        if each:
            judge, prompt = rng.permutation(np.arange(prompts) % judges), np.arange(prompts)
        latent = shift + sds[0] * rng.standard_normal(judges)[judge] + sds[1] * rng.standard_normal(prompts)[prompt]
        latent = latent + rng.standard_normal(len(latent))
        wins = np.where(latent > tie, 1.0, np.where(latent < -tie, 0.0, 0.5))
        found = crossed_win_rate(wins, judge.tolist(), prompt.tolist())
        covered.append(found.low <= right <= found.high)
        narrow.append(abs(found.mean - right) <= 1.96 * wins.std() / math.sqrt(len(wins)))
    assert 0.93 <= np.mean(covered) <= 0.97 + 0.02 * (sds[0] == 0), "a little wide if judges do not differ"
    if sds[0] and not each:
        assert np.mean(narrow) < 0.85, "independent judgements would be far too sure"


def test_the_interval_of_a_mean_covers_and_stays_on_the_scale() -> None:
    """Ratings from 1 to 7 of 8 judges, one per prompt; the truth is the mean over many."""
    rng, covered = numpy_rng(3, "likert"), []

    def ratings(judges: int, prompts: int) -> tuple[np.ndarray, np.ndarray]:
        judge = rng.permutation(np.arange(prompts) % judges)
        latent = 4.6 + 0.5 * rng.standard_normal(judges)[judge] + 1.3 * rng.standard_normal(prompts)
        return np.clip(np.rint(latent), 1, 7), judge

    right = ratings(100_000, 100_000)[0].mean()
    for _ in range(400):
        values, judge = ratings(8, 160)
        found = crossed_mean(values, judge.tolist(), list(range(160)), bounds=(1, 7))
        covered.append(found.low <= right <= found.high)
    assert 0.92 <= np.mean(covered) <= 0.98
    top = crossed_mean([7.0, 7.0, 6.0], ["a", "b", "a"], [1, 2, 3], bounds=(1, 7))
    assert top.high == 7 and top.low < top.mean and (top.n, top.judges, top.prompts) == (3, 2, 3)
    one = crossed_mean([4.0], ["a"], [1], bounds=(1, 7))
    assert (one.low, one.mean, one.high) == (1, 4, 7)
    with pytest.raises(ValueError, match="lists of one length"):
        crossed_mean([], [], [])


def test_one_judge_and_equal_judgements_have_an_interval() -> None:
    one = crossed_win_rate([1, 0, 1, 0.5], ["a"] * 4, [1, 2, 3, 4])
    assert math.isnan(one.judges_sd) and one.low < one.mean == 0.625 < one.high and one.ties == 1
    same = crossed_win_rate([1.0] * 20, [1, 2] * 10, list(range(20)))
    assert same.low < same.mean == 1.0 == same.high
    with pytest.raises(ValueError, match="write 1 for a win"):
        crossed_win_rate([0.7], ["a"], [1])
    with pytest.raises(ValueError, match="lists of one length"):
        crossed_win_rate([1, 0], ["a"], [1, 2])


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0, 0.5, 1]), st.integers(0, 3), st.integers(0, 5)), min_size=1, max_size=40))
def test_the_win_rate_mirrors(rows: list[tuple[float, int, int]]) -> None:
    wins, judge, prompt = map(list, zip(*rows, strict=True))
    there, back = (crossed_win_rate([abs(side - w) for w in wins], judge, prompt) for side in (0, 1))
    assert (there.mean, there.low, there.high) == pytest.approx((1 - back.mean, 1 - back.high, 1 - back.low), abs=1e-9)
    assert 0 <= there.low <= there.mean <= there.high <= 1


def games(n: int, strengths: list[float], seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[int]]:
    rng, m = numpy_rng(seed, "games"), len(strengths)
    a = rng.integers(0, m, n)
    b = (a + rng.integers(1, m, n)) % m
    gap = np.asarray(strengths)[a] - np.asarray(strengths)[b]
    return a, b, (rng.random(n) < 1 / (1 + np.exp(-gap))).astype(float), list(range(n))


def test_strengths_are_those_of_logistic_regression() -> None:
    """Bradley-Terry is logistic regression on the difference of indicators: statsmodels fits it without a penalty."""
    sm = pytest.importorskip("statsmodels.api")
    a, b, wins, prompt = games(800, [0.0, 0.7, -0.4, 1.1], 1)
    wins[:100] = 0.5
    design = np.eye(4)[a] - np.eye(4)[b]
    fitted = sm.GLM(wins, design[:, 1:], family=sm.families.Binomial()).fit().params
    expected = np.array([0.0, *fitted])
    found = bradley_terry(a, b, wins, prompt)
    assert found.values == pytest.approx(expected - expected.mean(), abs=1e-5)
    assert (found.low < found.values).all() and (found.values < found.high).all()


def test_two_policies_are_the_log_odds_and_extremes_are_said() -> None:
    table = win_table([0, 0, 1, 0], [1, 1, 0, 1], [1, 1, 1, 0.5], 2)
    assert table.tolist() == [[0, 2.5], [1.5, 0]]
    assert fit_strengths(table) == pytest.approx([0.5 * math.log(2.5 / 1.5), -0.5 * math.log(2.5 / 1.5)])
    with pytest.raises(ValueError, match="wins or loses all comparisons"):
        fit_strengths(win_table([0, 1], [1, 2], [1, 1], 3))


def test_intervals_of_strengths_cover() -> None:
    right = np.array([0.5, 0.0, -0.5])
    inside = []
    for seed in range(16):
        found = bradley_terry(*games(240, right.tolist(), seed), draws=80)
        inside.append((found.low <= right) & (right <= found.high))
    assert 0.88 <= np.mean(inside) <= 1.0
