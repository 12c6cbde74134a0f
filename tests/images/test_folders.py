from __future__ import annotations

import pickle
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from patchebm.errors import DataError, ImageError
from patchebm.images.checking import check_images
from patchebm.images.folders import ImageFile, ImageSet, find_images, open_image_set


def image(path: Path, size: tuple[int, int] = (6, 4)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, 100).save(path)
    return path


def text(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


def refused(root: Path, *parts: str, test: Path | None = None) -> str:
    """The error's text, checked to be one sentence with a fix that holds all `parts`."""
    with pytest.raises(DataError) as caught:
        open_image_set(root, test)
    message = str(caught.value)
    assert "\n" not in message
    assert "; " in message, "the fix is missing"
    for part in parts:
        assert part in message
    return message


def names(images: tuple[ImageFile, ...], root: Path) -> list[tuple[str, str]]:
    return [(p.path.relative_to(root).as_posix(), p.defect) for p in images]


@pytest.fixture
def mvtec(tmp_path: Path) -> Path:
    """A set in the layout of MVTec AD, without masks, written in an order that is not sorted."""
    root = tmp_path / "screw"
    for name in (
        "train/good/1.png",
        "train/good/0.PNG",
        "test/good/0.png",
        "test/bent/1.tif",
        "test/bent/0.png",
    ):
        image(root / name)
    image(root / "test/cut/0.png")
    return root


def test_mvtec_layout(mvtec: Path) -> None:
    found = open_image_set(mvtec)
    assert found.name == "screw"
    assert found.root == mvtec
    assert names(found.train, mvtec) == [("train/good/0.PNG", "good"), ("train/good/1.png", "good")]
    assert names(found.test, mvtec) == [
        ("test/bent/0.png", "bent"),
        ("test/bent/1.tif", "bent"),
        ("test/cut/0.png", "cut"),
        ("test/good/0.png", "good"),
    ]
    assert found.defects == ("bent", "cut")
    assert not found.has_masks
    assert found.kinds == {}
    assert [p.anomalous for p in found.test] == [True, True, True, False]
    assert all(p.group is None and not p.masks for p in found.train + found.test)
    assert open_image_set(str(mvtec)) == found


def test_sets_can_be_sent_to_another_process(mvtec: Path) -> None:
    text(mvtec / "kinds.csv", "defect,kind\nbent,global\n")
    found = open_image_set(mvtec)
    assert pickle.loads(pickle.dumps(found)) == found


def test_hidden_files_and_other_files_are_left_out(mvtec: Path) -> None:
    before = open_image_set(mvtec)
    for name in ("train/good/._0.png", "test/bent/.DS_Store", "test/.cache/0.png", "ground_truth/.x/0.png"):
        text(mvtec / name, "x")
    for name in ("train/good/notes.txt", "readme.md", "test/bent/Thumbs.db", "train/good/0.json"):
        text(mvtec / name, "x")
    (mvtec / "train/good/folder.png").mkdir()
    assert open_image_set(mvtec) == before


def test_the_name_is_that_of_the_folder_for_a_dot_too(mvtec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(mvtec)
    assert open_image_set(".").name == "screw"


@pytest.mark.parametrize("where", ["", "good", "train/good"])
def test_good_images_alone(tmp_path: Path, where: str) -> None:
    image(tmp_path / where / "b.bmp")
    image(tmp_path / where / "a.jpg")
    found = open_image_set(tmp_path)
    assert [p.path for p in found.train] == [tmp_path / where / "a.jpg", tmp_path / where / "b.bmp"]
    assert {p.defect for p in found.train} == {"good"}
    assert found.test == ()
    assert found.defects == ()


@pytest.mark.parametrize("where", ["", "good", "train/good"])
def test_a_test_folder_inside_or_elsewhere(tmp_path: Path, where: str) -> None:
    root, elsewhere = tmp_path / "parts", tmp_path / "new"
    image(root / where / "a.png")
    image(root / "test/dent/i.png")
    for name in ("x.png", "good/y.png", "dent/z.png"):
        image(elsewhere / name)
    assert names(open_image_set(root).test, root) == [("test/dent/i.png", "dent")]
    found = open_image_set(root, test=elsewhere)
    assert names(found.test, elsewhere) == [("x.png", ""), ("dent/z.png", "dent"), ("good/y.png", "good")]
    assert [p.anomalous for p in found.test] == [None, True, False]
    assert found.defects == ("dent",)


def test_neighbours_of_good_are_defects(tmp_path: Path) -> None:
    for name in ("good/a.png", "scratch/b.png", "dent/c.png", "ground_truth/dent/c.png"):
        image(tmp_path / name)
    text(tmp_path / "papers/readme.txt", "x")
    found = open_image_set(tmp_path)
    assert names(found.train, tmp_path) == [("good/a.png", "good")]
    assert names(found.test, tmp_path) == [("dent/c.png", "dent"), ("scratch/b.png", "scratch")]
    assert [p.masks for p in found.test] == [(tmp_path / "ground_truth/dent/c.png",), ()]


class TestMasks:
    def test_both_names_and_defects_without_masks(self, mvtec: Path) -> None:
        first = image(mvtec / "ground_truth/bent/0_mask.png")
        second = image(mvtec / "ground_truth/bent/1.png")
        found = open_image_set(mvtec)
        assert [p.masks for p in found.test] == [(first,), (second,), (), ()]
        assert found.has_masks

    def test_a_image_may_be_called_mask(self, mvtec: Path) -> None:
        for name in ("test/hole/a.png", "test/hole/a_mask.png"):
            image(mvtec / name)
        masks = [image(mvtec / f"ground_truth/hole/{name}.png") for name in ("a_mask", "a")]
        holes = [p for p in open_image_set(mvtec).test if p.defect == "hole"]
        assert [(p.path.stem, p.masks) for p in holes] == [("a", (masks[1],)), ("a_mask", (masks[0],))]

    @pytest.mark.parametrize("name", ["bent/7_mask.png", "rust/0_mask.png", "0_mask.png"])
    def test_a_mask_without_a_image(self, mvtec: Path, name: str) -> None:
        for stem in ("0", "1"):
            image(mvtec / f"ground_truth/bent/{stem}_mask.png")
        refused(mvtec, str(image(mvtec / "ground_truth" / name)), "has no image")

    def test_a_missing_mask(self, mvtec: Path) -> None:
        image(mvtec / "ground_truth/bent/0_mask.png")
        missing = str(mvtec / "ground_truth/bent/1_mask.png")
        refused(mvtec, str(mvtec / "test/bent/1.tif"), "has no mask while 1 other", missing)

    def test_two_masks_for_one_image(self, mvtec: Path) -> None:
        for name in ("0_mask", "0", "1"):
            image(mvtec / f"ground_truth/bent/{name}.png")
        refused(mvtec, "both masks of")

    def test_two_images_for_one_mask(self, mvtec: Path) -> None:
        image(mvtec / "test/bent/0.bmp")
        open_image_set(mvtec)
        image(mvtec / "ground_truth/bent/0.png")
        refused(mvtec, "0.bmp", "0.png", "fit the same mask")

    def test_masks_of_a_separate_test_folder(self, mvtec: Path, tmp_path: Path) -> None:
        image(tmp_path / "later/cut/9.png")
        mask = image(tmp_path / "later/ground_truth/cut/9_mask.png")
        assert open_image_set(mvtec, test=tmp_path / "later").test == (
            ImageFile(tmp_path / "later/cut/9.png", "cut", (mask,)),
        )
        # A ground_truth beside a folder that is not called test may belong to other images.
        image(tmp_path / "ground_truth/other/1.png")
        bare = image(tmp_path / "bare/cut/9.png")
        assert open_image_set(mvtec, test=tmp_path / "bare").test == (ImageFile(bare, "cut"),)
        refused(mvtec, "has no image", test=image(tmp_path / "test/cut/0.png").parent.parent)


class TestBadFolders:
    def test_missing_root_and_a_file_instead(self, mvtec: Path) -> None:
        refused(mvtec / "nowhere", str(mvtec / "nowhere"), "does not exist")
        refused(mvtec / "train/good/1.png", "is a file, not a folder")
        refused(mvtec, "does not exist", test=mvtec / "nowhere")
        refused(mvtec, "is a file, not a folder", test=mvtec / "train/good/1.png")
        refused(mvtec / ("x" * 300), "does not exist")

    @pytest.mark.parametrize("where", ["train/good", "good"])
    def test_empty_good(self, tmp_path: Path, where: str) -> None:
        text(tmp_path / where / "notes.txt", "x")
        refused(tmp_path, str(tmp_path / where), "holds no images")

    def test_train_without_good(self, tmp_path: Path) -> None:
        image(tmp_path / "train/0.png")
        refused(tmp_path, str(tmp_path / "train"), "no folder 'good'")

    def test_no_images_at_all(self, tmp_path: Path) -> None:
        text(tmp_path / "a/b.txt", "x")
        refused(tmp_path, str(tmp_path), "holds no images of good parts")

    def test_the_folder_above_the_sets(self, mvtec: Path) -> None:
        refused(mvtec.parent, "a folder of 1 image sets", str(mvtec))

    def test_empty_test(self, mvtec: Path, tmp_path: Path) -> None:
        empty = tmp_path / "empty"
        text(empty / "cut/rgb/0.txt", "x")
        refused(mvtec, str(empty), "holds no test images", "1 files that do not end in", "0.txt", test=empty)


class TestGroups:
    def test_groups_are_read(self, mvtec: Path) -> None:
        # With the mark and the line ends that Excel writes, and a column of the user's own.
        text(mvtec / "groups.csv", "\ufefffile,note,group\r\ntrain/good/1.png,x,A 1\r\ntest/cut/0.png,,7\r\n")
        found = open_image_set(mvtec)
        assert {
            p.path.relative_to(mvtec).as_posix(): p.group for p in found.train + found.test if p.group
        } == {
            "train/good/1.png": "A 1",
            "test/cut/0.png": "7",
        }

    def test_another_test_folder_may_be_used(self, mvtec: Path, tmp_path: Path) -> None:
        text(mvtec / "groups.csv", "file,group\ntrain/good/1.png,1\ntest/cut/0.png,2\n")
        image(tmp_path / "later/0.png")
        found = open_image_set(mvtec, test=tmp_path / "later")
        assert [p.group for p in found.train] == [None, "1"]

    @pytest.mark.parametrize(
        ("content", "part"),
        [
            ("file,group\ntrain/good/9.png,1\n", "line 2: 'train/good/9.png' is not an image"),
            ("file,group\ntrain/good/1.png,1\ntrain/good/1.png,2\n", "line 3: 'train/good/1.png' already"),
            ("file,group\ntrain/good/1.png\n", "line 2 does not fill"),
            ("file,group\ntrain/good/1.png,\n", "line 2 does not fill"),
            ("file,group\ntrain/good/1.png,1,2\n", "line 2 does not fill"),
            ("file;group\ntrain/good/1.png;1\n", "must start with a line naming the columns file,group"),
            ("train/good/1.png,1\n", "must start with a line naming"),
            ("", "must start with a line naming"),
            ('file,group\n"train/good/1.png"x,1\n', "not a csv file"),
        ],
    )
    def test_malformed(self, mvtec: Path, content: str, part: str) -> None:
        text(mvtec / "groups.csv", content)
        refused(mvtec, str(mvtec / "groups.csv"), part)

    def test_not_utf_8_and_not_a_file(self, mvtec: Path) -> None:
        (mvtec / "groups.csv").write_bytes(b"file,group\n\xff\xfe,1\n")
        refused(mvtec, "UTF-8")
        (mvtec / "groups.csv").unlink()
        (mvtec / "groups.csv").mkdir()
        refused(mvtec, "groups.csv", "cannot be read")


class TestKinds:
    def test_kinds_are_read(self, mvtec: Path) -> None:
        text(mvtec / "kinds.csv", "defect,kind\nbent,global\ncut,local\nrust,local\n")
        assert open_image_set(mvtec).kinds == {"bent": "global", "cut": "local", "rust": "local"}

    @pytest.mark.parametrize(
        ("content", "part"),
        [
            ("defect,kind\nbent,big\n", "line 2: kind 'big' is neither"),
            ("defect,kind\nbent,local\nbent,global\n", "line 3: 'bent' already"),
            ("defect\nbent\n", "must start with a line naming the columns defect,kind"),
        ],
    )
    def test_malformed(self, mvtec: Path, content: str, part: str) -> None:
        text(mvtec / "kinds.csv", content)
        refused(mvtec, str(mvtec / "kinds.csv"), part)


class TestFindImages:
    def test_files_and_folders(self, mvtec: Path) -> None:
        text(mvtec / "test/readme.txt", "x")
        image(mvtec / "test/.hidden/0.png")
        odd = text(mvtec / "b.dat", "x")
        found = find_images([mvtec / "train/good/1.png", str(mvtec / "test"), odd, mvtec / "train"])
        assert found == sorted(
            [p.path for part in (open_image_set(mvtec).train, open_image_set(mvtec).test) for p in part]
            + [odd]
        )
        assert find_images(str(odd)) == [odd]

    def test_what_is_missing_is_named(self, mvtec: Path, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"gone\.png does not exist; "):
            find_images([mvtec, mvtec / "gone.png"])
        (tmp_path / "empty").mkdir()
        with pytest.raises(DataError, match=r"empty holds no .* files; "):
            find_images([mvtec, tmp_path / "empty"])
        with pytest.raises(DataError, match="no images were named; "):
            find_images([])


class TestCheck:
    @pytest.fixture
    def some_bad(self, mvtec: Path) -> ImageSet:
        """Four bad test images and masks of good ones; the training images are fine."""
        image(mvtec / "ground_truth/bent/0_mask.png")
        image(mvtec / "ground_truth/bent/1_mask.png", size=(4, 6))
        text(mvtec / "test/cut/0.png", "not an image")
        (mvtec / "test/good/1.png").symlink_to(mvtec / "gone.png")
        return open_image_set(mvtec)

    def test_good_images_come_back(self, some_bad: ImageSet) -> None:
        assert check_images(some_bad.train) == (list(some_bad.train), [])
        assert check_images([]) == ([], [])

    def test_the_first_is_named_and_the_others_counted(self, some_bad: ImageSet) -> None:
        with pytest.raises(ImageError) as caught:
            check_images(some_bad.test)
        message = str(caught.value)
        assert str(some_bad.root / "ground_truth/bent/1_mask.png") in message
        assert "mask of 4 x 6 pixels for an image of 6 x 4" in message
        assert message.endswith("(2 more of 5 images cannot be used either)")
        with pytest.raises(ImageError) as caught:
            check_images(some_bad.test[:2])
        assert "more" not in str(caught.value)

    def test_bad_ones_are_skipped_and_listed(self, some_bad: ImageSet) -> None:
        good, bad = check_images(some_bad.test, skip_bad=True)
        assert [p.path.relative_to(some_bad.root / "test").as_posix() for p in good] == [
            "bent/0.png",
            "good/0.png",
        ]
        assert [p for p, _ in bad] == [some_bad.test[1], some_bad.test[2], some_bad.test[4]]
        reasons = [reason for _, reason in bad]
        for reason, part in zip(reasons, ("mask of", "not a PNG", "does not exist"), strict=True):
            assert part in reason

    def test_truncated_in_the_pixels(self, mvtec: Path) -> None:
        path = mvtec / "train/good/1.png"
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)).save(path)
        path.write_bytes(path.read_bytes()[:2000])
        with pytest.raises(ImageError, match=r"1\.png is truncated or damaged; "):
            check_images(open_image_set(mvtec).train)

    def test_nothing_left(self, some_bad: ImageSet) -> None:
        with pytest.raises(DataError, match="no image is left after skipping"):
            check_images(some_bad.test[1:3], skip_bad=True)


COUNTS = {  # from the README of the data: train, test good, each defect, masks
    "bottle": (63, 20, 63, False),
    "tire": (210, 25, 87, True),
    "magnetic_tile": (759, 193, 392, True),
    "solar_poly": (300, 100, 150, False),
    "circuitboard": (20, 20, 40, False),
    "cubes": (87, 29, 72, False),
}


@pytest.mark.parametrize("name", COUNTS)
def test_real_sets(real_data: Path, name: str) -> None:
    train, good, bad, masks = COUNTS[name]
    found = open_image_set(real_data / name)
    labels = Counter(p.anomalous for p in found.test)
    assert (found.name, len(found.train), labels) == (name, train, Counter({False: good, True: bad}))
    assert found.has_masks == masks
    assert all(bool(p.masks) == (masks and bool(p.anomalous)) for p in found.test)
    start = time.process_time()
    assert check_images(found.train) == (list(found.train), [])
    assert check_images(found.test) == (list(found.test), [])
    assert time.process_time() - start < 60


def test_real_groups(real_data: Path) -> None:
    found = open_image_set(real_data / "magnetic_tile")
    assert found.defects == ("blowhole", "break", "crack", "fray", "uneven")
    train = {p.group for p in found.train}
    test = {p.group for p in found.test if not p.anomalous}
    assert None not in train | test
    assert not train & test
    assert len(train | test) == 146
