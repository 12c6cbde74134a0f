"""`train` and `predict` with a handful of good images, as a user sees them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from patchebm.cli.main import main
from tests.failing import failure
from tests.tiny import write_good

# The Gaussians alone, at a size that takes a moment.
FAST = [
    "--position.network", "null", "--position.folds", "6", "--features.size", "[64, 64]",
    "--features.grid", "[8, 8]", "--defects.local-checks", "5",
]  # fmt: skip


def test_files_of_one_photograph_are_one_image_and_a_guess(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_good(tmp_path / "parts", 1)
    for i in range(3):
        shutil.copy(folder / "000.png", folder / f"copy{i}.png")
    run = tmp_path / "run"
    assert main(["train", str(folder), "--out", str(run), *FAST]) == 0
    printed = capsys.readouterr().out
    assert "3 of 4 images are copies of others" in printed
    assert "trained on 1 image of parts" in printed
    assert "false-alarm rate 0.05 is a guess: a single good image does not show" in printed
    assert "few good images: each is fitted with 32 changed versions of itself" in printed
    assert "regions: what is marked is a guess" in printed
    # Nothing is promised that was measured on versions of the image itself.
    assert "finds about" not in printed
    page = (run / "training.html").read_text(encoding="utf-8")
    assert "is a guess: a single good image" in page
    assert "changed versions of itself" in page
    card = json.loads((run / "model.json").read_text())["facts"]
    assert card["card"]["variations"] == {"each": 32, "turned": False}
    assert card["calibration"]["threshold"]["guess"] is True
    new = write_good(tmp_path / "new", 2)
    assert main(["predict", str(run), str(new)]) == 0
    said = capsys.readouterr()
    assert "false-alarm rate 0.05 is a guess" in said.err
    assert "~1 in" in said.out


def test_three_images_say_what_rate_they_support(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_good(tmp_path / "parts", 3)
    assert main(["train", str(folder), "--out", str(tmp_path / "run"), *FAST]) == 0
    printed = capsys.readouterr().out
    assert "extrapolated by a fitted tail: 3 held-out good images can show 0.25 at best" in printed
    assert (
        "the smallest rate that so many good images show is about 0.25; at a false-alarm rate of" in printed
    )
    assert "(calibrate --false-alarm-rate 0.25)" in printed
    assert "each is fitted with 11 changed versions of itself" in printed


def test_a_region_of_ten_cells_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_good(tmp_path / "parts", 3)
    mask = np.zeros((64, 64), np.uint8)
    mask[16:32, 8:48] = 255
    Image.fromarray(mask).save(tmp_path / "roi.png")
    words = failure(
        capsys, "train", str(folder), "--out", str(tmp_path / "r"), "--roi", str(tmp_path / "roi.png"), *FAST
    )
    assert "has 640 of 64 x 64 pixels, too few to inspect" in words


def test_images_without_anything_that_stays_are_inspected_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(7):
        noise = rng.integers(100, 140, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{i}.png")
    run = tmp_path / "run"
    assert main(["train", str(folder), "--out", str(run), *FAST]) == 0
    assert "inspects the whole image" in capsys.readouterr().out


def test_quick_is_the_fast_preset_and_goes_with_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_good(tmp_path / "parts", 2)
    run = tmp_path / "run"
    assert main(["train", str(folder), "--out", str(run), "--quick", *FAST[2:]]) == 0
    kept = json.loads((run / "model.json").read_text())["facts"]["config"]
    assert kept["position"]["network"] is None
    words = failure(capsys, "train", str(folder), "--out", str(run), "--quick", "--preset", "thesis")
    assert "--quick is the preset features-fast; leave --preset thesis or --quick out" in words


def test_the_smallest_defect_chooses_the_size_and_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, run = write_good(tmp_path / "parts", 8), tmp_path / "run"
    named = ["train", str(folder), "--out", str(run), "--smallest-defect"]
    words = failure(capsys, *named, "9", "--quick")
    assert "features.smallest_defect chooses the size" in words
    assert "leave one of them out" in words
    assert "smallest_defect" in failure(capsys, *named, "-3")
    assert "the run is of kind pixels" in failure(capsys, *named, "9", "--preset", "pixel-cpu")
    # Of 64 pixels that are resized to 512, a tenth of a pixel is nothing.
    assert "name at least 1 px" in failure(capsys, *named, "0.1", *FAST[:4])
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "notes.png").write_text("no image")
    assert "notes.png" in failure(capsys, "train", str(broken), "--out", str(run), "--smallest-defect", "9")
    assert not run.exists()
    assert main([*named, "9", *FAST[:4], "--defects.local-checks", "5"]) == 0
    said = capsys.readouterr().out
    assert "of 100 synthetic defects of 9 to 13.5 px, Gaussians alone find at a false-alarm rate of" in said
    assert "256 px was chosen" in said
    assert "256 px was chosen" in (run / "training.html").read_text(encoding="utf-8")
    facts = json.loads((run / "model.json").read_text())["facts"]
    assert facts["card"]["size_choice"]["side"] == 256


def test_the_time_per_image_chooses_the_size_and_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, run = write_good(tmp_path / "parts", 8), tmp_path / "run"
    named = ["train", str(folder), "--out", str(run), "--time-per-image"]
    assert "features.time_per_image chooses the size" in failure(capsys, *named, "20", "--quick")
    assert "time_per_image" in failure(capsys, *named, "soon")
    assert "allow more (--time-per-image)" in failure(capsys, *named, "0.001", *FAST[:4])
    assert not run.exists()
    assert main([*named, "100000", *FAST[:4], "--defects.local-checks", "5"]) == 0
    said = "100000 ms were allowed for an image, which takes about"
    assert said in capsys.readouterr().out
    assert said in (run / "training.html").read_text(encoding="utf-8")
    facts = json.loads((run / "model.json").read_text())["facts"]
    assert facts["card"]["size_choice"]["allowed"] == 100000
