"""Intervals and paired tests against definitions written as loops, and against what chance does."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score, roc_auc_score

from patchebm.evaluation.intervals import (
    auroc,
    auroc_difference,
    average_precision,
    binomial_interval,
    bootstrap_intervals,
)


@pytest.mark.parametrize(("count", "total"), [(0, 20), (1, 20), (7, 50), (20, 20)])
def test_clopper_pearson_is_where_the_tails_hold_half_of_five_percent(count: int, total: int) -> None:
    low, high = binomial_interval(count, total)
    if count > 0:
        assert stats.binom.sf(count - 1, total, low) == pytest.approx(0.025, abs=1e-6)
    else:
        assert low == 0
    if count < total:
        assert stats.binom.cdf(count, total, high) == pytest.approx(0.025, abs=1e-6)
    else:
        assert high == 1


@pytest.mark.parametrize(("count", "total"), [(0, 20), (1, 20), (20, 20), (7, 193), (0, 1), (33, 387)])
def test_the_interval_is_that_of_scipy(count: int, total: int) -> None:
    interval = stats.binomtest(count, total).proportion_ci(0.95, method="exact")
    assert binomial_interval(count, total) == pytest.approx((interval.low, interval.high), abs=1e-12)


def test_the_interval_of_a_mean_count_lies_between() -> None:
    low, high = binomial_interval(1.5, 20)
    assert binomial_interval(1, 20)[0] < low < binomial_interval(2, 20)[0]
    assert binomial_interval(1, 20)[1] < high < binomial_interval(2, 20)[1]


def test_a_share_of_nothing_is_refused() -> None:
    for count, total in ((0, 0), (3, 2), (-1, 4)):
        with pytest.raises(ValueError, match="no share"):
            binomial_interval(count, total)


@pytest.mark.parametrize("levels", [4, 10**6])
def test_figures_of_many_rows_are_those_of_scikit_learn(levels: int) -> None:
    rng = np.random.default_rng(0)
    bad = rng.integers(0, levels, (20, 11)) / levels + 0.3
    good = rng.integers(0, levels, (20, 17)) / levels
    truth = np.arange(28) < 11
    areas, precisions = auroc(bad, good), average_precision(bad, good)
    assert areas.shape == precisions.shape == (20,)
    for i in range(20):
        scores = np.concatenate((bad[i], good[i]))
        assert areas[i] == pytest.approx(roc_auc_score(truth, scores))
        assert precisions[i] == pytest.approx(average_precision_score(truth, scores))


def test_the_interval_is_that_of_resamples_of_each_class() -> None:
    """Against indices that are drawn otherwise, with other random numbers."""
    rng = np.random.default_rng(1)
    truth = np.arange(50) < 20
    scores = rng.normal(size=50) + truth
    bad, good = rng.choice(scores[truth], (4000, 20)), rng.choice(scores[~truth], (4000, 30))
    expected = np.percentile([auroc(bad, good), average_precision(bad, good)], (2.5, 97.5), axis=1).T
    np.testing.assert_allclose(bootstrap_intervals(truth, scores, resamples=4000), expected, atol=0.02)


def test_the_bootstrap_is_as_wide_as_the_figures_scatter() -> None:
    """Scores from two normals: over many test sets the AUROC scatters as one set's interval says."""
    truth = np.arange(120) < 60

    def draw(seed: int) -> np.ndarray:
        return np.random.default_rng(seed).normal(size=120) + truth

    (low, high), _ = bootstrap_intervals(truth, draw(0))
    deviation = np.std([roc_auc_score(truth, draw(seed)) for seed in range(1, 400)])
    assert (high - low) / 4 == pytest.approx(deviation, rel=0.25)
    assert low < roc_auc_score(truth, draw(0)) < high


def test_one_seed_one_interval() -> None:
    labels, scores = np.arange(40) < 15, np.random.default_rng(0).random(40)
    assert bootstrap_intervals(labels, scores) == bootstrap_intervals(labels, scores)
    assert bootstrap_intervals(labels, scores, seed=1) != bootstrap_intervals(labels, scores)


def test_intervals_of_many_images_are_quick() -> None:
    rng = np.random.default_rng(0)
    began = time.process_time()
    bootstrap_intervals(np.arange(5000) % 2 == 0, rng.random(5000))
    assert time.process_time() - began < 10


def placements_p(labels: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    """DeLong's test from its definition: placements by pairs, no ranks."""

    def placements(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        difference = scores[labels][:, None] - scores[~labels][None]
        order = (difference > 0) + 0.5 * (difference == 0)
        return order.mean(1), order.mean(0)

    (a10, a01), (b10, b01) = placements(first), placements(second)
    s10, s01 = np.cov(a10, b10), np.cov(a01, b01)
    total = s10 / len(a10) + s01 / len(a01)
    variance = total[0, 0] + total[1, 1] - 2 * total[0, 1]
    return float(2 * stats.norm.sf(abs(a10.mean() - b10.mean()) / variance**0.5))


@pytest.mark.parametrize("levels", [6, 10**6])
def test_delong_equals_its_definition(levels: int) -> None:
    rng = np.random.default_rng(3)
    labels = np.arange(60) < 25
    shared = rng.normal(size=60)
    first = np.round((shared + rng.normal(size=60) + labels) * levels) / levels
    second = np.round((shared + rng.normal(size=60) + 0.4 * labels) * levels) / levels
    difference = auroc_difference(labels, first, second)
    assert difference.p_value == pytest.approx(placements_p(labels, first, second), abs=1e-9)
    expected = roc_auc_score(labels, first) - roc_auc_score(labels, second)
    assert difference.value == pytest.approx(expected)
    assert difference.low < difference.value < difference.high


def test_where_there_is_no_difference_one_in_twenty_tests_says_so() -> None:
    labels = np.arange(80) < 40
    small = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        shared = rng.normal(size=80) + labels
        first, second = shared + rng.normal(size=80), shared + rng.normal(size=80)
        p_value = auroc_difference(labels, first, second, resamples=2).p_value
        assert p_value is not None
        small += p_value < 0.05
    assert 4 <= small <= 30


def test_two_perfect_detectors_leave_no_room_for_chance() -> None:
    labels = np.array([False, False, True, True])
    difference = auroc_difference(labels, np.arange(4.0), np.arange(4.0) * 2)
    assert (difference.value, difference.low, difference.high) == (0, 0, 0)
    assert difference.p_value is None


def test_scores_must_fit_the_labels_and_these_hold_two_classes() -> None:
    with pytest.raises(ValueError, match="3 scores were given for 2 labels"):
        auroc_difference([True, False], np.zeros(3), np.zeros(3))
    with pytest.raises(ValueError, match="good and anomalous"):
        auroc_difference([True, True], np.zeros(2), np.zeros(2))
