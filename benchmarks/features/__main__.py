"""Energies on features: accuracy of the presets, and what each of their parts adds.

Everything is fitted on train/good alone; the test folders are scored once, after the last step. A run that is
in log.jsonl is not repeated, so that a killed benchmark goes on where it stopped. PatchCore and PaDiM stand
beside the presets: they are measured by `python -m benchmarks.peers`, and read from its committed results.

All of it takes about a day of one core. Two processes with one thread each may share a log
(OMP_NUM_THREADS=1).
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.common import SETS, Log, fitted, options, parse, runs_of, shorten, write_results
from benchmarks.variants import FEATURES
from patchebm.evaluation import alarms
from patchebm.evaluation.evaluate import evaluate
from patchebm.evaluation.summary import Columns, summarise, table
from patchebm.images.folders import ImageSet, open_image_set

HERE = Path(__file__).resolve().parent
# Those where PatchCore is below .95: on the others every method is perfect and an ablation shows nothing.
HARD = ("solar_poly", "magnetic_tile", "circuitboard", "tire")
WITH_MASKS = ("magnetic_tile", "tire")
PEERS = {"patchcore": "PatchCore", "padim": "PaDiM"}
STATED = 0.05
FIGURES = (
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


def one_run(image_set: ImageSet, variant: str, seed: int, *, device: str, quick: bool) -> dict[str, Any]:
    """Returns the figures of one variant on one set."""
    config = FEATURES[variant](seed)
    config.false_alarm_rate = STATED
    began = time.perf_counter()
    detector = fitted(shorten(config) if quick else config, image_set.train, device)
    seconds = time.perf_counter() - began
    figures = evaluate(detector, image_set, pixels=variant in ("features", "features-fast"))
    return {
        "set": image_set.name,
        "variant": variant,
        "seed": seed,
        "levels": {name: level["image_auroc"] for name, level in figures["levels"].items()},
        **{key: figures[key] for key in FIGURES if key in figures},
        "fit_seconds": round(seconds, 1),
    }


def run_all(log: Log, arguments: argparse.Namespace) -> None:
    """Measures what is not in the log."""
    for variant in arguments.variants:
        ablation = not variant.startswith("features")
        names = [name for name in arguments.sets if not ablation or name in HARD]
        for seed in arguments.seeds:
            for name in names:
                if (name, variant, seed) in log.done:
                    continue
                print(f"-- {name}, {variant}, seed {seed}", file=sys.stderr)
                image_set = open_image_set(arguments.data / name)
                log.keep(one_run(image_set, variant, seed, device=arguments.device, quick=arguments.quick))


def peers() -> list[dict[str, Any]]:
    """Returns the committed runs of the peers, as rows of this log."""
    runs, file = runs_of("peers")
    return [
        {
            **{key: run[key] for key in ("set", "seed", "pixel_auroc", "aupro") if key in run},
            "variant": PEERS[run["variant"]],
            "levels": {"": run["image_auroc"]},
            "from": file,
        }
        for run in runs
        if run["variant"] in PEERS
    ]


def columns(rows: list[dict[str, Any]], figure: str = "levels") -> Columns:
    """Returns a figure by seed for each set, for each column."""
    found: Columns = {}
    for row in rows:
        if figure == "levels":
            for level, value in row["levels"].items():
                name = f"{row['variant']} {level}".strip()
                found.setdefault(name, {}).setdefault(row["set"], {})[row["seed"]] = value
        elif figure in row and "from" not in row:
            found.setdefault(row["variant"], {}).setdefault(row["set"], {})[row["seed"]] = row[figure]
    return found


def pooled_alarms(rows: list[dict[str, Any]], sets: list[str]) -> str:
    """Returns a sentence on the false alarms of all sets together, where the preset was run on some."""
    by_set = []
    for name in sets:
        own = [row for row in rows if row["set"] == name and row["variant"] == "features"]
        if own:
            counts = [row["false_alarm_count"] for row in own]
            by_set.append(alarms.observed(counts, own[0]["good_count"], STATED))
    if not by_set:
        return ""
    facts = alarms.pooled(by_set, STATED)
    low, high = facts["interval"]
    return (
        f"\n`features`, all {facts['good']} good test images together: {facts['rate']:.3f} (95 % interval "
        f"{low:.3f} to {high:.3f}, the mean count over the seeds on the same images); the stated rate lies "
        f"{'within it' if facts['within'] else 'outside it'}.\n"
    )


def write_tables(rows: list[dict[str, Any]], arguments: argparse.Namespace) -> None:
    """Writes the results and their tables."""
    everything = list(arguments.sets)
    hard, with_masks = ([name for name in everything if name in own] for own in (HARD, WITH_MASKS))
    levels, ablation = (summarise(columns(rows), chosen) for chosen in (everything, hard))
    others = {
        figure: summarise(columns(rows, figure), chosen)
        for figure, chosen in {
            "pixel_auroc": with_masks,
            "aupro": with_masks,
            "false_alarm_rate_observed": everything,
        }.items()
    }
    results = {
        "seeds": arguments.seeds,
        "image_auroc": levels,
        "image_auroc_hard_sets": ablation,
        **others,
        "runs": rows,
    }
    main_rows = [*PEERS.values()]
    for preset in ("features", "features-fast", "features-max"):
        main_rows += [f"{preset} {level}" for level in ("ensemble", "patch", "image")]
    pixels = {"pixel_auroc": "pixel AUROC", "aupro": "AUPRO (to 0.3)"}
    tables = {
        "table.md": table({name: levels[name] for name in main_rows if name in levels}, everything),
        "ablation.md": table(ablation, hard),
        "pixels.md": "\n".join(table(others[figure], with_masks, title) for figure, title in pixels.items()),
        "alarms.md": table(
            others["false_alarm_rate_observed"], everything, f"false alarms at a stated {STATED}"
        )
        + pooled_alarms(rows, everything),
    }
    write_results(arguments, results, tables)


def main(argv: list[str] | None = None) -> None:
    parser = options(HERE, __doc__, sets=SETS, seeds=(0, 1, 2), trains=True)
    parser.add_argument(
        "--variants",
        nargs="*",
        default=list(FEATURES),
        choices=list(FEATURES),
        metavar="VARIANT",
        help=f"of {'; '.join(FEATURES)}; none makes the tables alone",
    )
    arguments = parse(parser, argv)
    log = Log(arguments.out)
    run_all(log, arguments)
    write_tables(log.rows + peers(), arguments)


if __name__ == "__main__":
    main()
