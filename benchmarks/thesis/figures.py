"""What tables and claims of the thesis' benchmark share: rows by length, and figures by set and seed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from patchebm.evaluation.summary import Columns, markdown, moments, std, with_spread

Row = dict[str, Any]
# Variants without a training stand beside every length.
LENGTHLESS = (
    "controls",
    "Gaussian alone",
    "untrained",
    "Gaussian alone, positions standardised",
    "untrained, positions standardised",
)
LEVELS = ("patch", "image", "ensemble")
FIGURES = {"levels": "image AUROC", "oracle": "oracle balanced accuracy"}
"""Figures of a row, and what tables call them."""


def lengths(rows: Iterable[Row]) -> list[int | str]:
    """Returns the lengths of training that were run, epochs and the longest first."""
    found = {row["steps"] for row in rows if row["variant"] not in LENGTHLESS}
    return sorted(found, key=lambda steps: float("-inf") if isinstance(steps, str) else -steps)


def length_name(steps: int | str) -> str:
    """Returns a length with its unit."""
    return steps if isinstance(steps, str) else f"{steps} steps"


def at_length(rows: Iterable[Row], steps: int | str) -> list[Row]:
    """Returns the rows of one length, and those without a length."""
    return [row for row in rows if row["steps"] == steps or row["variant"] in LENGTHLESS]


def columns(rows: Iterable[Row], figure: str) -> Columns:
    """Returns a figure by seed for each set, for each level of each variant, and for the controls."""
    found: Columns = {}
    for row in rows:
        named = {f"{row['variant']} {level}": value for level, value in row.get(figure, {}).items()}
        if figure == "levels":
            named |= {
                f"{control} (distance)": own["image_auroc"]
                for control, own in row.get("controls", {}).items()
            }
        for name, value in named.items():
            found.setdefault(name, {}).setdefault(row["set"], {})[row["seed"]] = value
    return found


def sets_of(rows: Iterable[Row]) -> list[str]:
    """Returns the sets in the order in which they were first measured."""
    return list(dict.fromkeys(row["set"] for row in rows))


def over_sets(by_set: Mapping[str, Mapping[int, float]]) -> dict[str, float]:
    """Returns the `mean` over sets of the means over their seeds, and its standard deviation `std`.

    Every seed of a set counts in the mean. The deviation is over the seeds that all of these sets have, and
    is absent where these are less than two.
    """
    if not by_set:
        return {}
    found = {"mean": float(np.mean([moments(own.values())["mean"] for own in by_set.values()]))}
    seeds = sorted(set.intersection(*(set(own) for own in by_set.values())))
    by_seed = [float(np.mean([own[seed] for own in by_set.values()])) for seed in seeds]
    return found | ({"std": std(by_seed)} if len(seeds) > 1 else {})


def shared_sets(given: Columns, names: Sequence[str]) -> list[str]:
    """Returns those of some sets that every column has, so that means over them can be compared."""
    return [name for name in names if all(name in by_set for by_set in given.values())]


def summary(given: Columns, names: Sequence[str]) -> dict[str, Any]:
    """Returns for each column its figures on `sets`, and those over the sets that all columns have.

    Args:
        given: the figures.
        names: of the sets, in order.
    """
    shared = shared_sets(given, names)
    return {
        column: over_sets({name: by_set[name] for name in shared})
        | {"sets": {name: moments(by_set[name].values()) for name in names if name in by_set}}
        for column, by_set in given.items()
    }


def said_runs(keys: Iterable[tuple[str, int]]) -> str:
    """Returns sets with their seeds, such as `bottle 0, 1; screw 0`."""
    seeds: dict[str, list[int]] = {}
    for name, seed in keys:
        seeds.setdefault(name, []).append(seed)
    return "; ".join(f"{name} {', '.join(map(str, sorted(own)))}" for name, own in seeds.items())


def summary_table(given: Columns, names: Sequence[str], head: str) -> str:
    """Returns a table with a row for each column, set by set, and the mean over the sets that all have."""
    shared = shared_sets(given, names)
    lines = [
        [column, *(with_spread(facts["sets"].get(name, {})) for name in names), with_spread(facts)]
        for column, facts in summary(given, names).items()
    ]
    return markdown([head, *names, f"mean over {', '.join(shared)}" if shared else "mean"], lines)
