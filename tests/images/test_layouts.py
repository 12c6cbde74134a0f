"""Folders as people have them: nothing in them is left out, or taken for something else, without a word."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from patchebm.errors import DataError
from patchebm.images.folders import ImageSet, open_image_set, open_test_set
from patchebm.images.listing import left_out_sentence, list_images
from patchebm.images.names import (
    DEFECTIVE_NAMES,
    GOOD_NAMES,
    is_unclear,
    means_defective,
    means_good,
    means_masks,
)


def image(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (6, 4), 100).save(path)
    return path


def images(root: Path, *names: str) -> None:
    for name in names:
        image(root / name)


def train(found: ImageSet) -> list[str]:
    return [p.path.relative_to(found.root).as_posix() for p in found.train]


def defects(found: ImageSet) -> dict[str, str]:
    return {p.path.relative_to(found.root).as_posix(): p.defect for p in found.test}


def masks(found: ImageSet) -> dict[str, list[str]]:
    return {
        p.path.relative_to(found.root).as_posix(): [m.relative_to(found.root).as_posix() for m in p.masks]
        for p in found.test
        if p.masks
    }


def said(found: ImageSet) -> dict[str, int]:
    return {one.what: one.count for one in found.left_out}


def refused(root: Path, *, evaluating: bool = False) -> str:
    with pytest.raises(DataError) as caught:
        open_test_set(root) if evaluating else open_image_set(root)
    assert "; " in str(caught.value)
    return str(caught.value)


class TestTraining:
    @pytest.mark.parametrize("where", [".", "good", "train/good", "train/OK", "Train/Normal"])
    def test_sub_folders_beside_images_are_read(self, tmp_path: Path, where: str) -> None:
        images(tmp_path / where, "0.png", "monday/1.png", "monday/am/2.png", "tuesday/3.png")
        found = open_image_set(tmp_path)
        assert [Path(name).stem for name in train(found)] == ["0", "1", "2", "3"]
        assert found.left_out == ()

    def test_linked_folders_are_read_and_each_image_once(self, tmp_path: Path) -> None:
        root = tmp_path / "set"
        images(root / "train/good", "0.png", "z/1.png")
        images(tmp_path / "archive", "2.png")
        (root / "train/good/linked").symlink_to(tmp_path / "archive")
        (root / "train/good/a").symlink_to(root / "train/good/z")
        (root / "train/good/z/loop").symlink_to(root / "train/good")
        found = open_image_set(root)
        assert train(found) == ["train/good/0.png", "train/good/linked/2.png", "train/good/z/1.png"]
        assert said(found) == {"folders that are linked again": 2}

    def test_linked_folders_beside_loose_images_and_good_folders_too(self, tmp_path: Path) -> None:
        images(tmp_path / "loose", "0.png", "real/1.png")
        (tmp_path / "loose/again").symlink_to("real")
        (tmp_path / "loose/loop").symlink_to(".")
        images(tmp_path / "set", "train/ok/1.png")
        (tmp_path / "set/train/good").symlink_to("ok")
        for name, expected in (("loose", ["0.png", "real/1.png"]), ("set", ["train/ok/1.png"])):
            found = open_image_set(tmp_path / name)
            assert train(found) == expected
            assert said(found) == {"folders that are linked again": 2 if name == "loose" else 1}

    def test_what_is_left_out_is_counted_with_an_example(self, tmp_path: Path) -> None:
        images(
            tmp_path, "train/good/0.png", "train/bad/1.png", "train/2.png", "validation/good/3.png", "4.png"
        )
        images(tmp_path, "train/good/mask/5.png", "train/good/.old/6.png", "train/good/._7.png")
        (tmp_path / "train/good/8.heic").write_bytes(b"x")
        (tmp_path / "train/good/Thumbs.db").write_bytes(b"x")
        found = open_image_set(tmp_path)
        assert train(found) == ["train/good/0.png"]
        counts = {
            (one.count, one.example.relative_to(tmp_path).as_posix()): one.what for one in found.left_out
        }
        assert set(counts) == {
            (1, "train/bad/1.png"),
            (1, "train/2.png"),
            (1, "validation/good/3.png"),
            (1, "4.png"),
            (1, "train/good/mask/5.png"),
            (1, "train/good/.old/6.png"),
            (1, "train/good/._7.png"),
            (1, "train/good/8.heic"),
        }
        sentence = left_out_sentence(found.left_out)
        assert sentence is not None
        assert sentence.startswith("left out: ")
        assert "1 masks (such as" in sentence
        assert "\n" not in sentence

    def test_defects_beside_loose_images_are_not_trained_on(self, tmp_path: Path) -> None:
        images(tmp_path, "0.png", "NG/1.png", "test/masks/dent/4.png", "cam2/3.png", "test/dent/4.png")
        found = open_image_set(tmp_path)
        assert train(found) == ["0.png", "cam2/3.png"]
        assert defects(found) == {"test/dent/4.png": "dent"}
        assert said(found)["images in NG"] == 1

    def test_folders_of_unclear_names_are_asked_about(self, tmp_path: Path) -> None:
        images(tmp_path, "train/perfekt/0.png")
        assert "say --good perfekt" in refused(tmp_path)
        assert train(open_image_set(tmp_path, good=["perfekt"])) == ["train/perfekt/0.png"]
        images(tmp_path / "flat", "perfekt/0.png", "kaputt/1.png")
        assert "--good kaputt" in refused(tmp_path / "flat")
        found = open_image_set(tmp_path / "flat", good=["Perfekt"])
        assert train(found) == ["perfekt/0.png"]
        assert defects(found) == {"kaputt/1.png": "kaputt"}


class TestNames:
    @pytest.mark.parametrize(
        "name", ["OK", "Good", "gut", "i.O.", "양품", "Defect-Free", "NORMAL", "ｏｋ", "pass"]
    )
    def test_names_that_mean_good(self, tmp_path: Path, name: str) -> None:
        assert means_good(name)
        images(tmp_path, "train/good/0.png", f"test/{name}/1.png", "test/dent/2.png")
        for found in (open_image_set(tmp_path), open_test_set(tmp_path)):
            assert defects(found) == {f"test/{name}/1.png": "good", "test/dent/2.png": "dent"}

    def test_lists_do_not_overlap(self) -> None:
        for name in GOOD_NAMES:
            assert means_good(name), name
            assert not means_defective(name), name
            assert not is_unclear(name), name
            assert not means_masks(name), name
        for name in DEFECTIVE_NAMES:
            assert means_defective(name), name
            assert not is_unclear(name), name

    @pytest.mark.parametrize(
        "name", ["good_parts", "OK-2", "GoodParts", "0", "class1", "positive", "A", "OK 3"]
    )
    def test_unclear_names_are_asked_about(self, tmp_path: Path, name: str) -> None:
        images(tmp_path, "train/good/0.png", f"test/{name}/1.png", "test/dent/2.png")
        sentence = refused(tmp_path)
        assert f"--good good {name}" in sentence
        # Each of the two answers that the sentence offers works.
        assert defects(open_image_set(tmp_path, good=["good", name]))[f"test/{name}/1.png"] == "good"
        assert defects(open_image_set(tmp_path, good=["good"]))[f"test/{name}/1.png"] == name

    def test_names_of_real_defects_are_not(self, real_data: Path) -> None:
        folders = [f.name for one in real_data.iterdir() if one.is_dir() for f in (one / "test").iterdir()]
        assert len(folders) > 15
        assert not any(map(is_unclear, folders))
        assert {name for name in folders if means_good(name)} == {"good"}
        mvtec = (
            "bent color combined thread print hole crack cut_lead glue_strip poke fold pill_type split_teeth"
        )
        assert not any(map(is_unclear, mvtec.split()))


class TestMasks:
    @pytest.mark.parametrize("name", ["ground_truth", "ground-truth", "GroundTruth", "gt", "Masks", "mask"])
    def test_spellings(self, tmp_path: Path, name: str) -> None:
        images(tmp_path, "train/good/0.png", "test/dent/1.png", "test/good/2.png", f"{name}/dent/1.png")
        for found in (open_image_set(tmp_path), open_test_set(tmp_path), open_test_set(tmp_path / "test")):
            assert [len(p.masks) for p in found.test] == [1, 0]

    def test_any_ending_of_an_image_will_do(self, tmp_path: Path) -> None:
        images(tmp_path, "train/good/0.png", "test/dent/1.png", "test/dent/2.png")
        images(tmp_path, "ground_truth/dent/1.webp", "ground_truth/dent/2_mask.jfif")
        assert masks(open_image_set(tmp_path)) == {
            "test/dent/1.png": ["ground_truth/dent/1.webp"],
            "test/dent/2.png": ["ground_truth/dent/2_mask.jfif"],
        }

    def test_two_folders_of_masks_are_refused(self, tmp_path: Path) -> None:
        images(tmp_path, "train/good/0.png", "test/dent/1.png", "masks/dent/1.png", "gt/dent/1.png")
        assert "both hold masks" in refused(tmp_path)

    def test_folders_with_several_masks_of_an_image(self, tmp_path: Path) -> None:
        """MVTec LOCO AD."""
        images(tmp_path, "train/good/0.png", "test/good/0.png", "test/dent/000.png", "test/dent/001.png")
        images(tmp_path, *(f"ground_truth/dent/{name}.png" for name in ("000/000", "000/001", "001/000")))
        assert masks(open_image_set(tmp_path)) == {
            "test/dent/000.png": ["ground_truth/dent/000/000.png", "ground_truth/dent/000/001.png"],
            "test/dent/001.png": ["ground_truth/dent/001/000.png"],
        }

    def test_masks_directly_in_their_folder_and_in_that_of_the_defect(self, tmp_path: Path) -> None:
        images(tmp_path, "good/0.png", "dent/1.png", "masks/1.png", "cut/rgb/2.png", "cut/gt/2.png")
        found = open_image_set(tmp_path)
        assert masks(found) == {"dent/1.png": ["masks/1.png"], "cut/rgb/2.png": ["cut/gt/2.png"]}
        assert found.left_out == ()

    def test_images_of_one_name_in_sub_folders(self, tmp_path: Path) -> None:
        images(tmp_path, "train/good/0.png", "test/dent/a/1.png", "test/dent/b/1.png")
        images(tmp_path, "gt/dent/a/1.png", "gt/dent/b/1_mask.png")
        assert masks(open_image_set(tmp_path)) == {
            "test/dent/a/1.png": ["gt/dent/a/1.png"],
            "test/dent/b/1.png": ["gt/dent/b/1_mask.png"],
        }

    def test_masks_of_a_kind_that_is_not_read_are_said(self, tmp_path: Path) -> None:
        images(tmp_path, "train/good/0.png", "test/dent/1.png")
        (tmp_path / "ground_truth/dent").mkdir(parents=True)
        (tmp_path / "ground_truth/dent/1.xcf").write_bytes(b"x")
        (one,) = open_image_set(tmp_path).left_out
        assert one.example.name == "1.xcf"


class TestEvaluating:
    def test_a_test_folder_alone(self, tmp_path: Path) -> None:
        images(tmp_path, "test/good/0.png", "test/dent/1.png", "ground_truth/dent/1.png")
        assert "say --good" not in refused(tmp_path)
        for root in (tmp_path, tmp_path / "test"):
            found = open_test_set(root)
            assert [(p.defect, len(p.masks)) for p in found.test] == [("dent", 1), ("good", 0)]
            assert found.train == ()

    def test_good_beside_bad(self, tmp_path: Path) -> None:
        images(tmp_path, "OK/0.png", "NG/1.png")
        found = open_test_set(tmp_path)
        assert defects(found) == {"NG/1.png": "NG", "OK/0.png": "good"}
        assert train(found) == ["OK/0.png"]

    def test_the_training_images_are_listed_where_they_are(self, tmp_path: Path) -> None:
        images(tmp_path, "train/good/0.png", "test/good/1.png", "test/dent/1.png")
        assert train(open_test_set(tmp_path)) == ["train/good/0.png"]
        assert open_test_set(tmp_path) == open_image_set(tmp_path)

    def test_what_has_no_test_images_is_named_with_the_fix(self, tmp_path: Path) -> None:
        images(tmp_path, "set/train/good/0.png")
        assert str(tmp_path / "set/test/good") in refused(tmp_path / "set", evaluating=True)
        assert "no test images of known truth" in refused(tmp_path / "set/train/good", evaluating=True)
        images(tmp_path, "set/test/good/0.png")
        assert "a folder of 1 image sets" in refused(tmp_path, evaluating=True)


def test_masks_are_not_images_to_score(tmp_path: Path) -> None:
    images(tmp_path, "test/dent/1.png", "ground_truth/dent/1_mask.png", "train/good/0.png")
    found = list_images(tmp_path)
    assert [path.name for path in found.images] == ["1.png", "0.png"]
    assert [(one.what, one.count) for one in found.left_out] == [("masks", 1)]
    # Who names them means them.
    assert len(list_images(tmp_path / "ground_truth").images) == 1
