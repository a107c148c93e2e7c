"""Cohen's and Fleiss' kappa and Krippendorff's ordinal alpha against other implementations; their intervals by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from utils.core.runtime import numpy_rng
from utils.labeling.agreement import cohens_kappa, fleiss_kappa, krippendorff_alpha, over_units


def rated(units: int, raters: int, seed: int, right: float = 0.7, values: int = 5) -> NDArray[np.float64]:
    """(units, raters) ratings from 1: the true value with probability `right`, else any."""
    rng = numpy_rng(seed, "rated", units, raters)
    truth = rng.integers(1, values + 1, (units, 1))
    return np.where(rng.random((units, raters)) < right, truth, rng.integers(1, values + 1, (units, raters))).astype(float)


def counted(rows: NDArray[np.float64], values: int = 5) -> NDArray[np.int64]:
    return (rows[:, :, None] == np.arange(1, values + 1)).sum(axis=1)


@pytest.mark.parametrize("seed", range(3))
def test_measures_are_those_of_other_packages(seed: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    inter_rater = pytest.importorskip("statsmodels.stats.inter_rater")
    krippendorff = pytest.importorskip("krippendorff")
    rows = rated(60, 4, seed)
    a, b = rows[:, 0], rows[:, 1]
    assert cohens_kappa(a, b) == pytest.approx(metrics.cohen_kappa_score(a, b), abs=1e-12)
    assert fleiss_kappa(counted(rows)) == pytest.approx(inter_rater.fleiss_kappa(counted(rows)), abs=1e-12)
    rows[numpy_rng(seed, "missing").random(rows.shape) < 0.3] = np.nan
    expected = krippendorff.alpha(reliability_data=rows.T, level_of_measurement="ordinal")
    assert krippendorff_alpha(rows.T) == pytest.approx(expected, abs=1e-9)


def test_fleiss_by_hand_and_its_limits() -> None:
    """Fleiss 1971's example of 10 subjects and 14 raters: kappa .210."""
    table = [[0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1], [7, 7, 0, 0, 0]]
    table += [[3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7]]
    assert fleiss_kappa(table) == pytest.approx(0.210, abs=0.0005)
    assert np.isnan(fleiss_kappa([[3, 0], [3, 0]])) and fleiss_kappa([[3, 0], [0, 3]]) == 1.0
    with pytest.raises(ValueError, match="the same number of ratings"):
        fleiss_kappa([[3, 0], [1, 1]])


def test_intervals_over_units_cover() -> None:
    right = 0.7**2  # kappa of two raters who each know the answer with probability 0.7 and otherwise guess evenly
    covered = []
    for seed in range(120):
        found = over_units(lambda rows: cohens_kappa(*rows.T), rated(80, 2, seed), n_bootstrap=150)
        covered.append(found.low <= right <= found.high)
        assert found.low <= found.value <= found.high
    assert 0.88 <= np.mean(covered) <= 1.0
