"""The paired test against scipy and against enumeration, Holm against hand-worked values."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import wilcoxon

from patchebm.evaluation.paired import MIN_PAIRS, holm, paired_test


def enumerated(differences: np.ndarray) -> float:
    """Two-sided p by all signs, for differences without ties."""
    ranks = np.argsort(np.argsort(np.abs(differences))) + 1
    total = ranks.sum()

    def extreme(signs: np.ndarray) -> float:
        return float(abs((ranks * (signs > 0)).sum() - total / 2))

    seen = extreme(differences)
    signs = [np.array(s) for s in itertools.product((-1, 1), repeat=len(ranks))]
    return float(np.mean([extreme(s) >= seen for s in signs]))


@pytest.mark.parametrize("n", [6, 9, 12])
def test_p_is_that_of_all_signs_and_of_scipy(n: int) -> None:
    random = np.random.default_rng(n)
    first, second = random.normal(0.3, 1, n), random.normal(0, 1, n)
    found = paired_test(first, second)
    assert found["p"] == pytest.approx(enumerated(first - second))
    assert found["p"] == pytest.approx(wilcoxon(first, second).pvalue)
    assert found["p"] == pytest.approx(paired_test(second, first)["p"])
    assert found["mean_difference"] == pytest.approx((first - second).mean())
    assert found["pairs"] == found["differing"] == n


def test_pairs_without_a_difference_do_not_count() -> None:
    random = np.random.default_rng(0)
    first, second = random.normal(0.3, 1, 8), random.normal(0, 1, 8)
    # Perfect on both sides, but for the last bit of one.
    padded = paired_test([*first, 1.0, 1.0, 1.0], [*second, 1.0, 1.0, 1.0 - 2**-53])
    assert padded["p"] == paired_test(first, second)["p"]
    assert (padded["pairs"], padded["differing"]) == (11, 8)
    assert padded["mean_difference"] == pytest.approx((first - second).sum() / 11)


def test_fewer_than_six_are_too_few() -> None:
    for n in range(MIN_PAIRS):
        found = paired_test([1.0] * n, list(np.linspace(0, 0.5, n)))
        assert found["p"] is None
        assert f"too few: {n} of {n} pairs differ" in found["note"]
    # The most extreme outcome of five pairs is above 0.05, that of six is below.
    assert wilcoxon(np.arange(1.0, MIN_PAIRS)).pvalue > 0.05
    six = paired_test(np.arange(1.0, MIN_PAIRS + 1), np.zeros(MIN_PAIRS))
    assert six["p"] < 0.05
    assert "note" not in six


def test_holm() -> None:
    # Worked by hand: .01 * 4, .03 * 3, max(.03 * 3, .04 * 2), max(.09, .9).
    assert holm([0.04, 0.01, 0.9, 0.03]) == pytest.approx([0.09, 0.04, 0.9, 0.09])
    assert holm([0.6, 0.5]) == [1.0, 1.0]
    assert holm([0.2]) == [0.2]
    assert holm([]) == []
