"""What the log of the thesis' benchmark says: results, and tables for each length of training."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from benchmarks.thesis.runs import with_rollbacks
from benchmarks.thesis.variants import ABLATIONS, CHANGES, COMPARED, FULL_SIZE, SUPERSEDED
from patchebm.evaluation.summary import Columns, markdown, summarise, table

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
OURS, BASELINE = "thesis-small ensemble", "image-baseline image"


def lengths(rows: Iterable[Row]) -> list[int | str]:
    """Returns the lengths of training that were run, epochs and the longest first."""
    found = {row["steps"] for row in rows if row["variant"] not in LENGTHLESS}
    return sorted(found, key=lambda steps: float("-inf") if isinstance(steps, str) else -steps)


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


def results(rows: list[Row]) -> dict[str, Any]:
    """Returns the results of each length, and all rows."""
    rows = [with_rollbacks(row) for row in rows]
    found = {}
    for steps in lengths(rows):
        own = at_length(rows, steps)
        names = sets_of(own)
        figures = {figure: columns(own, figure) for figure in ("levels", "oracle")}
        found[str(steps)] = {
            figure: summarise(given, names, partial=True) for figure, given in figures.items()
        } | {"points": points(own), "oracle_points": points(own, "oracle")}
    cards = sorted({row["device"] for row in rows if row["variant"] in FULL_SIZE})
    full = f"run on {', '.join(cards)}" if cards else "not run: no accelerator could be had"
    return {"lengths": found, "full_size": full, "runs": rows}


def points(rows: list[Row], figure: str = "levels") -> dict[str, Any]:
    """Returns the ensemble less the baseline in points of a figure, a mean over the sets and seeds of both.

    Args:
        rows: of one length.
        figure: `levels` for image AUROC, `oracle` for the balanced accuracy that the thesis calls so.
    """
    levels = columns(rows, figure)
    ours, baseline = levels.get(OURS, {}), levels.get(BASELINE, {})
    pairs = {
        (name, seed): (ours[name][seed], baseline[name][seed])
        for name in ours
        for seed in ours[name]
        if seed in baseline.get(name, {})
    }
    if not pairs:
        return {}
    first, second = (float(np.mean([pair[side] for pair in pairs.values()])) for side in (0, 1))
    return {
        "ours": first,
        "baseline": second,
        "points": 100 * (first - second),
        "sets": list(dict.fromkeys(name for name, _ in pairs)),
        "seeds": sorted({seed for _, seed in pairs}),
        "pairs": len(pairs),
    }


def tables(rows: list[Row]) -> dict[str, str]:
    """Returns Markdown: the recipe and what it is compared with, and what each part is worth."""
    rows = [with_rollbacks(row) for row in rows]
    compared, parts, said, chosen = [], [], [], []
    for steps in lengths(rows):
        own = at_length(rows, steps)
        title = f"**{steps if isinstance(steps, str) else f'{steps} steps'}**\n\n"
        shown = [row for row in own if row["variant"] in (*COMPARED, *FULL_SIZE, *SUPERSEDED, "controls")]
        names = sets_of(shown)
        both = (
            table(ordered(summarise(columns(shown, figure), names, partial=True)), names, head)
            for figure, head in (("levels", "image AUROC"), ("oracle", "oracle balanced accuracy"))
        )
        compared.append(title + "\n".join(both))
        said.append(title + motion(own))
        trained = [row for row in own if row["variant"] not in LENGTHLESS]
        if any("held_out" in row for row in trained):
            chosen.append(title + choice(own))
        if any(row["variant"] in ABLATIONS for row in trained):
            parts.append(title + ablation(own))
    nothing = "Nothing has been run yet.\n"
    return {
        "table.md": "\n".join(compared) or nothing,
        "ablation.md": "\n".join(parts) or nothing,
        "chains.md": "\n".join(said) or nothing,
        "choice.md": "\n".join(chosen) or nothing,
    }


def choice(rows: list[Row]) -> str:
    """Returns a table of what variants are chosen by, with what test images say beside it.

    A row is a variant on a set, with means over its seeds: gap and AUROC of held-out good images against the
    same with synthetic defects, level by level, and the image AUROC of test images.
    """
    runs: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if "held_out" in row:
            runs.setdefault((row["set"], row["variant"]), []).append(row)
    lines = []
    for name, variant in sorted(
        runs, key=lambda key: (sets_of(rows).index(key[0]), list(CHANGES).index(key[1]))
    ):
        own = runs[name, variant]

        def cells(level: str, own: list[Row] = own) -> list[str]:
            known = [row for row in own if level in row["levels"]]
            if not known:
                return ["–"] * 3
            gap, held, test = (
                float(np.mean([pick(row) for row in known]))
                for pick in (
                    lambda row: row["held_out"][level]["gap"],
                    lambda row: row["held_out"][level]["auroc"],
                    lambda row: row["levels"][level],
                )
            )
            return [f"{gap:+.2f}", f"{held:.3f}", f"{test:.3f}"]

        lines.append(
            [f"{name}, {variant}", f"{len(own)}", *(cell for level in LEVELS for cell in cells(level))]
        )
    figures = ("gap", "held-out AUROC", "test AUROC")
    head = ["set, variant", "seeds", *(f"{level}: {figure}" for level in LEVELS for figure in figures)]
    return markdown(head, lines)


def ordered(summary: dict[str, Any]) -> dict[str, Any]:
    """Returns the summary with the variants in the order of `CHANGES`, controls last."""
    variants = [*CHANGES, *SUPERSEDED]

    def rank(column: str) -> int:
        return next((i for i, name in enumerate(variants) if column.startswith(f"{name} ")), len(variants))

    return dict(sorted(summary.items(), key=lambda item: rank(item[0])))


def motion(rows: list[Row]) -> str:
    """Returns a table of how chains moved, level by level, with means over the runs."""
    lines = []
    for variant in (*CHANGES, *SUPERSEDED):
        own = [row for row in rows if row["variant"] == variant and any(row.get("chains", {}).values())]
        for level in own[0]["chains"] if own else ():
            known = [row["chains"][level] for row in own if row["chains"].get(level)]
            if not known:
                # Every run was given up before this level was trained.
                continue
            mean = {name: float(np.mean([one[name] for one in known])) for name in known[0]}
            lines.append(
                [
                    f"{variant} {level}",
                    f"{len(known)}",
                    f"{mean['distance']:.3f}",
                    f"{mean['gradient_norm']:.3f}",
                    f"{mean['gap']:+.2f}",
                    f"{mean['largest_gap']:.1f}",
                    f"{sum(row['rollbacks'] > 0 for row in own)} of {len(own)}",
                    f"{sum('diverged' in row for row in own)} of {len(own)}",
                ]
            )
    head = [
        "chains",
        "runs",
        "distance",
        "gradient norm",
        "energy gap",
        "largest gap",
        "rolled back",
        "given up",
    ]
    return markdown(head, lines)


def ablation(rows: list[Row]) -> str:
    """Returns a table of the recipe with one part exchanged, over what all of these were run on."""
    runs: dict[str, dict[tuple[str, int], Row]] = {}
    for row in rows:
        if row["variant"] in ("thesis-small", *ABLATIONS):
            runs.setdefault(row["variant"], {})[row["set"], row["seed"]] = row
    common = sorted(set.intersection(*(set(own) for own in runs.values())))
    lines = []
    for variant in CHANGES:
        own = [runs[variant][key] for key in common] if variant in runs else []
        scored = [row for row in own if "levels" in row]
        if not own:
            continue
        cells = [
            _mean([row["levels"][level] for row in scored if level in row["levels"]]) for level in LEVELS
        ]
        oracle = _mean([row["oracle"]["ensemble"] for row in scored if "ensemble" in row["oracle"]])
        seconds = [row["step_cpu_seconds"] for row in own if "step_cpu_seconds" in row]
        lines.append([variant, *cells, oracle, f"{np.mean(seconds):.2f}" if seconds else "–"])
    head = ["variant", "patch", "image", "ensemble", "oracle balanced accuracy", "CPU seconds a step"]
    where = ", ".join(f"{name} seed {seed}" for name, seed in common)
    return f"Image AUROC, means over {where or 'nothing that all have'}:\n\n" + markdown(head, lines)


def _mean(values: list[float]) -> str:
    return f"{np.mean(values):.3f}" if values else "–"
