"""The pixel presets and the controls on the real image sets: image AUROC by level, three seeds.

    python -m benchmarks.pixel              # writes log.jsonl as it goes, then results.json and table.md

A run that is in the log is not repeated, so that a killed benchmark goes on where it stopped. Everything
is fitted on train/good alone; the test folders are scored once, after the last step.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.common import Log, preset
from benchmarks.controls import evaluate_controls
from patchebm.config.schema import Config
from patchebm.detector import EnsembleDetector
from patchebm.evaluation.evaluate import evaluate
from patchebm.evaluation.summary import summarise, table
from patchebm.files import write_text
from patchebm.images.folders import ImageSet, open_image_set
from patchebm.provenance import versions

HERE = Path(__file__).parent
SETS = ("bottle", "magnetic_tile", "solar_poly", "circuitboard", "cubes")


def gaussian_alone(config: Config) -> None:
    for level in (config.patch, config.image):
        level.energy.kind = "gaussian"


def untrained(config: Config) -> None:
    for level in (config.patch, config.image):
        level.training.steps = 0
        # Otherwise the image level would still be the Gaussian.
        level.score.components = "network"


VARIANTS = {
    "pixel-cpu": preset("pixel-cpu"),
    "gaussian": preset("pixel-cpu", gaussian_alone),
    "image-baseline": preset("image-baseline"),
    "untrained": preset("pixel-cpu", untrained),
}


def one_run(image_set: ImageSet, variant: str, seed: int) -> dict[str, Any]:
    config = VARIANTS[variant](seed)
    began = time.perf_counter()
    detector = EnsembleDetector(config).fit(
        [p.path for p in image_set.train], [p.group for p in image_set.train]
    )
    fitted = time.perf_counter() - began
    # Maps are measured for the preset itself only: they cost as much as the scores.
    figures = evaluate(detector, image_set, pixels=variant == "pixel-cpu")
    kept = ("image_auroc", "pixel_auroc", "aupro", "oracle_balanced_accuracy", "false_alarm_rate_observed")
    return {
        "set": image_set.name,
        "variant": variant,
        "seed": seed,
        "levels": {name: level["image_auroc"] for name, level in figures["levels"].items()},
        **{key: figures[key] for key in kept if key in figures},
        "fit_seconds": round(fitted, 1),
        "ms_per_image": round(1000 * figures["seconds"]["score_per_image"], 1),
    }


def columns(rows: list[dict[str, Any]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Column name -> set -> image AUROC by seed."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for row in rows:
        if row["variant"] == "controls":
            for control, figures in row["controls"].items():
                for kind, value in figures.items():
                    name = f"{control} ({'best sign' if kind.startswith('oracle') else 'distance'})"
                    found.setdefault(name, {}).setdefault(row["set"], {})[0] = value
            continue
        for level, value in row["levels"].items():
            if row["variant"] == "image-baseline" and level != "image":
                continue
            found.setdefault(f"{row['variant']} {level}", {}).setdefault(row["set"], {})[row["seed"]] = value
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("PATCHEBM_DATA", "../shared/data")))
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--out", type=Path, default=HERE)
    arguments = parser.parse_args()
    log = Log(arguments.out)
    for name in arguments.sets:
        if (name, "controls", 0) not in log.done:
            controls = evaluate_controls(open_image_set(arguments.data / name))
            log.keep({"set": name, "variant": "controls", "seed": 0, "controls": controls})
    jobs = [(s, v, n) for v in arguments.variants for n in arguments.seeds for s in arguments.sets]
    jobs = [job for job in jobs if job not in log.done]
    for i, (seeded_set, variant, seed) in enumerate(jobs):
        print(f"-- {i + 1} of {len(jobs)}: {seeded_set}, {variant}, seed {seed}", file=sys.stderr)
        log.keep(one_run(open_image_set(arguments.data / seeded_set), variant, seed))
    summary = summarise(columns(log.rows), arguments.sets)
    results = {
        "command": "python -m benchmarks.pixel",
        "versions": versions(),
        "seeds": arguments.seeds,
        "summary": summary,
        "runs": log.rows,
    }
    write_text(arguments.out / "results.json", json.dumps(results, indent=1) + "\n")
    write_text(arguments.out / "table.md", table(summary, arguments.sets))
    print(table(summary, arguments.sets))


if __name__ == "__main__":
    main()
