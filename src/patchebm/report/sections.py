"""What the reports of `evaluate`, `demo` and `compare` say, built from results (see `results.results_of`)."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

import numpy as np

from patchebm.images.folders import GOOD
from patchebm.report.charts import calibration_figure, roc_figure, score_figure
from patchebm.report.page import Figure, GalleryItem, ReportSection, Table, Tile, number
from patchebm.runtime.threshold import Threshold

Results = dict[str, Any]

# Column of a table -> figure of a level.
LEVEL_FIGURES = {
    "image AUROC": "image_auroc",
    "average precision": "image_ap",
    "FPR at 95 % TPR": "fpr_at_95_tpr",
    "pixel AUROC": "pixel_auroc",
    "AUPRO to 0.3": "aupro",
    "AUPRO to 0.05": "aupro_05",
    "oracle F1": "oracle_f1",
    "oracle balanced accuracy": "oracle_balanced_accuracy",
}
ORACLE = (
    "Oracle figures take the best threshold for these very labels: upper bounds, and no detector's figures."
)


def evaluation_sections(
    results: Results, gallery: Sequence[GalleryItem], training: Sequence[Figure]
) -> list[ReportSection]:
    """The sections of one evaluation.

    Args:
        results: of the evaluation.
        gallery: images, errors first.
        training: curves and chains; may be empty.
    """
    sections = [
        ReportSection(
            "Verdict",
            verdict(results),
            notes=results["warnings"],
            tiles=tiles(results),
            figures=score_charts(results),
        ),
        ReportSection("Images", _gallery_sentence(results, gallery), gallery=gallery),
        ReportSection(
            "Defects and levels",
            defects_sentence(results),
            tables=[defects_table(results), levels_table(results)],
            notes=_missing(results),
        ),
    ]
    if chart := tail_charts(results):
        sections.append(ReportSection("Tail probabilities", tail_sentence(results), figures=chart))
    if training:
        sections.append(
            ReportSection("Training", "How the energies of the levels learned.", figures=training)
        )
    sections.append(
        ReportSection("What was run", "All that decides these figures.", tables=[run_table(results)])
    )
    return sections


def product_section(
    name: str, results: Results, gallery: Sequence[GalleryItem], training: Sequence[Figure]
) -> ReportSection:
    """One evaluation among others, in short."""
    return ReportSection(
        name,
        verdict(results),
        notes=results["warnings"],
        tables=[defects_table(results)],
        figures=[*score_charts(results), *(figure for figure in training if not figure.is_chart)],
        gallery=gallery,
    )


def verdict(results: Results) -> str:
    """What the detector did with the test images, in a sentence or two."""
    good, bad = results["good_count"], results["anomalous_count"]
    said = []
    if bad:
        said.append(f"{bad - results['miss_count']} of {bad} defective parts were found")
    if good:
        said.append(f"{results['false_alarm_count']} of {good} good ones called anomalous")
    threshold = Threshold(**results["calibration"])
    sentence = f"{' and '.join(said)}, at the threshold {number(threshold.value)} ({threshold.describe()})."
    if "image_auroc" in results:
        sentence += f" Image AUROC {number(results['image_auroc'])}{_interval(results, 'image_auroc')}."
    else:
        sentence += f" No AUROC: {results['not_computed']['image_auroc']}."
    return sentence[0].upper() + sentence[1:]


def tiles(results: Results) -> list[Tile]:
    """The figures to see first."""
    found = []
    for label, key in (("image AUROC", "image_auroc"), ("average precision", "image_ap")):
        if key in results:
            found.append(Tile(label, number(results[key]), _range(results.get(f"{key}_interval"))))
    for label, key, count, total in (
        ("false alarms", "false_alarm_rate", "false_alarm_count", "good_count"),
        ("missed", "miss_rate", "miss_count", "anomalous_count"),
    ):
        if results[total]:
            low, high = results[f"{key}_interval"]
            rate = percent(results[count] / results[total])
            note = f"{rate} of {results[total]}; 95 %: {percent(low)} to {percent(high)}"
            found.append(Tile(label, str(results[count]), note))
    if "f1" in results:
        precision = results.get("precision")
        note = f"recall {number(results['recall'])}" + (
            f", precision {number(precision)}" if precision else ""
        )
        found.append(Tile("F1 at the threshold", number(results["f1"]), note))
    if "fpr_at_95_tpr" in results:
        found.append(
            Tile("FPR at 95 % TPR", number(results["fpr_at_95_tpr"]), "good parts lost to find 95 %")
        )
    if "pixel_auroc" in results:
        found.append(Tile("pixel AUROC", number(results["pixel_auroc"]), "all pixels of all images"))
        found.append(
            Tile("AUPRO", number(results["aupro"]), f"to FPR 0.3; to 0.05: {number(results['aupro_05'])}")
        )
    return found


def score_charts(results: Results) -> list[Figure]:
    """Scores by defect, and the ROC curves of the levels where there are two classes."""
    by_group: dict[str, list[float]] = {GOOD: []}
    for record in results["predictions"]:
        by_group.setdefault(record["defect"], []).append(record["score"])
    threshold = results["threshold"]
    charts = [
        Figure(
            "Scores of the test images; triangles lie above the threshold",
            score_figure(by_group, threshold),
            alt=f"Scores by defect with the threshold {number(threshold)}. {verdict(results)}",
        )
    ]
    if "image_auroc" in results:
        labels = [record["defect"] != GOOD for record in results["predictions"]]
        curves = {"ensemble": (labels, [record["score"] for record in results["predictions"]])}
        if len(names := results["predictions"][0]["levels"]) > 1:
            curves |= {name: (labels, [r["levels"][name] for r in results["predictions"]]) for name in names}
        else:
            curves = {next(iter(names)): curves["ensemble"]}
        point = (results["false_alarm_rate_observed"], results["recall"])
        charts.append(
            Figure(
                "ROC curves; the point is the calibrated threshold",
                roc_figure(curves, point),
                alt="ROC curves: "
                + ", ".join(f"{n} AUROC {number(results['levels'][n]['image_auroc'])}" for n in curves),
            )
        )
    return charts


def defects_table(results: Results) -> Table:
    """AUROC of each level by defect and by kind of defect, against all good images."""
    levels = results["levels"]
    rows: list[list[object]] = []
    for group, label in (("per_defect", "{}"), ("per_kind", "all {} defects")):
        for key, facts in results.get(group, {}).items():
            cells = [levels[level][group][key].get("image_auroc") for level in levels]
            rows.append([label.format(key), facts["count"], facts.get("miss_count"), *cells])
    overall = [levels[level].get("image_auroc") for level in levels]
    rows.append(["all", results["anomalous_count"], results["miss_count"], *overall])
    return Table(
        "Image AUROC by defect and level, each against all good images",
        ["defect", "images", "missed", *levels],
        rows,
    )


def levels_table(results: Results) -> Table:
    """All figures of each level."""
    levels = results["levels"]
    header = {
        label: key for label, key in LEVEL_FIGURES.items() if any(key in facts for facts in levels.values())
    }
    rows = [[name, *(facts.get(key) for key in header.values())] for name, facts in levels.items()]
    return Table("Figures of each level", ["level", *header], rows)


def defects_sentence(results: Results) -> str:
    """Which defect is the hardest."""
    ranked = [(f["image_auroc"], d) for d, f in results["per_defect"].items() if "image_auroc" in f]
    if not ranked:
        return f"No comparison of defects: {results['not_computed'].get('image_auroc', 'there are none')}."
    auroc, defect = min(ranked)
    if auroc == 1:
        return f"Every defective part scores above every good one. {ORACLE}"
    if len(ranked) == 1:
        return f"The only defect, {defect}, has an AUROC of {number(auroc)}. {ORACLE}"
    return f"The hardest defect is {defect} with an AUROC of {number(auroc)}. {ORACLE}"


def tail_charts(results: Results) -> list[Figure]:
    """Whether good test images are as odd as stated."""
    good = [r["tail_probability"] for r in results["predictions"] if r["defect"] == GOOD]
    if not good:
        return []
    return [
        Figure(
            "Good test images: the share that looks at least as odd as a tail probability p, against p",
            calibration_figure(good),
        )
    ]


def tail_sentence(results: Results) -> str:
    """What a tail probability is, and how well it holds here."""
    good = np.array([r["tail_probability"] for r in results["predictions"] if r["defect"] == GOOD])
    stated = results["calibration"]["false_alarm_rate"]
    low, high = results["false_alarm_rate_interval"]
    holds = "within" if low <= stated <= high else "outside"
    return (
        "A tail probability of 0.01 says that one good part in 100 looks at least this odd. "
        f"Of the {good.size} good test images {percent(float(np.mean(good <= stated)))} lie at or below "
        f"{percent(stated)}; the stated rate is {holds} the 95 % interval of the observed false-alarm rate, "
        f"{percent(low)} to {percent(high)}."
    )


def run_table(results: Results) -> Table:
    """Commands, seeds, versions and hashes, as text."""
    made_by = results["made_by"]
    training = made_by.get("training", {})
    rows: list[list[object]] = [["evaluated by", shlex.join(made_by["command"])]]
    rows.append(["test images", f"{len(results['predictions'])} of {made_by['data']}"])
    rows.append(["their hash", made_by["data_sha256"]])
    if training.get("command"):
        rows.append(["trained by", shlex.join(training["command"])])
    for label, key in (
        ("trained on", "image_set"),
        ("training images", "images"),
        ("their hash", "data_sha256"),
        ("training seconds", "train_seconds"),
    ):
        if key in training:
            rows.append([label, str(training[key])])
    for key in ("preset", "seed"):
        if key in made_by:
            rows.append([key, str(made_by[key])])
    rows.append(["milliseconds an image", f"{1000 * results['seconds']['score_per_image']:.0f}"])
    versions = {"evaluated": made_by["versions"], "trained": training.get("versions")}
    if versions["trained"] == versions["evaluated"]:
        versions = {"": versions["evaluated"]}
    for when, found in versions.items():
        if found:
            text = ", ".join(f"{name} {version}" for name, version in found.items())
            rows.append([f"versions{' when ' + when if when else ''}", text])
    return Table("Commands, seeds, versions and hashes", ["what", "value"], rows)


def percent(share: float) -> str:
    """A share as a percentage with as many digits as it can bear."""
    value = 100 * share
    if value in (0, 100) or value >= 10:
        return f"{value:.0f} %"
    return f"{value:.2g} %"


def _missing(results: Results) -> list[str]:
    """What was not computed, a note for each reason."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in results["not_computed"].items():
        by_reason.setdefault(reason, []).append(name)
    return [f"not computed: {', '.join(names)} ({reason})" for reason, names in by_reason.items()]


def _gallery_sentence(results: Results, gallery: Sequence[GalleryItem]) -> str:
    wrong = results["miss_count"] + results["false_alarm_count"]
    shown = sum(item.truth != "" and item.anomalous != (item.truth != GOOD) for item in gallery)
    if not wrong:
        start = "No verdict was wrong"
    elif shown == wrong:
        start = f"All {wrong} wrong verdicts" if wrong > 1 else "The one wrong verdict"
    else:
        start = f"{shown} of {wrong} wrong verdicts, the worst first"
    return (
        f"{start}; then the clearest case and the closest call of each defect and of the good parts. "
        "Each shows the image, the heat map over it and, where there is one, the mask."
    )


def _interval(results: Results, key: str) -> str:
    ends = results.get(f"{key}_interval")
    # Where every resample reads the same the interval would only seem to say something.
    return f" (95 % interval {number(ends[0])} to {number(ends[1])})" if ends and ends[0] < ends[1] else ""


def _range(ends: Sequence[float] | None) -> str:
    if not ends:
        return ""
    return (
        f"95 %: {number(ends[0])} to {number(ends[1])}" if ends[0] < ends[1] else "the same in every resample"
    )
