"""Heat maps over images: transparent where it is cold, stronger where it is hotter."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from patchebm.runtime.overlay import heat_overlay, side_by_side


def rgb_image(height: int = 20, width: int = 30) -> npt.NDArray[np.float32]:
    return np.random.default_rng(0).random((height, width, 3)).astype(np.float32)


def luminance(image: Image.Image) -> npt.NDArray[np.float64]:
    return np.asarray(image, dtype=np.float64) @ np.array([0.2126, 0.7152, 0.0722])


def test_where_the_heat_is_low_the_grey_image_shows() -> None:
    image = rgb_image()
    heat = np.full((20, 30), -5.0, dtype=np.float32)
    heat[:, 15:] = 10.0
    overlay = np.asarray(heat_overlay(image, heat, low=-5.0, high=1.0))
    pillow_grey = np.asarray(Image.fromarray(np.rint(image * 255).astype(np.uint8)).convert("L")).astype(int)
    assert np.abs(overlay[:, :15].astype(int) - pillow_grey[:, :15, None]).max() <= 1
    # The hottest colour is a saturated yellow, which no grey is.
    hot = overlay[:, 15:].astype(int)
    assert (hot[..., 0] - hot[..., 2]).min() > 100


def test_a_grey_image_shows_as_it_is() -> None:
    image = rgb_image()[..., :1]
    overlay = np.asarray(heat_overlay(image, np.zeros((20, 30), dtype=np.float32), low=0.0, high=1.0))
    assert np.array_equal(overlay, np.rint(np.repeat(image, 3, axis=2) * 255))


def test_hotter_is_lighter_and_farther_from_the_image() -> None:
    heat = np.linspace(-1.0, 3.0, 41, dtype=np.float32)[None, :]
    black = np.zeros((1, 41, 3), dtype=np.float32)
    shade = luminance(heat_overlay(black, heat, low=0.0, high=2.0))[0]
    assert np.all(shade[:11] == 0)
    assert np.all(np.diff(shade[10:31]) > 0)
    assert np.all(shade[30:] == shade[30])
    # Where the image is white its own share shrinks: the overlay hides it more and more, never all of it.
    white = np.asarray(heat_overlay(black + 1, heat, low=0.0, high=2.0), dtype=np.float64)[0]
    share = (white - np.asarray(heat_overlay(black, heat, low=0.0, high=2.0))[0]).mean(axis=1) / 255
    assert share[0] == 1
    assert np.all(np.diff(share[10:31]) < 0)
    assert share[30] == pytest.approx(0.25, abs=0.01)


def test_low_and_high_are_absolute() -> None:
    """The same heat looks the same whatever else is in the map: overlays of a product can be compared."""
    image = rgb_image()
    heat = np.random.default_rng(1).random((20, 30)).astype(np.float32)
    hotter = heat.copy()
    hotter[0, 0] = 100.0
    first = np.asarray(heat_overlay(image, heat, low=0.2, high=0.8))
    second = np.asarray(heat_overlay(image, hotter, low=0.2, high=0.8))
    assert np.array_equal(first[1:], second[1:])


@pytest.mark.parametrize(("mask", "panels"), [(False, 2), (True, 3)])
def test_panels_stand_side_by_side(mask: bool, panels: int) -> None:
    image = rgb_image()
    overlay = heat_overlay(image, np.zeros((20, 30), dtype=np.float32), low=0.0, high=1.0)
    defects = np.zeros((20, 30), dtype=bool)
    defects[5:9, 6:12] = True
    sheet = side_by_side(image, overlay, defects if mask else None)
    gap = (sheet.width - panels * 30) // (panels - 1)
    assert sheet.size == (panels * 30 + (panels - 1) * gap, 20)
    pixels = np.asarray(sheet)
    original = np.rint(image * 255).astype(np.uint8)
    assert np.array_equal(pixels[:, :30], original)
    assert np.array_equal(pixels[:, 30 + gap : 60 + gap], np.asarray(overlay))
    if mask:
        panel = pixels[:, 60 + 2 * gap :]
        assert np.array_equal(panel[defects], original[defects])
        assert panel[0].max() < 0.5 * 255
        assert tuple(panel[4, 8]) == (51, 230, 255)


def test_what_does_not_fit_is_refused() -> None:
    image, heat = rgb_image(), np.zeros((20, 30), dtype=np.float32)
    overlay = heat_overlay(image, heat, low=0.0, high=1.0)
    with pytest.raises(ValueError, match="does not fit an image"):
        heat_overlay(image, heat[1:], low=0.0, high=1.0)
    with pytest.raises(ValueError, match="low must be below high"):
        heat_overlay(image, heat, low=1.0, high=1.0)
    with pytest.raises(ValueError, match="not finite"):
        heat_overlay(image, heat + np.nan, low=0.0, high=1.0)
    with pytest.raises(ValueError, match="must have the shape"):
        heat_overlay(image[..., :2], heat, low=0.0, high=1.0)
    with pytest.raises(ValueError, match="overlay of size"):
        side_by_side(image[1:], overlay, None)
    with pytest.raises(ValueError, match="mask of shape"):
        side_by_side(image, overlay, np.zeros((3, 3), dtype=bool))


def test_regions_are_outlined_and_nothing_else_changes() -> None:
    image, heat = np.full((60, 90, 3), 0.5, np.float32), np.zeros((60, 90), np.float32)
    heat[20:30, 40:60] = 3
    mask = heat > 1
    plain = np.asarray(heat_overlay(image, heat, low=0, high=4))
    drawn = np.asarray(heat_overlay(image, heat, low=0, high=4, mask=mask))
    around = np.zeros_like(mask)
    around[19:31, 39:61] = True
    around &= ~mask
    assert np.array_equal((drawn != plain).any(axis=2), around)
    assert len(np.unique(drawn[around], axis=0)) == 1
    assert np.array_equal(np.asarray(heat_overlay(image, heat, low=0, high=4, mask=mask & False)), plain)
    # Thicker on larger images, and cut off at their edges.
    wide = np.zeros((9, 900), bool)
    wide[:2, :5] = True
    cut = np.asarray(
        heat_overlay(np.zeros((9, 900, 1), np.float32), wide * np.float32(0), low=0, high=1, mask=wide)
    )
    outline = np.zeros_like(wide)
    outline[:5, :8] = True
    assert np.array_equal(cut.any(axis=2), outline & ~wide)
    with pytest.raises(ValueError, match="a mask of shape"):
        heat_overlay(image, heat, low=0, high=4, mask=mask[1:])
