"""Images that a model learns from: copies count once, and what is too few says how many there are."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

from patchebm.errors import DataError
from patchebm.images.fingerprints import find_originals, take_fingerprints
from patchebm.images.folders import GOOD, ImageFile
from patchebm.images.taking import Copies, TakenImages
from tests.images.test_fingerprints import textures


@pytest.fixture
def photographs(tmp_path: Path) -> list[Path]:
    return textures(tmp_path / "train", 8, seed=1)


def originals(paths: list[Path]) -> list[int]:
    return find_originals(take_fingerprints(paths, paths[0].parent)).tolist()


def test_photographs_of_like_parts_are_all_originals(photographs: list[Path]) -> None:
    assert originals(photographs) == list(range(8))


def test_copies_find_their_original(photographs: list[Path], tmp_path: Path) -> None:
    copies = [tmp_path / name for name in ("exact.png", "again.jpg", "half.png")]
    shutil.copy(photographs[3], copies[0])
    with Image.open(photographs[3]) as image:
        image.save(copies[1], quality=90)
        image.resize((128, 128)).save(copies[2])
    assert originals([*photographs, *copies]) == [*range(8), 3, 3, 3]
    # The first of the files is the original, whichever was copied from which.
    assert originals([copies[1], *photographs]) == [0, 1, 2, 3, 0, 5, 6, 7, 8]


def test_one_frame_twenty_times_is_one_photograph(photographs: list[Path], tmp_path: Path) -> None:
    """Also where copies are so many that they are what the set has in common, or all there is."""
    frames = []
    with Image.open(photographs[0]) as image:
        for quality in range(76, 96):
            frames.append(tmp_path / f"{quality}.jpg")
            image.save(frames[-1], quality=quality)
    assert originals([*photographs, *frames]) == [*range(8), *[0] * 20]
    assert originals(frames) == [0] * 20


@pytest.mark.parametrize("name", ["bottle", "circuitboard", "tire"])
def test_real_photographs_are_no_copies(real_data: Path, name: str) -> None:
    paths = sorted((real_data / name / "train" / "good").iterdir())[:20]
    assert originals(paths) == list(range(20))


def taken(paths: list[Path]) -> TakenImages:
    images = TakenImages([ImageFile(path, GOOD) for path in paths], paths[0].parent)
    for _ in images:
        pass
    return images


def test_a_sentence_counts_the_copies_and_names_one(photographs: list[Path]) -> None:
    shutil.copy(photographs[2], photographs[0].parent / "copy.png")
    copies = taken([*photographs, photographs[0].parent / "copy.png"]).find_copies()
    assert copies.copies == {"copy.png": "2.png"}
    assert copies.distinct == list(range(8))
    assert copies.sentence() == (
        "1 of 9 images is a copy of others, or nearly (such as copy.png of 2.png); each photograph counts "
        "once, which leaves 8"
    )
    assert taken(photographs).find_copies().sentence() == ""


def test_every_minimum_counts_photographs() -> None:
    Copies([str(i) for i in range(6)], range(6)).require("train")
    with pytest.raises(DataError, match=r"^5 good images are too few to train; give at least 6"):
        Copies([str(i) for i in range(5)], range(5)).require("train")
    with pytest.raises(DataError, match="7 images, of which all but 5 are copies, are too few"):
        Copies([str(i) for i in range(7)], [0, 1, 2, 3, 4, 4, 0]).require("train")


def test_what_was_taken_is_known(photographs: list[Path]) -> None:
    bad = photographs[0].parent / "bad.png"
    bad.write_bytes(b"no image")
    images = taken([*photographs, bad])
    assert [image.path for image in images.good] == photographs
    assert [image.path for image, _ in images.bad] == [bad]
    assert images.profile.images == 8
    assert images.profile.kinds == {"PNG": 8}
    assert images.fingerprints.names == [path.name for path in photographs]
    assert images.sha256() != images.sha256([bad])
