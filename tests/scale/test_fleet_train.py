"""`patchebm fleet train`: a model for each product; one that fails concerns no other; what is done stays."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from html import unescape
from pathlib import Path

import pytest

from patchebm.cli.main import main
from patchebm.loading import load
from patchebm.runtime.bundle import read_bundle
from tests.failing import failure
from tests.scale.processes import started, wait_for, wait_until_gone, workers_of
from tests.tiny import write_good

pq = pytest.importorskip("pyarrow.parquet", reason="the extra `scale` is not installed")


def table(out: Path) -> dict[str, dict[str, str]]:
    with (out / "fleet.csv").open(encoding="utf-8", newline="") as file:
        return {row["product"]: row for row in csv.DictReader(file)}


def test_one_line_for_each_product(fleet: Path, plant: Path) -> None:
    rows = table(fleet)
    assert list(rows) == ["flange <b>", "good alone", "too few"]
    tested, good, failed = rows.values()
    card = read_bundle(fleet / "flange <b>" / "part.patchebm").card
    assert (tested["images"], tested["good_tested"]) == ("9", "3")
    assert float(tested["threshold"]) == card["threshold"]["value"]
    assert float(tested["expected_alarms"]) == pytest.approx(0.15)
    tests = sorted((plant / "flange <b>" / "test" / "good").iterdir())
    alarms = sum(p.anomalous for p in load(fleet / "flange <b>" / "run", device="cpu").predict(tests))
    assert tested["observed_alarms"] == str(alarms)
    assert (good["images"], good["observed_alarms"], good["error"]) == ("8", "", "")
    assert failed["threshold"] == ""
    assert "1 good image is too few to train" in failed["error"]
    page = (fleet / "fleet.html").read_text()
    assert "flange &lt;b&gt;" in page
    assert "3 of 3 products are done; 1 of them failed" in page
    typed = pq.read_table(fleet / "fleet.parquet").to_pylist()
    assert [row["images"] for row in typed] == [9, 8, None]
    assert typed[0]["threshold"] == card["threshold"]["value"]


def test_warnings_are_told_in_full(fleet: Path, plant: Path, tiny_yaml: Path, tmp_path: Path) -> None:
    data, found = plant / "good alone", tmp_path / "check.json"
    assert main(["check", str(data), "--config", str(tiny_yaml), "--json", str(found)]) == 0
    findings = [one for one in json.loads(found.read_text())["findings"] if one["weight"] == "warning"]
    expected = ["; ".join(filter(None, (one["sentence"], one["fix"]))) for one in findings]
    assert "copies" in [one["kind"] for one in findings]
    row = {row["product"]: row for row in pq.read_table(fleet / "fleet.parquet").to_pylist()}["good alone"]
    assert set(expected) <= set(row["warning_texts"])
    assert row["warnings"] == len(row["warning_texts"])
    assert table(fleet)["good alone"]["warning_texts"] == " | ".join(row["warning_texts"])
    page, log = (fleet / "fleet.html").read_text(), (fleet / "good alone" / "log.txt").read_text()
    for sentence in row["warning_texts"]:
        assert f"<li>{sentence}</li>" in unescape(page)
        assert sentence in log


def test_what_is_done_stays_and_changed_products_are_made_again(
    fleet: Path, plant: Path, tiny_yaml: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Copies keep the times of their files, and so what was made of them.
    root = Path(shutil.copytree(plant, tmp_path / "plant"))
    fleet = Path(shutil.copytree(fleet, tmp_path / "fleet"))
    command = ["fleet", "train", str(root), "--out", str(fleet), "--config", str(tiny_yaml)]
    models = {name: fleet / name / "part.patchebm" for name in ("flange <b>", "good alone")}
    before = {name: file.stat().st_mtime_ns for name, file in models.items()}
    write_good(root / "good alone" / "good", 9)
    write_good(root / "too few" / "good", 8)
    assert main(command) == 0
    after = {name: file.stat().st_mtime_ns for name, file in models.items()}
    assert [name for name in models if after[name] != before[name]] == ["good alone"]
    assert [row["images"] for row in table(fleet).values()] == ["9", "9", "8"]
    assert not any(row["error"] for row in table(fleet).values())
    sentence = failure(capsys, *command, "--false-alarm-rate", "0.1")
    assert "was made with other options" in sentence


def test_what_is_not_installed_is_said_before_the_first_product(
    plant: Path,
    tiny_yaml: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    out = tmp_path / "out"
    command = ["fleet", "train", str(plant), "--out", str(out), "--config", str(tiny_yaml)]
    assert "this machine lacks onnx; install it with: pip install 'patchebm[scale,export]'" in failure(
        capsys, *command, "--products", "good alone"
    )
    assert not out.exists()


def test_wrong_options_are_said_once(plant: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["fleet", "train", str(plant), "--out", str(tmp_path / "out")]
    assert "unknown option '--pressets'" in failure(capsys, *command, "--pressets", "a")
    assert "would delete models of the fleet" in failure(capsys, *command, "--overwrite")
    assert "--num-gpus is for --engine ray" in failure(capsys, *command, "--num-gpus", "1")
    assert "features.smallest_defect is 'x'" in failure(capsys, *command, "--smallest-defect", "x")
    assert "a model of pixels cannot be; start from a preset of features" in failure(
        capsys, *command, "--preset", "pixel-cpu"
    )
    empty = ["fleet", "train", str(tmp_path), "--out", str(tmp_path / "out")]
    assert "holds no image sets" in failure(capsys, *empty)
    assert "is not empty and holds no fleet" in failure(capsys, *command[:-1], str(plant))
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.timeout(900)
def test_killed_and_started_again(fleet: Path, plant: Path, tiny_yaml: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [
        sys.executable, "-m", "patchebm.cli.main", "fleet", "train", str(plant), "--out", str(out),
        "--products", "flange <b>", "good alone", "--config", str(tiny_yaml),
    ]  # fmt: skip
    with started(command) as process:
        deadline = time.monotonic() + 400
        while not list(out.glob("*/run/run.json")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        children = workers_of(process.pid)
        assert children
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    # Nobody trains on for a driver that is gone.
    wait_until_gone(children)
    assert not list(out.glob("*/result.json"))
    subprocess.run(command, check=True, capture_output=True)
    assert list(table(out)) == ["flange <b>", "good alone"]
    # Nor is forgotten what was said before.
    told = [{name: row["warning_texts"] for name, row in table(folder).items()} for folder in (out, fleet)]
    assert told[0] == {name: told[1][name] for name in told[0]}
    assert not any(row["error"] for row in table(out).values())


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.timeout(900)
def test_a_product_whose_process_is_killed_concerns_no_other(
    plant: Path, tiny_yaml: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = [
        sys.executable, "-m", "patchebm.cli.main", "fleet", "train", str(plant), "--out", str(out),
        "--products", "flange <b>", "good alone", "--config", str(tiny_yaml), "--workers", "1",
    ]  # fmt: skip
    with started(command) as process:
        wait_for(lambda: (out / "flange <b>" / "run" / "run.json").exists(), process)
        (child,) = workers_of(process.pid)
        os.kill(child, signal.SIGKILL)
        _, said = process.communicate(timeout=400)
    assert process.returncode == 2
    error = f"its process ended with status -9; see {out}/flange <b>/log.txt"
    # Python warns of what the killed process left, too.
    assert f"patchebm: error: 1 of 2 products failed, such as flange <b>: {error}" in said.splitlines()
    assert {name: row["error"] for name, row in table(out).items()} == {"flange <b>": error, "good alone": ""}
    made = (out / "good alone" / "part.patchebm").stat().st_mtime_ns
    subprocess.run(command, check=True, capture_output=True)
    assert not any(row["error"] for row in table(out).values())
    assert (out / "good alone" / "part.patchebm").stat().st_mtime_ns == made


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_same_models_on_ray(fleet: Path, plant: Path, tiny_yaml: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the extra `scale` is not installed")
    out = tmp_path / "out"
    command = ["fleet", "train", str(plant), "--out", str(out), "--config", str(tiny_yaml), "--engine", "ray"]
    assert main([*command, "--products", "flange <b>"]) == 0
    here, there = (table(folder)["flange <b>"] for folder in (fleet, out))
    assert here | {"seconds": ""} == there | {"seconds": ""}
