"""The tables of README and documentation are the committed ones, and say what the committed results say."""

from __future__ import annotations

import argparse
import io
import json
import random
import shutil
import statistics
from pathlib import Path
from typing import Any

import pytest

from benchmarks import pages
from benchmarks.claims import HERE, SOURCES, THESIS, short, table
from benchmarks.common import Log
from benchmarks.features.__main__ import write_tables
from benchmarks.quality.__main__ import results as seconds
from benchmarks.thesis.tables import results
from patchebm.evaluation.runlog import RunLog


def test_the_pages_hold_the_committed_tables() -> None:
    assert not pages.update(check=True), "run python -m benchmarks.pages"


def test_a_page_with_another_figure_is_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "table.md").write_text("Two rows.\n| a |\n|---|\n| 1 |\n", encoding="utf-8")
    page = tmp_path / "README.md"
    page.write_text("# x\n<!-- table: table.md -->\n| 2 |\n<!-- end of table -->\n", encoding="utf-8")
    monkeypatch.setattr(pages, "ROOT", tmp_path)
    assert pages.update(check=True) == [page]
    assert "| 2 |" in page.read_text(encoding="utf-8")
    assert pages.update() == [page]
    # With the empty line that MkDocs needs before a table.
    assert "Two rows.\n\n| a |\n|---|\n| 1 |\n<!-- end" in page.read_text(encoding="utf-8")
    assert pages.update() == []


def test_every_committed_table_is_on_a_page() -> None:
    shown = {name for page in pages.pages() for _, name, _ in pages.MARKED.findall(page.read_text("utf-8"))}
    # `alarms.md`, `cost.md` and the like beside a `table.md` count, too.
    written = {str(file.relative_to(pages.ROOT)) for file in HERE.rglob("*.md")}
    assert written == shown


def test_the_claims_are_current() -> None:
    assert (HERE / "claims.md").read_text(encoding="utf-8") == table(), "run python -m benchmarks.claims"
    assert (HERE / "short.md").read_text(encoding="utf-8") == short(), "run python -m benchmarks.claims"
    thesis = (HERE / "thesis.md").read_text(encoding="utf-8")
    assert thesis == table(sources=THESIS), "run python -m benchmarks.claims"


def claims(folder: Path = HERE) -> dict[str, str]:
    lines = [line for line in table(folder).splitlines() if line.startswith("| ")]
    rows = [line.strip("| ").split(" | ") for line in lines if not line.startswith("| what was measured")]
    found = dict(rows)
    assert len(found) == len(rows)
    return found


def test_claims_recomputed_from_single_runs(folder: Path) -> None:
    runs = json.loads((folder / "features" / "results.json").read_text())["runs"]
    sets = sorted({row["set"] for row in runs if row["variant"] == "features"})
    beside = sorted({row["set"] for row in runs if "from" in row})

    def mean(variant: str, name: str | None = None) -> float | None:
        by_set: dict[str, list[float]] = {}
        for row in runs:
            if row["variant"] == variant:
                by_set.setdefault(row["set"], []).append(row["image_auroc"])
        # What was not measured on all of these sets is left out.
        if not set(beside) <= set(by_set):
            return None
        return statistics.mean(
            statistics.mean(v) for s, v in by_set.items() if s in beside and name in (None, s)
        )

    found = claims(folder)
    own = [row for row in runs if row["variant"] == "features"]
    ours = [statistics.mean(row["image_auroc"] for row in own if row["set"] == name) for name in sets]
    alone = found[f"Mean image AUROC over {len(sets)} sets: `features`"]
    assert alone.startswith(f"{statistics.mean(ours):.3f} ±")
    headline = found[
        f"The same mean over {len(beside)} of these sets: `features`, and peers on the same backbone"
    ]
    for variant in ("features", "PatchCore", "PaDiM"):
        over_sets = mean(variant)
        assert (variant in headline) == (over_sets is not None)
        assert over_sets is None or f"{variant} {over_sets:.3f}" in headline
    lost = found.get("Sets on which a peer has a higher image AUROC than `features`", "")
    for peer in ("PatchCore", "PaDiM"):
        for name in beside:
            theirs, mine = mean(peer, name), mean("features", name)
            if theirs is not None and mine is not None:
                part = next((part for part in lost.split("; ") if part.startswith(f"{name}: ")), "")
                assert (f"{peer} {theirs:.3f}" in part) == (theirs > mine), (peer, name)


def test_the_screen_of_results_recomputed_from_single_runs(folder: Path) -> None:
    runs = json.loads((folder / "features" / "results.json").read_text())["runs"]
    by_set: dict[str, list[dict[str, Any]]] = {}
    for row in runs:
        if row["variant"] == "features":
            by_set.setdefault(row["set"], []).append(row)

    def mean(rows: list[dict[str, Any]], *keys: str) -> float:
        return statistics.mean(row[keys[0]] if len(keys) == 1 else row[keys[0]][keys[1]] for row in rows)

    screen = short(folder)
    table_rows = {line.split(" | ")[0].strip("| *"): line for line in screen.splitlines() if line[:1] == "|"}
    for name, rows in by_set.items():
        line = table_rows[name]
        assert line.startswith(f"| {name} | {mean(rows, 'image_auroc'):.3f} | ")
        alarms, missed = mean(rows, "false_alarm_rate_observed"), mean(rows, "at_0.05", "missed")
        assert line.endswith(f"| {100 * alarms:.0f} % | {100 * missed:.0f} % |")
    missed, at_roc = (
        statistics.mean(mean(rows, "at_0.05", key) for rows in by_set.values())
        for key in ("missed", "missed_at_roc")
    )
    assert f"`features` misses {100 * missed:.0f} % of the defects" in screen
    assert f"would miss {100 * at_roc:.0f} %" in screen


def made_up(variant: str, name: str, seed: int, auroc: float) -> dict[str, Any]:
    """A row as `benchmarks.features` logs it."""
    rng = random.Random(f"{variant} {name} {seed}")
    shares = {"alarms": 1, "good": 20, "missed": rng.random(), "missed_at_roc": rng.random() / 2}
    return {
        **({"from": "made up"} if variant in ("PatchCore", "PaDiM") else {}),
        "set": name,
        "variant": variant,
        "seed": seed,
        "image_auroc": auroc + 0.01 * seed,
        "pixel_auroc": 0.9,
        "aupro": 0.8,
        "false_alarm_rate_observed": 0.05,
        "miss_rate": shares["missed"],
        "at_0.05": shares,
        "at_0.01": shares,
        "expected": {"found": rng.randint(0, 100), "defects": 100, "smallest": None},
    }


@pytest.fixture(params=["committed", "made up", "a peer on one set alone"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The committed results, or made-up runs as `benchmarks.features` writes them."""
    if request.param == "committed":
        return HERE
    monkeypatch.setattr("sys.stdout", io.StringIO())
    sets = ["bottle", "tire", "screw"]
    figures = {
        "features": (1.0, 0.8, 0.9),
        "Gaussians alone": (1.0, 0.85, 0.85),
        "PatchCore": (1.0, 0.7, 0.95),
        "PaDiM": (0.99, 0.81, 0.8),
    }
    rows = [
        made_up(variant, name, seed, auroc)
        for variant, values in figures.items()
        for name, auroc in zip(sets, values, strict=True)
        for seed in (0, 1)
        if request.param == "made up" or variant != "PaDiM" or name == "tire"
    ]
    (tmp_path / "features").mkdir()
    arguments = argparse.Namespace(out=tmp_path / "features", sets=sets, seeds=[0, 1], command="made up")
    write_tables(rows, arguments)
    return tmp_path


def test_negatives_are_compared_on_the_sets_and_seeds_of_those_that_move(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout", io.StringIO())
    aurocs = {"features": 0.9, "chains": 0.88, "noise alone": 0.8, "Gaussians alone": 0.7}
    rows = [
        made_up(variant, name, seed, auroc)
        for variant, auroc in aurocs.items()
        for name in ("bottle", "tire", "screw")
        for seed in (0, 1, 2)
        if variant == "features" or (name, seed) in {("tire", 0), ("tire", 1), ("screw", 0)}
        if variant != "noise alone" or (name, seed) == ("tire", 0)
    ]
    arguments = argparse.Namespace(
        out=tmp_path, sets=["bottle", "tire", "screw"], seeds=[0, 1, 2], command="made up"
    )
    write_tables(rows, arguments)
    said = (tmp_path / "negatives.md").read_text(encoding="utf-8")
    # Without bottle, and of tire the seeds 0 and 1: .90 and .91.
    assert "| image AUROC | tire | screw | mean |" in said
    assert "| features | 0.905 ± 0.007 | 0.900 | 0.900 |" in said
    assert "| chains | 0.885 ± 0.007 | 0.880 | 0.880 |" in said
    assert "image AUROC of `chains` less that of `features`, seed by seed: tire -0.020, -0.020; screw" in said
    # Of what was not measured on all of them there is no mean.
    assert "| noise alone | 0.800 | – | – |" in said
    assert "defects alone" not in said
    gained = json.loads((tmp_path / "results.json").read_text())["negatives"]
    assert gained["image_auroc, chains less features"]["tire"]["1"] == pytest.approx(-0.02)


def test_runs_of_the_results_are_taken_into_the_log_but_not_those_of_others(tmp_path: Path) -> None:
    own, borrowed = made_up("features", "a", 0, 0.9), made_up("PaDiM", "a", 0, 0.8)
    (tmp_path / "results.json").write_text(
        json.dumps({"runs": [own, borrowed, made_up("chains", "a", 1, 0.7)]})
    )
    log = Log(tmp_path)
    measured = made_up("features", "a", 0, 0.5)
    RunLog.keep(log, measured)
    log.restore(("set", "variant", "seed"))
    assert log.rows == [measured, made_up("chains", "a", 1, 0.7)]
    assert Log(tmp_path).rows == log.rows


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    for name in SOURCES:
        if (HERE / name).exists():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            shutil.copy(HERE / name, tmp_path / name)
    return tmp_path


def test_claims_follow_the_results(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "copy" / "features").mkdir(parents=True)
    found: dict[str, Any] = json.loads((folder / "features" / "results.json").read_text())
    for facts in found["beside_peers"]["features"]["sets"].values():
        facts["mean"] = 1.1
    (tmp_path / "copy" / "features" / "results.json").write_text(json.dumps(found))
    assert (
        claims(tmp_path / "copy")["Sets on which a peer has a higher image AUROC than `features`"] == "none"
    )


def test_what_is_not_there_is_not_claimed(copied: Path) -> None:
    assert any("PYLD" in claim for claim in claims(copied))
    (copied / "sampler" / "results.json").unlink()
    assert not any("PYLD" in claim for claim in claims(copied))


def test_claims_of_a_benchmark(copied: Path) -> None:
    """`patchebm benchmark --out benchmarks/sets`, once it has been run."""
    pool = {"good": 387, "rate": 0.03, "interval": [0.01, 0.06], "within": True, "largest_rate": 0.1}
    runs = {"pairs": 18, "mean_difference": 0.05, "p": 0.01, "p_holm": 0.02}
    found = {
        "false_alarms": {"features": {"stated": 0.05, "sets": {"a": {}, "b": {}}, "pooled": pool}},
        "paired": {"image_auroc": [{"first": "features", "second": "pixel-cpu", "runs": runs}]},
    }
    (copied / "sets").mkdir(exist_ok=True)
    (copied / "sets" / "results.json").write_text(json.dumps(found))
    figures = list(claims(copied).values())
    assert "0.030 of 387 (95 % interval 0.010 to 0.060, with 0.05); 0.100" in figures
    assert "+0.050; p 0.02 (signed rank, Holm)" in figures


def test_claims_of_peers(copied: Path) -> None:
    """`python -m benchmarks.peers`, once its results are there."""
    rows = [
        {"set": name, "variant": variant, "seed": 0, "image_auroc": auroc}
        for name, variant, auroc in (
            ("a", "features", 0.9),
            ("a", "padim", 0.8),
            ("b", "features", 0.7),
            ("b", "padim", 0.75),
        )
    ]
    (copied / "peers").mkdir(exist_ok=True)
    (copied / "peers" / "results.json").write_text(json.dumps({"runs": rows}))
    figures = list(claims(copied).values())
    assert "0.800; PaDiM 0.775" in figures
    assert "b: PaDiM 0.750 against 0.700" in figures


def test_claims_of_the_thesis(copied: Path) -> None:
    """`python -m benchmarks.thesis` and `benchmarks.quality`, at two lengths."""
    moved = {"distance": 0.02, "gradient_norm": 1.0, "gap": 0.1, "largest_gap": 1.0}
    rows = [
        {
            "set": "a",
            "variant": variant,
            "seed": seed,
            "steps": steps,
            "levels": {level: auroc + 0.1 * seed},
            "oracle": {level: auroc / 2},
            "chains": {level: moved},
            "rollbacks": seed,
            "device": "cpu",
        }
        for variant, level, auroc in (
            ("thesis-small", "ensemble", 0.7),
            ("image-baseline", "image", 0.5),
            ("Gaussian alone", "image", 0.75),
        )
        for steps in (10, 20)
        for seed in (0, 1)
        if (variant, steps) != ("image-baseline", 20)
    ]
    for name in ("thesis", "quality"):
        (copied / name).mkdir(exist_ok=True)
    (copied / "thesis" / "results.json").write_text(json.dumps(results(rows)))
    points = [
        {"steps": 5, "cpu_seconds": 4.0, "held_out": 0.5, "separation": 0, "test": 0.5},
        {"steps": 10, "cpu_seconds": 8.0, "held_out": 0.7, "separation": 0, "test": 0.5},
    ]
    slow = [{**point, "cpu_seconds": 2 * point["cpu_seconds"]} for point in points]
    curves = [
        {"set": "a", "seed": 0, "variant": "PYLD-10-5", "points": points},
        {"set": "a", "seed": 0, "variant": "SGLD-20", "points": slow},
    ]
    (copied / "quality" / "results.json").write_text(json.dumps({"seconds": seconds(curves)}))
    found = claims(copied)
    said = {claim: figure for claim, figure in found.items() if "The thesis says +18.3 points" in claim}
    # At 20 steps there is no baseline.
    assert list(said.values()) == ["0.750 against 0.550: +20.0 ± 0.0 points"]
    own = {claim: figure for claim, figure in found.items() if "the thesis' own figure" in claim}
    assert list(own.values()) == ["0.350 against 0.250: +10.0 ± 0.0 points"]
    assert "after 10 steps (sets with their seeds: a 0, 1)" in next(iter(said))
    worse = found[
        "After 10 steps: sets on which a control or the Gaussian alone has a higher image AUROC than the "
        "ensemble of `thesis-small`, with the best of them"
    ]
    assert worse.startswith("a: Gaussian alone image 0.800 ±")
    assert worse.endswith("against 0.750 ± 0.071")
    assert "3 and 0 of 6; 0.02 to 0.02" in found.values()
    # Interpolated between the two points: 6 s against 12 s.
    assert (
        found[
            "Time to a corruption AUROC of 0.6 (a seed 0, 10 steps): how many times sooner than with "
            "SGLD-20. The thesis says 2.4"
        ]
        == "PYLD-10-5 2.00"
    )
    assert not any("AUROC of 0.8 (a seed 0" in claim for claim in found)
    assert found["The presets `thesis` and `jempp` at full size"].startswith("not run")


def test_a_sampler_that_never_gets_to_a_quality_is_said(copied: Path) -> None:
    """Both ways: what is left out where the claim would not hold is no claim."""

    def curve(variant: str, seconds: float, end: float) -> dict[str, Any]:
        points = [
            {"steps": 5, "cpu_seconds": seconds, "held_out": end, "separation": 0, "test": 0.5},
            {"steps": 10, "cpu_seconds": 2 * seconds, "held_out": end, "separation": 0, "test": 0.5},
        ]
        return {"set": "a", "seed": 0, "variant": variant, "points": points}

    curves = [
        curve("PYLD-10-5", 10, 0.2),
        curve("SGLD-20", 40, 0.65),
        curve("PYLD-10-5, no noise on data", 30, 0.75),
        curve("SGLD-20, no noise on data", 60, 0.65),
    ]
    (copied / "quality" / "results.json").write_text(json.dumps({"seconds": seconds(curves)}))
    said = {
        claim.removeprefix("Time to a corruption AUROC of ").split(":")[0]: figure
        for claim, figure in claims(copied).items()
        if claim.startswith("Time to a corruption AUROC of ")
    }
    assert said == {
        "0.6 (a seed 0, 10 steps)": "PYLD-10-5 never (SGLD-20 after 40 s)",
        "0.6 (a seed 0, 10 steps, no noise on data)": "PYLD-10-5 2.00",
        "0.7 (a seed 0, 10 steps, no noise on data)": "PYLD-10-5 after 30 s (SGLD-20 never)",
    }
