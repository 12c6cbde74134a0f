"""`patchebm demo`: train and evaluate on built-in synthetic products, and write a report."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import Namespace

from patchebm.cli.options import add_config, given_preset, to_config
from patchebm.cli.train import train_run
from patchebm.config import Config
from patchebm.config_parser import Parser
from patchebm.data.folders import ImageSet, open_image_set
from patchebm.data.images import read_image, read_mask
from patchebm.data.synthetic import PRODUCTS, write_synthetic_set
from patchebm.errors import DataError
from patchebm.files import write_text

if TYPE_CHECKING:
    from patchebm.detector import EnsembleDetector
    from patchebm.evaluation.evaluate import Evaluation
    from patchebm.evaluation.report import GalleryItem, ReportSection

# What is shown side by side unless --preset names one.
PRESETS = ("features", "pixel-cpu")
# Pictures in a product's gallery: a screenful.
GALLERY = 12


def run(argv: Sequence[str]) -> None:
    """Run the demo as the arguments say."""
    presets = [name] if (name := given_preset(argv)) else list(PRESETS)
    configs = {}
    for preset in presets:
        values, config = _parse(argv, preset)
        configs[preset] = config
    out = Path(values.out)
    counts = {"train": 60, "test_good": 20, "per_defect": 5}
    if values.quick:
        counts = {"train": 16, "test_good": 6, "per_defect": 2}
        for config in configs.values():
            for level in (config.patch, config.image):
                level.training.steps = max(1, (level.training.steps or 100) // 10)

    from patchebm.evaluation.report import ReportSection, Table, write_report

    began = time.perf_counter()
    sections, results = [], []
    for product in values.products:
        root = write_synthetic_set(out / "data", product, seed=values.seed, **counts)
        image_set = open_image_set(root)
        for preset, config in configs.items():
            print(f"-- {product}, preset {preset}", file=sys.stderr)
            folder = out / "runs" / product / preset
            detector, evaluation = _fit_and_measure(config, image_set, folder, argv)
            results.append({"preset": preset, "train_seconds": _seconds(folder), **evaluation.figures})
            sections.append(_section(f"{product}, {preset}", detector, evaluation, folder))
    header, rows = _side_by_side(results)
    overview = ReportSection(
        "Side by side",
        "Image AUROC of the levels and of their ensemble, preset by preset, on defects that a patch shows "
        "(local) and on those that only the whole shows (global).",
        tables=[Table("Image AUROC", header, rows)],
    )
    write_text(out / "results.json", json.dumps(results, indent=1, allow_nan=False) + "\n")
    title = "patchebm demo: synthetic products"
    write_report(out / "report.html", title=title, sections=[overview, *sections])
    print("\n".join(_line(row) for row in [header, *rows]))
    print(f"done in {time.perf_counter() - began:.0f} s; open {(out / 'report.html').resolve()}")


def _parse(argv: Sequence[str], preset: str) -> tuple[Namespace, Config]:
    """The arguments, and the configuration that they make of a preset."""
    parser = Parser(prog="patchebm demo", description=__doc__)
    parser.add_argument("--out", default="demo", help="folder for pictures, runs and report.html")
    parser.add_argument(
        "--products", nargs="+", default=list(PRODUCTS), choices=PRODUCTS, help="which products"
    )
    parser.add_argument("--quick", action="store_true", help="few pictures and a tenth of the training steps")
    add_config(parser, argv, preset)
    values = parser.parse(argv)
    return values, to_config(values)


def _fit_and_measure(
    config: Config, image_set: ImageSet, folder: Path, argv: Sequence[str]
) -> tuple[EnsembleDetector, Evaluation]:
    """Train into a folder, unless that was done before, and measure."""
    from patchebm.detector import load
    from patchebm.evaluation.evaluate import evaluate
    from patchebm.progress import progress_bar

    if not (folder / "model.json").exists():
        train_run(config, image_set, folder, command=["patchebm", "demo", *argv])
    detector = load(folder)
    if asdict(detector.config) != asdict(config):
        raise DataError(f"{folder} holds a demo of another configuration; choose another --out")
    with progress_bar(len(image_set.test), "evaluate", "image") as bar:
        return detector, evaluate(detector, image_set, tick=bar.update)


def _seconds(folder: Path) -> float:
    """How long the training of a run took."""
    return float(json.loads((folder / "run.json").read_text(encoding="utf-8"))["train_seconds"])


def _side_by_side(results: list[dict[str, Any]]) -> tuple[list[str], list[list[Any]]]:
    """AUROC of each level on local and global defects, a row for each product, preset and kind."""
    names = list(results[0]["levels"])
    header = ["product", "preset", "defects", *names, "training s"]
    rows = []
    for figures in results:
        for kind in ("local", "global", "all"):
            values = []
            for level in figures["levels"].values():
                facts = level if kind == "all" else level.get("per_kind", {}).get(kind, {})
                values.append(facts.get("image_auroc"))
            rows.append(
                [figures["image_set"], figures["preset"], kind, *values, round(figures["train_seconds"])]
            )
    return header, rows


def _line(row: Sequence[Any]) -> str:
    """A row of the table as text."""
    cells = [f"{cell:.3f}" if isinstance(cell, float) else "-" if cell is None else str(cell) for cell in row]
    return "".join(f"{cell:<11}" for cell in cells).rstrip()


def _section(name: str, detector: EnsembleDetector, evaluation: Evaluation, folder: Path) -> ReportSection:
    """One product's part of the report."""
    from PIL import Image

    from patchebm.evaluation.report import Figure, ReportSection, Table, score_figure

    figures = evaluation.figures
    levels = figures["levels"]
    rows: list[list[Any]] = []
    for group, label in (("per_kind", "all {} defects"), ("per_defect", "{}")):
        for key, facts in figures.get(group, {}).items():
            cells = [levels[level][group][key].get("image_auroc") for level in levels]
            rows.append([label.format(key), facts["count"], *cells])
    overall = [levels[level].get("image_auroc") for level in levels]
    rows.append(["all", figures["anomalous_count"], *overall])
    by_group: dict[str, list[float]] = {}
    for picture, prediction in zip(evaluation.pictures, evaluation.predictions, strict=True):
        by_group.setdefault(picture.defect, []).append(prediction.score)
    charts = [Figure("Ensemble scores of the test pictures", score_figure(by_group, figures["threshold"]))]
    for level in levels:
        chains = folder / "training" / level / "member0" / "chains.png"
        if chains.exists():
            with Image.open(chains) as picture_file:
                charts.append(
                    Figure(f"{level} level: data, chain starts, chain ends (rows)", picture_file.copy())
                )
    sentence = (
        f"Image AUROC {figures['image_auroc']:.3f}; at a false-alarm rate of "
        f"{detector.threshold_.false_alarm_rate:g}, {figures['miss_count']} of {figures['anomalous_count']} "
        f"defective parts were missed and {figures['false_alarm_count']} of {figures['good_count']} good "
        "ones called anomalous."
    )
    return ReportSection(
        name,
        sentence,
        tables=[Table("Image AUROC by defect and level", ["defect", "pictures", *levels], rows)],
        figures=charts,
        gallery=_gallery(detector, evaluation),
    )


def _gallery(detector: EnsembleDetector, evaluation: Evaluation) -> list[GalleryItem]:
    """Errors first, then one picture of each defect."""
    from patchebm.evaluation.overlay import heat_overlay, side_by_side
    from patchebm.evaluation.report import GalleryItem

    pairs = list(zip(evaluation.pictures, evaluation.predictions, strict=True))
    wrong = [pair for pair in pairs if pair[0].anomalous != pair[1].anomalous][: GALLERY // 2]
    chosen = list(wrong)
    for defect in dict.fromkeys(picture.defect for picture, _ in pairs):
        chosen += [pair for pair in pairs if pair[0].defect == defect and pair not in wrong][:1]
    items = []
    for picture, _ in chosen[:GALLERY]:
        pixels = read_image(picture.path)
        prediction = detector.predict([picture.path])[0]
        assert prediction.heat_map is not None
        low, high = detector.heat_range(prediction.heat_map)
        overlay = heat_overlay(pixels, prediction.heat_map, low=low, high=high)
        mask = read_mask(picture.mask, pixels.shape[:2]) if picture.mask else None
        levels = ", ".join(f"{level} {score:.1f}" for level, score in prediction.levels.items())
        items.append(
            GalleryItem(
                name=f"{picture.defect}/{picture.path.name}",
                score=prediction.score,
                anomalous=prediction.anomalous,
                truth=picture.defect,
                image=side_by_side(pixels, overlay, mask),
                note=levels,
            )
        )
    return items
