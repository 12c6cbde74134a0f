"""This module summarises figures on several image sets over seeds, and puts them in a Markdown table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
        For each column `sets` (for each set `mean` and `std`), and `mean`, `std` and `mean_by_seed` over the
        sets, which are absent where there is no set, or no seed, to take them over. So is the deviation of a
        single seed.
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
            facts = {**moments(per_seed), "mean_by_seed": per_seed}
        facts["sets"] = {s: moments(v) for s, v in per_set.items()}
        summary[name] = facts
    return summary


def moments(values: Iterable[float]) -> dict[str, float]:
    """Returns `mean` and, of several values, the standard deviation `std`; nothing of no value."""
    values = list(values)
    found = {"mean": float(np.mean(values))} if values else {}
    return found | ({"std": std(values)} if len(values) > 1 else {})


def with_spread(facts: Mapping[str, Any], form: str = ".3f") -> str:
    """Returns a mean with its standard deviation, if it has one; a dash if there is no mean.

    Args:
        facts: `mean` and `std`, either of which may be absent.
        form: how the mean is formatted. The deviation has no sign of its own.
    """
    if "mean" not in facts:
        return "–"
    deviation = f" ± {facts['std']:{form.removeprefix('+')}}" if "std" in facts else ""
    return f"{facts['mean']:{form}}{deviation}"


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

    form = f".{digits}f"
    rows = [
        [name, *(with_spread(facts["sets"].get(s, {}), form) for s in sets), with_spread(facts, form)]
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
