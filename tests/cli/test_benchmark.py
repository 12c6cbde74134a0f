"""`patchebm benchmark` as a user runs it, kills it, and hands it what it cannot use."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from patchebm.cli.main import main
from patchebm.evaluation.runlog import RunLog
from tests.failing import failure
from tests.signals import heed_ctrl_c
from tests.tiny import write_set

REPOSITORY = Path(__file__).resolve().parents[2]
PRODUCTS = ("board", "flange")
SMALL: dict[str, Any] = {"training": {"steps": 4, "batch_size": 4}}
KEYS = {
    "calibration": {"folds": 3, "members": 1},
    "patch": {"view": {"grid": 4}, **SMALL},
    "image": SMALL,
}
# What differs from run to run on the same machine.
TIMINGS = ("fit_seconds", "ms_per_image")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("config") / "tiny.yaml"
    file.write_text(yaml.safe_dump(KEYS))
    return file


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets")
    for product in PRODUCTS:
        write_set(folder, train=8, test=2, product=product)
    (folder / "notes").mkdir()
    return folder


@pytest.fixture(scope="module")
def whole(root: Path, keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "bench"
    assert main(arguments(root, keys, out)) == 0
    return out


def arguments(root: Path, keys: Path, out: Path, *more: str) -> list[str]:
    return [
        *("benchmark", str(root), "--presets", "pixel-cpu", "--seeds", "0", "1"),
        *("--config", str(keys), "--out", str(out), *more),
    ]


def log_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def results_of(out: Path) -> dict[str, Any]:
    found = json.loads((out / "results.json").read_text())
    assert isinstance(found, dict)
    return found


def name_of(row: dict[str, Any]) -> tuple[str, str, int]:
    return row["set"], row["preset"], row["seed"]


def untimed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k not in TIMINGS} for row in rows]


def test_all_sets_and_seeds_are_measured_once(whole: Path, root: Path) -> None:
    rows = log_of(whole)
    assert [name_of(row) for row in rows] == [(s, "pixel-cpu", n) for n in (0, 1) for s in PRODUCTS]
    for row in rows:
        assert row["train_count"] == 8
        assert row["good_count"] == 2
        assert {"image_auroc", "image_ap", "pixel_auroc", "aupro", "fit_seconds", "versions"} <= set(row)
        assert set(row["levels"]) == {"patch", "image", "ensemble"}
    found = results_of(whole)
    assert found["complete"] is True
    assert found["runs"] == rows
    assert found["presets"]["pixel-cpu"]["calibration"]["members"] == 1, "--config holds for the preset"
    table = (whole / "table.md").read_text()
    mean = sum(row["image_auroc"] for row in rows) / len(rows)
    assert f"| {mean:.3f} ±" in table
    assert not list(whole.glob("*.part"))


def test_every_key_is_explained(whole: Path) -> None:
    text = (REPOSITORY / "docs" / "benchmarking.md").read_text()
    found = results_of(whole)
    (alarms,) = found["false_alarms"].values()
    (run, *_) = found["runs"]
    (facts,) = found["figures"]["image_auroc"].values()
    (a_set, *_) = found["sets"].values()
    kinds = [found, found["figures"], facts, a_set, alarms, alarms["sets"]["flange"], alarms["pooled"], run]
    for key in {key for kind in kinds for key in kind}:
        assert f"`{key}`" in text, key


def test_a_finished_benchmark_is_not_repeated(whole: Path, root: Path, keys: Path, tmp_path: Path) -> None:
    out = tmp_path / "again"
    shutil.copytree(whole, out)
    for name in ("results.json", "table.md"):
        (out / name).unlink()
    before = (out / "log.jsonl").read_bytes()
    assert main(arguments(root, keys, out)) == 0
    assert (out / "log.jsonl").read_bytes() == before
    assert (out / "table.md").read_bytes() == (whole / "table.md").read_bytes()
    # A part of it is a part of its figures.
    assert main(arguments(root, keys, out, "--sets", "flange")) == 0
    assert (out / "log.jsonl").read_bytes() == before
    assert list(results_of(out)["sets"]) == ["flange"]
    assert len(results_of(out)["runs"]) == 2


@pytest.mark.timeout(600)
def test_what_is_killed_or_stopped_goes_on_with_nothing_lost_or_repeated(
    whole: Path, root: Path, keys: Path, tmp_path: Path
) -> None:
    out = tmp_path / "killed"
    log = out / "log.jsonl"

    def stop(after: int, with_signal: signal.Signals) -> tuple[int, str]:
        """Start the command, and stop it in the middle of the run after so many finished ones."""
        command = [sys.executable, "-m", "patchebm.cli.main", *arguments(root, keys, out)]
        process = subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=heed_ctrl_c
        )
        deadline = time.monotonic() + 240
        # Line breaks rather than lines: the last line may just be being written.
        while not log.exists() or log.read_bytes().count(b"\n") < after:
            assert process.poll() is None, "it ended before it could be stopped"
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(with_signal)
        _, said = process.communicate()
        return process.returncode, said

    code, _ = stop(1, signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert 1 <= len(RunLog(log).rows) < 4
    # As if the kill had come with the first line: three runs are left, and time to stop one of them.
    killed = log.read_bytes()
    killed = killed[: killed.find(b"\n") + 1]
    assert results_of(out)["complete"] is False, "there are tables of what was measured"
    # What a kill in the middle of writing a line would leave.
    log.write_bytes(killed + killed[: len(killed) // 3])

    # The next run first ends the half line, which counts as one, and then adds its own.
    code, said = stop(3, signal.SIGINT)
    assert code == 130
    assert "no whole run and do not count: 1" in said
    assert "goes on after the last finished run" in said
    assert "Traceback" not in said
    interrupted = log.read_bytes()
    assert interrupted.startswith(killed)
    assert interrupted.endswith(b"}\n"), "Ctrl-C leaves whole lines"

    assert main(arguments(root, keys, out)) == 0
    assert log.read_bytes().startswith(interrupted)
    finished = RunLog(log)
    rows = finished.rows
    assert finished.unreadable == 1
    assert len(rows) == len({name_of(row) for row in rows}) == 4
    # The same figures as without any interruption.
    assert untimed(rows) == untimed(log_of(whole))
    assert results_of(out)["complete"] is True


def test_changed_images_or_keys_are_measured_again(
    whole: Path, root: Path, keys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, changed = tmp_path / "bench", tmp_path / "sets"
    shutil.copytree(whole, out)
    shutil.copytree(root, changed)
    image = sorted((changed / "flange" / "test" / "good").iterdir())[0]
    with Image.open(image) as opened:
        flipped = opened.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    flipped.save(image)
    capsys.readouterr()
    assert main([*arguments(changed, keys, out, "--seeds", "0")]) == 0
    said = capsys.readouterr().err
    assert "flange, pixel-cpu, seed 0: the configuration or the images have changed" in said
    assert "board, pixel-cpu" not in said
    rows = log_of(out)
    assert rows[:4] == log_of(whole)
    assert [name_of(row) for row in rows[4:]] == [("flange", "pixel-cpu", 0)]
    assert results_of(out)["runs"] == [rows[0], rows[4]]
    # Another configuration: nothing in the log is of it.
    assert main([*arguments(root, keys, out, "--sets", "board", "--false-alarm-rate", "0.3")]) == 0
    rows = log_of(out)[5:]
    assert [name_of(row) for row in rows] == [("board", "pixel-cpu", n) for n in (0, 1)]
    assert {row["false_alarm_rate_stated"] for row in rows} == {0.3}


def test_bad_sets_do_not_cost_the_good_one(
    root: Path, keys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sets, out = tmp_path / "sets", tmp_path / "bench"
    sets.mkdir()
    for name in ("a_broken", "b_few", "c_untested", "d_link", "flange"):
        shutil.copytree(root / "flange", sets / name)
    broken = sorted((sets / "a_broken" / "test" / "good").iterdir())[0]
    image = broken.read_bytes()
    broken.write_bytes(image[: len(image) // 2])
    for file in sorted((sets / "b_few" / "train" / "good").iterdir())[2:]:
        file.unlink()
    shutil.rmtree(sets / "c_untested" / "test")
    (sets / "d_link" / "train" / "good" / "gone.png").symlink_to(sets / "nowhere.png")

    sentence = failure(capsys, *arguments(sets, keys, out, "--seeds", "0"))
    assert "c_untested could not be measured" in sentence
    assert f"(3 more in {out / 'table.md'})" in sentence
    found = results_of(out)
    errors = {error["set"]: error for error in found["errors"]}
    assert str(broken) in errors["a_broken"]["error"]
    assert "good images" in errors["b_few"]["error"]
    assert errors["b_few"]["preset"] == "pixel-cpu"
    assert errors["b_few"]["seed"] == 0
    assert "test" in errors["c_untested"]["error"]
    assert "gone.png" in errors["d_link"]["error"]
    assert [name_of(row) for row in found["runs"]] == [("flange", "pixel-cpu", 0)]
    assert found["complete"] is False
    table = (out / "table.md").read_text()
    assert errors["a_broken"]["error"] in table
    assert "| b_few, pixel-cpu, seed 0 |" in table

    # Mended, it is measured, and the good one is not measured again.
    broken.write_bytes(image)
    assert main(arguments(sets, keys, out, "--seeds", "0", "--sets", "a_broken", "flange")) == 0
    assert [row["set"] for row in log_of(out)] == ["flange", "a_broken"]
    assert results_of(out)["errors"] == []


def test_bad_arguments_are_one_sentence_and_write_nothing(
    root: Path, keys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    (tmp_path / "empty").mkdir()
    cases = {
        ("benchmark", str(tmp_path / "nowhere"), "--out", str(out)): "nowhere cannot be read",
        ("benchmark", str(tmp_path / "empty"), "--out", str(out)): "holds no image sets",
        ("benchmark", str(root / "flange"), "--out", str(out)): f"holds it: {root}",
        ("benchmark", str(keys), "--out", str(out)): "tiny.yaml cannot be read",
        ("benchmark", str(root)): "out",
        tuple(arguments(root, keys, out, "--presets", "pixel-cpo")): "did you mean 'pixel-cpu'",
        tuple(arguments(root, keys, out, "--sets", "flanges")): "did you mean 'flange'",
        tuple(arguments(root, keys, out, "--seeds", "zero")): "seeds",
        tuple(arguments(root, keys, out, "--seeds", "-1")): "seed is -1",
        tuple(arguments(root, keys, out, "--seed", "1")): "--seeds",
        tuple(arguments(root, keys, out, "--image.training.stepz", "1")): "image.training.steps",
    }
    for words, expected in cases.items():
        assert expected in failure(capsys, *words)
        assert not out.exists()


def test_a_folder_of_something_else_is_left_alone(
    root: Path, keys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "results.json").write_text("{}")
    assert "choose another --out" in failure(capsys, *arguments(root, keys, tmp_path))
    assert os.listdir(tmp_path) == ["results.json"]
    (tmp_path / "log.jsonl").write_text('{"set": "flange", "variant": "features", "seed": 0}\n')
    assert "holds what is no run" in failure(capsys, *arguments(root, keys, tmp_path))
    assert (tmp_path / "results.json").read_text() == "{}"
