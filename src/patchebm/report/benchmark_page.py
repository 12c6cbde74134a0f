"""This module shows what a benchmark has found as tables in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from patchebm.evaluation.benchmark_results import SECONDS
from patchebm.evaluation.metrics import METRICS, Metric
from patchebm.evaluation.summary import table
from patchebm.report.page import render


def benchmark_markdown(found: dict[str, Any], metrics: Sequence[Metric] = METRICS) -> str:
    """Returns the content of `table.md`.

    Args:
        found: what `benchmark_results.results` returned.
        metrics: those that it was given.
    """
    headings = {metric.name: metric.heading for metric in metrics} | {SECONDS: "seconds to fit"}
    tables = []
    for name, summary in found["figures"].items():
        sets = [s for s in found["sets"] if any(s in facts["sets"] for facts in summary.values())]
        digits = 1 if name == SECONDS else 3
        tables.append(table(summary, sets, headings[name], digits=digits))
    return render("benchmark.md", found=found, tables=tables, headings=headings) + "\n"
