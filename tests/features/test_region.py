"""The region of interest at the size of the features."""

from __future__ import annotations

import numpy as np
import pytest

from patchebm.errors import DataError
from patchebm.features.region import region_of


def test_no_pixel_outside_has_any_part_in_what_is_inside() -> None:
    mask = np.zeros((256, 384), dtype=bool)
    mask[41:203, 35:355] = True
    region = region_of(mask, (64, 96)).numpy().astype(bool)
    # The antialiased resize by four takes from eight pixels: those of a kept place are all inside.
    inside = np.zeros_like(region)
    for row in range(64):
        for column in range(96):
            top, left = max(0, 4 * row - 2), max(0, 4 * column - 2)
            inside[row, column] = mask[top : 4 * row + 6, left : 4 * column + 6].all()
    np.testing.assert_array_equal(region, inside)


def test_everything_is_inside_of_a_white_mask_of_any_size() -> None:
    assert (region_of(np.ones((7, 200), dtype=bool), (64, 64)) == 1).all()


def test_too_little_to_inspect_is_refused() -> None:
    mask = np.zeros((64, 64), dtype=bool)
    mask[:31, :31] = True
    with pytest.raises(DataError, match=r"has \d+ of 64 x 64 pixels, too few to inspect"):
        region_of(mask, (64, 64))
