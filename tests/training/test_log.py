"""Curves, the image and the bar, without a training."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from PIL import Image

from patchebm.training.log import TrainingLog, view_grid


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_resumed_run_leaves_the_curves_that_are_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A bar is drawn on a terminal alone.
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with TrainingLog("patch level", 0, 40, tmp_path) as log:
        for step in range(25):
            log.step(step, 0.5, {"loss": torch.tensor(1.0 + step), "energy/gap": 0.5})
        log.say("something to tell")
    with TrainingLog("patch level", 20, 40, tmp_path) as log:
        for step in range(20, 40):
            log.step(step, 0.25, {"loss": torch.tensor(1.0 + step), "energy/gap": 0.25})
    first, second = (rows(tmp_path / "csv" / f"part{part}" / "metrics.csv") for part in (0, 1))
    assert [row["step"] for row in first] == ["9", "19"]
    assert [row["step"] for row in second] == ["29", "39"]
    assert [row["loss"] for row in second] == ["30.0", "40.0"]
    assert len(list((tmp_path / "tensorboard").glob("events.*"))) == 2
    shown = capsys.readouterr().err
    assert "something to tell\n" in shown
    assert "40/40" in shown
    assert "energy gap 0.25" in shown


def test_views_are_shown_as_an_image_and_features_are_not(tmp_path: Path) -> None:
    with TrainingLog("x", 0, 10, tmp_path) as log:
        log.show(0, [torch.zeros(4, 176, 1, 1)] * 2)
        assert not (tmp_path / "negatives.png").exists()
        log.show(1, [torch.zeros(4, 1, 16, 16)] * 3)
    with Image.open(tmp_path / "negatives.png") as image:
        assert image.size == (4 * 68, 3 * 68)


def test_a_grid_holds_the_views_row_by_row() -> None:
    bright, dark = torch.ones(2, 3, 64, 64), -torch.ones(2, 3, 64, 64)
    grid = view_grid([bright, dark], columns=1)
    assert grid.shape == (2 * 68, 68, 3)
    assert grid.dtype == torch.uint8
    assert (grid[2:66, 2:66] == 255).all()
    assert (grid[70:134, 2:66] == 0).all()


def test_no_folder_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with TrainingLog("x", 0, 10, None) as log:
        log.step(9, 0.5, {"loss": 1.0})
        log.show(9, [torch.zeros(4, 1, 16, 16)])
    assert not list(tmp_path.iterdir())
