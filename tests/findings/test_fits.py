"""The curves of Gao et al. (2022) are found again where they are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from utils.findings.fits import BEST_OF_N, RL, best_of_n_kl, fit_curve

DISTANCES = [0.0, 0.3, 0.7, 1.2, 2.0, 3.1, 4.5]


@pytest.mark.parametrize(
    ("form", "gain"),
    [(BEST_OF_N, lambda d: d * (1.3 - 0.2 * d)), (RL, lambda d: d * (1.3 - 0.2 * math.log(d)) if d else 0.0)],
)
def test_a_known_curve_is_found_without_residuals(form: str, gain) -> None:
    found = fit_curve(DISTANCES, [gain(d) for d in DISTANCES], form)
    assert (found.alpha, found.beta) == (pytest.approx(1.3), pytest.approx(0.2))
    assert found.rms < 1e-9 and found.points == 6 and found(2.0) == pytest.approx(gain(2.0))
    grid = np.linspace(0.01, 4000 if form == RL else 10, 400_000)
    assert grid[np.argmax([gain(d) for d in grid])] == pytest.approx(found.peak, rel=0.01)


def test_residuals_are_the_root_mean_square_of_what_is_left() -> None:
    gains = [d * (1.0 - 0.1 * d) + (0.1 if i % 2 else -0.1) for i, d in enumerate(DISTANCES)]
    found = fit_curve(DISTANCES, gains, BEST_OF_N)
    left = [found(d) - g for d, g in zip(DISTANCES[1:], gains[1:], strict=True)]
    assert found.rms == pytest.approx(math.sqrt(sum(x * x for x in left) / 6)) and 0 < found.rms <= 0.11


def test_a_curve_that_never_falls_has_no_peak_and_too_few_points_are_rejected() -> None:
    assert fit_curve([1.0, 2.0, 3.0], [1.0, 2.5, 4.5], BEST_OF_N).peak == math.inf
    with pytest.raises(ValueError, match="at least 3 points"):
        fit_curve([0.0, 1.0, 2.0], [0.0, 1.0, 2.0], RL)
    with pytest.raises(ValueError, match="form is"):
        fit_curve(DISTANCES, DISTANCES, "line")


def test_the_kl_of_best_of_n() -> None:
    assert best_of_n_kl(1) == 0.0
    # Exactly, for 2 samples of a uniform quantile u: the density of the larger one is 2 u.
    u = (np.arange(100_000) + 0.5) / 100_000
    assert best_of_n_kl(2) == pytest.approx(float(np.mean(2 * u * np.log(2 * u))), abs=1e-4)
