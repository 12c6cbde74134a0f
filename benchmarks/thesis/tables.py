"""What the log of the thesis' benchmark says: results, and tables for each length of training."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.thesis.ablation import ablation
from benchmarks.thesis.beside import beside, points
from benchmarks.thesis.figures import (
    FIGURES,
    LENGTHLESS,
    LEVELS,
    Row,
    at_length,
    columns,
    length_name,
    lengths,
    sets_of,
    summary,
    summary_table,
)
from benchmarks.thesis.runs import with_rollbacks
from benchmarks.thesis.variants import CHANGES, COMPARED, FULL_SIZE, SETS, SMALL, SUPERSEDED
from patchebm.evaluation.summary import Columns, markdown


def results(rows: list[Row]) -> dict[str, Any]:
    """Returns the results of each length, and all rows."""
    rows = [with_rollbacks(row) for row in rows]
    found = {}
    for steps in lengths(rows):
        own = at_length(rows, steps)
        found[str(steps)] = {figure: summary(columns(own, figure), sets_of(own)) for figure in FIGURES} | {
            "points": points(own),
            "oracle_points": points(own, "oracle"),
        }
    return {"lengths": found, "full_size": full_size(rows), "runs": rows}


def full_size(rows: list[Row]) -> str:
    """Returns on what cards the presets of full size were run, if on any."""
    cards = sorted({row["device"] for row in rows if row["variant"] in FULL_SIZE})
    return f"run on {', '.join(cards)}" if cards else "not run: no accelerator could be had"


def tables(rows: list[Row]) -> dict[str, str]:
    """Returns Markdown: the recipe and what it is compared with, and what each part is worth."""
    rows = [with_rollbacks(row) for row in rows]
    found: dict[str, list[str]] = {
        name: [] for name in ("beside.md", "table.md", "ablation.md", "chains.md", "choice.md", "runs.md")
    }
    for steps in lengths(rows):
        own = at_length(rows, steps)
        shown = [row for row in own if row["variant"] in (*COMPARED, *FULL_SIZE, *SUPERSEDED, "controls")]
        trained = [row for row in own if row["variant"] not in LENGTHLESS]
        texts = {
            "beside.md": beside(own, length_name(steps)),
            "table.md": "\n".join(
                summary_table(ordered(columns(shown, figure)), sets_of(shown), head)
                for figure, head in FIGURES.items()
            ),
            "ablation.md": ablation(own),
            "chains.md": motion(own),
            "choice.md": choice(own) if any("held_out" in row for row in trained) else "",
            "runs.md": coverage(trained, complete=not isinstance(steps, str)),
        }
        for name, text in texts.items():
            if text:
                found[name].append(f"**{length_name(steps)}**\n\n{text}")
    without = [row for row in rows if row["variant"] in LENGTHLESS]
    if without:
        found["runs.md"].append(f"**without a training**\n\n{coverage(without)}")
    return {name: "\n".join(parts) or "Nothing has been run yet.\n" for name, parts in found.items()}


def coverage(rows: list[Row], *, complete: bool = False) -> str:
    """Returns a table of the seeds that each variant was run with on each set, and what diverged.

    Args:
        rows: of one length.
        complete: whether the variants that were not run are named below.
    """
    names = list(dict.fromkeys([*SETS, *sets_of(rows)]))
    known = {row["variant"] for row in rows}
    run = [name for name in (*CHANGES, *SUPERSEDED, "controls") if name in known]
    lines = []
    for variant in run:
        seeds: dict[str, list[str]] = {}
        for row in sorted(rows, key=lambda row: row["seed"]):
            if row["variant"] == variant:
                note = " (diverged)" if "diverged" in row else ""
                seeds.setdefault(row["set"], []).append(f"{row['seed']}{note}")
        lines.append([variant, *(", ".join(seeds.get(name, [])) or "–" for name in names)])
    missing = [name for name in SMALL if name not in (*run, *LENGTHLESS)] if complete else []
    text = markdown(["seeds of", *names], lines)
    return text + (f"\nNot run at this length: {'; '.join(missing)}.\n" if missing else "")


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


def ordered(given: Columns) -> Columns:
    """Returns the columns with the variants in the order of `CHANGES`, controls last."""
    variants = [*CHANGES, *SUPERSEDED]

    def rank(column: str) -> int:
        return next((i for i, name in enumerate(variants) if column.startswith(f"{name} ")), len(variants))

    return dict(sorted(given.items(), key=lambda item: rank(item[0])))


def motion(rows: list[Row]) -> str:
    """Returns a table of how chains moved, level by level, with means over the runs."""
    lines = []
    for variant in (*CHANGES, *SUPERSEDED):
        own = [row for row in rows if row["variant"] == variant and variant not in LENGTHLESS]
        shares = [
            f"{sum(row['rollbacks'] > 0 for row in own)} of {len(own)}",
            f"{sum('diverged' in row for row in own)} of {len(own)}",
        ]
        levels = dict.fromkeys(level for row in own for level, chains in row["chains"].items() if chains)
        for level in levels:
            known = [row["chains"][level] for row in own if row["chains"].get(level)]
            mean = {name: float(np.mean([one[name] for one in known])) for name in known[0]}
            lines.append(
                [
                    f"{variant} {level}",
                    f"{len(known)}",
                    f"{mean['distance']:.3f}",
                    f"{mean['gradient_norm']:.3f}",
                    f"{mean['gap']:+.2f}",
                    f"{mean['largest_gap']:.1f}",
                    *shares,
                ]
            )
        if own and not levels:
            # Every run was given up before the first point of its curves.
            lines.append([variant, "0", *["–"] * 4, *shares])
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
