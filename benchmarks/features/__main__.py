"""Energies on features against PatchCore and PaDiM on the same backbone: accuracy, ablation, cost.

    python -m benchmarks.features              # writes log.jsonl as it goes, then results.json and tables
    python -m benchmarks.features --only cost  # the timings alone, on a quiet machine

A run that is in the log is not repeated, so that a killed benchmark goes on where it stopped. Everything is
fitted on train/good alone; the test folders are scored once, after the last step.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import Log, preset
from benchmarks.features import cost
from benchmarks.features.peers import PaDiM, PatchCore, PeerMaps
from patchebm.config.parser import load_preset
from patchebm.config.schema import Config
from patchebm.detector import EnsembleDetector
from patchebm.evaluation import alarms
from patchebm.evaluation.evaluate import evaluate
from patchebm.evaluation.metrics import image_metrics
from patchebm.evaluation.summary import Columns, summarise, table
from patchebm.features.backbone import load_backbone
from patchebm.features.views import to_tensor
from patchebm.files import write_text
from patchebm.images.folders import ImageSet, open_image_set
from patchebm.images.reading import read_image
from patchebm.provenance import versions

HERE = Path(__file__).parent
SETS = ("bottle", "cubes", "solar_poly", "magnetic_tile", "circuitboard", "tire")
# Those where PatchCore is below .95: on the others every method is perfect and an ablation shows nothing.
HARD = ("solar_poly", "magnetic_tile", "circuitboard", "tire")


def gaussian(config: Config) -> None:
    for level in (config.patch, config.image):
        level.energy.kind = "gaussian"
    # A cell's Gaussian is small: all its axes.
    config.patch.energy.gaussian.rank = None


def mixture(config: Config) -> None:
    config.levels = ["patch"]
    config.patch.energy.kind = "mixture"


def likelihood(config: Config) -> None:
    mixture(config)
    config.patch.energy.mixture.em_steps = 20


def network_alone(config: Config) -> None:
    config.levels = ["patch"]
    config.patch.energy.kind = "network"


def with_chains(config: Config) -> None:
    # PYLD from the noised normals, in whitened space, where 0.1 is a tenth of a cluster's width.
    config.levels = ["patch"]
    chains = config.patch.chains
    chains.steps, chains.inner, chains.lr, chains.eps = 5, 1, 0.1, 1.0


def members(*changes: Callable[[Config], None]) -> Callable[[Config], None]:
    """Changes on top of the mean over members at both levels, in which the parts are compared."""

    def change(config: Config) -> None:
        config.calibration.refit = []
        for own in changes:
            own(config)

    return change


def at_random(config: Config) -> None:
    # Not neighbours in file order together.
    config.calibration.consecutive = False


VARIANTS = {
    "features": preset("features"),
    "features, folds at random": preset("features", at_random),
    "features-fast": preset("features-fast"),
    "features-max": preset("features-max"),
    "mean of members": preset("features", members()),
    "gaussian": preset("features", members(gaussian)),
    "mixture": preset("features", members(mixture)),
    "mixture by EM": preset("features", members(likelihood)),
    "network alone": preset("features", members(network_alone)),
    "chains moved": preset("features", members(with_chains)),
}


def one_run(image_set: ImageSet, variant: str, seed: int) -> dict[str, Any]:
    config = VARIANTS[variant](seed)
    began = time.perf_counter()
    detector = EnsembleDetector(config).fit(
        [p.path for p in image_set.train], [p.group for p in image_set.train]
    )
    fitted = time.perf_counter() - began
    figures = evaluate(detector, image_set, pixels=variant in ("features", "features-fast"))
    kept = (
        "image_auroc",
        "image_ap",
        "pixel_auroc",
        "aupro",
        "oracle_balanced_accuracy",
        "false_alarm_rate_observed",
        "false_alarm_count",
        "good_count",
        "miss_rate",
    )
    return {
        "set": image_set.name,
        "variant": variant,
        "seed": seed,
        "levels": {name: level["image_auroc"] for name, level in figures["levels"].items()},
        **{key: figures[key] for key in kept if key in figures},
        "fit_seconds": round(fitted, 1),
    }


def peers(image_set: ImageSet, seed: int) -> list[dict[str, Any]]:
    """PatchCore and PaDiM on the backbone of the preset `features`."""
    features = load_preset("features").features
    seen = PeerMaps(load_backbone(features.backbone or "", features.blocks[1:]), features.size)

    def look(path: Path) -> torch.Tensor:
        return seen(to_tensor(read_image(path), 3))

    began = time.perf_counter()
    maps = torch.stack([look(p.path).half() for p in image_set.train])
    read = time.perf_counter() - began
    images = [p for p in image_set.test if p.anomalous is not None]
    labels = np.array([bool(p.anomalous) for p in images])
    rows = []
    began = time.perf_counter()
    models: dict[str, PatchCore | PaDiM] = {"PatchCore": PatchCore(maps, torch.Generator().manual_seed(seed))}
    seconds = {"PatchCore": time.perf_counter() - began}
    if seed == 0:
        # PaDiM has no seed.
        began = time.perf_counter()
        models["PaDiM"] = PaDiM(maps)
        seconds["PaDiM"] = time.perf_counter() - began
    scores: dict[str, list[float]] = {name: [] for name in models}
    for image in images:
        features_map = look(image.path)
        for name, model in models.items():
            scores[name].append(model.score(features_map))
    for name in models:
        rows.append(
            {
                "set": image_set.name,
                "variant": name,
                "seed": seed,
                "levels": {"": image_metrics(labels, scores[name])["image_auroc"]},
                "fit_seconds": round(read + seconds[name], 1),
            }
        )
    return rows


def columns(rows: list[dict[str, Any]], figure: str = "levels") -> Columns:
    """Column name -> set -> figure by seed."""
    found: Columns = {}
    for row in rows:
        if figure == "levels":
            for level, value in row["levels"].items():
                name = f"{row['variant']} {level}".strip()
                found.setdefault(name, {}).setdefault(row["set"], {})[row["seed"]] = value
        elif figure in row:
            found.setdefault(row["variant"], {}).setdefault(row["set"], {})[row["seed"]] = row[figure]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("PATCHEBM_DATA", "../shared/data")))
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument(
        "--variants", nargs="*", default=[*VARIANTS, "peers"], choices=[*VARIANTS, "peers"], metavar="VARIANT"
    )
    parser.add_argument("--only", choices=["runs", "cost", "tables"], help="a part of the benchmark")
    parser.add_argument("--out", type=Path, default=HERE)
    arguments = parser.parse_args()
    log = Log(arguments.out)
    if arguments.only in (None, "runs"):
        run_all(log, arguments)
    if arguments.only in (None, "cost"):
        write_text(arguments.out / "cost.json", json.dumps(cost.measure(), indent=1) + "\n")
    if arguments.only != "runs":
        write_tables(log.rows, arguments)


def run_all(log: Log, arguments: argparse.Namespace) -> None:
    for variant in arguments.variants:
        ablation = variant in VARIANTS and not variant.startswith("features")
        names = [name for name in arguments.sets if not ablation or name in HARD]
        for seed in arguments.seeds:
            for name in names:
                if (name, "PatchCore" if variant == "peers" else variant, seed) in log.done:
                    continue
                print(f"-- {name}, {variant}, seed {seed}", file=sys.stderr)
                image_set = open_image_set(arguments.data / name)
                if variant == "peers":
                    for row in peers(image_set, seed):
                        log.keep(row)
                else:
                    log.keep(one_run(image_set, variant, seed))


def pooled_alarms(rows: list[dict[str, Any]], sets: list[str]) -> str:
    """A sentence on the false alarms of all sets together."""
    stated = load_preset("features").false_alarm_rate
    by_set = []
    for name in sets:
        own = [row for row in rows if row["set"] == name and row["variant"] == "features"]
        counts = [row["false_alarm_count"] for row in own]
        by_set.append(alarms.observed(counts, own[0]["good_count"], stated))
    facts = alarms.pooled(by_set, stated)
    low, high = facts["interval"]
    return (
        f"\n`features`, all {facts['good']} good test images together: {facts['rate']:.3f} (95 % interval "
        f"{low:.3f} to {high:.3f}, the mean count of three seeds on the same images); the stated rate lies "
        f"{'within it' if facts['within'] else 'outside it'}.\n"
    )


def write_tables(rows: list[dict[str, Any]], arguments: argparse.Namespace) -> None:
    everything, hard = list(arguments.sets), [name for name in arguments.sets if name in HARD]
    levels = summarise(columns(rows), everything)
    ablation = summarise(columns(rows), hard)
    others = {
        figure: summarise(columns(rows, figure), chosen)
        for figure, chosen in {
            "pixel_auroc": ["magnetic_tile", "tire"],
            "aupro": ["magnetic_tile", "tire"],
            "false_alarm_rate_observed": everything,
            "fit_seconds": everything,
        }.items()
    }
    costs = json.loads((arguments.out / "cost.json").read_text())
    results = {
        "command": "python -m benchmarks.features",
        "versions": versions(),
        "seeds": arguments.seeds,
        "image_auroc": levels,
        "image_auroc_hard_sets": ablation,
        **others,
        "cost": costs,
        "runs": rows,
    }
    write_text(arguments.out / "results.json", json.dumps(results, indent=1) + "\n")
    main_rows = ("PaDiM", "PatchCore", "features ensemble", "features patch", "features image")
    for preset_name in ("features-fast", "features-max"):
        main_rows = (*main_rows, *(f"{preset_name} {level}" for level in ("ensemble", "patch", "image")))
    text = {
        "table.md": table({name: levels[name] for name in main_rows if name in levels}, everything),
        "ablation.md": table(ablation, hard),
        "pixels.md": "\n".join(
            table(others[figure], ["magnetic_tile", "tire"], title)
            for figure, title in (("pixel_auroc", "pixel AUROC"), ("aupro", "AUPRO (to 0.3)"))
        ),
        "alarms.md": table(others["false_alarm_rate_observed"], everything, "false alarms at a stated 0.05")
        + pooled_alarms(rows, everything),
        "cost.md": cost.table(costs),
    }
    for name, content in text.items():
        write_text(arguments.out / name, content)
        print(content)


if __name__ == "__main__":
    main()
