"""The curves of the thesis' benchmark: what is kept of finished runs, and the drawings of it."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.thesis.curves import (
    ASSETS,
    HERE,
    POINTS,
    collect,
    curves_of,
    draw,
    drawings,
    main,
    page,
    read,
)
from benchmarks.thesis.runs import run_folder


def write_points(folder: Path, level: str, steps: range, *, part: int = 0, data: float = 1.0) -> None:
    """Writes points as a training does."""
    file = folder / level / "member0" / "csv" / f"part{part}" / "metrics.csv"
    file.parent.mkdir(parents=True)
    names = ("chains/descent", "chains/distance", "chains/gradient_norm")
    energies = ("energy/data", "energy/gap", "energy/negatives", "loss", "step")
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow([*names, *energies])
        for step in steps:
            writer.writerow([0.1, 0.02, 0.3, data, 0.5 * step, data + 0.5 * step, -0.5, step])


def row(variant: str, seed: int = 0, name: str = "bottle", steps: int = 40, **more: Any) -> dict[str, Any]:
    return {"set": name, "variant": variant, "seed": seed, "steps": steps, **more}


@pytest.fixture
def rows(tmp_path: Path) -> list[dict[str, Any]]:
    """Rows of finished runs, whose folders lie in a folder of the benchmark."""
    found = [row("thesis-small"), row("thesis-small", 1), row("image-baseline"), row("no batch norm")]
    found += [row("positions standardised"), row("SGLD, as far", diverged="the energy diverged 6 times")]
    for one in found:
        folder = run_folder(tmp_path, one["set"], one["variant"], one["seed"], one["steps"])
        ends = 20 if "diverged" in one else 40
        data = 2.0 if one["variant"] == "no batch norm" else 1.0
        if one["variant"] != "image-baseline":
            write_points(folder, "patch", range(9, ends, 10), data=data)
        if "diverged" not in one:
            write_points(folder, "image", range(9, ends, 10), data=data)
    return [*found, row("controls", steps=0)]


def test_the_end_of_a_long_training_is_among_its_points(tmp_path: Path) -> None:
    write_points(tmp_path, "patch", range(9, 1500, 10))
    points = curves_of(tmp_path)["patch"]
    assert len(points["step"]) <= POINTS
    assert points["step"][-1] == 1500
    assert points["step"] == sorted(points["step"])
    assert points["gap"][-1] == pytest.approx(0.5 * 1499, rel=1e-3)


def test_a_training_that_went_on_has_one_curve(tmp_path: Path) -> None:
    write_points(tmp_path, "patch", range(9, 30, 10), part=0, data=1.0)
    write_points(tmp_path, "patch", range(29, 50, 10), part=1, data=2.0)
    points = curves_of(tmp_path)["patch"]
    assert points["step"] == [10, 20, 30, 40, 50]
    assert points["data"][:2] == [1.0, 1.0]
    assert points["data"][3:] == [2.0, 2.0]


def test_numbers_that_are_none_can_be_kept(tmp_path: Path) -> None:
    folder = run_folder(tmp_path, "bottle", "thesis-small", 0, 40)
    write_points(folder, "patch", range(9, 40, 10), data=float("nan"))
    (run,) = collect(tmp_path, tmp_path / "out", [row("thesis-small")])
    assert run["levels"]["patch"]["data"] == [None] * 4
    assert read(tmp_path / "out") == [run]
    (drawing,) = drawings([run])
    draw(drawing, tmp_path)


def test_curves_that_are_kept_stay_when_their_runs_are_gone(
    tmp_path: Path, rows: list[dict[str, Any]]
) -> None:
    first = collect(tmp_path, tmp_path / "out", rows)
    assert [(run["variant"], run["seed"]) for run in first] == [
        ("thesis-small", 0),
        ("thesis-small", 1),
        ("image-baseline", 0),
        ("no batch norm", 0),
        ("positions standardised", 0),
        ("SGLD, as far", 0),
    ]
    assert [run["diverged"] for run in first] == [False] * 5 + [True]
    folder = run_folder(tmp_path / "other", "screw", "thesis-small", 0, 40)
    write_points(folder, "patch", range(9, 40, 10))
    more = collect(tmp_path / "other", tmp_path / "out", [*rows, row("thesis-small", name="screw")])
    assert more[:-1] == first
    assert more[-1]["set"] == "screw"
    assert read(tmp_path / "out") == more


def test_drawings_show_models_by_seed_and_the_exchanged_parts(
    tmp_path: Path, rows: list[dict[str, Any]]
) -> None:
    runs = collect(tmp_path, tmp_path / "out", rows)
    models, parts = drawings(runs)
    assert models.file == "thesis-curves-bottle-40"
    assert "`thesis-small`, `image-baseline`" in models.said
    assert [(run["variant"], run["seed"]) for run in models.runs] == [
        ("thesis-small", 0),
        ("thesis-small", 1),
        ("image-baseline", 0),
    ]
    assert parts.file == "thesis-curves-bottle-40-parts"
    # The positions were standardised after the training of the recipe, whose curve it has.
    assert [run["variant"] for run in parts.runs] == ["thesis-small", "SGLD, as far", "no batch norm"]


def test_the_command_draws_the_same_file_again(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    (tmp_path / "log.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in rows[1:]))
    (tmp_path / "results.json").write_text(json.dumps({"runs": rows[:1]}))
    out, assets = tmp_path / "out", tmp_path / "assets"
    words = ["--runs", f"{tmp_path}", "--out", f"{out}", "--assets", f"{assets}"]
    assert main(words) == 0
    files = {file.name: file.read_bytes() for file in assets.iterdir()}
    assert set(files) == {"thesis-curves-bottle-40.svg", "thesis-curves-bottle-40-parts.svg"}
    models, parts = (files[f"thesis-curves-bottle-40{end}.svg"].decode() for end in ("", "-parts"))
    for text in ("patch level", "image level", "energies", "energy gap", "distance of a pixel", "seed 1"):
        assert text in models
    assert "diverged" not in models
    for text in ("SGLD, as far", "no batch norm", "norm of dE/dx", "diverged"):
        assert text in parts
    shown = (out / "curves.md").read_text()
    assert all(f"](../assets/{name})" in shown for name in files)
    # Curves, and no pixels.
    assert not any("<image" in text for text in (models, parts))
    # From what was kept alone.
    assert main(["--runs", f"{tmp_path / 'none'}", "--out", f"{out}", "--assets", f"{assets}"]) == 0
    assert {file.name: file.read_bytes() for file in assets.iterdir()} == files


def test_nothing_that_was_kept_is_a_page_too(tmp_path: Path) -> None:
    words = ["--runs", f"{tmp_path}", "--out", f"{tmp_path}", "--assets", f"{tmp_path / 'assets'}"]
    assert main(words) == 0
    assert (tmp_path / "curves.md").read_text() == "No curve of these runs has been kept yet.\n"
    assert not (tmp_path / "curves.json").exists()
    assert not (tmp_path / "log.jsonl").exists()


def test_the_committed_drawings_are_those_of_the_committed_curves() -> None:
    runs = read(HERE)
    shown = (HERE / "curves.md").read_text(encoding="utf-8")
    assert shown == page(runs), "run python -m benchmarks.thesis.curves"
    drawn = {f"{drawing.file}.svg" for drawing in drawings(runs)}
    assert drawn == {file.name for file in ASSETS.glob("thesis-curves-*.svg")}
