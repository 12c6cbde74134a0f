"""The benchmark of the time to equal quality: runs that are committed stay, and lengths are told apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.quality.__main__ import main, results, table
from tests.tiny import write_set


def curve(variant: str, steps: int, seconds: float) -> dict[str, Any]:
    """A row as the benchmark logs it; corruption AUROC rises from 0.5 to 0.7."""
    points = [
        {"steps": steps // 2, "cpu_seconds": seconds / 2, "held_out": 0.5, "separation": 0.1, "test": 0.5},
        {"steps": steps, "cpu_seconds": seconds, "held_out": 0.7, "separation": 1.0, "test": 0.6},
    ]
    return {"set": "flange", "variant": variant, "seed": 0, "points": points}


def written(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "results.json").read_text())["runs"]
    return found


def test_the_table_alone_keeps_what_a_fresh_checkout_has(tmp_path: Path) -> None:
    runs = [curve("PYLD-10-5", 300, 80), curve("PYLD-10-5", 150, 40)]
    (tmp_path / "results.json").write_text(json.dumps({"runs": runs}))
    main(["--samplers", "--out", f"{tmp_path}"])
    assert written(tmp_path) == runs
    assert "| PYLD-10-5, flange seed 0, 300 steps |" in (tmp_path / "table.md").read_text()


def test_a_run_of_another_length_is_measured_and_one_of_the_same_is_not(tmp_path: Path) -> None:
    write_set(tmp_path / "data")
    longer = curve("SGLD-20", 300, 80)
    (tmp_path / "results.json").write_text(json.dumps({"runs": [longer]}))
    words = ["--data", f"{tmp_path / 'data'}", "--sets", "flange", "--samplers", "SGLD-20", "--quick"]
    words += ["--device", "cpu", "--out", f"{tmp_path}"]
    main(words)
    first, second = written(tmp_path)
    assert first == longer
    assert [point["steps"] for point in second["points"]] == [2, 4]
    main(words)
    assert written(tmp_path) == [first, second]


def test_only_runs_of_one_length_are_compared() -> None:
    rows = [curve("PYLD-10-5", 300, 40), curve("SGLD-20", 300, 80), curve("PYLD-10-5", 150, 10)]
    times = results(rows)
    assert times["flange seed 0, 300 steps"]["SGLD-20"]["0.6"] == pytest.approx(60)
    assert list(times["flange seed 0, 150 steps"]) == ["PYLD-10-5"]
    longer, _, shorter = table(rows).splitlines()[2:]
    assert "30 s, 2.0 times" in longer
    assert "times" not in shorter
