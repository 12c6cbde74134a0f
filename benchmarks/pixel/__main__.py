"""Energies on pixels and trivial controls on real image sets: image AUROC by level.

Everything is fitted on train/good alone; the test folders are scored once, after the last step. A run that is
in log.jsonl is not repeated, so that a killed benchmark goes on where it stopped.

All of it takes about eight hours of one core.
"""

from __future__ import annotations

import itertools
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.common import SETS, Log, fitted, options, parse, shorten, write_results
from benchmarks.controls import evaluate_controls
from benchmarks.variants import PIXELS
from patchebm.evaluation.evaluate import evaluate
from patchebm.evaluation.summary import Columns, summarise, table
from patchebm.images.folders import ImageSet, open_image_set

HERE = Path(__file__).resolve().parent
# Tires turn freely, which pixels cannot follow.
WITHOUT_TIRE = tuple(name for name in SETS if name != "tire")
FIGURES = ("image_auroc", "pixel_auroc", "aupro", "oracle_balanced_accuracy", "false_alarm_rate_observed")


def one_run(image_set: ImageSet, variant: str, seed: int, *, device: str, quick: bool) -> dict[str, Any]:
    """Returns the figures of one variant on one set."""
    config = PIXELS[variant](seed)
    began = time.perf_counter()
    detector = fitted(shorten(config) if quick else config, image_set.train, device)
    seconds = time.perf_counter() - began
    # Maps are measured for the preset itself only: they cost as much as the scores.
    figures = evaluate(detector, image_set, pixels=variant == "pixel-cpu")
    return {
        "set": image_set.name,
        "variant": variant,
        "seed": seed,
        "levels": {name: level["image_auroc"] for name, level in figures["levels"].items()},
        **{key: figures[key] for key in FIGURES if key in figures},
        "fit_seconds": round(seconds, 1),
    }


def columns(rows: list[dict[str, Any]]) -> Columns:
    """Returns the image AUROC by seed for each set, for each column."""
    found: Columns = {}
    for row in rows:
        if row["variant"] == "controls":
            for control, figures in row["controls"].items():
                for kind, value in figures.items():
                    name = f"{control} ({'best sign' if kind.startswith('oracle') else 'distance'})"
                    found.setdefault(name, {}).setdefault(row["set"], {})[0] = value
            continue
        for level, value in row["levels"].items():
            found.setdefault(f"{row['variant']} {level}", {}).setdefault(row["set"], {})[row["seed"]] = value
    return found


def main(argv: list[str] | None = None) -> None:
    parser = options(HERE, __doc__, sets=WITHOUT_TIRE, seeds=(0, 1, 2), trains=True)
    parser.add_argument(
        "--variants",
        nargs="*",
        default=list(PIXELS),
        choices=list(PIXELS),
        metavar="VARIANT",
        help=f"of {', '.join(PIXELS)}",
    )
    arguments = parse(parser, argv)
    log = Log(arguments.out)
    for name in arguments.sets:
        if (name, "controls", 0) not in log.done:
            controls = evaluate_controls(open_image_set(arguments.data / name))
            log.keep({"set": name, "variant": "controls", "seed": 0, "controls": controls})
    jobs = itertools.product(arguments.variants, arguments.seeds, arguments.sets)
    jobs_left = [job for job in jobs if (job[2], job[0], job[1]) not in log.done]
    for i, (variant, seed, name) in enumerate(jobs_left):
        print(f"-- {i + 1} of {len(jobs_left)}: {name}, {variant}, seed {seed}", file=sys.stderr)
        image_set = open_image_set(arguments.data / name)
        log.keep(one_run(image_set, variant, seed, device=arguments.device, quick=arguments.quick))
    summary = summarise(columns(log.rows), arguments.sets)
    results = {"seeds": arguments.seeds, "summary": summary, "runs": log.rows}
    write_results(arguments, results, {"table.md": table(summary, arguments.sets)})


if __name__ == "__main__":
    main()
