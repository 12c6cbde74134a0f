"""The region of interest, however it was drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from patchebm.errors import DataError
from patchebm.images.region import read_region

INSIDE = np.zeros((40, 60), dtype=bool)
INSIDE[10:30, 12:42] = True
WHITE, BLACK, CLEAR_WHITE, CLEAR_BLACK = (
    (255, 255, 255, 255), (0, 0, 0, 255), (255, 255, 255, 0), (0, 0, 0, 0),
)  # fmt: skip
RED_GLASS = (255, 0, 0, 90)


@pytest.mark.parametrize(
    ("inside", "outside"),
    [
        (WHITE, BLACK),
        (WHITE, CLEAR_WHITE),
        (WHITE, CLEAR_BLACK),
        (RED_GLASS, CLEAR_WHITE),
        (RED_GLASS, BLACK),
        ((255, 255, 255, 255), (20, 20, 20, 255)),
    ],
)
def test_what_is_drawn_is_inspected(
    tmp_path: Path, inside: tuple[int, ...], outside: tuple[int, ...]
) -> None:
    drawn = np.where(INSIDE[:, :, None], inside, outside).astype(np.uint8)
    Image.fromarray(drawn).save(tmp_path / "roi.png")
    found = read_region(tmp_path / "roi.png")
    np.testing.assert_array_equal(found.pixels, INSIDE)
    assert found.share == pytest.approx(0.25)


def test_grey_with_alpha_and_without(tmp_path: Path) -> None:
    for mode in ("L", "LA"):
        image = Image.fromarray(
            np.full(INSIDE.shape, 255, np.uint8) if mode == "LA" else INSIDE * np.uint8(255)
        )
        if mode == "LA":
            image = image.convert("LA")
            image.putalpha(Image.fromarray(INSIDE * np.uint8(255)))
        image.save(tmp_path / "roi.png")
        np.testing.assert_array_equal(read_region(tmp_path / "roi.png").pixels, INSIDE)


@pytest.mark.parametrize("colour", [BLACK, CLEAR_WHITE, WHITE])
def test_nothing_and_everything_is_refused(tmp_path: Path, colour: tuple[int, ...]) -> None:
    Image.new("RGBA", (6, 4), colour).save(tmp_path / "roi.png")
    with pytest.raises(DataError, match=r"roi\.png is .*; "):
        read_region(tmp_path / "roi.png")


def test_another_aspect_is_refused_and_another_size_is_not(tmp_path: Path) -> None:
    Image.fromarray(INSIDE).save(tmp_path / "roi.png")
    found = read_region(tmp_path / "roi.png")
    for height, width in ((40, 60), (400, 600), (333, 500), (41, 61)):
        found.require_aspect(height, width, Path("a.png"))
    for height, width in ((60, 40), (256, 256), (40, 64)):
        with pytest.raises(DataError, match=r"60 x 40 pixels.*a\.png of .*; draw it on one of the images"):
            found.require_aspect(height, width, Path("a.png"))
