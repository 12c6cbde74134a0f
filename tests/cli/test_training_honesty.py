"""What `train` and `calibrate` say of the images that they are given, as a user sees it."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from patchebm.cli.main import main
from patchebm.images.fingerprints import load_fingerprints
from patchebm.run_folder import RunFolder
from tests.failing import failure
from tests.tiny import write_good

# Image level alone, closed form, each image held out once.
FAST = [
    "--levels", "[image]", "--image.network", "null", "--image.grid", "[4, 4]",
    "--features.size", "[64, 64]", "--features.grid", "[8, 8]",
]  # fmt: skip
# Its name is to be escaped, on the page as in the table.
ODD = "o,<b>dd.png"


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of good parts, and a photograph of something else."""
    folder = write_good(tmp_path_factory.mktemp("odd") / "parts", 20)
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / ODD)
    return folder


@pytest.fixture(scope="module")
def grey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A test set in grey, as JPEG."""
    root = tmp_path_factory.mktemp("grey") / "set"
    for defect in ("good", "scratch"):
        for file in write_good(root / "test" / defect, 3, f"new {defect}").iterdir():
            with Image.open(file) as image:
                image.convert("L").save(file.with_suffix(".jpg"), quality=90)
            file.unlink()
    write_good(root / "train" / "good", 1)
    return root


def rows_of(run: Path) -> list[dict[str, str]]:
    with (run / "training_scores.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_an_image_that_stands_apart_is_named_and_left_out_on_request(
    photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, dropped = tmp_path / "plain", tmp_path / "dropped"
    assert main(["train", str(photographs), "--out", str(plain), *FAST]) == 0
    printed = capsys.readouterr().out
    assert f"1 training image stands apart from the others, as defects among good parts do: {ODD}" in printed
    assert "without it the threshold would be" in printed
    rows = rows_of(plain)
    assert len(rows) == 21
    assert rows[0]["file"] == ODD
    assert (rows[0]["stands_apart"], rows[0]["left_out"]) == ("True", "False")
    assert float(rows[0]["score"]) > float(rows[1]["score"]) >= float(rows[-1]["score"])
    assert {row["fold"] for row in rows} == {"0", "1", "2", "3", "4"}
    assert 0 < float(rows[0]["tail_probability"]) <= 1
    page = (plain / "training.html").read_text(encoding="utf-8")
    assert "o,&lt;b&gt;dd.png" in page
    assert "<b>dd" not in page
    assert "stands apart" in page
    assert page.count('class="item"') == 12

    assert main(["train", str(photographs), "--out", str(dropped), "--drop-outliers", "auto", *FAST]) == 0
    printed = capsys.readouterr().out
    assert f"left out 1 of 21 training images after 1 fit: {ODD}" in printed
    assert "trained on 20 images" in printed
    rows = rows_of(dropped)
    assert (rows[0]["file"], rows[0]["left_out"], rows[0]["fold"]) == (ODD, "True", "")
    assert float(rows[0]["score"]) > 5
    record = json.loads((dropped / "run.json").read_text())
    assert record["dropped"] == [ODD]
    assert record["images"] == 20
    assert json.loads((dropped / "model.json").read_text())["facts"]["card"]["dropped"] == [ODD]
    assert "left out" in (dropped / "training.html").read_text(encoding="utf-8")
    # The logs are those of the fit that counts.
    assert not list(dropped.glob("training-*"))


def test_what_cannot_be_dropped(
    photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ("train", str(photographs), "--out", str(tmp_path / "r"), *FAST, "--drop-outliers")
    for value, words in {
        "some": "--drop-outliers is some; give a number of images, or auto",
        "0": "--drop-outliers is 0",
        "-1": "--drop-outliers",
        "16": "--drop-outliers 16 would leave 5 of 21 images",
    }.items():
        assert words in failure(capsys, *base, value)
        assert not (tmp_path / "r" / "model.json").exists()


def test_copies_count_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_good(tmp_path / "parts", 8)
    for i in range(10):
        shutil.copy(folder / "003.png", folder / f"copy{i}.png")
    assert main(["train", str(folder), "--out", str(tmp_path / "run"), *FAST]) == 0
    printed = capsys.readouterr().out
    assert (
        "10 of 18 images are copies of others, or nearly (such as copy0.png of 003.png); each photograph "
        "counts once, which leaves 8" in printed
    )
    assert "8 held-out good images can show" in printed
    rows = {row["file"]: row for row in rows_of(tmp_path / "run")}
    assert len(rows) == 18
    assert (rows["copy4.png"]["copy_of"], rows["copy4.png"]["score"]) == ("003.png", "")
    # The model is that of the photographs alone.
    for copy in folder.glob("copy*.png"):
        copy.unlink()
    assert main(["train", str(folder), "--out", str(tmp_path / "alone"), *FAST]) == 0
    cards = [json.loads((tmp_path / name / "model.json").read_text())["facts"] for name in ("run", "alone")]
    assert cards[0]["calibration"] == cards[1]["calibration"]
    assert [card["card"]["copies"] for card in cards] == [10, 0]


def test_six_files_of_one_photograph_are_too_few(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_good(tmp_path / "parts", 5)
    shutil.copy(folder / "001.png", folder / "again.png")
    words = failure(capsys, "train", str(folder), "--out", str(tmp_path / "run"), *FAST)
    assert "6 images, of which all but 5 are copies, are too few to train" in words
    assert not (tmp_path / "run").exists()


class TestCalibrate:
    def test_images_that_the_model_knows_are_refused(
        self, run_folder: Path, data: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        before = (run_folder / "model.json").read_bytes()
        for folder in (data, data / "train" / "good"):
            words = failure(capsys, "calibrate", str(run_folder), str(folder))
            assert f"9 of 9 images are among those that {run_folder} was trained on" in words
        assert (run_folder / "model.json").read_bytes() == before
        assert not (run_folder / "calibration_images.npz").exists()

    def test_defects_and_masks_are_refused(
        self, run_folder: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert "belongs to the defect 'hole'" in failure(
            capsys, "calibrate", str(run_folder), str(data / "test" / "hole")
        )
        masks = data / "ground_truth" / "hole"
        assert "belongs to masks" in failure(capsys, "calibrate", str(run_folder), str(masks))
        elsewhere = tmp_path / "elsewhere"
        for i, mask in enumerate(sorted((data / "ground_truth").rglob("*.png"))):
            elsewhere.mkdir(exist_ok=True)
            shutil.copy(mask, elsewhere / f"{i}.png")
        assert "as masks are" in failure(capsys, "calibrate", str(run_folder), str(elsewhere))

    def test_a_calibration_is_remembered(
        self, run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        new = write_good(tmp_path / "new", 7)
        shutil.copy(new / "000.png", new / "copy.png")
        out = tmp_path / "out"
        assert main(["calibrate", str(run_folder), str(new), "--out", str(out)]) == 0
        printed = capsys.readouterr().out
        assert "1 of 8 images is a copy of others" in printed
        assert "7 held-out good images" in printed
        folder = RunFolder(out)
        assert load_fingerprints(folder.calibration_file).names == [
            *(f"{i:03d}.png" for i in range(7)),
            "copy.png",
        ]
        trained, kept = (load_fingerprints(RunFolder(path).fingerprints_file) for path in (run_folder, out))
        assert trained.sha256 == kept.sha256
        assert not RunFolder(run_folder).calibration_file.exists()
        facts = json.loads((out / "model.json").read_text())["facts"]["card"]
        assert facts["calibration"]["images"] == 7
        assert facts["profile"]["images"] == 8
        # Images that the threshold stands on flatter it as test images.
        test = tmp_path / "set" / "test"
        shutil.copytree(new, test / "good")
        write_good(test / "scratch", 2, "odd")
        write_good(tmp_path / "set" / "train" / "good", 2, "other")
        assert main(["evaluate", str(out), str(tmp_path / "set")]) == 0
        assert "8 of 10 test images: each is also a calibration image" in capsys.readouterr().err

    def test_copies_do_not_make_up_for_images(
        self, run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        new = write_good(tmp_path / "new", 5)
        shutil.copy(new / "000.png", new / "copy.png")
        words = failure(capsys, "calibrate", str(run_folder), str(new))
        assert "6 images, of which all but 5 are copies, are too few to calibrate on" in words


class TestNewImages:
    WORDS = (
        "the model was trained on images that are PNG and in colour; these 6 images are JPEG at quality 90 "
        "and grey"
    )

    def test_predict_says_once_what_differs(
        self, run_folder: Path, grey: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["predict", str(run_folder), str(grey / "test")]) == 0
        assert capsys.readouterr().err.count(self.WORDS) == 1
        assert main(["predict", str(run_folder), str(write_good(tmp_path / "new", 12, "third day"))]) == 0
        assert "the model was trained on" not in capsys.readouterr().err

    def test_evaluate_says_it_and_keeps_it(
        self, run_folder: Path, grey: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["evaluate", str(run_folder), str(grey), "--json", str(tmp_path / "r.json")]) == 0
        assert capsys.readouterr().err.count(self.WORDS) == 1
        assert any(self.WORDS in one for one in json.loads((tmp_path / "r.json").read_text())["warnings"])

    def test_watch_says_it(
        self, run_folder: Path, grey: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        shutil.copytree(grey / "test", tmp_path / "in")
        options = ["--out", str(tmp_path / "out"), "--once", "--poll", "0.02", "--settle", "0.05"]
        assert main(["watch", str(tmp_path / "in"), "--model", str(run_folder), *options]) == 0
        assert capsys.readouterr().err.count(self.WORDS) == 1

    def test_a_bundle_remembers_it(
        self, run_folder: Path, grey: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        bundle = tmp_path / "part.patchebm"
        assert main(["export", str(run_folder), "--out", str(bundle)]) == 0
        capsys.readouterr()
        assert main(["predict", str(bundle), str(grey / "test")]) == 0
        assert capsys.readouterr().err.count(self.WORDS) == 1
