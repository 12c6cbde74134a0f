"""What the benchmarks share: variants of presets, a log, mean and spread over seeds, a table."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from patchebm.config import Config
from patchebm.config_parser import load_preset

Columns = dict[str, dict[str, dict[int, float]]]
"""Column name -> set -> figure by seed."""


def preset(name: str, change: Callable[[Config], None] = lambda config: None) -> Callable[[int], Config]:
    """A variant: seed -> the preset's configuration with that seed, changed."""

    def build(seed: int) -> Config:
        config = load_preset(name)
        config.seed = seed
        change(config)
        return config

    return build


class Log:
    """Runs as they are finished, one JSON line each, in `log.jsonl` of a folder.

    Attributes:
        rows: all runs so far, those of an earlier call included.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / "log.jsonl"
        self.rows: list[dict[str, Any]] = []
        if self._file.exists():
            self.rows = [json.loads(line) for line in self._file.read_text().splitlines()]

    @property
    def done(self) -> set[tuple[str, str, int]]:
        """Set, variant and seed of each finished run."""
        return {(row["set"], row["variant"], row["seed"]) for row in self.rows}

    def keep(self, row: dict[str, Any]) -> None:
        """Append a run to the file and say it."""
        self.rows.append(row)
        with self._file.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)


def spread(values: list[float]) -> float:
    """Standard deviation over seeds, with divisor n - 1; 0 for what has no seed."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def summarise(columns: Columns, sets: list[str]) -> dict[str, Any]:
    """Mean and spread over seeds of every column that has all sets, per set and in the mean over the sets."""
    summary: dict[str, Any] = {}
    for name, by_set in columns.items():
        if not set(sets) <= set(by_set):
            continue
        seeds = sorted(set.intersection(*(set(by_set[s]) for s in sets)))
        per_seed = [float(np.mean([by_set[s][seed] for s in sets])) for seed in seeds]
        summary[name] = {
            "mean": float(np.mean(per_seed)),
            "std": spread(per_seed),
            "mean_by_seed": per_seed,
            "sets": {
                s: {"mean": float(np.mean(list(by_set[s].values()))), "std": spread(list(by_set[s].values()))}
                for s in sets
            },
        }
    return summary


def table(summary: dict[str, Any], sets: list[str], title: str = "image AUROC") -> str:
    """Markdown: a row for each column of the summary."""
    lines = [f"| {title} | " + " | ".join(sets) + " | mean |", "|---" * (len(sets) + 2) + "|"]
    for name, facts in summary.items():
        cells = [f"{facts['sets'][s]['mean']:.3f} ± {facts['sets'][s]['std']:.3f}" for s in sets]
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {facts['mean']:.3f} ± {facts['std']:.3f} |")
    return "\n".join(lines) + "\n"
