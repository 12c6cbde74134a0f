"""Images that differ as a whole are found, and what is said of them holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from patchebm.check.thumbnails import SIDE, cells_of, oddest, thumbnail_of
from patchebm.images.photo import Photo
from patchebm.images.profile import Traits
from tests.tiny import flanges


def found(folder: Path, images: list[np.ndarray], most: int = 1) -> list[tuple[int, str]]:
    photos = []
    for i, image in enumerate(images):
        path = folder / f"{i}.png"
        Image.fromarray(np.rint(255 * image.clip(0, 1)).astype(np.uint8)).save(path)
        photos.append(Photo(path))
    odd = oddest(
        [Traits.of(photo) for photo in photos], np.stack([thumbnail_of(p.pixels) for p in photos]), most
    )
    return [(one.index, "; ".join(one.reasons)) for one in odd]


def test_a_look_holds_the_means_of_cells() -> None:
    image = np.zeros((64, 32, 3), np.float32)
    image[:32, :, 0] = 1
    look = thumbnail_of(image).reshape(SIDE, SIDE, 3)
    assert look[: SIDE // 2, :, 0].min() == 1
    assert not look[SIDE // 2 :].any()
    assert not look[..., 1:].any()
    cells = cells_of(thumbnail_of(image)[None]).reshape(4, 4, 3)
    assert cells[:2, :, 0].tolist() == np.ones((2, 4)).tolist()
    assert not cells[2:].any()
    grey = thumbnail_of(image[..., :1]).reshape(SIDE, SIDE, 3)
    assert (grey == look[..., :1]).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x: 0.5 * x, "darker than others"),
        (lambda x: 1.6 * x, "brighter than others"),
        (lambda x: np.roll(x, 20, axis=1), "as far from the images most like it as others are"),
        (lambda x: x[:, :32], "32 x 64 pixels, where 64 x 64 is the median"),
        (
            lambda x: (
                np.asarray(
                    Image.fromarray(np.rint(255 * x).astype(np.uint8)).reduce(4).resize((64, 64)), np.float32
                )
                / 255
            ),
            "less sharp than others",
        ),
    ],
)
def test_the_odd_one_is_found_and_in_what_it_differs(tmp_path: Path, change: object, words: str) -> None:
    images = flanges(20)
    images[7] = change(images[7])  # type: ignore[operator]
    ((index, said),) = found(tmp_path, images)
    assert index == 7
    assert words in said


def test_an_image_much_like_others_is_not_odd_for_its_look(tmp_path: Path) -> None:
    images = flanges(20)
    # The mean of all is nearer to each than they are to each other.
    images.append(np.mean(images, axis=0))
    ((index, said),) = found(tmp_path, images, 1)
    assert index != 20 or "most like it" not in said


def test_few_and_equal_images(tmp_path: Path) -> None:
    assert oddest([], np.zeros((0, SIDE * SIDE * 3), np.float32), 3) == []
    assert found(tmp_path, flanges(1), 3) == []
    assert len(found(tmp_path, [flanges(1)[0]] * 4, 3)) == 3
