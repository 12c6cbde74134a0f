"""Curves of the benchmark's trainings: energies of data and chains, energy gap, gradient norm, distance.

The benchmark keeps them in curves.json beside its results, at most 60 points of each and no image. This takes
in those of the finished runs in the folder `runs` of a benchmark, too, and draws all of them.

    python -m benchmarks.thesis.curves --runs FOLDER    # FOLDER: what the benchmark had as --out

It writes curves.json, docs/assets/thesis-curves-*.svg, and curves.md, which shows them.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.thesis.figures import Row, length_name
from benchmarks.thesis.runs import CURVES, read_curves, run_folder
from benchmarks.thesis.variants import ABLATIONS, CHANGES, COMPARED, FULL_SIZE
from patchebm.evaluation.runlog import RunLog
from patchebm.files import replacing, write_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HERE = Path(__file__).resolve().parent
ASSETS = HERE.parents[1] / "docs" / "assets"
FILE = "curves.json"
POINTS = 60
LEVELS = ("patch", "image")
QUANTITIES = {"data": "energy/data", "negatives": "energy/negatives", **CURVES}
"""What is kept of each point, and what the curves of a training call it."""
TITLES = {"gap": "energy gap", "gradient_norm": "norm of dE/dx", "distance": "distance of a pixel"}
# Curves are drawn to a logarithmic scale where the largest is so many times as large as the smallest.
FAR_APART = 30

Run = dict[str, Any]
"""`set`, `variant`, `seed`, `steps`, `diverged`, and `levels`: for each `step` and the quantities."""


def curves_of(folder: Path) -> dict[str, dict[str, list[float | None]]]:
    """Returns the points of each level of a run: the step, and the quantities to four digits.

    Args:
        folder: of the run.
    """
    found = {}
    for level in LEVELS:
        points = read_curves(folder / level)
        # From the last one backwards, so that the end of a training is among them.
        steps = list(points)[:: -max(1, math.ceil(len(points) / POINTS))][::-1]
        if steps:
            found[level] = {"step": [step + 1 for step in steps]} | {
                name: [_rounded(points[step].get(key)) for step in steps] for name, key in QUANTITIES.items()
            }
    return found


def _rounded(value: str | None) -> float | None:
    """Returns a number to four digits, or None for what is none."""
    number = float(value or "nan")
    return float(f"{number:.4g}") if math.isfinite(number) else None


def key(run: Row) -> tuple[Any, ...]:
    """Returns what a run is known by."""
    return run["set"], run["variant"], run["seed"], run["steps"]


def read(out: Path) -> list[Run]:
    """Returns the runs in the file of curves of a folder, if there is one."""
    file = out / FILE
    found: list[Run] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    return found


def collect(runs: Path, out: Path, rows: Iterable[Row]) -> list[Run]:
    """Takes in the curves of finished runs, and returns all that the file of curves has then.

    Args:
        runs: folder of the benchmark's results, in which it keeps its runs.
        out: folder of the file of curves. What is in it stays.
        rows: of the finished runs. Those whose folder is not there any more are left out.
    """
    found = {key(run): run for run in read(out)}
    for row in rows:
        levels = curves_of(run_folder(runs, *key(row))) if row["variant"] in CHANGES else {}
        if levels:
            facts = {name: row[name] for name in ("set", "variant", "seed", "steps")}
            found[key(row)] = {**facts, "diverged": "diverged" in row, "levels": levels}
    if found:
        lines = ",\n".join(json.dumps(run, allow_nan=False) for run in found.values())
        write_text(out / FILE, f"[\n{lines}\n]\n")
    return list(found.values())


def finished(runs: Path) -> list[Row]:
    """Returns the rows of the results and of the log in a folder of the benchmark."""
    file, log = runs / "results.json", runs / "log.jsonl"
    rows = json.loads(file.read_text(encoding="utf-8"))["runs"] if file.exists() else []
    return [*rows, *(RunLog(log).rows if log.exists() else [])]


class Drawing(NamedTuple):
    """What one file shows.

    Attributes:
        file: its name without the ending.
        said: what it shows, in words.
        runs: those in it.
        parts: whether these are the recipe with parts exchanged, and not models with their seeds.
    """

    file: str
    said: str
    runs: list[Run]
    parts: bool


def drawings(runs: list[Run]) -> list[Drawing]:
    """Returns what is drawn: for each set and length the models that are compared, and exchanged parts."""
    found: list[Drawing] = []
    order = list(CHANGES)
    runs = sorted(runs, key=lambda run: (order.index(run["variant"]), run["seed"]))
    for name, steps in dict.fromkeys((run["set"], run["steps"]) for run in runs):
        own = [run for run in runs if (run["set"], run["steps"]) == (name, steps)]
        file, place = f"thesis-curves-{name}-{steps}".replace(" ", "-"), f"{name}, {length_name(steps)}"
        models = [run for run in own if run["variant"] in (*COMPARED, *FULL_SIZE)]
        if models:
            said = ", ".join(f"`{variant}`" for variant in dict.fromkeys(run["variant"] for run in models))
            found.append(Drawing(file, f"{place}: {said}, a colour for each seed", models, parts=False))
        parts = exchanged(own)
        if parts:
            said = f"{place}: the recipe with one part exchanged, seed {parts[0]['seed']}"
            found.append(Drawing(f"{file}-parts", said, parts, parts=True))
    return found


def exchanged(runs: list[Run]) -> list[Run]:
    """Returns the recipe and its variants with the one seed that most variants have, or nothing without any.

    Variants that have taken over the training of another one are left out.

    Args:
        runs: of one set and length, in order.
    """
    variants = [run for run in runs if run["variant"] in ABLATIONS]
    seeds = [run["seed"] for run in variants]
    if not seeds:
        return []
    seed = max(sorted(set(seeds)), key=seeds.count)
    found: list[Run] = []
    for run in runs:
        wanted = run["seed"] == seed and run["variant"] in ("thesis-small", *ABLATIONS)
        if wanted and all(run["levels"] != other["levels"] for other in found):
            found.append(run)
    return found


def caption(drawing: Drawing) -> str:
    """Returns Markdown that shows a drawing on the page of the thesis."""
    what = "Energy gap, gradient norm and distance" if drawing.parts else "Curves"
    alternative = f"{what} over the steps on {drawing.said.replace('`', '')}"
    return f"On {drawing.said}.\n\n![{alternative}](../assets/{drawing.file}.svg)\n"


def page(runs: list[Run]) -> str:
    """Returns Markdown that shows all drawings."""
    return "\n".join(map(caption, drawings(runs))) or "No curve of these runs has been kept yet.\n"


def draw(drawing: Drawing, folder: Path) -> None:
    """Draws into a folder, with the same bytes for the same curves."""
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    file, _, runs, parts = drawing
    if parts:
        labels = [run["variant"] for run in runs]
        rows = [(f"{level} level", level, runs) for level in LEVELS]
    else:
        labels = [f"seed {run['seed']}" for run in runs]
        variants = dict.fromkeys(run["variant"] for run in runs)
        rows = [
            (f"{variant}\n{level} level", level, [run for run in runs if run["variant"] == variant])
            for variant in variants
            for level in LEVELS
        ]
    rows = [row for row in rows if any(row[1] in run["levels"] for run in row[2])]
    names = list(dict.fromkeys(labels))
    palette = matplotlib.colormaps["tab10" if len(names) <= 10 else "tab20"]
    colours = {name: palette(i % palette.N) for i, name in enumerate(names)}
    columns = [*TITLES] if parts else ["energies", *TITLES]
    # Text stays text, and names within the file do not change from one drawing to the next.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": file, "font.size": 8}):
        chart = Figure(figsize=(2.6 * len(columns), 1.7 * len(rows) + 0.5), layout="constrained")
        panels = chart.subplots(len(rows), len(columns), squeeze=False, sharex="col")
        for place, (title, level, own) in enumerate(rows):
            for axes, column in zip(panels[place], columns, strict=True):
                shown = [("data", "-"), ("negatives", "--")] if column == "energies" else [(column, "-")]
                curves = []
                for run in (run for run in own if level in run["levels"]):
                    label = run["variant"] if parts else f"seed {run['seed']}"
                    points = run["levels"][level]
                    # A level that was trained to its end did not diverge; a later one did.
                    ends = run["diverged"] and points["step"][-1] != run["steps"]
                    for name, style in shown:
                        curves.append(plot(axes, points, name, style, colours[label], ends=ends))
                set_scale(axes, curves, signed=column in ("energies", "gap"))
                if place == 0:
                    axes.set_title({"energies": "energies", **TITLES}[column])
                if place == len(rows) - 1:
                    axes.set_xlabel("step")
            panels[place, 0].set_ylabel(title)
        legend = [Line2D([], [], color=colours[name], label=name) for name in names]
        if not parts:
            legend += [
                Line2D([], [], color="black", label="data"),
                Line2D([], [], color="black", linestyle="--", label="chains"),
            ]
        if any(run["diverged"] for run in runs):
            legend.append(Line2D([], [], color="black", marker="x", linestyle="", label="diverged"))
        columns_of_legend = 4 if parts else 6
        chart.legend(handles=legend, loc="outside lower center", ncols=columns_of_legend, frameon=False)
        with replacing(folder / f"{file}.svg") as temporary:
            chart.savefig(temporary, format="svg", metadata={"Date": None})


def plot(
    axes: Axes, points: Mapping[str, Sequence[Any]], name: str, style: str, colour: Any, *, ends: bool
) -> list[float]:
    """Draws one curve, with a cross at its end if the training diverged there; returns its values."""
    known = [
        (step, value) for step, value in zip(points["step"], points[name], strict=True) if value is not None
    ]
    steps, values = [step for step, _ in known], [value for _, value in known]
    axes.plot(steps, values, style, color=colour, linewidth=1)
    if ends and known:
        axes.plot(steps[-1:], values[-1:], "x", color=colour)
    return values


def set_scale(axes: Axes, curves: Iterable[Sequence[float]], *, signed: bool) -> None:
    """Gives the axes a logarithmic scale where some curves would be flat lines beside the others.

    Args:
        axes: with the curves.
        curves: values of each.
        signed: whether values may be negative; the scale is linear around 0 then.
    """
    sizes = [max(map(abs, values)) for values in curves if any(values)]
    if sizes and max(sizes) > FAR_APART * min(sizes):
        if signed:
            axes.set_yscale("symlog", linthresh=min(sizes))
        else:
            axes.set_yscale("log")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.thesis.curves",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--runs", type=Path, default=HERE, metavar="FOLDER", help=f"folder of the benchmark; default: {HERE}"
    )
    parser.add_argument("--out", type=Path, default=HERE, help=f"for {FILE} and curves.md; default: {HERE}")
    parser.add_argument("--assets", type=Path, default=ASSETS, help=f"for the drawings; default: {ASSETS}")
    arguments = parser.parse_args(argv)
    runs = collect(arguments.runs, arguments.out, finished(arguments.runs))
    for drawing in drawings(runs):
        draw(drawing, arguments.assets)
    write_text(arguments.out / "curves.md", page(runs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
