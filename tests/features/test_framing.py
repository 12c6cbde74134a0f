"""Which part of images is inspected: what has structure, and all of it where nothing stands out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from patchebm.config.features import ExtractorConfig
from patchebm.features.framing import STEPS, WHOLE, Framing, cut

CONFIG = ExtractorConfig()


def parts(n: int, size: tuple[int, int], box: tuple[int, int, int, int]) -> list[np.ndarray]:
    """Grey images of noise in a box (top, bottom, left, right in pixels) on a plain ground."""
    rng = np.random.default_rng(0)
    top, bottom, left, right = box
    out = []
    for _ in range(n):
        image = rng.normal(0.24, 0.002, (*size, 1)).astype(np.float32)
        image[top:bottom, left:right] = 0.8 * rng.random((bottom - top, right - left, 1), dtype=np.float32)
        out.append(image.clip(0, 1))
    return out


def test_the_box_holds_the_part_and_a_margin_and_little_more() -> None:
    framing = Framing.learn(parts(20, (640, 640), (160, 480, 240, 400)), CONFIG, crop=True)
    top, bottom, left, right = framing.box
    assert not framing.whole
    assert top <= 16 <= 48 <= bottom
    assert left <= 24 <= 40 <= right
    assert bottom - top <= 32 + 12
    assert right - left <= 16 + 12
    assert framing.share == pytest.approx((bottom - top) * (right - left) / STEPS**2)
    assert "% of the image" in framing.describe()


def test_nothing_is_cut_where_structure_is_everywhere_or_nowhere_or_crop_is_off() -> None:
    everywhere = parts(5, (300, 300), (0, 300, 0, 300))
    nowhere = [np.full((100, 100, 1), 0.5, np.float32)] * 3
    for images in (everywhere, nowhere, []):
        assert Framing.learn(images, CONFIG, crop=True).box == WHOLE
    small = parts(5, (300, 300), (100, 160, 100, 160))
    assert not Framing.learn(small, CONFIG, crop=True).whole
    assert Framing.learn(small, CONFIG, crop=False).whole
    assert Framing.learn(small, replace(CONFIG, crop=False), crop=True).whole


def test_size_follows_what_the_camera_gave_inside_the_box() -> None:
    assert Framing.learn(parts(3, (600, 500), (0, 600, 0, 500)), CONFIG, crop=True).size == (384, 384)
    assert Framing.learn(parts(3, (300, 300), (0, 300, 0, 300)), CONFIG, crop=True).size == (256, 256)
    # 800 pixels, of which the part covers 160.
    assert Framing.learn(parts(3, (800, 800), (300, 460, 300, 460)), CONFIG, crop=True).size == (256, 256)
    named = Framing.learn(parts(3, (600, 500), (0, 600, 0, 500)), replace(CONFIG, size=(64, 128)), crop=True)
    assert (named.size, named.grid) == ((64, 128), (8, 16))


def test_the_reason_of_a_size_names_the_pixels_of_the_camera_and_what_the_size_costs() -> None:
    large = Framing.learn(parts(3, (640, 360), (0, 640, 0, 360)), CONFIG, crop=True).reason()
    assert large == (
        "384 px were taken because good images have about 480 px there themselves; at 256 px an image would "
        "take about 44 % of the time (--features.size '[256, 256]')"
    )
    small = Framing.learn(parts(3, (300, 300), (0, 300, 0, 300)), CONFIG, crop=True).reason()
    assert small == (
        "256 px were taken because good images have about 300 px there themselves, and a larger size would "
        "show nothing more"
    )


def test_cut_rounds_outwards_and_keeps_the_whole_image_as_it_is() -> None:
    x = torch.arange(100.0 * 64).view(1, 1, 100, 64)
    assert cut(x, WHOLE) is x
    part = cut(x, (32, 63, 1, 2))
    # 100 rows * 32 / 64 = 50 to 100 * 63 / 64 = 98.4; columns 1 to 2.
    assert torch.equal(part, x[..., 50:99, 1:2])


def test_it_comes_back_from_plain_values() -> None:
    framing = Framing((256, 320), (32, 40), (3, 60, 0, 64), (500, 700))
    assert Framing.from_dict(framing.to_dict()) == framing
    with pytest.raises(ValueError, match="does not lie"):
        Framing.from_dict(framing.to_dict() | {"box": [5, 5, 0, 64]})
    with pytest.raises(KeyError):
        Framing.from_dict({"size": [1, 1]})
