"""What each part of the recipe is worth: variants against `thesis-small`, pair by pair."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.thesis.figures import FIGURES, LENGTHLESS, LEVELS, Row, said_runs
from benchmarks.thesis.variants import ABLATIONS, CHANGES
from patchebm.evaluation.summary import markdown, moments, with_spread

REFERENCE = "thesis-small"
PARTS = ("Gaussian alone", "untrained", *ABLATIONS)
"""The recipe with one part exchanged or left out; without its network, and without its training, too."""

Runs = Mapping[tuple[str, int], Row]
"""Runs of a variant by set and seed."""


def ablation(rows: list[Row]) -> str:
    """Returns a table with a row for each level of each variant, compared with the recipe by pairs.

    A pair is a run of the variant and one of the recipe on the same set with the same seed. A seed that is
    missing, or that diverged, in one variant is no pair there, and changes nothing in the other rows.

    Args:
        rows: of one length.

    Returns:
        Nothing where no variant was trained.
    """
    runs: dict[str, dict[tuple[str, int], Row]] = {}
    for row in rows:
        if row["variant"] in (REFERENCE, *PARTS):
            runs.setdefault(row["variant"], {})[row["set"], row["seed"]] = row
    recipe = runs.pop(REFERENCE, {})
    if all(variant in LENGTHLESS for variant in runs):
        return ""
    # Runs of the recipe on other sets would be compared with nothing.
    compared = {key for own in runs.values() for key in own}
    lines = lines_of(REFERENCE, {key: row for key, row in recipe.items() if key in compared}, {})
    for variant in CHANGES:
        lines += lines_of(variant, runs.get(variant, {}), recipe)
    head = [
        "variant, level",
        "runs that diverged",
        "pairs",
        "image AUROC",
        f"of {REFERENCE} in these pairs",
        "difference in points",
        "oracle balanced accuracy",
        "difference in points",
        "distance",
        "gradient norm",
        "energy gap",
        "CPU seconds a step",
    ]
    return markdown(head, lines)


def lines_of(variant: str, runs: Runs, recipe: Runs) -> list[list[str]]:
    """Returns the cells of the rows of a variant, one row for each level that it has.

    Args:
        variant: its name.
        runs: its runs.
        recipe: those of the recipe; none for the recipe itself.
    """
    levels = [
        level
        for level in LEVELS
        if any(level in row.get("levels", {}) or row.get("chains", {}).get(level) for row in runs.values())
    ]
    # A variant whose runs all diverged in their first steps has no level, and is shown nevertheless.
    return [line_of(variant, level, runs, recipe) for level in levels or ([""] if runs else [])]


def line_of(variant: str, level: str, runs: Runs, recipe: Runs) -> list[str]:
    """Returns the cells of one level of a variant; its figures are over its pairs, or else over its runs."""
    diverged = sum("diverged" in row for row in runs.values())
    pairs = [
        key
        for key in sorted(runs)
        if key in recipe and all(level in row.get("levels", {}) for row in (runs[key], recipe[key]))
    ]
    own = [runs[key] for key in pairs] or list(runs.values())
    theirs = [recipe[key] for key in pairs]

    def figure(name: str, rows: list[Row]) -> list[float]:
        return [row[name][level] for row in rows if level in row.get(name, {})]

    cells = []
    for name in FIGURES:
        values, others = figure(name, own), figure(name, theirs)
        missing = "diverged" if diverged == len(runs) else "–"
        cells.append(with_spread(moments(values)) if values else missing)
        if name == "levels":
            cells.append(with_spread(moments(others)))
        both = zip(values, others, strict=True) if pairs else ()
        by_pair = [100 * (value - other) for value, other in both]
        cells.append(with_spread(moments(by_pair), "+.1f"))
    chains = [row["chains"][level] for row in runs.values() if row.get("chains", {}).get(level)]
    seconds = [row["step_cpu_seconds"] for row in runs.values() if "step_cpu_seconds" in row]
    return [
        f"{variant} {level}".strip(),
        f"{diverged} of {len(runs)}",
        f"{len(pairs)} ({said_runs(pairs)})" if pairs else "0" if recipe else "–",
        *cells,
        mean(chains, "distance", ".3f"),
        mean(chains, "gradient_norm", ".3f"),
        mean(chains, "gap", "+.2f"),
        f"{np.mean(seconds):.2f}" if seconds else "–",
    ]


def mean(chains: list[dict[str, Any]], name: str, form: str) -> str:
    """Returns the mean of what is known of chains; a dash where nothing is."""
    values = [own[name] for own in chains if name in own]
    return f"{np.mean(values):{form}}" if values else "–"
