"""The README's tables are the committed ones, and the claims are what the committed results say."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.claims import HERE, SOURCES, table

ROOT = Path(__file__).resolve().parent.parent


def test_the_readme_holds_the_committed_tables() -> None:
    check = subprocess.run([sys.executable, str(ROOT / "benchmarks" / "readme.py"), "--check"], check=False)
    assert check.returncode == 0, "run python benchmarks/readme.py"


def test_the_claims_are_current() -> None:
    assert (HERE / "claims.md").read_text(encoding="utf-8") == table(), "run python -m benchmarks.claims"


def claims(folder: Path = HERE) -> dict[str, str]:
    rows = [line.strip("| ").split(" | ") for line in table(folder).splitlines()[2:]]
    found = {claim: figure for claim, figure, _ in rows}
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
    headline = next(figure for claim, figure in found.items() if "`features`: mean image AUROC" in claim)
    for variant, level in (("features", "ensemble"), ("PatchCore", ""), ("PaDiM", "")):
        assert f"{mean(variant, level):.3f} ±" in headline
    lost = next(figure for claim, figure in found.items() if "a peer ranks better" in claim)
    for peer in ("PatchCore", "PaDiM"):
        for name in {row["set"] for row in runs}:
            theirs, ours = mean(peer, "", name), mean("features", "ensemble", name)
            part = next((part for part in lost.split("; ") if part.startswith(f"{name}: ")), "")
            assert (f"{peer} {theirs:.3f}" in part) == (theirs > ours), (peer, name)


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
    assert claims(copied)["sets on which a peer ranks better than `features`"] == "none"
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
    assert "0.800 ± 0.000; padim 0.775 ± 0.000" in figures
    assert "b: padim 0.750 ± 0.000 against 0.700 ± 0.000" in figures
