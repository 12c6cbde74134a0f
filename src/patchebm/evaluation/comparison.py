"""This module compares runs on the same images, and says whether their differences could be chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from patchebm.evaluation.evaluate import Results
from patchebm.evaluation.intervals import auroc_difference
from patchebm.evaluation.metrics import MAIN, METRICS, Metric
from patchebm.evaluation.paired import holm
from patchebm.files import as_unicode
from patchebm.images.folders import GOOD

Runs = Mapping[str, Results]
"""Results on one image set by the name of the run."""


def compare_runs(by_set: Mapping[str, Runs], metrics: Sequence[Metric] = METRICS) -> list[dict[str, Any]]:
    """Collects the metrics of the runs on each set, and tests each pair of runs.

    Args:
        by_set: results by image set and run.
        metrics: which are collected.

    Returns:
        For each set `image_set`; `runs`, with the metrics and intervals of each by name, None where there is
        none; and `pairs`, with `first`, `second`, and either `difference` of the main metric, its paired 95 %
        `interval` and `p_value` (DeLong; `p_holm` corrected for the number of pairs; None where neither run's
        order leaves room for chance), or `not_compared` with the reason.
    """
    names = [name for m in metrics for name in ((m.name, m.interval_name) if m.interval else (m.name,))]
    compared = []
    for image_set, runs in by_set.items():
        pairs = [{"first": a, "second": b} | _pair(runs[a], runs[b]) for a, b in combinations(runs, 2)]
        tested = [pair for pair in pairs if pair.get("p_value") is not None]
        for pair, corrected in zip(tested, holm([pair["p_value"] for pair in tested]), strict=True):
            pair["p_holm"] = corrected
        rows = [{"run": run} | {name: results.get(name) for name in names} for run, results in runs.items()]
        compared.append({"image_set": image_set, "runs": rows, "pairs": pairs})
    return compared


def labels_and_scores(results: Results) -> tuple[list[bool], list[float]]:
    """Returns whether each image is anomalous, and its score."""
    records = results["predictions"]
    return [record["defect"] != GOOD for record in records], [record["score"] for record in records]


def run_names(folders: Sequence[Path]) -> list[str]:
    """Returns the shortest ends of paths that tell the runs apart."""
    parts = [Path(as_unicode(str(folder.absolute()))).parts for folder in folders]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(path[-length:]) for path in parts]
        if len(set(names)) == len(names):
            return names
    return [as_unicode(str(folder)) for folder in folders]


def _pair(first: Results, second: Results) -> dict[str, Any]:
    if first["made_by"]["data_sha256"] != second["made_by"]["data_sha256"]:
        return {"not_compared": "they were evaluated on different images"}
    if MAIN.name not in first:
        return {"not_compared": first["not_computed"][MAIN.name]}
    labels, scores = labels_and_scores(first)
    difference = auroc_difference(labels, scores, labels_and_scores(second)[1])
    return {
        "difference": difference.value,
        "interval": [difference.low, difference.high],
        "p_value": difference.p_value,
    }
