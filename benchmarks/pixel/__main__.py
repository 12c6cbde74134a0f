"""The pixel presets and the controls on the real image sets: image AUROC by level, three seeds.

    python benchmarks/pixel              # writes log.jsonl as it goes, then results.json and table.md

A run that is in the log is not repeated, so that a killed benchmark goes on where it stopped. Everything
is fitted on train/good alone; the test folders are scored once, after the last step.
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

from patchebm.config import Config
from patchebm.config_parser import load_preset
from patchebm.data.folders import ImageSet, open_image_set
from patchebm.detector import EnsembleDetector
from patchebm.evaluation.controls import evaluate_controls
from patchebm.evaluation.evaluate import evaluate
from patchebm.files import write_text
from patchebm.provenance import versions

HERE = Path(__file__).parent
SETS = ("bottle", "magnetic_tile", "solar_poly", "circuitboard", "cubes")


def preset(name: str, change: Callable[[Config], None] = lambda config: None) -> Callable[[int], Config]:
    def build(seed: int) -> Config:
        config = load_preset(name)
        config.seed = seed
        change(config)
        return config

    return build


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
    figures = evaluate(detector, image_set, pixels=variant == "pixel-cpu").figures
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


def spread(values: list[float]) -> float:
    """Standard deviation over seeds, with divisor n - 1; 0 for what has no seed."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def summarise(rows: list[dict[str, Any]], sets: list[str]) -> dict[str, Any]:
    """Mean and spread over seeds of every column, per set and in the mean over the sets."""
    summary: dict[str, Any] = {}
    for name, by_set in columns(rows).items():
        if set(by_set) != set(sets):
            continue
        seeds = sorted(set.intersection(*(set(values) for values in by_set.values())))
        per_seed = [float(np.mean([by_set[s][seed] for s in sets])) for seed in seeds]
        summary[name] = {
            "mean": float(np.mean(per_seed)),
            "std": spread(per_seed),
            "mean_by_seed": per_seed,
            "sets": {
                s: {"mean": float(np.mean(list(v.values()))), "std": spread(list(v.values()))}
                for s, v in by_set.items()
            },
        }
    return summary


def table(summary: dict[str, Any], sets: list[str]) -> str:
    lines = ["| image AUROC | " + " | ".join(sets) + " | mean |", "|---" * (len(sets) + 2) + "|"]
    for name, facts in summary.items():
        cells = [f"{facts['sets'][s]['mean']:.3f} ± {facts['sets'][s]['std']:.3f}" for s in sets]
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {facts['mean']:.3f} ± {facts['std']:.3f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("PATCHEBM_DATA", "../shared/data")))
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--out", type=Path, default=HERE)
    arguments = parser.parse_args()
    log = arguments.out / "log.jsonl"
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    done = {(row["set"], row["variant"], row["seed"]) for row in rows}

    def keep(row: dict[str, Any]) -> None:
        rows.append(row)
        with log.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)

    for name in arguments.sets:
        if (name, "controls", 0) not in done:
            controls = evaluate_controls(open_image_set(arguments.data / name))
            keep({"set": name, "variant": "controls", "seed": 0, "controls": controls})
    jobs = [(s, v, n) for v in arguments.variants for n in arguments.seeds for s in arguments.sets]
    jobs = [job for job in jobs if job not in done]
    for i, (seeded_set, variant, seed) in enumerate(jobs):
        print(f"-- {i + 1} of {len(jobs)}: {seeded_set}, {variant}, seed {seed}", file=sys.stderr)
        keep(one_run(open_image_set(arguments.data / seeded_set), variant, seed))
    summary = summarise(rows, arguments.sets)
    results = {
        "command": "python benchmarks/pixel",
        "versions": versions(),
        "seeds": arguments.seeds,
        "summary": summary,
        "runs": rows,
    }
    write_text(arguments.out / "results.json", json.dumps(results, indent=1) + "\n")
    write_text(arguments.out / "table.md", table(summary, arguments.sets))
    print(table(summary, arguments.sets))


if __name__ == "__main__":
    main()
