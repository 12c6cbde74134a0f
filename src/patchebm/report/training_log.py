"""This module turns what training left in a run folder into figures of a page."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure as Chart
from PIL import Image

from patchebm.report.charts import training_figure
from patchebm.run_folder import NEGATIVES, RunFolder

# Columns of the log that are drawn: what the page calls them, and the label of the axis.
_DRAWN = {"loss": ("loss", "loss"), "energy/gap": ("gap", "energy of negatives less that of data")}


@dataclass(frozen=True)
class TrainingFigure:
    """This class is a chart or an image of the training of a level, of kind "loss", "gap" or "negatives"."""

    level: str
    kind: str
    image: Chart | Image.Image


def training_figures(run: RunFolder, levels: Sequence[str]) -> list[TrainingFigure]:
    """Returns loss and energy gap of each level by network, and negatives beside data where they are images.

    What a run folder does not hold, or not in a form that can be read, is left out.
    """
    figures = []
    for level in levels:
        networks = run.networks(level)
        for column, (kind, ylabel) in _DRAWN.items():
            curves = {network.name: _curve(run.logs(network), column) for network in networks}
            drawn = {name: curve for name, curve in curves.items() if curve[0]}
            if drawn:
                figures.append(TrainingFigure(level, kind, training_figure(drawn, ylabel)))
        for file in [network / NEGATIVES for network in networks if (network / NEGATIVES).exists()][:1]:
            with Image.open(file) as image:
                figures.append(TrainingFigure(level, "negatives", image.copy()))
    return figures


def _curve(parts: Sequence[Path], column: str) -> tuple[list[float], list[float]]:
    """Returns steps and values of a column over all parts of a log."""
    values: dict[float, float] = {}
    for part in parts:
        with part.open(encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                try:
                    values[float(row["step"])] = float(row[column])
                except (KeyError, TypeError, ValueError):
                    # A line of a killed run may be cut off.
                    continue
    # Later parts win where a resumed run went over steps again.
    steps = sorted(values)
    return steps, [values[step] if math.isfinite(values[step]) else math.nan for step in steps]
