"""Agreement statistics against hand-computed values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.labeling import agreement_matrix, cohens_kappa, common_decisions, krippendorff_alpha, mean_agreement, pair_agreement
from utils.labeling.agreement import mean_rate, pair_signs, stack_rankings

rankings = st.lists(st.lists(st.integers(1, 4), min_size=4, max_size=4), min_size=3, max_size=3)


def brute_force(a, b) -> float:
    agreed = decided = 0
    for x, y in zip(a, b, strict=True):
        for i in range(len(x)):
            for j in range(i):
                if x[i] != x[j] and y[i] != y[j]:
                    decided += 1
                    agreed += (x[i] < x[j]) == (y[i] < y[j])
    return agreed / decided if decided else math.nan


def test_pair_agreement_by_hand():
    # pairs (0,1) and (0,2) alike, (1,2) the other way round; a tie of one side does not count
    assert pair_agreement([[1, 2, 3]], [[1, 3, 2]]) == pytest.approx(2 / 3)
    assert pair_agreement([[1, 1, 2]], [[1, 2, 3]]) == 1.0
    assert math.isnan(pair_agreement([[1, 1]], [[1, 2]]))


@settings(deadline=None)
@given(rankings, rankings)
def test_pair_agreement_is_brute_force_and_symmetric(a, b):
    found = pair_agreement(a, b)
    assert found == pytest.approx(brute_force(a, b), nan_ok=True)
    assert pair_agreement(b, a) == pytest.approx(found, nan_ok=True)


def test_pair_signs_skip_ties_and_missing_items():
    assert pair_signs([1, 2, 2, 0]).tolist() == [1, 1, 0, 0, 0, 0]


def test_mean_over_pairs_of_labelers():
    ranked = [[[1, 2, 3], [1, 2]], [[1, 3, 2], [1, 2]], [[3, 2, 1], None]]
    found = mean_agreement(ranked, n_bootstrap=50)
    # first and second agree on 3 of 4 pairs, first and third on 0 of 3, second and third on 1 of 3
    assert found.mean == pytest.approx((3 / 4 + 0 + 1 / 3) / 3)
    assert (found.labeler_pairs, found.decided) == (3, 10)
    assert mean_rate(stack_rankings(ranked)) == pytest.approx(found.mean)


def test_standard_error_covers_the_spread_over_prompts():
    """Two labelers who toss coins: the standard error is about that of one share over independent prompts."""
    ranks = np.where(np.random.default_rng(1).random((2, 400, 1)) < 0.5, [1, 2], [2, 1])
    found = mean_agreement(ranks, n_bootstrap=400)
    assert found.mean == pytest.approx(0.5, abs=0.08)
    assert found.se == pytest.approx(0.5 / math.sqrt(400), rel=0.25)


def test_agreement_needs_common_decisions():
    with pytest.raises(ValueError, match="no two labelers decided a common pair"):
        mean_agreement([[[1, 2]], [[1, 1]]])
    with pytest.raises(ValueError, match="lists differ in length"):
        mean_agreement([[[1, 2]], []])
    with pytest.raises(ValueError, match="prompt 0 differ in length"):
        mean_agreement([[[1, 2]], [[1, 2, 3]]])


def test_cohens_kappa_by_hand():
    # 20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no: observed 0.7, chance 0.5
    a = [1] * 25 + [0] * 25
    b = [1] * 20 + [0] * 5 + [1] * 10 + [0] * 15
    assert cohens_kappa(a, b) == pytest.approx(0.4)
    assert cohens_kappa(a, a) == 1.0
    assert math.isnan(cohens_kappa([1, 1], [1, 1]))
    with pytest.raises(ValueError, match="kappa needs two equally long lists"):
        cohens_kappa([1], [1, 2])


def test_krippendorff_alpha_of_the_published_example():
    """Krippendorff (2011), example C: four observers, twelve units, missing data; ordinal alpha 0.815."""
    x = math.nan
    table = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, x, x, x],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, x, 3],
        [x, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, x],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, x],
    ]
    assert krippendorff_alpha(table) == pytest.approx(0.815, abs=5e-4)


def test_krippendorff_alpha_by_hand():
    # Values 1, 2 with margins 2, 2: expected distance is the same for all unequal pairs, alpha = 1 - 3 * 2 / 8
    assert krippendorff_alpha([[1, 2], [2, 1]]) == pytest.approx(1 - 3 * 4 / 8)
    assert krippendorff_alpha([[1, 2, 3], [1, 2, 3]]) == 1.0
    assert math.isnan(krippendorff_alpha([[1, 1], [1, 1]]))


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**31), st.integers(2, 5), st.integers(1, 12), st.integers(2, 4))
def test_the_matrix_of_single_labels_is_the_one_of_all_rankings(seed, n_labelers, n_prompts, k):
    """Long form, where each labeler has some prompts, against the dense form."""
    rng = np.random.default_rng(seed)
    dense = rng.integers(1, k + 1, (n_labelers, n_prompts, k)) * (rng.random((n_labelers, n_prompts, 1)) < 0.7)
    labeler, prompt = np.nonzero(dense.any(axis=2))
    order = rng.permutation(len(labeler))
    labeler, prompt = labeler[order], prompt[order]
    found = agreement_matrix(common_decisions(prompt, dense[labeler, prompt]), labeler, n_labelers)
    for i in range(n_labelers):
        for j in range(i):
            rate = pair_agreement(list(dense[i]), list(dense[j]))
            assert found.agreed[i, j] == found.agreed[j, i]
            assert (found.agreed[i, j] / found.decided[i, j] if found.decided[i, j] else math.nan) == pytest.approx(
                rate, nan_ok=True
            )
    if found.overall is None:
        assert not found.decided.any()
    else:
        assert found.overall.mean == pytest.approx(mean_agreement(dense, n_bootstrap=10).mean)


def test_standard_errors_of_the_matrix_are_those_of_the_dense_form():
    rng = np.random.default_rng(0)
    truth = rng.random((300, 4))
    dense = np.argsort(np.argsort(truth + 0.3 * rng.standard_normal((6, 300, 4)), axis=2), axis=2) + 1
    labeler, prompt = np.nonzero(np.ones(dense.shape[:2]))
    found = agreement_matrix(common_decisions(prompt, dense[labeler, prompt]), labeler, 6, n_bootstrap=2000)
    assert found.overall.se == pytest.approx(mean_agreement(dense, n_bootstrap=2000).se, rel=0.08)
    # Each pair's error against the spread of its agreement over halves of the prompts drawn at random.
    shares = [pair_agreement(list(dense[0][half]), list(dense[1][half])) for half in rng.integers(0, 300, (400, 300))]
    assert found.se[0, 1] == pytest.approx(np.std(shares), rel=0.15)
