"""This module summarises figures on several image sets over seeds, and puts them in a Markdown table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Columns = dict[str, dict[str, dict[int, float]]]
"""Column name -> set -> figure by seed."""


def std(values: Sequence[float]) -> float:
    """Returns the standard deviation over seeds, with divisor n - 1; 0 for what has no seed."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def summarise(columns: Columns, sets: Sequence[str], *, partial: bool = False) -> dict[str, Any]:
    """Returns mean and standard deviation over seeds, per set and in the mean over the sets.

    Args:
        columns: the figures.
        sets: names of the sets, in order.
        partial: keep columns that lack some of the sets. Means are then over those sets that every column
            has, with the seeds that a column has on all of these, so that columns can be compared.

    Returns:
        For each column `sets` (for each set `mean`, `std` and the number of `seeds`), and `mean`, `std`,
        `seeds` and `mean_by_seed` over the sets, which are absent where there is no set, or no seed, to take
        them over.
    """
    common = list(sets)
    if partial:
        common = [s for s in sets if all(s in by_set for by_set in columns.values())]
    summary: dict[str, Any] = {}
    for name, by_set in columns.items():
        if not set(common) <= set(by_set):
            continue
        per_set = {s: list(by_set[s].values()) for s in sets if s in by_set}
        facts: dict[str, Any] = {}
        seeds = sorted(set.intersection(*(set(by_set[s]) for s in common))) if common else []
        if seeds:
            per_seed = [float(np.mean([by_set[s][seed] for s in common])) for seed in seeds]
            facts = {**_moments(per_seed), "mean_by_seed": per_seed}
        facts["sets"] = {s: _moments(v) for s, v in per_set.items()}
        summary[name] = facts
    return summary


def _moments(values: Sequence[float]) -> dict[str, Any]:
    return {"mean": float(np.mean(values)), "std": std(values), "seeds": len(values)}


def mean_and_spread(facts: dict[str, Any], digits: int = 3) -> str:
    """Returns the mean, and the standard deviation behind it unless there was a single seed.

    Args:
        facts: `mean`, `std` and `seeds`, of what `summarise` returned.
        digits: behind the decimal point.
    """
    mean = f"{facts['mean']:.{digits}f}"
    # Results of earlier versions do not say how many seeds there were.
    return mean if facts.get("seeds") == 1 else f"{mean} ± {facts['std']:.{digits}f}"


def table(
    summary: dict[str, Any],
    sets: Sequence[str],
    title: str = "image AUROC",
    *,
    digits: int = 3,
) -> str:
    """Returns a Markdown table with a row for each column of the summary and a dash for what is absent.

    Args:
        summary: what `summarise` returned.
        sets: names of the sets, in order.
        title: heading of the first column.
        digits: behind the decimal point.
    """

    def cell(facts: dict[str, Any]) -> str:
        return mean_and_spread(facts, digits) if "mean" in facts else "–"

    rows = [
        [name, *(cell(facts["sets"].get(s, {})) for s in sets), cell(facts)]
        for name, facts in summary.items()
    ]
    return markdown([title, *sets, "mean"], rows)


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a Markdown table."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(map(markdown_cell, cells)) + " |"

    return "\n".join([line(header), "|---" * len(header) + "|", *map(line, rows)]) + "\n"


def markdown_cell(text: str) -> str:
    """Returns a text in which neither a bar nor a line break can end the cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|")
