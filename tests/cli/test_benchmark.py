"""`patchebm benchmark` as a user runs and stops it; `tests/evaluation` tests what it repeats."""

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

from patchebm.cli.main import main
from patchebm.evaluation.metrics import METRICS
from patchebm.evaluation.runlog import RunLog
from tests.failing import failure
from tests.signals import heed_ctrl_c
from tests.tiny import write_set

REPOSITORY = Path(__file__).resolve().parents[2]
PRODUCTS = ("board", "flange")
SMALL: dict[str, Any] = {"network": {"training": {"steps": 4, "batch_size": 4}}}
KEYS = {
    "calibration": {"folds": 3, "members": 1},
    "patch": {"view": {"grid": 4}, **SMALL},
    "image": SMALL,
}


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
        *("benchmark", str(root), "--presets", "pixel-cpu", "--seeds", "3"),
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


def test_all_sets_are_measured_once(whole: Path) -> None:
    rows = log_of(whole)
    assert [name_of(row) for row in rows] == [(name, "pixel-cpu", 3) for name in PRODUCTS]
    for row in rows:
        assert (row["train_count"], row["good_count"]) == (8, 2)
        # Nothing may have been called anomalous, and then there is no precision.
        assert {metric.name for metric in METRICS} - {"precision"} <= set(row)
        assert {"fit_seconds", "versions", "threads", "ms_per_image"} <= set(row)
        assert set(row["levels"]) == {"patch", "image", "ensemble"}
    found = results_of(whole)
    assert found["complete"] is True
    assert found["runs"] == rows
    assert found["presets"]["pixel-cpu"]["calibration"]["members"] == 1, "--config holds for the preset"
    mean = sum(row["image_auroc"] for row in rows) / len(rows)
    assert f"| {mean:.3f} |" in (whole / "table.md").read_text()
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


def test_a_finished_benchmark_is_not_repeated(
    whole: Path, root: Path, keys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "again"
    shutil.copytree(whole, out)
    for name in ("results.json", "table.md"):
        (out / name).unlink()
    before = (out / "log.jsonl").read_bytes()
    # What a kill in the middle of writing a line leaves.
    (out / "log.jsonl").write_bytes(before + before[:100])
    assert main(arguments(root, keys, out)) == 0
    assert (out / "table.md").read_bytes() == (whole / "table.md").read_bytes()
    said = capsys.readouterr().err
    assert "no whole run and do not count: 1" in said
    assert "2 runs are in" in said
    # A part of it is a part of its figures.
    assert main(arguments(root, keys, out, "--sets", "flange")) == 0
    assert (out / "log.jsonl").read_bytes() == before + before[:100]
    assert list(results_of(out)["sets"]) == ["flange"]
    assert len(results_of(out)["runs"]) == 1


@pytest.mark.timeout(600)
def test_what_is_stopped_goes_on_after_the_last_finished_run(root: Path, keys: Path, tmp_path: Path) -> None:
    out = tmp_path / "stopped"
    log = out / "log.jsonl"
    command = [sys.executable, "-m", "patchebm.cli.main", *arguments(root, keys, out, "--seeds", "3", "4")]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=heed_ctrl_c
    )
    deadline = time.monotonic() + 240
    # Line breaks rather than lines: the last line may just be being written.
    while not log.exists() or log.read_bytes().count(b"\n") < 1:
        assert process.poll() is None, "it ended before it could be stopped"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130
    assert "goes on after the last finished run" in said
    assert "Traceback" not in said
    stopped = log.read_bytes()
    assert stopped.endswith(b"}\n"), "Ctrl-C leaves whole lines"
    rows = RunLog(log).rows
    assert 1 <= len(rows) < 4
    found = results_of(out)
    assert found["complete"] is False, "there are tables of what was measured"
    # What is asked for now is measured already.
    name, _, seed = name_of(rows[0])
    assert main(arguments(root, keys, out, "--seeds", str(seed), "--sets", name)) == 0
    assert log.read_bytes() == stopped
    assert results_of(out)["complete"] is True


def test_a_changed_configuration_and_a_set_that_is_left_out_are_said(
    whole: Path, root: Path, keys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, sets = tmp_path / "bench", tmp_path / "sets"
    shutil.copytree(whole, out)
    shutil.copytree(root, sets)
    shutil.rmtree(sets / "board" / "test")
    for file in sorted((sets / "flange" / "train" / "good").iterdir())[2:]:
        file.unlink()
    sentence = failure(capsys, *arguments(sets, keys, out, "--false-alarm-rate", "0.3"))
    assert "board could not be measured" in sentence
    assert f"(1 more in {out / 'table.md'})" in sentence
    errors = {error["set"]: error for error in results_of(out)["errors"]}
    assert "good images" in errors["flange"]["error"]
    assert log_of(out) == log_of(whole)
    capsys.readouterr()
    main(arguments(sets, keys, out, "--false-alarm-rate", "0.3"))
    said = capsys.readouterr().err
    assert "left out: board: " in said
    assert "flange, pixel-cpu, seed 3: the configuration or the images have changed" in said


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
        tuple(
            arguments(root, keys, out, "--image.network.training.stepz", "1")
        ): "image.network.training.steps",
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
