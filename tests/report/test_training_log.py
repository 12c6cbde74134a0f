"""Curves and images of a run folder, whatever state its logs are in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure as Chart
from PIL import Image

from patchebm.report.training_log import training_figures
from patchebm.run_folder import NEGATIVES, RunFolder

LEVELS = ("line", "patch", "image")


def log(network: Path, part: int, rows: str) -> None:
    folder = network / "csv" / f"part{part}"
    folder.mkdir(parents=True)
    (folder / "metrics.csv").write_text("energy/gap,loss,step\n" + rows)


def test_parts_are_joined_and_cut_lines_left_out(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    line = run.training / "line"
    log(line / "network0", 0, "0.1,1.0,9\n0.2,0.9,19\n0.3,0.8,29\n0.4,")
    # Resumed from step 20: what the killed run logged beyond that is replaced. Part 10 comes after part 2.
    log(line / "network0", 2, "0.25,0.85,29\n")
    log(line / "network0", 10, "0.5,0.7,39\nnan,nan,49\n")
    log(line / "network1", 0, "0.1,1.1,9\n")
    for network in ("network0", "network1"):
        Image.new("RGB", (30, 20)).save(line / network / NEGATIVES)
    log(run.training / "image" / "network0", 0, "0.1,1.0,9\n")
    figures = training_figures(run, LEVELS)
    assert [(figure.level, figure.kind) for figure in figures] == [
        *(("line", "loss"), ("line", "gap"), ("line", "negatives"), ("image", "loss"), ("image", "gap")),
    ]
    loss = figures[0].image
    assert isinstance(loss, Chart)
    first, second = loss.axes[0].lines
    assert list(first.get_xdata()) == [9, 19, 29, 39, 49]
    np.testing.assert_array_equal(first.get_ydata(), [1.0, 0.9, 0.85, 0.7, np.nan])
    assert list(second.get_ydata()) == [1.1]


def test_a_run_without_logs_has_no_figures(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert training_figures(run, LEVELS) == []
    log(run.training / "patch" / "network0", 0, "")
    assert training_figures(run, LEVELS) == []
