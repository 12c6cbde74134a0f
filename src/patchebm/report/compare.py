"""Several runs side by side: their figures, their curves, and whether their differences could be chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from patchebm.evaluation.intervals import auroc_difference
from patchebm.evaluation.paired import holm
from patchebm.images.folders import GOOD
from patchebm.report.charts import roc_figure
from patchebm.report.page import Figure, ReportSection, Table
from patchebm.report.sections import ORACLE, Results

Runs = Mapping[str, Results]
"""Results on one image set by the name of the run."""

_COLUMNS = {
    "image AUROC": "image_auroc",
    "average precision": "image_ap",
    "FPR at 95 % TPR": "fpr_at_95_tpr",
    "F1": "f1",
    "false-alarm rate": "false_alarm_rate_observed",
    "miss rate": "miss_rate",
    "pixel AUROC": "pixel_auroc",
    "AUPRO to 0.3": "aupro",
    "AUPRO to 0.05": "aupro_05",
    "oracle F1": "oracle_f1",
    "oracle balanced accuracy": "oracle_balanced_accuracy",
}


def compare_runs(by_set: Mapping[str, Runs]) -> list[dict[str, Any]]:
    """Figures of the runs on each set, and tests of each pair of them.

    Args:
        by_set: results by image set and run.

    Returns:
        For each set `image_set`; `runs`, with the figures of each; and `pairs`, with `first`, `second`, and
        either `difference` of image AUROC, its paired 95 % `interval` and `p_value` (DeLong; `p_holm`
        corrected for the number of pairs; None where neither run's order leaves room for chance), or
        `not_compared` with the reason.
    """
    compared = []
    for image_set, runs in by_set.items():
        pairs = [{"first": a, "second": b} | _pair(runs[a], runs[b]) for a, b in combinations(runs, 2)]
        _correct(pairs)
        rows = [
            {"run": name, "image_auroc_interval": results.get("image_auroc_interval")}
            | {key: results.get(key) for key in _COLUMNS.values()}
            for name, results in runs.items()
        ]
        compared.append({"image_set": image_set, "runs": rows, "pairs": pairs})
    return compared


def compare_sections(by_set: Mapping[str, Runs], compared: Sequence[dict[str, Any]]) -> list[ReportSection]:
    """A section for each image set."""
    sections = []
    for facts in compared:
        runs = by_set[facts["image_set"]]
        tables = [_figures_table(facts)]
        if any("difference" in pair for pair in facts["pairs"]):
            tables.append(_pairs_table(facts))
        notes = [
            f"{pair['first']} and {pair['second']} were not compared: {pair['not_compared']}"
            for pair in facts["pairs"]
            if "not_compared" in pair
        ]
        curves = {name: _columns(results) for name, results in runs.items() if "image_auroc" in results}
        figures = [Figure("ROC curves of the runs", roc_figure(curves))] if curves else []
        sections.append(
            ReportSection(facts["image_set"], _sentence(facts), notes=notes, tables=tables, figures=figures)
        )
    return sections


def run_names(folders: Sequence[Path]) -> list[str]:
    """The shortest ends of paths that tell the runs apart."""
    parts = [folder.absolute().parts for folder in folders]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(path[-length:]) for path in parts]
        if len(set(names)) == len(names):
            return names
    return [str(folder) for folder in folders]


def _pair(first: Results, second: Results) -> dict[str, Any]:
    if first["made_by"]["data_sha256"] != second["made_by"]["data_sha256"]:
        return {"not_compared": "they were evaluated on different images"}
    if "image_auroc" not in first:
        return {"not_compared": first["not_computed"]["image_auroc"]}
    labels, scores = _columns(first)
    difference = auroc_difference(labels, scores, _columns(second)[1])
    return {
        "difference": difference.value,
        "interval": [difference.low, difference.high],
        "p_value": difference.p_value,
    }


def _correct(pairs: list[dict[str, Any]]) -> None:
    """Add p-values corrected for their number."""
    tested = [pair for pair in pairs if pair.get("p_value") is not None]
    for pair, corrected in zip(tested, holm([pair["p_value"] for pair in tested]), strict=True):
        pair["p_holm"] = corrected


def _columns(results: Results) -> tuple[list[bool], list[float]]:
    records = results["predictions"]
    return [r["defect"] != GOOD for r in records], [r["score"] for r in records]


def _figures_table(facts: dict[str, Any]) -> Table:
    runs = facts["runs"]
    shown = {label: key for label, key in _COLUMNS.items() if any(run[key] is not None for run in runs)}
    header, rows = list(shown), [[run[key] for key in shown.values()] for run in runs]
    if "image AUROC" in shown:
        header.insert(1, "95 % interval")
        for row, run in zip(rows, runs, strict=True):
            ends = run["image_auroc_interval"]
            row.insert(1, _span(f"{ends[0]:.3f} to {ends[1]:.3f}") if ends else None)
    named = [[run["run"], *row] for run, row in zip(runs, rows, strict=True)]
    return Table("Figures of the runs", ["run", *header], named)


def _pairs_table(facts: dict[str, Any]) -> Table:
    rows = [
        [
            f"{pair['first']} less {pair['second']}",
            f"{pair['difference']:+.3f}",
            _span("{:+.3f} to {:+.3f}".format(*pair["interval"])),
            pair["p_value"],
            pair.get("p_holm"),
        ]
        for pair in facts["pairs"]
        if "difference" in pair
    ]
    caption = "Differences of image AUROC on the same images: paired bootstrap and DeLong's test"
    return Table(caption, ["runs", "difference", "95 % interval", "p", "p after Holm"], rows)


def _span(text: str) -> str:
    """An interval that is not broken over lines."""
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def _sentence(facts: dict[str, Any]) -> str:
    ranked = sorted((r["image_auroc"], r["run"]) for r in facts["runs"] if r["image_auroc"] is not None)
    if not ranked:
        return f"No run has an AUROC here. {ORACLE}"
    best = ranked[-1]
    sure = [p for p in facts["pairs"] if p.get("p_holm") is not None and p["p_holm"] < 0.05]
    tested = sum("difference" in pair for pair in facts["pairs"])
    return (
        f"{best[1]} has the highest image AUROC, {best[0]:.3f}; {len(sure)} of {tested} differences are more "
        f"than chance would bring in one of 20 such comparisons. {ORACLE}"
    )
