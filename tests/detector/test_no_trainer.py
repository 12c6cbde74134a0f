"""Scoring, calibrating and exporting need no trainer: they work where importing it raises."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from patchebm.detector import EnsembleDetector
from tests.tiny import write_good

# What only training needs. patchebm.training itself is small, but imports what is not.
PROGRAM = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        refused = {"lightning", "pytorch_lightning", "lightning_fabric"}
        refused |= {"tensorboard", "matplotlib", "sklearn"}
        if name.split(".")[0] in refused or name.startswith("patchebm.training"):
            raise ModuleNotFoundError(f"{name} is for training", name=name)

sys.meta_path.insert(0, Refuse())
"""
SCORE = (
    PROGRAM
    + """
from pathlib import Path
import patchebm

run, out, *images = sys.argv[1:]
detector = patchebm.load(run)
print(*(f"{one.score:.5f}" for one in detector.predict(images)))
detector.calibrate(images * 2)
detector.save(out)
patchebm.load(out).score(images)
"""
)
VERBS = (
    PROGRAM
    + """
import json
from patchebm.cli.main import main
sys.exit(max(main(command) for command in json.loads(sys.argv[1])))
"""
)


def run(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)


@pytest.mark.parametrize("which", ["features", "pixels"])
def test_a_run_is_loaded_scored_and_calibrated(
    which: str, fitted: EnsembleDetector, fitted_pixels: EnsembleDetector, images: list[Path], tmp_path: Path
) -> None:
    detector = fitted if which == "features" else fitted_pixels
    detector.save(tmp_path / "run")
    done = run(SCORE, tmp_path / "run", tmp_path / "calibrated", *images[:4])
    assert done.returncode == 0, done.stderr
    found = [float(word) for word in done.stdout.split()]
    assert found == pytest.approx(detector.score(images[:4]), abs=1e-4)


def verbs(*commands: list[object]) -> subprocess.CompletedProcess[str]:
    return run(VERBS, json.dumps(commands, default=str))


def test_the_verbs_predict_calibrate_and_export(run_folder: Path, data: Path, tmp_path: Path) -> None:
    good = data / "test" / "good"
    done = verbs(
        ["predict", run_folder, good],
        ["calibrate", run_folder, write_good(tmp_path / "new", 6), "--out", tmp_path / "out"],
        ["export", run_folder, "--out", tmp_path / "part.patchebm", "--verify", good],
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "part.patchebm").exists()


def test_the_guard_stops_training(data: Path, tiny_yaml: Path, tmp_path: Path) -> None:
    done = verbs(["train", data, "--out", tmp_path / "run", "--config", tiny_yaml])
    assert done.returncode != 0
    assert "'train' needs " in done.stderr
