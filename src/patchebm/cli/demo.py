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
from patchebm.config.parser import Parser
from patchebm.config.schema import Config
from patchebm.errors import ConfigError, DataError
from patchebm.files import write_text
from patchebm.images.folders import ImageSet, open_image_set

if TYPE_CHECKING:
    from patchebm.evaluation.evaluate import Evaluation
    from patchebm.report.gallery import Gallery

# What is shown side by side unless --preset names one.
PRESETS = ("features", "pixel-cpu")
# Misses and false alarms shown of a product, and images in all: a screenful.
ERRORS, GALLERY = 3, 12


def run(argv: Sequence[str]) -> None:
    """Run the demo as the arguments say."""
    try:
        from patchebm_products import PRODUCTS, write_synthetic_set
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"the demo draws its images with {error.name}, which is not installed; from a clone of patchebm "
            "run `pip install ./products`"
        ) from error

    presets = [name] if (name := given_preset(argv)) else list(PRESETS)
    configs = {}
    for preset in presets:
        values, config = _parse(argv, preset, PRODUCTS)
        configs[preset] = config
    out = Path(values.out)
    counts = {"train": 60, "test_good": 20, "per_defect": 5}
    if values.quick:
        counts = {"train": 16, "test_good": 6, "per_defect": 2}
        for config in configs.values():
            for level in (config.patch, config.image):
                level.training.steps = max(1, (level.training.steps or 100) // 10)

    from patchebm.evaluation.results import results_of
    from patchebm.report.page import ReportSection, Table, write_report
    from patchebm.report.sections import product_section
    from patchebm.report.training_log import training_figures

    began = time.perf_counter()
    sections, results = [], []
    for product in values.products:
        root = write_synthetic_set(out / "data", product, seed=values.seed, **counts)
        image_set = open_image_set(root)
        for preset, config in configs.items():
            print(f"-- {product}, preset {preset}", file=sys.stderr)
            folder = out / "runs" / product / preset
            evaluation, gallery = _fit_and_measure(config, image_set, folder, argv)
            facts = {"preset": preset, "train_seconds": _seconds(folder)}
            measured = results_of(evaluation, image_set, facts=facts)
            results.append(facts | measured)
            name = f"{product}, {preset}"
            sections.append(product_section(name, measured, gallery.items(), training_figures(folder)))
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


def _parse(argv: Sequence[str], preset: str, products: Sequence[str]) -> tuple[Namespace, Config]:
    """The arguments, and the configuration that they make of a preset."""
    parser = Parser(prog="patchebm demo", description=__doc__)
    parser.add_argument("--out", default="demo", help="folder for images, runs and report.html")
    parser.add_argument(
        "--products", nargs="+", default=list(products), choices=products, help="which products"
    )
    parser.add_argument("--quick", action="store_true", help="few images and a tenth of the training steps")
    add_config(parser, argv, preset)
    values = parser.parse(argv)
    return values, to_config(values)


def _fit_and_measure(
    config: Config, image_set: ImageSet, folder: Path, argv: Sequence[str]
) -> tuple[Evaluation, Gallery]:
    """Train into a folder, unless that was done before, and measure."""
    from patchebm.detector import load
    from patchebm.evaluation.evaluate import evaluate
    from patchebm.progress import progress_bar
    from patchebm.report.gallery import Gallery

    if not (folder / "model.json").exists():
        train_run(config, image_set, folder, command=["patchebm", "demo", *argv])
    detector = load(folder)
    if asdict(detector.config) != asdict(config):
        raise DataError(f"{folder} holds a demo of another configuration; choose another --out")
    gallery = Gallery(detector.heat_range, errors=ERRORS, limit=GALLERY)
    with progress_bar(len(image_set.test), "evaluate", "image") as bar:
        return evaluate(detector, image_set, watch=gallery.offer, tick=bar.update), gallery


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
