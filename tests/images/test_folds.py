"""Which images are held out together."""

from __future__ import annotations

import numpy as np
import pytest

from patchebm.errors import DataError
from patchebm.images.folds import assign_folds, outer_folds, parts_of

RNG = np.random.default_rng


def test_images_of_one_part_share_a_fold_and_folds_are_even() -> None:
    groups = [f"part {i // 6}" for i in range(60)]
    folds = assign_folds(groups, 5, RNG(0))
    for part in set(groups):
        assert len({int(f) for f, g in zip(folds, groups, strict=True) if g == part}) == 1
    assert np.bincount(folds).tolist() == [12] * 5


def test_every_fold_can_have_a_standard_deviation() -> None:
    assert np.bincount(assign_folds(list(range(5)), 5, RNG(0))).min() >= 2


@pytest.mark.parametrize(
    "groups", [[0, 1, 2], [0, 1, 2, 3, 4], ["a"] * 9, ["a", "b"] * 9, ["a"] * 9 + ["b", "c"]]
)
def test_too_few_images_to_hold_out_are_refused(groups: list[object]) -> None:
    with pytest.raises(DataError, match=f"{len(groups)} good images of .* too few .* at least 6"):
        outer_folds(groups, 5, 0)  # type: ignore[arg-type]


def test_six_images_are_enough() -> None:
    assert np.bincount(outer_folds(list(range(6)), 5, 0)).tolist() == [2, 2, 2]


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
