"""Which pixels of a mask mark a defect, however the mask was saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from patchebm.images.folders import open_image_set
from patchebm.images.masks import Mask, joined, mask_of
from patchebm.images.reading import read_mask, read_masks


def disc(side: int = 96, radius: int = 20) -> NDArray[np.bool_]:
    y, x = np.mgrid[:side, :side]
    return np.asarray((y - 40) ** 2 + (x - 50) ** 2 < radius**2)


def saved(path: Path, values: NDArray[Any], **options: Any) -> Path:
    Image.fromarray(values).save(path, **options)
    return path


@pytest.mark.parametrize("quality", [50, 75, 95])
@pytest.mark.parametrize("again", [False, True])
def test_a_mask_saved_as_jpeg_marks_what_it_was_drawn_on(tmp_path: Path, quality: int, again: bool) -> None:
    truth = disc()
    file = saved(tmp_path / "m.jpg", truth.astype(np.uint8) * 255, quality=quality)
    if again:  # as PNG, from which the JPEG can no longer be told
        with Image.open(file) as noisy:
            noisy.save(file := tmp_path / "m.png")
    found = read_masks([file], truth.shape)
    assert found.shades
    # Any value but zero, as it was read before, marks a fifth more than there is.
    with Image.open(file) as noisy:
        assert np.count_nonzero((np.asarray(noisy) > 0) != truth) > 0.2 * truth.sum() * (quality == 50)
    assert np.count_nonzero(found.pixels != truth) <= 0.02 * truth.sum()


def test_a_mask_that_was_scaled_keeps_its_size() -> None:
    small = Image.fromarray(disc().astype(np.uint8) * 255).resize((48, 48), Image.Resampling.BILINEAR)
    found = mask_of(np.asarray(small))
    assert found.shades
    assert found.pixels.sum() == pytest.approx(disc().sum() / 4, rel=0.05)


@pytest.mark.parametrize("values", [(255,), (1,), (1, 2, 3), (1, 255), (85, 170, 255), tuple(range(1, 41))])
def test_every_label_marks_a_defect(values: tuple[int, ...]) -> None:
    mask = np.zeros((100, 120), np.uint8)
    for i, value in enumerate(values):
        mask[12 * (i // 6) : 12 * (i // 6) + 6, 14 * (i % 6) : 14 * (i % 6) + 6] = value
    found = mask_of(mask)
    np.testing.assert_array_equal(found.pixels, mask > 0)
    assert not found.shades
    assert found.labels == (values if len(values) > 1 else ())


def test_an_inverted_mask_is_told_from_a_large_defect() -> None:
    assert mask_of((~disc()).astype(np.uint8)).marks_most
    assert not mask_of(disc().astype(np.uint8)).marks_most
    large = np.zeros((50, 50), np.uint8)
    large[3:47, 3:47] = 1
    assert not mask_of(large).marks_most


def test_several_masks_of_one_image_are_joined(tmp_path: Path) -> None:
    left, right = (np.zeros((8, 8), np.uint8) for _ in range(2))
    left[2, 2], right[5:7, 5:7] = 255, 254
    files = [saved(tmp_path / f"{i}.png", values) for i, values in enumerate((left, right))]
    found = read_masks(files, (8, 8))
    np.testing.assert_array_equal(found.pixels, (left > 0) | (right > 0))
    assert joined([Mask(left > 0), Mask(right > 0, labels=(1, 2))]).labels == (1, 2)


@pytest.mark.parametrize("name", ["magnetic_tile", "screw", "tire", "capsules"])
def test_real_masks_are_read_as_they_are_and_through_jpeg(real_data: Path, name: str, tmp_path: Path) -> None:
    masks = [image.masks[0] for image in open_image_set(real_data / name).test if image.masks]
    for file in masks[:: max(1, len(masks) // 8)]:
        with Image.open(file) as opened:
            values = np.asarray(opened.convert("L"))
        truth = values > 0
        found = mask_of(values)
        np.testing.assert_array_equal(found.pixels, truth)
        assert not found.shades
        assert not found.labels
        again = saved(tmp_path / "m.jpg", truth.astype(np.uint8) * 255, quality=90)
        # The line between a pixel in and a pixel out may move by one where a region is that thin.
        inside = ndimage.binary_erosion(truth, iterations=1)
        around = ndimage.binary_dilation(truth, iterations=1)
        noisy = read_mask(again, truth.shape)
        assert (noisy >= inside).all()
        assert (noisy <= around).all()
