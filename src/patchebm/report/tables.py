"""This module makes tables of results, for pages, the terminal and files alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from patchebm.evaluation.evaluate import Results
from patchebm.evaluation.metrics import MAIN, METRICS, Metric
from patchebm.report.table import Table, number


def defects_table(results: Results) -> Table:
    """Returns the main metric of each level by defect and by kind of defect, each against all good images."""
    levels: Mapping[str, Any] = results["levels"]
    rows: list[list[object]] = []
    for group, label in (("per_defect", "{}"), ("per_kind", "all {} defects")):
        for key, facts in results.get(group, {}).items():
            cells = [level[group][key].get(MAIN.name) for level in levels.values()]
            rows.append([label.format(key), facts["count"], facts.get("miss_count"), *cells])
    overall = [level.get(MAIN.name) for level in levels.values()]
    rows.append(["all", results["anomalous_count"], results["miss_count"], *overall])
    caption = f"By defect: {MAIN.label} of each level against all good images"
    return Table(caption, ["defect", "images", "missed", *levels], rows)


def metrics_table(
    caption: str, columns: Mapping[str, Mapping[str, Any]], metrics: Sequence[Metric] = METRICS
) -> Table:
    """Returns a row for each metric that any column has, and one for its interval; the best value is marked.

    Args:
        caption: of the table.
        columns: metrics by level, or by run.
        metrics: the rows, in this order.
    """
    rows: list[list[object]] = []
    best = set()
    for metric in metrics:
        values = [facts.get(metric.name) for facts in columns.values()]
        known = [value for value in values if value is not None]
        if not known:
            continue
        if min(known) < max(known):
            goal = max(known) if metric.higher_is_better else min(known)
            best |= {(len(rows), i) for i, value in enumerate(values, 1) if value == goal}
        rows.append([metric.heading, *values])
        ends = [facts.get(metric.interval_name) for facts in columns.values()]
        if any(ends):
            rows.append(["95 % interval", *(interval_text(pair) if pair else None for pair in ends)])
    return Table(caption, ["metric", *columns], rows, frozenset(best))


def metrics_file(results: Results, metrics: Sequence[Metric] = METRICS) -> Table:
    """Returns a row for each metric of each level, to be written as CSV."""
    rows = []
    for level, facts in results["levels"].items():
        for metric in metrics:
            if metric.name in facts:
                low, high = facts.get(metric.interval_name, (None, None))
                rows.append([level, metric.name, metric.label, facts[metric.name], low, high])
    return Table("metrics", ["level", "metric", "label", "value", "low", "high"], rows)


def predictions_file(results: Results) -> Table:
    """Returns a row for each image: truth, score, verdict, tail probability and the score of each level."""
    plain = ["image", "defect", "score", "tail_probability", "extrapolated", "anomalous", "threshold"]
    levels = results["predictions"][0]["levels"]
    rows = [
        [*(record[key] for key in plain), *(record["levels"][name] for name in levels)]
        for record in results["predictions"]
    ]
    return Table("predictions", [*plain, *(f"{name}_score" for name in levels)], rows)


def missing_metrics(results: Results, metrics: Sequence[Metric] = METRICS) -> dict[str, list[str]]:
    """Returns the labels of the metrics that were not computed, by reason."""
    by_reason: dict[str, list[str]] = {}
    for metric in metrics:
        if reason := results["not_computed"].get(metric.name):
            by_reason.setdefault(reason, []).append(metric.label)
    return by_reason


def interval_text(ends: Sequence[float], *, signed: bool = False) -> str:
    """Returns an interval that is not broken over lines."""
    low, high = (f"{end:+.3f}" if signed else number(end) for end in ends)
    return f"{low} to {high}".replace(" ", "\N{NO-BREAK SPACE}")
