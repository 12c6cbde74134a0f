"""`patchebm demo`: train and evaluate on built-in synthetic products, and write a report."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from patchebm.cli.config_options import ConfigParser
from patchebm.cli.options import DEVICE_HELP
from patchebm.cli.train import train_run
from patchebm.config.base import RunConfig
from patchebm.drawn import drawn_products
from patchebm.errors import DataError
from patchebm.files import write_text
from patchebm.images.folders import ImageSet, open_image_set
from patchebm.run_folder import RunFolder

if TYPE_CHECKING:
    from patchebm.evaluation.evaluate import Results
    from patchebm.report.gallery import Gallery
    from patchebm.report.table import Table

# What is shown side by side unless --preset names one.
PRESETS = ("features", "pixel-cpu")
# Misses and false alarms shown of a product, and images in all: a screenful.
ERRORS, GALLERY = 3, 12


def run(argv: Sequence[str]) -> None:
    """Run the demo as the arguments say."""
    drawn = drawn_products()
    parser = ConfigParser(prog="patchebm demo", description=__doc__, preset=" and ".join(PRESETS))
    parser.add_argument("--out", default="demo", help="folder for images, runs and report.html")
    parser.add_argument(
        "--products", nargs="+", default=list(drawn.PRODUCTS), choices=drawn.PRODUCTS, help="which products"
    )
    parser.add_argument("--quick", action="store_true", help="few images and a tenth of the training steps")
    parser.add_argument("--device", default="auto", help=DEVICE_HELP)
    values, changes = parser.parse_config(argv)
    presets = [values.preset] if values.preset else list(PRESETS)
    configs = {preset: changes.applied_to(preset) for preset in presets}
    out = Path(values.out)
    counts = {"train": 60, "test_good": 20, "per_defect": 5}
    if values.quick:
        counts = {"train": 16, "test_good": 6, "per_defect": 2}
        for config in configs.values():
            _shorten(config)

    from patchebm.evaluation.metrics import MAIN
    from patchebm.evaluation.results import level_names
    from patchebm.report.evaluation_page import summary
    from patchebm.report.page import PAGE, write_page
    from patchebm.report.training_log import training_figures

    began = time.perf_counter()
    products, results = [], []
    for product in values.products:
        root = drawn.write_synthetic_set(
            out / "data", product, seed=next(iter(configs.values())).seed, **counts
        )
        image_set = open_image_set(root)
        for preset, config in configs.items():
            print(f"-- {product}, preset {preset}", file=sys.stderr)
            run = RunFolder(out / "runs" / product / preset)
            measured, gallery = _fit_and_evaluate(config, image_set, run, values.device, argv)
            facts = {"preset": preset, "train_seconds": run.record()["train_seconds"]}
            results.append(facts | measured)
            images = [f for f in training_figures(run, level_names(measured)) if f.kind == "negatives"]
            shown = {"name": f"{product}, {preset}", "gallery": gallery.items(), "training": images}
            products.append(shown | summary(measured))
    overview = _overview(results)
    write_text(out / "results.json", json.dumps(results, indent=1, allow_nan=False) + "\n")
    title = "patchebm demo: synthetic products"
    write_page(out / PAGE, "demo.html", title=title, overview=overview, products=products, MAIN=MAIN)
    print(overview.text())
    print(f"done in {time.perf_counter() - began:.0f} s; open {(out / PAGE).resolve()}")


def _shorten(config: RunConfig) -> None:
    """Cut the training of every network to a tenth of its steps."""
    for name in config.levels:
        network = config.level(name).network
        if network is not None:
            network.training.steps = max(1, (network.training.steps or 100) // 10)


def _fit_and_evaluate(
    config: RunConfig, image_set: ImageSet, run: RunFolder, device: str, argv: Sequence[str]
) -> tuple[Results, Gallery]:
    """Trains into a run folder, unless that was done before, and measures."""
    from patchebm.detector import load
    from patchebm.evaluation.evaluate import evaluate
    from patchebm.progress import progress_bar
    from patchebm.report.gallery import Gallery

    if not run.is_finished:
        train_run(config, image_set, run.path, device=device, command=["patchebm", "demo", *argv])
    detector = load(run.path, device=device)
    if asdict(detector.config) != asdict(config):
        raise DataError(f"{run.path} holds a demo of another configuration; choose another --out")
    gallery = Gallery(detector.heat_range, errors=ERRORS, limit=GALLERY)
    with progress_bar(len(image_set.test), "evaluate", "image") as bar:
        return evaluate(detector, image_set, observe=gallery.offer, tick=bar.update), gallery


def _overview(results: list[dict[str, Any]]) -> Table:
    """Returns the main metric of each level: a row for each product, preset and kind of defects."""
    from patchebm.evaluation.evaluate import ENSEMBLE
    from patchebm.evaluation.metrics import MAIN
    from patchebm.report.table import Table

    rows = []
    # Presets have different levels; the ensemble, where there is one, comes last.
    names = list(dict.fromkeys(name for figures in results for name in figures["levels"]))
    names.sort(key=lambda name: name == ENSEMBLE)
    for figures in results:
        for kind in ("local", "global", "all"):
            levels = [figures["levels"].get(name, {}) for name in names]
            facts = [level if kind == "all" else level.get("per_kind", {}).get(kind, {}) for level in levels]
            rows.append(
                [
                    figures["image_set"],
                    figures["preset"],
                    kind,
                    *(own.get(MAIN.name) for own in facts),
                    round(figures["train_seconds"]),
                ]
            )
    header = ["product", "preset", "defects", *names, "training s"]
    return Table(MAIN.label, header, rows)
