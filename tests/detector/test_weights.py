"""Weights by detection: what finds nothing counts for nothing."""

from __future__ import annotations

import numpy as np
import pytest

from patchebm.detector.weights import detection_weights, separation


def test_separation_is_the_area_under_the_roc_curve() -> None:
    assert separation(np.array([0.0, 1]), np.array([2.0, 3])) == 1
    assert separation(np.array([2.0, 3]), np.array([0.0, 1])) == 0
    assert separation(np.array([1.0, 1]), np.array([1.0, 1, 1])) == 0.5
    # Of six pairs, damaged above good: 2 > 1, 4 > 1, 4 > 3, and 2 < 3, 0 < 1, 0 < 3.
    assert separation(np.array([1.0, 3]), np.array([2.0, 4, 0])) == pytest.approx(3 / 6)


def test_weights_grow_with_the_square_of_what_is_found() -> None:
    rng = np.random.default_rng(0)
    good, damaged = rng.normal(size=(4000, 3)), rng.normal([1.0, 0.5, 0.0], size=(4000, 3))
    weights = detection_weights(good, damaged)
    found = np.array([separation(good[:, k], damaged[:, k]) - 0.5 for k in range(3)])
    assert weights.sum() == pytest.approx(1)
    assert weights[0] / weights[1] == pytest.approx((found[0] / found[1]) ** 2)
    assert weights[2] < 0.01


def test_a_part_that_calls_damage_normal_counts_for_nothing() -> None:
    rng = np.random.default_rng(0)
    weights = detection_weights(rng.normal(size=(50, 2)), rng.normal([1.0, -1.0], size=(60, 2)))
    assert weights.tolist() == [1, 0]


def test_without_damage_or_findings_all_count_alike() -> None:
    good = np.zeros((5, 4))
    assert detection_weights(good, np.zeros((0, 4))).tolist() == [0.25] * 4
    assert detection_weights(good, np.zeros((5, 4))).tolist() == [0.25] * 4


def test_weights_do_not_depend_on_the_scale_of_a_score() -> None:
    rng = np.random.default_rng(1)
    good, damaged = rng.normal(size=(30, 2)), rng.normal(size=(40, 2)) + 0.7
    scaled = [x * [1000.0, 1] + [5.0, 0] for x in (good, damaged)]
    np.testing.assert_allclose(detection_weights(good, damaged), detection_weights(*scaled))
