"""Inputs as people have them: verbs misread nothing, lose nothing and leave nothing out without a word."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from patchebm.cli.main import main
from patchebm.evaluation.evaluate import Results
from tests.failing import failure
from tests.signals import heed_ctrl_c

# As a Western Windows console and its pipes have it.
CP1252 = os.environ | {"PYTHONIOENCODING": "cp1252"}
LATIN = b"teil-\xe9".decode("utf-8", "surrogateescape")
KOREAN = "양품"


@pytest.fixture
def own(data: Path, tmp_path: Path) -> Path:
    """A set that may be changed."""
    return Path(shutil.copytree(data, tmp_path / "own"))


def good(root: Path) -> list[Path]:
    return sorted((root / "test" / "good").iterdir())


def evaluated(model: Path, root: Path, tmp_path: Path, *options: str) -> Results:
    assert main(["evaluate", str(model), str(root), "--json", str(tmp_path / "r.json"), *options]) == 0
    results: Results = json.loads((tmp_path / "r.json").read_text())
    return results


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def run_in_cp1252(*arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "patchebm.cli.main", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, env=CP1252, check=False)
    assert b"Traceback" not in done.stderr, done.stderr.decode("cp1252")
    return done


class TestNames:
    def test_names_that_cannot_be_shown_lose_nothing(
        self, bundle_file: Path, own: Path, tmp_path: Path
    ) -> None:
        """A cp1252 pipe, and file names that are Latin-1, Korean or move the cursor."""
        first, second, third = good(own)
        for file, name in ((first, LATIN), (second, KOREAN), (third, "a\x1b[31m\nb")):
            file.rename(file.with_name(f"{name}.png"))
        (own / "test" / "hole").rename(own / "test" / LATIN)
        (own / "ground_truth" / "hole").rename(own / "ground_truth" / LATIN)
        out = tmp_path / LATIN
        done = run_in_cp1252("predict", bundle_file, own / "test", "--json", out / "p.json", "--out", out)
        assert done.returncode == 0
        for name in (b"teil-\\udce9.png", b"\\uc591\\ud488.png", b"a\\x1b[31m\\nb.png"):
            assert done.stdout.count(name) == 1
        records = json.loads((out / "p.json").read_text())
        assert all(Path(record["image"]).is_file() for record in records)
        assert all(Path(record["overlay"]).is_file() for record in records)
        done = run_in_cp1252("evaluate", bundle_file, own, "--report", out / "report")
        assert done.returncode == 0
        assert "teil-\\udce9" in (out / "report" / "report.html").read_text(encoding="utf-8")
        results = json.loads((out / "report" / "results.json").read_text())
        assert "teil-\\udce9" in results["per_defect"]
        assert KOREAN in (out / "report" / "predictions.csv").read_text(encoding="utf-8")

    @pytest.mark.slow  # five processes that import torch
    def test_folders_whose_names_are_no_unicode_are_trained_exported_and_compared(
        self, own: Path, tiny_yaml: Path, tmp_path: Path
    ) -> None:
        here = tmp_path / LATIN
        data = here / "set"
        shutil.copytree(own, data)
        first = sorted((data / "train" / "good").iterdir())[0]
        first.rename(first.with_name(f"{LATIN}.png"))
        run, other, bundle = here / "run", here / KOREAN, here / "part.patchebm"
        for arguments in (
            ("train", data, "--out", run, "--config", tiny_yaml),
            ("evaluate", run, data),
            ("export", run, "--out", bundle),
        ):
            assert run_in_cp1252(*arguments).returncode == 0
        shutil.copytree(run, other)
        assert run_in_cp1252("compare", run, other, "--out", here / "both").returncode == 0
        assert (here / "both" / "compare.html").exists()
        assert run_in_cp1252("predict", bundle, data).returncode == 0

    def test_check_shows_them(self, own: Path, tmp_path: Path) -> None:
        for path, name in zip(good(own), (LATIN, KOREAN, "a\x1b[2Jb"), strict=False):
            path.rename(path.with_name(f"{name}.png"))
        (own / "test" / "good").rename(own / "test" / KOREAN)
        done = run_in_cp1252("check", own, "--report", tmp_path / "out", "--json", tmp_path / "c.json")
        assert done.returncode == 0
        assert KOREAN.encode("ascii", "backslashreplace") in done.stdout
        assert json.loads((tmp_path / "c.json").read_text())["images"]["test"] > 0
        assert KOREAN in (tmp_path / "out" / "check.html").read_text(encoding="utf-8")

    def test_an_error_about_such_a_name_is_one_line(self, bundle_file: Path, tmp_path: Path) -> None:
        done = run_in_cp1252("predict", bundle_file, tmp_path / f"{KOREAN}\n{LATIN}.png")
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1


class TestBadImages:
    def test_predict_goes_on_and_says_so(
        self, bundle_file: Path, own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        bad = good(own)[0]
        truncate(bad)
        out = tmp_path / "p.json"
        assert main(["predict", str(bundle_file), str(own / "test"), "--json", str(out)]) == 2
        told = capsys.readouterr()
        records = json.loads(out.read_text())
        assert len(records) == len(list((own / "test").rglob("*.png")))
        (error,) = [record for record in records if "error" in record]
        assert error["image"] == str(bad)
        assert "truncated" in error["error"]
        assert "score" not in error
        assert told.out.count("ERROR") == 1
        assert f"1 of {len(records)} images could not be scored" in told.err
        assert f"of {len(records) - 1} images are anomalous" in told.err

    def test_ctrl_c_keeps_what_was_scored(self, run_folder: Path, own: Path, tmp_path: Path) -> None:
        many = tmp_path / "many"
        many.mkdir()
        for i in range(3000):
            (many / f"{i:04}.png").symlink_to(good(own)[0])
        out = tmp_path / "p.json"
        command = [sys.executable, "-m", "patchebm.cli.main", "predict", str(run_folder), str(many)]
        process = subprocess.Popen(
            [*command, "--json", str(out)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=heed_ctrl_c,
        )  # fmt: skip
        assert process.stdout is not None
        for _ in range(3):
            process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, told = process.communicate()
        assert process.returncode == 130
        assert b"Traceback" not in told
        kept = json.loads(out.read_text())
        assert 3 <= len(kept) < 3000
        assert f"holds the first {len(kept)} of 3000 images".encode() in told

    def test_evaluate_skips_bad_images_where_it_may(
        self, bundle_file: Path, own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        bad = good(own)[0]
        truncate(bad)
        assert f"{bad} is truncated" in failure(capsys, "evaluate", str(bundle_file), str(own))
        results = evaluated(bundle_file, own, tmp_path, "--skip-bad")
        assert results["good_count"] == 2
        assert [one["image"] for one in results["left_out"]] == [f"test/good/{bad.name}"]
        assert any("1 of" in sentence and str(bad) in sentence for sentence in results["warnings"])


class TestFolders:
    def test_names_that_mean_good_give_the_same_figures(
        self, bundle_file: Path, own: Path, tmp_path: Path
    ) -> None:
        expected = evaluated(bundle_file, own, tmp_path)
        (own / "test" / "good").rename(own / "test" / "OK")
        found = evaluated(bundle_file, own, tmp_path)
        assert (found["good_count"], found["image_auroc"]) == (3, expected["image_auroc"])
        (own / "test" / "OK").rename(own / "test" / "prima")
        found = evaluated(bundle_file, own, tmp_path)
        assert found["good_count"] == 0
        assert any("--good" in sentence and "prima" in sentence for sentence in found["warnings"])
        found = evaluated(bundle_file, own, tmp_path, "--good", "prima")
        assert (found["good_count"], found["image_auroc"]) == (3, expected["image_auroc"])

    def test_a_test_folder_alone_is_enough(self, bundle_file: Path, own: Path, tmp_path: Path) -> None:
        expected = evaluated(bundle_file, own, tmp_path)
        shutil.rmtree(own / "train")
        for root in (own, own / "test"):
            found = evaluated(bundle_file, root, tmp_path)
            assert found["pixel_auroc"] == expected["pixel_auroc"]
            assert found["image_auroc"] == expected["image_auroc"]

    def test_good_beside_bad_is_measured_unless_it_was_trained_on(
        self, run_folder: Path, own: Path, tmp_path: Path
    ) -> None:
        run = Path(shutil.copytree(run_folder, tmp_path / "run"))
        for where, count in (("test", 3), ("train", 0)):
            root = tmp_path / where
            shutil.copytree(own / where / "good", root / "good")
            shutil.copytree(own / "test" / "hole", root / "bad")
            found = evaluated(run, root, tmp_path)
            assert found["good_count"] == count
            assert found["anomalous_count"] > 0
        assert any("the model was trained on them" in sentence for sentence in found["warnings"])

    def test_what_is_left_out_is_said_by_every_verb(
        self, run_folder: Path, bundle_file: Path, own: Path, tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:  # fmt: skip
        for folder in ("train/good", "test/good"):
            (own / folder / "photo.heic").write_bytes(b"x")
        model, out = str(bundle_file), str(tmp_path / "out")
        shutil.copytree(run_folder, tmp_path / "run")
        good_images = str(own / "train" / "good")
        verbs: tuple[list[str], ...] = (
            ["predict", model, str(own / "test")],
            ["evaluate", model, str(own)],
            ["calibrate", str(tmp_path / "run"), good_images],
            ["export", str(run_folder), "--out", f"{out}.patchebm", "--verify", good_images],
            ["watch", str(own / "test"), "--model", model, "--out", out, "--once", "--settle", "0"],
            ["doctor", model, str(own / "test")],
            ["check", str(own)],
            # Which ends before anything is trained, since the folder is not empty.
            ["train", str(own), "--out", str(own)],
        )
        for arguments in verbs:
            main(arguments)
            told = "".join(capsys.readouterr())
            assert "left out" in told, arguments
            assert "photo.heic" in told, arguments

    def test_masks_are_not_scored(self, bundle_file: Path, own: Path, tmp_path: Path) -> None:
        out = tmp_path / "p.json"
        assert main(["predict", str(bundle_file), str(own), "--json", str(out)]) == 0
        images = [record["image"] for record in json.loads(out.read_text())]
        assert images
        assert not any("ground_truth" in image for image in images)


class TestMasks:
    def test_masks_of_other_kinds_give_the_same_figures_and_a_warning(
        self, bundle_file: Path, own: Path, tmp_path: Path
    ) -> None:
        expected = evaluated(bundle_file, own, tmp_path)
        (mask,) = (own / "ground_truth" / "hole").iterdir()
        with Image.open(mask) as opened:
            values = np.asarray(opened.convert("L")) > 0
        Image.fromarray(values.astype(np.uint8) * 255).save(tmp_path / "m.jpg", quality=80)
        with Image.open(tmp_path / "m.jpg") as noisy:
            noisy.save(mask)
        found = evaluated(bundle_file, own, tmp_path)
        assert found["pixel_auroc"] == pytest.approx(expected["pixel_auroc"], abs=0.01)
        assert any("shades of grey" in sentence and mask.name in sentence for sentence in found["warnings"])
        Image.fromarray(~values).save(mask)
        found = evaluated(bundle_file, own, tmp_path)
        assert any("invert them" in sentence and mask.name in sentence for sentence in found["warnings"])


def test_a_region_drawn_with_transparency_is_one_and_its_share_is_said(
    data: Path, tiny_yaml: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = np.full((64, 64, 4), (255, 255, 255, 0), np.uint8)
    drawn[16:48, 16:48, 3] = 255
    Image.fromarray(drawn).save(tmp_path / "roi.png")
    arguments = ["train", str(data), "--config", str(tiny_yaml), "--roi", str(tmp_path / "roi.png")]
    assert main([*arguments, "--out", str(tmp_path / "run")]) == 0
    assert "25 % of the image is inspected" in capsys.readouterr().err
    Image.fromarray(drawn[:, :40]).save(tmp_path / "roi.png")
    sentence = failure(capsys, *arguments, "--out", str(tmp_path / "other"))
    assert "40 x 64 pixels and would be stretched" in sentence
    assert not (tmp_path / "other" / "model.json").exists()


def test_no_progress_bar_in_a_log(run_folder: Path, data: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "patchebm.cli.main", "evaluate", str(run_folder), str(data)]
    done = subprocess.run(command, capture_output=True, check=True)
    assert b"\r" not in done.stderr
    assert b"image/s" not in done.stderr
