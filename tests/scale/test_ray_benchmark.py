"""`patchebm benchmark --engine ray`: the figures of the serial run; what was measured stays."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="the extra `scale` is not installed")

from patchebm.cli.main import main
from tests.failing import failure

pytestmark = pytest.mark.timeout(600)

# What a run costs and where it ran, which are no figures of the method.
COSTS = {"fit_seconds", "ms_per_image", "threads", "versions"}


def log(out: Path) -> list[dict]:
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return sorted(rows, key=lambda row: (row["set"], row["preset"], row["seed"]))


def figures(out: Path) -> list[dict]:
    return [{key: value for key, value in row.items() if key not in COSTS} for row in log(out)]


@pytest.mark.slow
def test_the_figures_are_those_of_the_serial_run(data: Path, tiny_yaml: Path, tmp_path: Path) -> None:
    root = tmp_path / "sets"
    shutil.copytree(data, root / "one")
    shutil.copytree(data, root / "bad")
    next((root / "bad" / "test" / "good").iterdir()).write_bytes(b"no image")
    command = ["benchmark", str(root), "--seeds", "0", "1", "--config", str(tiny_yaml), "--out"]
    # A set of them is bad.
    assert main([*command, str(tmp_path / "serial")]) == 2
    assert main([*command, str(tmp_path / "ray"), "--engine", "ray", "--workers", "2"]) == 2
    assert [row["seed"] for row in figures(tmp_path / "ray")] == [0, 1]
    assert figures(tmp_path / "ray") == figures(tmp_path / "serial")
    found, expected = (
        json.loads((tmp_path / name / "results.json").read_text()) for name in ("ray", "serial")
    )
    assert found["figures"]["image_auroc"] == expected["figures"]["image_auroc"]
    assert found["false_alarms"] == expected["false_alarms"]
    assert [error["set"] for error in found["errors"]] == ["bad"]
    # Interrupted after one run: that one is not measured again.
    lines = (tmp_path / "ray" / "log.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "ray" / "log.jsonl").write_text(lines[0])
    shutil.rmtree(root / "bad")
    assert main([*command, str(tmp_path / "ray"), "--engine", "ray"]) == 0
    assert (tmp_path / "ray" / "log.jsonl").read_text().startswith(lines[0])
    assert figures(tmp_path / "ray") == figures(tmp_path / "serial")


def test_options_of_ray_alone(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["benchmark", str(data.parent), "--out", str(tmp_path / "out")]
    assert "--workers is for --engine ray" in failure(capsys, *command, "--workers", "2")
    assert "--num-gpus is for --engine ray" in failure(capsys, *command, "--num-gpus", "1")
    assert not (tmp_path / "out").exists()
