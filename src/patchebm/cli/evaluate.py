"""`patchebm evaluate MODEL DATA`: measure a model on images with known truth, and report on it.

DATA has a folder `test` with `good` and a folder for each kind of defect, or these folders themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from patchebm.cli.model import add_model_options, open_model
from patchebm.cli.options import GOOD_HELP, SKIP_BAD_HELP, Parser
from patchebm.cli.terminal import say
from patchebm.files import write_text
from patchebm.images.checking import readable_photos, refuse_bad
from patchebm.images.fingerprints import FingerprintTaker
from patchebm.images.folders import ImageFile, open_test_set
from patchebm.images.listing import left_out_sentence
from patchebm.images.profile import Traits, differing
from patchebm.provenance import combined_hash, file_hash, name_below, versions
from patchebm.run_folder import RunFolder


def evaluate_parser() -> Parser:
    """Returns the options of `patchebm evaluate`."""
    parser = Parser(prog="patchebm evaluate", description=__doc__)
    parser.add_argument(
        "model",
        help="folder that `patchebm train` wrote, in whose evaluation/ results are kept, or a file that "
        "`patchebm export` wrote",
    )
    parser.add_argument(
        "data", help="folder in MVTec AD layout, its test folder, or one with folders of good and bad parts"
    )
    add_model_options(parser)
    parser.add_argument(
        "--report", help="folder for report.html, results.json, metrics.csv and predictions.csv"
    )
    parser.add_argument("--json", help="write the results to this file, too")
    parser.add_argument("--good", nargs="+", default=[], metavar="NAME", help=GOOD_HELP)
    parser.add_argument("--skip-bad", action="store_true", help=SKIP_BAD_HELP)
    return parser


def run(argv: Sequence[str]) -> None:
    """Evaluates as the arguments say."""
    values = evaluate_parser().parse(argv)
    image_set = open_test_set(values.data, good=values.good)
    known = [image for image in image_set.test if image.anomalous is not None]
    # A bad image or mask is named before the others are scored, not after.
    detector = open_model(values.model, values)
    taker = FingerprintTaker(image_set.root)
    traits: dict[str, Traits] = {}
    bad: list[tuple[ImageFile, str]] = []
    usable = []
    for image, photo in readable_photos(known, bad, detector.decoding_):
        usable.append(image)
        taker.add(photo)
        traits[name_below(image.path, image_set.root)] = Traits.of(photo)
    refuse_bad(bad, len(usable), skip_bad=values.skip_bad)
    for image, reason in bad:
        say(f"left out: {image.path}: {reason}")
    unusable = {image for image, _ in bad}
    image_set = replace(image_set, test=tuple(p for p in image_set.test if p not in unusable))

    from patchebm.evaluation.copies import find_copies, without_training_images
    from patchebm.evaluation.evaluate import evaluate
    from patchebm.evaluation.results import level_names, write_results
    from patchebm.progress import progress_bar
    from patchebm.report.evaluation_page import evaluation_text, write_evaluation_page
    from patchebm.report.gallery import Gallery
    from patchebm.report.page import PAGE
    from patchebm.report.tables import metrics_file, predictions_file
    from patchebm.report.training_log import training_figures

    model = RunFolder(values.model)
    # Said with the other warnings.
    detector.notices.say = lambda _: None
    image_set, fingerprints, notes = without_training_images(
        model, getattr(detector, "card", {}), image_set, taker.fingerprints()
    )
    if (sentence := left_out_sentence(image_set.left_out)) is not None:
        notes.append(sentence)
    if bad:
        notes.append(
            f"{len(bad)} of {len(known)} test images could not be used and are left out, such as {bad[0][1]}"
        )
    duplicates, warnings = find_copies(model, image_set, fingerprints, detector.decoding_)
    warnings += differing(detector.profile, [traits[name] for name in fingerprints.names])
    gallery = Gallery(detector.heat_range, detector.decoding_) if values.report else None
    with progress_bar(len(fingerprints.names), "evaluate", "image") as bar:
        observe = None if gallery is None else gallery.offer
        results = evaluate(detector, image_set, observe=observe, tick=bar.update)
    results["warnings"] = notes + detector.notices.said + warnings + results["warnings"]
    results["model"] = detector.about()
    results["left_out"] = [
        {"image": name_below(image.path, image_set.root), "error": reason} for image, reason in bad
    ]
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
        say(f"warning: {warning}")
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
