"""This module shows the results of an evaluation on a page and in the terminal."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from patchebm.evaluation.comparison import labels_and_scores
from patchebm.evaluation.evaluate import ENSEMBLE, Results
from patchebm.evaluation.intervals import binomial_interval
from patchebm.evaluation.metrics import MAIN, METRICS, Metric
from patchebm.evaluation.results import level_names
from patchebm.images.folders import GOOD
from patchebm.report.charts import calibration_figure, roc_figure, score_figure
from patchebm.report.gallery import GalleryItem
from patchebm.report.page import render, write_page
from patchebm.report.table import Table
from patchebm.report.tables import defects_table, metrics_table, missing_metrics
from patchebm.report.training_log import TrainingFigure
from patchebm.runtime.threshold import Threshold


def write_evaluation_page(
    path: Path,
    results: Results,
    gallery: Sequence[GalleryItem],
    training: Sequence[TrainingFigure],
    metrics: Sequence[Metric] = METRICS,
) -> None:
    """Writes the page of one evaluation.

    Args:
        path: of the file.
        results: of the evaluation.
        gallery: images, errors first.
        training: curves and images; may be empty.
        metrics: which are shown.
    """
    by_defect = results["per_defect"]
    ranked = [(facts[MAIN.name], name) for name, facts in by_defect.items() if MAIN.name in facts]
    write_page(
        path,
        "evaluation.html",
        title=f"{results['image_set']}: evaluation",
        **summary(results),
        metrics=metrics,
        MAIN=MAIN,
        levels=levels_table(results, metrics),
        not_computed=missing_metrics(results, metrics),
        hardest=min(ranked)[::-1] if ranked else None,
        wrong=results["miss_count"] + results["false_alarm_count"],
        shown=sum(item.is_wrong for item in gallery),
        gallery=gallery,
        training=training,
        tail=_tail(results),
        shell=shlex.join,
    )


def evaluation_text(results: Results, metrics: Sequence[Metric] = METRICS) -> str:
    """Returns what the terminal shows of an evaluation."""
    return render(
        "evaluation.txt",
        results=results,
        verdict=_verdict(results),
        defects=defects_table(results),
        levels=levels_table(results, metrics),
        not_computed=missing_metrics(results, metrics),
    )


def summary(results: Results) -> dict[str, Any]:
    """Returns what every page says of an evaluation: its verdict, its charts and its table of defects."""
    scores: dict[str, list[float]] = {GOOD: []}
    for record in results["predictions"]:
        scores.setdefault(record["defect"], []).append(record["score"])
    roc = None
    if MAIN.name in results:
        alarms = results["false_alarm_count"] / results["good_count"]
        point = (alarms, 1 - results["miss_count"] / results["anomalous_count"])
        roc = roc_figure(roc_curves(results), point)
    return {
        "results": results,
        "threshold": Threshold(**results["calibration"]),
        "verdict": _verdict(results),
        "scores_chart": score_figure(scores, results["threshold"]),
        "roc_chart": roc,
        "defects": defects_table(results),
    }


def levels_table(results: Results, metrics: Sequence[Metric] = METRICS) -> Table:
    """Returns the table of all metrics of each level."""
    return metrics_table("All metrics by level", results["levels"], metrics)


def roc_curves(results: Results) -> dict[str, tuple[list[bool], list[float]]]:
    """Returns labels and scores of each level and, where there are several, of the ensemble first."""
    labels, scores = labels_and_scores(results)
    records, names = results["predictions"], level_names(results)
    curves = {name: (labels, [record["levels"][name] for record in records]) for name in names}
    return {ENSEMBLE: (labels, scores)} | curves if len(names) > 1 else curves


def _verdict(results: Results) -> str:
    text = render("verdict.txt", results=results, threshold=Threshold(**results["calibration"]), MAIN=MAIN)
    return " ".join(text.split())


def _tail(results: Results) -> Mapping[str, Any] | None:
    """Returns how well the tail probabilities of good test images hold, or None without such images."""
    good = np.array([r["tail_probability"] for r in results["predictions"] if r["defect"] == GOOD])
    if not good.size:
        return None
    stated = results["calibration"]["false_alarm_rate"]
    low, high = binomial_interval(results["false_alarm_count"], good.size)
    return {
        "chart": calibration_figure(good),
        "count": good.size,
        "below": float(np.mean(good <= stated)),
        "holds": low <= stated <= high,
        "low": low,
        "high": high,
    }
