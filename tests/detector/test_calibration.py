"""Folds, position statistics and ensemble rule."""

from __future__ import annotations

import numpy as np
import pytest

from patchebm.detector.combine import combine
from patchebm.detector.folds import assign_folds, outer_folds, parts_of
from patchebm.detector.positions import PositionStandardiser
from patchebm.errors import DataError

RNG = np.random.default_rng


def test_images_of_one_part_share_a_fold_and_folds_are_even() -> None:
    groups = [f"part {i // 6}" for i in range(60)]
    folds = assign_folds(groups, 5, RNG(0))
    for part in set(groups):
        assert len({int(f) for f, g in zip(folds, groups, strict=True) if g == part}) == 1
    assert np.bincount(folds).tolist() == [12] * 5


def test_every_fold_can_have_a_spread() -> None:
    assert np.bincount(assign_folds(list(range(5)), 5, RNG(0))).min() >= 2


@pytest.mark.parametrize(
    "groups", [[0, 1, 2], [0, 1, 2, 3, 4], ["a"] * 9, ["a", "b"] * 9, ["a"] * 9 + ["b", "c"]]
)
def test_too_few_images_to_hold_out_are_refused(groups: list[object]) -> None:
    with pytest.raises(DataError, match=f"{len(groups)} good images of .* too few .* at least 6"):
        outer_folds(groups, 5, 0)  # type: ignore[arg-type]


def test_six_images_are_enough() -> None:
    assert np.bincount(outer_folds(list(range(6)), 5, 0)).tolist() == [2, 2, 2]


def test_left_out_statistics_are_those_of_the_others() -> None:
    values = RNG(0).normal(size=(8, 5)) * 3 + 7
    left_out = PositionStandardiser().fit_transform_left_out(values)
    for i in range(8):
        others = PositionStandardiser().fit(np.delete(values, i, axis=0))
        np.testing.assert_allclose(left_out[i], others.transform(values[i : i + 1])[0], rtol=1e-9)


def test_standardised_values_of_new_normals_have_unit_spread() -> None:
    scale = np.array([1.0, 10.0])
    standardiser = PositionStandardiser().fit(RNG(0).normal(size=(4000, 2)) * scale + 5)
    new = standardiser.transform(RNG(1).normal(size=(4000, 2)) * scale + 5)
    np.testing.assert_allclose(new.mean(0), 0, atol=0.1)
    # A fifth of the variance is the mean of both positions': (0.8 * 100 + 0.2 * 50.5) for the wide one.
    np.testing.assert_allclose(new.std(0), scale / np.sqrt(0.8 * scale**2 + 0.2 * 50.5), rtol=0.05)


def test_constant_values_stay_finite() -> None:
    standardiser = PositionStandardiser().fit(np.full((4, 3), 2.0))
    assert np.isfinite(standardiser.transform(np.array([[2.0, 3.0, 1.0]]))).all()


def test_the_ensemble_follows_the_level_that_is_sure_and_adds_doubts() -> None:
    sure = combine(np.array([[9.0, 0.0], [0.0, 9.0]]))
    np.testing.assert_allclose(sure, 9, atol=1e-3)
    assert combine(np.array([[2.0, 2.0]]))[0] > combine(np.array([[2.0, 0.0]]))[0]
    np.testing.assert_allclose(combine(np.array([[1.5], [-2.0]])), [1.5, -2.0])


def test_neighbours_of_unknown_part_are_held_out_together() -> None:
    known: list[str | None] = ["a", None, "a", *[None] * 97]
    parts = parts_of(known, consecutive=True)
    assert parts[0] == parts[2] == "a"
    # 100 images in runs of five.
    assert parts[3] == parts[4] != parts[5]
    assert len(set(parts[5:10])) == 1
    folds = outer_folds(parts, 4, seed=0)
    assert len(set(folds[5:10])) == 1
    # Every fold has runs from both halves of the series.
    for fold in range(4):
        assert (folds[5:50] == fold).any()
        assert (folds[50:] == fold).any()
    alone = parts_of(known, consecutive=False)
    assert len(set(alone)) == 99
    # Few images are parts of their own.
    assert len(set(parts_of([None] * 20, consecutive=True))) == 20
