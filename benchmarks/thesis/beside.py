"""The first claim of the thesis: the ensemble of `thesis-small` beside `image-baseline`, set by set."""

from __future__ import annotations

from typing import Any

from benchmarks.thesis.figures import (
    FIGURES,
    Row,
    columns,
    over_sets,
    said_runs,
    sets_of,
)
from patchebm.evaluation.summary import Columns, markdown, moments, with_spread

THESIS_POINTS = 18.3
"""Points of mean AUROC by which the thesis says that its ensemble is better than an image-level model."""

SPREAD = 0.03
"""Standard deviation over seeds below which the ensemble is to be."""

VARIANTS = ("thesis-small", "image-baseline")
OURS, BASELINE, GAUSSIAN = "thesis-small ensemble", "image-baseline image", "Gaussian alone ensemble"
WITHOUT_TRAINING = (
    GAUSSIAN,
    "untrained ensemble",
    "brightness (distance)",
    "contrast (distance)",
)
"""What needs no training, beside the two."""


def points(rows: list[Row], figure: str = "levels") -> dict[str, Any]:
    """Returns the ensemble less the baseline in points of a figure, over the sets and seeds that both have.

    A run whose training diverged has no figures, and leaves out its own set and seed alone.

    Args:
        rows: of one length.
        figure: `levels` for image AUROC, `oracle` for the balanced accuracy that the thesis calls so.

    Returns:
        `ours`, `baseline` and `points`, each with the `mean` over sets of the means over their seeds and its
        standard deviation `std`; `sets`, with the same of each set and its `seeds`; and the number of
        `pairs`. Nothing where no set and seed has both.
    """
    given = columns(rows, figure)
    ours, baseline = given.get(OURS, {}), given.get(BASELINE, {})
    by_set: Columns = {"ours": {}, "baseline": {}, "points": {}}
    for name in sets_of(rows):
        for seed in sorted(set(ours.get(name, {})) & set(baseline.get(name, {}))):
            first, second = ours[name][seed], baseline[name][seed]
            pair = {"ours": first, "baseline": second, "points": 100 * (first - second)}
            for side, value in pair.items():
                by_set[side].setdefault(name, {})[seed] = value
    if not by_set["points"]:
        return {}
    return {
        **{side: over_sets(own) for side, own in by_set.items()},
        "sets": {
            name: {"seeds": list(seeds)} | {side: moments(own[name].values()) for side, own in by_set.items()}
            for name, seeds in by_set["points"].items()
        },
        "pairs": sum(len(seeds) for seeds in by_set["points"].values()),
    }


def counted_over(found: dict[str, Any]) -> str:
    """Returns the sets and seeds that points were counted over."""
    return said_runs((name, seed) for name, facts in found["sets"].items() for seed in facts["seeds"])


def beside(rows: list[Row], length: str) -> str:
    """Returns Markdown: what comes of the first claim at one length, and a table of each figure by set.

    Args:
        rows: of one length.
        length: its name.

    Returns:
        Nothing where neither of the two was run.
    """
    if not any(row["variant"] in VARIANTS for row in rows):
        return ""
    auroc, oracle = (points(rows, figure) for figure in FIGURES)
    if auroc:
        text = (
            f"After {length}, over {counted_over(auroc)} (sets with their seeds), the ensemble of "
            f"`thesis-small` has a mean image AUROC of {with_spread(auroc['ours'])}, and `image-baseline` "
            f"one of {with_spread(auroc['baseline'])}: {with_spread(auroc['points'], '+.1f')} points. The "
            f"thesis says {THESIS_POINTS:+} points. In the thesis' own figure the difference is "
            f"{with_spread(oracle['points'], '+.1f')} points.\n\n{goals(rows, auroc)}"
        )
    else:
        text = f"After {length} no set has a run of both with the same seed, so there is no difference yet.\n"
    return "\n".join([text, *(table(rows, figure) for figure in FIGURES)])


def goals(rows: list[Row], auroc: dict[str, Any]) -> str:
    """Returns a sentence on each goal: the difference, what needs no network, and the spread over seeds.

    Args:
        rows: of one length.
        auroc: points of image AUROC, of at least one pair.
    """
    gaussian = columns(rows, "levels").get(GAUSSIAN, {})
    known = [name for name in auroc["sets"] if name in gaussian]
    above = [
        name
        for name in known
        if auroc["sets"][name]["ours"]["mean"] > moments(gaussian[name].values())["mean"]
    ]
    deviation = auroc["ours"].get("std")
    spread = "unknown, for want of seeds" if deviation is None else _reached(deviation < SPREAD)
    return (
        f"Goals: a difference of {THESIS_POINTS:+} points or more: "
        f"{_reached(auroc['points']['mean'] >= THESIS_POINTS)}. A higher AUROC than the Gaussian alone: on "
        f"{len(above)} of the {len(known)} sets that it was run on. A standard deviation between seeds below "
        f"{SPREAD}: {spread}.\n"
    )


def _reached(yes: bool) -> str:
    return "reached" if yes else "missed"


def table(rows: list[Row], figure: str) -> str:
    """Returns a table of the two and of what needs no training, with a row for each set and one for the mean.

    Where both have runs of a set with the same seeds, their figures are over these. Otherwise they are over
    all runs of the set, and there is no difference.
    """
    given = columns(rows, figure)
    found = points(rows, figure)
    pairs = found.get("sets", {})
    others = [name for name in WITHOUT_TRAINING if name in given]
    lines = []
    for name in sets_of(rows):
        runs = [row for row in rows if row["set"] == name and row["variant"] in VARIANTS]
        if not runs:
            continue
        both = pairs.get(name) or {
            "seeds": [],
            "ours": moments(given.get(OURS, {}).get(name, {}).values()),
            "baseline": moments(given.get(BASELINE, {}).get(name, {}).values()),
            "points": {},
        }
        lines.append(
            [
                name,
                ", ".join(map(str, both["seeds"])) or "–",
                with_spread(both["ours"]),
                with_spread(both["baseline"]),
                with_spread(both["points"], "+.1f"),
                *(with_spread(moments(given[other].get(name, {}).values())) for other in others),
                f"{sum('diverged' in row for row in runs)} of {len(runs)}",
            ]
        )
    if found:
        means = [
            {name: given[other][name] for name in pairs} if set(pairs) <= set(given[other]) else {}
            for other in others
        ]
        lines.append(
            [
                f"mean over {', '.join(pairs)}",
                f"{found['pairs']} pairs" if found["pairs"] > 1 else "1 pair",
                with_spread(found["ours"]),
                with_spread(found["baseline"]),
                with_spread(found["points"], "+.1f"),
                *(with_spread(over_sets(own)) for own in means),
                "",
            ]
        )
    figures = ("seeds of both", OURS, BASELINE, "difference in points", *others, "runs that diverged")
    return markdown([FIGURES[figure], *figures], lines)
