"""This module shows several runs side by side on one page and in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from patchebm.evaluation.comparison import Runs, labels_and_scores
from patchebm.evaluation.metrics import MAIN, METRICS, Metric
from patchebm.report.charts import roc_figure
from patchebm.report.page import render, write_page
from patchebm.report.table import Table
from patchebm.report.tables import interval_text, metrics_table


def write_compare_page(
    path: Path,
    by_set: Mapping[str, Runs],
    compared: Sequence[dict[str, Any]],
    metrics: Sequence[Metric] = METRICS,
) -> None:
    """Writes a page with a section for each image set.

    Args:
        path: of the file.
        by_set: results by image set and run.
        compared: what `compare_runs` returned for them.
        metrics: which are shown.
    """
    sets = _sets(compared, metrics)
    for facts in sets:
        runs = by_set[facts["name"]]
        curves = {name: labels_and_scores(own) for name, own in runs.items() if MAIN.name in own}
        facts["roc_chart"] = roc_figure(curves) if curves else None
    write_page(path, "compare.html", title="patchebm: runs compared", sets=sets, metrics=metrics, MAIN=MAIN)


def compare_text(compared: Sequence[dict[str, Any]], metrics: Sequence[Metric] = METRICS) -> str:
    """Returns what the terminal shows of a comparison."""
    return render("compare.txt", sets=_sets(compared, metrics))


def _sets(compared: Sequence[dict[str, Any]], metrics: Sequence[Metric]) -> list[dict[str, Any]]:
    """Returns what is said of each set."""
    found = []
    for facts in compared:
        known = [run for run in facts["runs"] if run[MAIN.name] is not None]
        tested = [pair for pair in facts["pairs"] if "difference" in pair]
        columns = {run["run"]: run for run in facts["runs"]}
        rows = [
            [
                f"{pair['first']} less {pair['second']}",
                f"{pair['difference']:+.3f}",
                interval_text(pair["interval"], signed=True),
                pair["p_value"],
                pair.get("p_holm"),
            ]
            for pair in tested
        ]
        found.append(
            {
                "name": facts["image_set"],
                "runs": list(columns),
                "best": max(known, key=lambda run: run[MAIN.name]) if known else None,
                "sure": sum((pair.get("p_holm") or 1) < 0.05 for pair in tested),
                "tested": len(tested),
                "not_compared": [pair for pair in facts["pairs"] if "not_compared" in pair],
                "metrics": metrics_table("Metrics of the runs", columns, metrics),
                "differences": Table(
                    f"Differences of {MAIN.label} on the same images: paired bootstrap and DeLong's test",
                    ["runs", "difference", "95 % interval", "p", "p after Holm"],
                    rows,
                ),
            }
        )
    return found
