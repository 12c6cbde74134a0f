"""Which images a calibration takes of a folder, and what it refuses."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

from patchebm.errors import DataError
from patchebm.images.calibration_images import (
    find_calibration_images,
    refuse_masks,
    refuse_trained,
    resembles_mask,
)
from patchebm.images.fingerprints import take_fingerprints
from patchebm.images.photo import Photo
from tests.images.test_fingerprints import textures


def names(*paths: Path, groups: str | None = None) -> list[str]:
    return [image.path.name for image in find_calibration_images(paths, groups)[0]]


def test_a_set_gives_its_good_training_images_and_no_defects(data: Path) -> None:
    train = sorted(path.name for path in (data / "train" / "good").iterdir())
    assert names(data) == train
    assert names(data / "train" / "good") == train
    # Twice the same folder, and a file in it: each image counts once.
    assert names(data, data / "train" / "good", data / "train" / "good" / train[0]) == train


def test_good_beside_bad_gives_the_good_ones(data: Path) -> None:
    assert names(data / "test") == sorted(path.name for path in (data / "test" / "good").iterdir())


def test_defects_and_masks_are_refused_by_where_they_lie(data: Path) -> None:
    defect = next(path for path in sorted((data / "test").iterdir()) if path.name != "good")
    for path in (defect, next(defect.iterdir())):
        with pytest.raises(DataError, match=f"belongs to the defect '{defect.name}'"):
            names(path)
    masks = next((data / "ground_truth").iterdir())
    for path in (masks, next(masks.iterdir())):
        with pytest.raises(DataError, match="belongs to masks"):
            names(path)
    with pytest.raises(DataError, match="nowhere does not exist"):
        names(data / "nowhere")


@pytest.mark.parametrize("name", ["bad", "NG", "not ok", "불량"])
def test_a_folder_called_bad_is_refused_wherever_it_lies(data: Path, tmp_path: Path, name: str) -> None:
    source = data / "test" / "good"
    bad = shutil.copytree(source, tmp_path / name)
    for path in (bad, next(bad.iterdir())):
        with pytest.raises(DataError, match=f"belongs to the defect '{name}' of .* good parts$"):
            names(path)
    good = shutil.copytree(source, tmp_path / "OK")
    with pytest.raises(DataError, match=f"such as {good}"):
        names(bad)
    assert names(good) == names(tmp_path) == sorted(path.name for path in good.iterdir())


def test_folders_of_masks_have_many_names(data: Path, tmp_path: Path) -> None:
    masks = shutil.copytree(data / "ground_truth", tmp_path / "GT")
    for path in (masks, next(masks.iterdir())):
        with pytest.raises(DataError, match="belongs to masks"):
            names(path)
    # Masks may be the product, too.
    product = shutil.copytree(data / "test" / "good", tmp_path / "masks" / "good")
    assert names(product)


def test_other_names_of_good_folders_on_request(data: Path, tmp_path: Path) -> None:
    named = shutil.copytree(data / "test" / "good", tmp_path / "test" / "fine")
    shutil.copytree(data / "test" / "good", tmp_path / "test" / "good")
    with pytest.raises(DataError, match="belongs to the defect 'fine'"):
        names(named)
    assert len(find_calibration_images([named], good=["fine"])[0]) == len(list(named.iterdir()))


def test_what_is_left_out_is_counted(data: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(data / "test" / "good", tmp_path / "new")
    shutil.copytree(data / "test" / "good", folder / "bad")
    (folder / "notes.txt").touch()
    images, left_out = find_calibration_images([folder])
    count = len(list((data / "test" / "good").iterdir()))
    assert len(images) == count
    assert {one.what: one.count for one in left_out}["images in bad"] == count
    assert any(one.example.name == "notes.txt" for one in left_out)


def test_groups_hold_for_folders_and_files(data: Path) -> None:
    images, _ = find_calibration_images([data, next((data / "test" / "good").iterdir())], "([0-9]+)")
    assert all(image.group is not None for image in images)


def test_masks_are_told_by_their_two_values(data: Path, tmp_path: Path) -> None:
    mask = Photo(next(next((data / "ground_truth").iterdir()).iterdir()))
    assert resembles_mask(mask)
    good = Photo(next((data / "test" / "good").iterdir()))
    assert not resembles_mask(good)
    # A photograph whose sampled rows are black is none, either.
    Image.linear_gradient("L").save(tmp_path / "gradient.png")
    assert not resembles_mask(Photo(tmp_path / "gradient.png"))
    refuse_masks(4, [mask.path] * 2)
    with pytest.raises(DataError, match=r"3 of 4 images, such as .* are black and white"):
        refuse_masks(4, [mask.path] * 3)


def test_what_was_trained_on_is_refused(tmp_path: Path) -> None:
    trained = textures(tmp_path / "train", 6, seed=1)
    new = textures(tmp_path / "new", 6, seed=2)
    known = take_fingerprints(trained, tmp_path)
    refuse_trained("RUN", known, take_fingerprints(new, tmp_path))
    shutil.copy(trained[2], new[4])
    with pytest.raises(DataError, match=r"1 of 6 images .* RUN .* \(new/4.png is train/2.png\)"):
        refuse_trained("RUN", known, take_fingerprints(new, tmp_path))
