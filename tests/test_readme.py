"""The tables of README and documentation are the committed ones, and say what the committed results say."""

from __future__ import annotations

import json
import shutil
import statistics
from pathlib import Path
from typing import Any

import pytest

from benchmarks import pages
from benchmarks.claims import HERE, SOURCES, short, table


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


def claims(folder: Path = HERE) -> dict[str, str]:
    lines = [line for line in table(folder).splitlines() if line.startswith("| ")]
    rows = [line.strip("| ").split(" | ") for line in lines if not line.startswith("| what was measured")]
    found = dict(rows)
    assert len(found) == len(rows)
    return found


def test_claims_recomputed_from_single_runs() -> None:
    runs = json.loads((HERE / "features" / "results.json").read_text())["runs"]

    def mean(variant: str, level: str, name: str | None = None) -> float:
        by_set: dict[str, list[float]] = {}
        for row in runs:
            if row["variant"] == variant:
                by_set.setdefault(row["set"], []).append(row["levels"][level])
        return statistics.mean(statistics.mean(v) for s, v in by_set.items() if name in (None, s))

    found = claims()
    headline = next(
        figure for claim, figure in found.items() if claim.startswith("Mean image AUROC over 6 sets")
    )
    for variant, level in (("features", "ensemble"), ("PatchCore", ""), ("PaDiM", "")):
        assert f"{mean(variant, level):.3f} ±" in headline
    lost = found["Sets on which a peer has a higher image AUROC than `features`"]
    for peer in ("PatchCore", "PaDiM"):
        for name in {row["set"] for row in runs}:
            theirs, ours = mean(peer, "", name), mean("features", "ensemble", name)
            part = next((part for part in lost.split("; ") if part.startswith(f"{name}: ")), "")
            assert (f"{peer} {theirs:.3f}" in part) == (theirs > ours), (peer, name)


def test_the_screen_of_results_recomputed_from_single_runs() -> None:
    runs = json.loads((HERE / "features" / "results.json").read_text())["runs"]
    by_set: dict[str, list[dict[str, Any]]] = {}
    for row in runs:
        if row["variant"] == "features":
            by_set.setdefault(row["set"], []).append(row)

    def mean(rows: list[dict[str, Any]], key: str) -> float:
        return statistics.mean(row[key] for row in rows)

    table_rows = {line.split(" | ")[0].strip("| *"): line for line in short().splitlines() if line[:1] == "|"}
    for name, rows in by_set.items():
        line = table_rows[name]
        assert line.startswith(f"| {name} | {mean(rows, 'image_auroc'):.3f} | ")
        alarms, missed = (mean(rows, key) for key in ("false_alarm_rate_observed", "miss_rate"))
        assert line.endswith(f"| {100 * alarms:.0f} % | {100 * missed:.0f} % |")
    hard = ("solar_poly", "magnetic_tile", "circuitboard", "tire")
    missed = statistics.mean(mean(by_set[name], "miss_rate") for name in hard)
    assert f"misses {100 * missed:.0f} % of the defects of the 4 harder sets ({', '.join(hard)})" in short()


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    for name in SOURCES:
        if (HERE / name).exists():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            shutil.copy(HERE / name, tmp_path / name)
    return tmp_path


def test_claims_follow_the_results(copied: Path) -> None:
    file = copied / "features" / "results.json"
    found: dict[str, Any] = json.loads(file.read_text())
    for facts in found["image_auroc"]["features ensemble"]["sets"].values():
        facts["mean"] = 1.0
    file.write_text(json.dumps(found))
    assert claims(copied)["Sets on which a peer has a higher image AUROC than `features`"] == "none"
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
    assert "0.800 ± 0.000; PaDiM 0.775 ± 0.000" in figures
    assert "b: PaDiM 0.750 ± 0.000 against 0.700 ± 0.000" in figures
