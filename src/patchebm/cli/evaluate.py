"""`patchebm evaluate MODEL DATA`: measure a model on images with known truth, and report on it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from patchebm.cli.options import RATE
from patchebm.config.parser import Parser
from patchebm.images.fingerprints import Duplicate, find_duplicates, load_fingerprints, take_fingerprints
from patchebm.images.folders import ImageSet, check_images, open_image_set
from patchebm.provenance import data_hash, file_hash, versions
from patchebm.run_folder import FINGERPRINTS

if TYPE_CHECKING:
    from patchebm.detector import EnsembleDetector
    from patchebm.runtime.predictor import Predictor


def run(argv: Sequence[str]) -> None:
    """Evaluate as the arguments say."""
    parser = Parser(prog="patchebm evaluate", description=__doc__)
    parser.add_argument(
        "model",
        help="folder that `patchebm train` wrote, in whose evaluation/ results are kept, or a file that "
        "`patchebm export` wrote",
    )
    parser.add_argument("data", help="folder in MVTec AD layout with test images")
    parser.add_argument(RATE, type=float, help="share of good parts that may be called anomalous")
    parser.add_argument("--report", help="folder for report.html, results.json and predictions.csv")
    parser.add_argument("--json", help="write the results to this file, too")
    values = parser.parse(argv)
    image_set = open_image_set(values.data)
    if image_set.test:
        # A bad image or mask is named before the others are scored, not after.
        check_images(image_set.test)

    from patchebm.evaluation.evaluate import evaluate
    from patchebm.evaluation.results import (
        results_file,
        results_of,
        write_predictions,
        write_results,
    )
    from patchebm.loading import load
    from patchebm.progress import progress_bar
    from patchebm.report.gallery import Gallery

    model = Path(values.model)
    detector = load(model)
    if values.false_alarm_rate is not None:
        detector = detector.at_false_alarm_rate(values.false_alarm_rate)
    duplicates, warnings = find_seen(model, image_set)
    gallery = Gallery(detector.heat_range) if values.report else None
    with progress_bar(len(image_set.test), "evaluate", "image") as bar:
        evaluation = evaluate(detector, image_set, watch=gallery.offer if gallery else None, tick=bar.update)
    facts = made_by(model, detector, image_set, ["patchebm", "evaluate", *argv])
    results = results_of(evaluation, image_set, duplicates=duplicates, warnings=warnings, facts=facts)
    for warning in results["warnings"]:
        print(f"warning: {warning}", file=sys.stderr)
    if model.is_dir():
        write_results(results_file(model, image_set.name), results)
    if values.json:
        write_results(values.json, results)
    if gallery is not None:
        from patchebm.report.page import write_report
        from patchebm.report.sections import evaluation_sections
        from patchebm.report.training_log import training_figures

        out = Path(values.report)
        sections = evaluation_sections(results, gallery.items(), training_figures(model))
        write_report(out / "report.html", title=f"{image_set.name}: evaluation", sections=sections)
        write_results(out / "results.json", results)
        write_predictions(out / "predictions.csv", results)
    print(table(results))
    if values.report:
        print(f"open {(Path(values.report) / 'report.html').resolve()}")


def find_seen(model: Path, image_set: ImageSet) -> tuple[list[Duplicate], list[str]]:
    """Test images that training has seen, and what to say of them.

    Raises:
        DataError: the run's fingerprints are damaged.
        ImageError: an image cannot be read.
    """
    said = []
    file = model / FINGERPRINTS
    if file.exists():
        train = load_fingerprints(file)
    else:
        said.append(
            f"{model} does not know its training images; copies were looked for among those of "
            f"{image_set.root}"
        )
        train = take_fingerprints([p.path for p in image_set.train], image_set.root)
    test = take_fingerprints([p.path for p in image_set.test if p.anomalous is not None], image_set.root)
    found = find_duplicates(train, test)
    for exact, what in ((True, "also a training image"), (False, "nearly a training image")):
        chosen = [f"{d.test} = {d.train}" for d in found if d.exact == exact]
        if chosen:
            names = ", ".join(chosen[:10]) + (", ..." if chosen[10:] else "")
            said.append(
                f"{len(chosen)} of {len(test.names)} test images: each is {what}, and figures flatter: "
                f"{names}"
            )
    return found, said


def made_by(
    model: Path, detector: EnsembleDetector | Predictor, image_set: ImageSet, command: Sequence[str]
) -> dict[str, Any]:
    """What the figures come from: commands, seed, data and versions."""
    images = [p.path for p in image_set.test if p.anomalous is not None]
    record = model / "run.json"
    training = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
    return {
        "command": list(command),
        "data": str(image_set.root),
        "data_sha256": data_hash(images, image_set.root),
        "model_sha256": file_hash(model / "model.json" if model.is_dir() else model),
        "seed": detector.seed,
        "threshold": asdict(detector.threshold_),
        "training": {key: value for key, value in training.items() if key != "config"},
        "versions": versions(),
    }


def table(figures: dict[str, Any]) -> str:
    """The figures as text."""
    lines = [f"{figures['image_set']}: image AUROC by level and defect"]
    names = list(figures["levels"])
    lines.append(f"{'':<20}{'images':>8}" + "".join(f"{name:>10}" for name in names))
    rows: list[tuple[str, int, list[Any]]] = []
    for group in ("per_defect", "per_kind"):
        for key, facts in figures.get(group, {}).items():
            levels = [figures["levels"][name][group][key].get("image_auroc") for name in names]
            rows.append((key, facts["count"], levels))
    overall = [figures["levels"][name].get("image_auroc") for name in names]
    rows.append(("all", figures["anomalous_count"], overall))
    for key, count, values in rows:
        lines.append(f"{key:<20}{count:>8}" + "".join(f"{_number(v):>10}" for v in values))
    for key in (
        "image_ap",
        "fpr_at_95_tpr",
        "pixel_auroc",
        "aupro",
        "aupro_05",
        "oracle_f1",
        "oracle_balanced_accuracy",
    ):
        if key in figures:
            values = [figures["levels"][name].get(key) for name in names]
            lines.append(f"{key:<28}" + "".join(f"{_number(v):>10}" for v in values))
    lines.append(
        f"at threshold {figures['threshold']:.2f}: {figures['false_alarm_count']} of {figures['good_count']} "
        f"good called anomalous, {figures['miss_count']} of {figures['anomalous_count']} anomalous missed"
    )
    lines += [f"no {name}: {reason}" for name, reason in figures["not_computed"].items()]
    lines.append(f"{1000 * figures['seconds']['score_per_image']:.0f} ms an image")
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
