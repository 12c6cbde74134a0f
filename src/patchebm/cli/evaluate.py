"""`patchebm evaluate MODEL DATA`: measure a model on images with known truth, and report on it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from patchebm.cli.model import add_model_options, open_model
from patchebm.cli.options import Parser
from patchebm.files import write_text
from patchebm.images.fingerprints import FingerprintTaker
from patchebm.images.folders import ImageFile, open_image_set, readable_photos, refuse_bad
from patchebm.provenance import combined_hash, file_hash, versions
from patchebm.run_folder import RunFolder


def run(argv: Sequence[str]) -> None:
    """Evaluates as the arguments say."""
    parser = Parser(prog="patchebm evaluate", description=__doc__)
    parser.add_argument(
        "model",
        help="folder that `patchebm train` wrote, in whose evaluation/ results are kept, or a file that "
        "`patchebm export` wrote",
    )
    parser.add_argument("data", help="folder in MVTec AD layout with test images")
    add_model_options(parser)
    parser.add_argument(
        "--report", help="folder for report.html, results.json, metrics.csv and predictions.csv"
    )
    parser.add_argument("--json", help="write the results to this file, too")
    values = parser.parse(argv)
    image_set = open_image_set(values.data)
    known = [image for image in image_set.test if image.anomalous is not None]
    # A bad image or mask is named before the others are scored, not after.
    taker = FingerprintTaker(image_set.root)
    bad: list[tuple[ImageFile, str]] = []
    for _, photo in readable_photos(known, bad):
        taker.add(photo)
    refuse_bad(bad, len(known) - len(bad), skip_bad=False)

    from patchebm.evaluation.copies import find_copies
    from patchebm.evaluation.evaluate import evaluate
    from patchebm.evaluation.results import level_names, write_results
    from patchebm.progress import progress_bar
    from patchebm.report.evaluation_page import evaluation_text, write_evaluation_page
    from patchebm.report.gallery import Gallery
    from patchebm.report.page import PAGE
    from patchebm.report.tables import metrics_file, predictions_file
    from patchebm.report.training_log import training_figures

    model = RunFolder(values.model)
    detector = open_model(values.model, values)
    fingerprints = taker.fingerprints()
    duplicates, warnings = find_copies(model, image_set, fingerprints)
    gallery = Gallery(detector.heat_range) if values.report else None
    with progress_bar(len(known), "evaluate", "image") as bar:
        observe = None if gallery is None else gallery.offer
        results = evaluate(detector, image_set, observe=observe, tick=bar.update)
    results["warnings"] = warnings + results["warnings"]
    results["duplicates"] = [asdict(duplicate) for duplicate in duplicates]
    results["made_by"] = {
        "command": ["patchebm", "evaluate", *argv],
        "data": str(image_set.root),
        "data_sha256": combined_hash(zip(fingerprints.names, fingerprints.sha256, strict=True)),
        "model_sha256": file_hash(model.card_file if model.path.is_dir() else model.path),
        "seed": detector.seed,
        "threshold": asdict(detector.threshold_),
        "training": model.record(),
        "versions": versions(),
    }
    for warning in results["warnings"]:
        print(f"warning: {warning}", file=sys.stderr)
    if model.path.is_dir():
        write_results(model.results_file(image_set.name), results)
    if values.json:
        write_results(values.json, results)
    if gallery is not None:
        out = Path(values.report)
        training = training_figures(model, level_names(results))
        write_evaluation_page(out / PAGE, results, gallery.items(), training)
        write_results(out / "results.json", results)
        write_text(out / "metrics.csv", metrics_file(results).csv())
        write_text(out / "predictions.csv", predictions_file(results).csv())
    print(evaluation_text(results))
    if gallery is not None:
        print(f"open {(Path(values.report) / PAGE).resolve()}")
