"""An image seen before is recognised, and one of a like part is not taken for it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from patchebm.errors import DataError, ImageError
from patchebm.images.fingerprints import (
    NEAR,
    Duplicate,
    Fingerprints,
    find_duplicates,
    load_fingerprints,
    take_fingerprints,
)
from patchebm.images.folders import open_image_set


def textures(folder: Path, count: int, seed: int) -> list[Path]:
    """Photographs of like parts: one ground in common, detail of their own."""
    folder.mkdir()
    ground = np.random.default_rng(0).random((20, 20))
    rng = np.random.default_rng(seed)
    paths = []
    for i in range(count):
        layers = (ground, rng.random((20, 20)), rng.random((50, 50)))
        sheets = [
            np.asarray(Image.fromarray(layer.astype(np.float32)).resize((256, 256), Image.Resampling.BICUBIC))
            for layer in layers
        ]
        grey = 40 + 80 * sheets[0] + 20 * sheets[1] + 20 * sheets[2]
        paths.append(folder / f"{i}.png")
        Image.fromarray(grey.clip(0, 255).astype(np.uint8)).convert("RGB").save(paths[-1])
    return paths


@pytest.fixture
def train(tmp_path: Path) -> list[Path]:
    return textures(tmp_path / "train", 8, seed=1)


def found(train: list[Path], test: list[Path]) -> list[Duplicate]:
    return find_duplicates(*(take_fingerprints(paths, paths[0].parent) for paths in (train, test)))


def test_the_same_bytes_are_an_exact_copy(train: list[Path], tmp_path: Path) -> None:
    test = textures(tmp_path / "test", 3, seed=2)
    test[1].write_bytes(train[4].read_bytes())
    assert found(train, test) == [Duplicate("1.png", "4.png", True, 1.0)]


def test_the_same_photograph_saved_again_is_nearly_one(train: list[Path], tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    with Image.open(train[2]) as image:
        changed = {
            "half": image.resize((128, 128)),
            "grey": image.convert("L"),
            "brighter": ImageEnhance.Brightness(image).enhance(1.1),
            "contrast": ImageEnhance.Contrast(image).enhance(0.9),
        }
        for name, image in changed.items():
            image.save(tmp_path / "again" / f"{name}.png")
        image.save(tmp_path / "again" / "packed.jpg", quality=90)
    duplicates = found(train, sorted((tmp_path / "again").iterdir()))
    assert [d.test for d in duplicates] == [
        "brighter.png",
        "contrast.png",
        "grey.png",
        "half.png",
        "packed.jpg",
    ]
    assert all(d.train == "2.png" and not d.exact and NEAR <= d.similarity <= 1 for d in duplicates)


def test_like_parts_and_blank_images_are_no_copies(train: list[Path], tmp_path: Path) -> None:
    test = textures(tmp_path / "test", 20, seed=3)
    for value in (0, 128, 255):
        test.append(tmp_path / "test" / f"blank{value}.png")
        Image.new("RGB", (100, 100), (value, value, value)).save(test[-1])
    assert found(train, test) == []
    # Nor are blank images copies of blank ones, unless their bytes are.
    assert [d.exact for d in found(test[-3:], test[-3:])] == [True] * 3
    assert found(test[-3:-2], test[-2:-1]) == []


def test_they_are_kept_in_a_file(train: list[Path], tmp_path: Path) -> None:
    odd = train[0].rename(train[0].with_name("ü \udce9.png"))
    taken = take_fingerprints([odd, *train[1:]], train[0].parent.parent)
    taken.save(tmp_path / "kept.npz")
    kept = load_fingerprints(tmp_path / "kept.npz")
    assert kept.names == taken.names == ["train/ü \udce9.png", *(f"train/{i}.png" for i in range(1, 8))]
    assert kept.sha256 == taken.sha256
    assert np.array_equal(kept.details, taken.details)


def test_a_file_that_holds_none_is_named(train: list[Path], tmp_path: Path) -> None:
    file = tmp_path / "kept.npz"
    take_fingerprints(train, tmp_path).save(file)
    whole = file.read_bytes()
    stream = io.BytesIO()
    np.savez(stream, names=np.array([b"a"]), sha256=np.array(["0"]), details=np.zeros((2, 64, 64), np.int8))
    for content in (whole[:-30], b"", b"text", stream.getvalue()):
        file.write_bytes(content)
        with pytest.raises(DataError, match=r"kept\.npz"):
            load_fingerprints(file)
    file.unlink()
    with pytest.raises(DataError, match=r"kept\.npz"):
        load_fingerprints(file)


def test_a_image_that_cannot_be_read_is_named(train: list[Path]) -> None:
    train[3].write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"3\.png"):
        take_fingerprints(train, train[0].parent)


@pytest.mark.parametrize("name", ["bottle", "circuitboard"])
def test_no_real_test_image_is_taken_for_a_training_image(real_data: Path, name: str) -> None:
    image_set = open_image_set(real_data / name)
    train = take_fingerprints([p.path for p in image_set.train], image_set.root)
    test = take_fingerprints([p.path for p in image_set.test], image_set.root)
    assert find_duplicates(train, test) == []
    # The check can fail: every training image is its own copy.
    again = Fingerprints(train.names, ["other"] * len(train.names), train.details)
    assert len(find_duplicates(train, again)) == len(train.names)
