"""The first look: every image comes out once, bit by bit, and memory is bounded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pytest

from patchebm.detector import survey as module
from patchebm.detector.survey import Decoded, Survey
from patchebm.detector.survey import decoded as decoded_by
from patchebm.errors import ImageError
from patchebm.runtime.inputs import Image, pixels_of


def decoded(images: Iterable[Image]) -> Iterator[Decoded]:
    return decoded_by(images, pixels_of)


def images(n: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    kinds = [
        rng.integers(0, 256, (20, 30, 3), dtype=np.uint8),
        rng.integers(0, 65536, (20, 30, 1), dtype=np.uint16),
        rng.random((9, 40, 3)),
    ]
    return [kinds[i % 3] for i in range(n)]


@pytest.mark.parametrize("most", [1, 2, 64])
def test_every_image_comes_out_once_and_exactly(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(module, "MAX_IMAGES", most)
    asked = []

    def source() -> Iterator[np.ndarray]:
        for i, image in enumerate(images(5)):
            asked.append(i)
            yield image

    survey = Survey(decoded(source()))
    assert survey.found == min(most, 5)
    out = list(survey)
    assert asked == [0, 1, 2, 3, 4]
    for one, expected in zip(out, decoded(images(5)), strict=True):
        assert one.name == expected.name
        assert one.pixels.dtype == np.float32
        assert np.array_equal(one.pixels, expected.pixels)


def test_large_images_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 4000)
    survey = Survey(decoded([np.zeros((50, 50, 3), np.uint8)] * 4))
    assert survey.found == 1
    assert len(list(survey.some(10))) == 1
    assert len(list(survey)) == 4


def test_some_are_evenly_spaced() -> None:
    survey = Survey(decoded([np.full((8, 8), i, np.uint8) for i in range(9)]))
    assert [round(float(one[0, 0, 0]) * 255) for one in survey.some(3)] == [0, 4, 8]


def test_grey_and_colour_are_told_apart() -> None:
    grey = np.zeros((8, 8), np.uint8)
    colour = np.zeros((8, 8, 3), np.uint8)
    assert Survey(decoded([grey, colour])).grey
    colour = colour.copy()
    colour[0, 0, 1] = 9
    assert not Survey(decoded([grey, colour])).grey


def test_what_cannot_be_read_is_named() -> None:
    with pytest.raises(ImageError, match="image 1"):
        Survey(decoded([np.zeros((8, 8), np.uint8), np.zeros((2, 2), np.uint8)]))
