"""What training left in a run folder, as figures of a report."""

from __future__ import annotations

import csv
import math
from pathlib import Path

from PIL import Image

from patchebm.report.charts import training_figure
from patchebm.report.page import Figure

Curve = tuple[list[float], list[float]]

# Columns of the log that are drawn, and what a reader should know of them.
_DRAWN = {
    "loss": ("loss", "{} level: training loss"),
    "energy/gap": (
        "energy of negatives less that of data",
        "{} level: energy gap, which rises while the energy learns",
    ),
}


def training_figures(run: Path) -> list[Figure]:
    """Loss and energy gap of every level by member, and negatives beside data where they are images.

    What a run folder does not hold, or not in a form that can be read, is left out.
    """
    figures = []
    for level in sorted((run / "training").glob("*/"), key=lambda path: path.name != "patch"):
        members = sorted(level.glob("member*"))
        for column, (ylabel, caption) in _DRAWN.items():
            curves = {f"member {i + 1}": _curve(member, column) for i, member in enumerate(members)}
            drawn = {name: curve for name, curve in curves.items() if curve[0]}
            if drawn:
                figures.append(Figure(caption.format(level.name), training_figure(drawn, ylabel)))
        negatives = level / "member0" / "negatives.png"
        if negatives.exists():
            with Image.open(negatives) as image:
                caption = f"{level.name} level, last step (rows): data, negatives, their ends if they move"
                figures.append(Figure(caption, image.copy()))
    return figures


def _curve(member: Path, column: str) -> Curve:
    """Steps and values of a column over all parts of a log: a resumed run writes a further part."""
    values: dict[float, float] = {}
    parts = sorted(member.glob("csv/part*/metrics.csv"), key=lambda file: int(file.parent.name[4:] or 0))
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
