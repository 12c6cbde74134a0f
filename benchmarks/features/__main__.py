"""Energies on features: accuracy of the presets, and what each of their parts adds.

Everything is fitted on train/good alone; the test folders are scored once, after the last step. A run that is
in log.jsonl, or in the results beside it, is not repeated, so that a killed benchmark goes on where it
stopped. PatchCore and PaDiM stand beside the presets: they are measured by `python -m benchmarks.peers`, and
read from its committed results.

All of it takes about a day of one core. Two processes with one thread each may share a log
(OMP_NUM_THREADS=1).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.common import SETS, Log, options, parse, runs_of, shorten, write_results
from benchmarks.variants import FEATURES
from patchebm.config.base import RunConfig
from patchebm.config.features import FeaturesConfig
from patchebm.evaluation import alarms
from patchebm.evaluation.evaluate import evaluate
from patchebm.evaluation.summary import Columns, markdown, summarise, table
from patchebm.images.folders import GOOD, ImageSet, open_image_set

if TYPE_CHECKING:
    from patchebm.detector import EnsembleDetector
    from patchebm.detector.training_set import Reading

HERE = Path(__file__).resolve().parent
WITH_MASKS = ("magnetic_tile", "tire", "screw", "capsules")
# Variants whose maps are measured.
MAPPED = ("features", "Gaussians alone", "features-fast")
# What the network is trained against, from nothing on; the last is compared with `features`.
NEGATIVES = ("Gaussians alone", "noise alone", "defects alone", "features", "chains")
PEERS = {"patchcore": "PatchCore", "padim": "PaDiM"}
STATED = 0.05
RATES = (0.05, 0.01)
FIGURES = (
    "image_auroc",
    "image_ap",
    "pixel_auroc",
    "aupro",
    "aupro_05",
    "aupimo",
    "seg_f1",
    "oracle_balanced_accuracy",
    "false_alarm_rate_observed",
    "false_alarm_count",
    "good_count",
    "miss_rate",
)


class Readings:
    """What was read of training images, shared by the variants that read them alike.

    Args:
        image_set: whose training images are read.
        device: where features are computed.
    """

    def __init__(self, image_set: ImageSet, device: str) -> None:
        self.image_set = image_set
        self.device = device
        self._kept: tuple[str, Reading] | None = None

    def fitted(self, config: RunConfig) -> EnsembleDetector:
        """Returns a detector that was fitted on the images."""
        from patchebm.detector import EnsembleDetector

        assert isinstance(config, FeaturesConfig)
        detector = EnsembleDetector(config, device=self.device)
        train = self.image_set.train
        # Without a network no defects are drawn to learn from.
        learns = config.position.network is not None
        key = json.dumps(
            [config.seed, asdict(config.features), asdict(config.defects), config.levels, learns]
        )
        if self._kept is None or self._kept[0] != key:
            self._kept = (key, detector.read([image.path for image in train], len(train)))
        reading = self._kept[1]
        levels = {name: detector.build_level(name, reading.inputs) for name in config.levels}
        own = replace(reading, levels=levels)
        return detector.fit_reading(own, [image.group for image in train])


def one_run(readings: Readings, variant: str, seed: int, *, quick: bool) -> dict[str, Any]:
    """Returns the figures of one variant on one set."""
    config = FEATURES[variant](seed)
    config.false_alarm_rate = STATED
    began = time.perf_counter()
    detector = readings.fitted(shorten(config) if quick else config)
    seconds = time.perf_counter() - began
    figures = evaluate(detector, readings.image_set, pixels=variant in MAPPED)
    scores = [(row["score"], row["defect"]) for row in figures["predictions"]]
    defects = detector.synthetic_defects_
    return {
        "set": readings.image_set.name,
        "variant": variant,
        "seed": seed,
        "levels": {name: level["image_auroc"] for name, level in figures["levels"].items()},
        **{key: figures[key] for key in FIGURES if key in figures},
        "expected": None if defects is None else defects.at(detector.threshold_.value).to_dict(),
        **verdicts(detector, scores),
        "fit_seconds": round(seconds, 1),
    }


def verdicts(detector: EnsembleDetector, scores: list[tuple[float, str]]) -> dict[str, Any]:
    """Returns alarms and misses at each stated rate, and misses at the ROC's point with such alarms."""
    good = np.array([score for score, kind in scores if kind == GOOD])
    bad = np.array([score for score, kind in scores if kind != GOOD])
    found: dict[str, Any] = {}
    for rate in RATES:
        threshold = detector.tail_.threshold(rate)
        found[f"at_{rate:g}"] = {
            "alarms": int((good > threshold.value).sum()),
            "good": len(good),
            "missed": float((bad <= threshold.value).mean()),
            "missed_at_roc": float((bad <= np.quantile(good, 1 - rate)).mean()),
        }
    return found


def run_all(log: Log, arguments: argparse.Namespace) -> None:
    """Measures what is not in the log."""
    for seed in arguments.seeds:
        for name in arguments.sets:
            readings = Readings(open_image_set(arguments.data / name), arguments.device)
            for variant in arguments.variants:
                if (name, variant, seed) in log.done:
                    continue
                print(f"-- {name}, {variant}, seed {seed}", file=sys.stderr)
                log.keep(one_run(readings, variant, seed, quick=arguments.quick))


def peers() -> list[dict[str, Any]]:
    """Returns the committed runs of the peers, as rows of this log."""
    runs, file = runs_of("peers")
    return [
        {
            **{key: run[key] for key in ("set", "seed", "pixel_auroc", "aupro") if key in run},
            "variant": PEERS[run["variant"]],
            "image_auroc": run["image_auroc"],
            "from": file,
        }
        for run in runs
        if run["variant"] in PEERS
    ]


def columns(rows: list[dict[str, Any]], figure: str) -> Columns:
    """Returns a figure by seed for each set, for each variant."""
    found: Columns = {}
    for row in rows:
        value: Any = row
        for key in figure.split("/"):
            value = value.get(key) if isinstance(value, dict) else None
        if value is not None:
            found.setdefault(row["variant"], {}).setdefault(row["set"], {})[row["seed"]] = value
    return found


def observed_alarms(
    rows: list[dict[str, Any]], sets: Sequence[str], variant: str, rate: float
) -> dict[str, dict[str, Any]]:
    """Returns the false alarms of each set, as `patchebm.evaluation.alarms.observed` does."""
    found = {}
    for name in sets:
        own = [row[f"at_{rate:g}"] for row in rows if row["set"] == name and row["variant"] == variant]
        if own:
            found[name] = alarms.observed([facts["alarms"] for facts in own], own[0]["good"], rate)
    return found


def alarms_table(rows: list[dict[str, Any]], sets: Sequence[str], variant: str) -> str:
    """Returns Markdown: the false alarms of each set at each stated rate, with their intervals."""
    lines = []
    for rate in RATES:
        observed = observed_alarms(rows, sets, variant, rate)
        cells = [f"{rate:g}"]
        for name in sets:
            if name not in observed:
                cells.append("–")
                continue
            facts = observed[name]
            low, high = facts["interval"]
            cells.append(f"{facts['rate']:.3f} ({low:.3f} to {high:.3f}) of {facts['good']}")
        lines.append(cells)
    return markdown(["alarms at a stated rate (95 % interval)", *sets], lines)


def lost(rows: list[dict[str, Any]], rate: float) -> dict[str, dict[str, dict[int, float]]]:
    """Returns what calibration loses: misses less those at the ROC's own point, as `columns` does."""
    found: dict[str, dict[str, dict[int, float]]] = {}
    for row in rows:
        facts = row[f"at_{rate:g}"]
        by_set = found.setdefault(row["variant"], {}).setdefault(row["set"], {})
        by_set[row["seed"]] = facts["missed"] - facts["missed_at_roc"]
    return found


def pooled_alarms(rows: list[dict[str, Any]], sets: list[str], variant: str, rate: float) -> str:
    """Returns a sentence on the false alarms of all sets together."""
    by_set = list(observed_alarms(rows, sets, variant, rate).values())
    if not by_set:
        return ""
    facts = alarms.pooled(by_set, rate)
    low, high = facts["interval"]
    return (
        f"\n`{variant}` at a stated {rate:g}, all {facts['good']} good test images together: "
        f"{facts['rate']:.3f} (95 % interval {low:.3f} to {high:.3f}, the mean count over the seeds on the "
        f"same images); the stated rate lies {'within it' if facts['within'] else 'outside it'}.\n"
    )


def negatives(rows: list[dict[str, Any]], sets: Sequence[str]) -> tuple[dict[str, Any], str]:
    """Compares what the network is trained against, where negatives that move were measured.

    Returns:
        Summaries of image AUROC and of misses, and the difference that moving makes, by set and seed; and
        their tables.
    """
    seeds = {name: {r["seed"] for r in rows if (r["variant"], r["set"]) == ("chains", name)} for name in sets}
    chosen = [name for name in sets if seeds[name]]
    found: dict[str, Any] = {}
    parts = []
    for title, figure in (("image AUROC", "image_auroc"), (f"missed at {STATED:g}", f"at_{STATED:g}/missed")):
        given = columns([row for row in rows if row["seed"] in seeds.get(row["set"], ())], figure)
        found[figure] = {}
        for name in NEGATIVES:
            if name in given:
                facts = summarise({name: given[name]}, chosen, partial=True)[name]
                # Means over different sets are no comparison.
                whole = set(chosen) <= set(given[name])
                found[figure][name] = facts if whole else {"sets": facts["sets"]}
        parts.append(table(found[figure], chosen, title))
        still, moved = given.get("features", {}), given.get("chains", {})
        gained = {
            name: {seed: moved[name][seed] - still[name][seed] for seed in sorted(moved[name])}
            for name in chosen
            if name in still and set(moved[name]) <= set(still[name])
        }
        found[f"{figure}, chains less features"] = gained
        if gained:
            said = "; ".join(
                f"{name} {', '.join(f'{value:+.3f}' for value in by_seed.values())}"
                for name, by_seed in gained.items()
            )
            parts.append(f"{title} of `chains` less that of `features`, seed by seed: {said}.\n")
    return found, "\n".join(parts)


def seeds_of(rows: list[dict[str, Any]], sets: list[str]) -> str:
    """Returns a sentence on how many seeds of `features` each set was measured with."""
    ours = [row for row in rows if row["variant"] == "features"]
    counts = {name: len({row["seed"] for row in ours if row["set"] == name}) for name in sets}
    said = ", ".join(f"{name} {count}" for name, count in counts.items())
    return f"\nSeeds of `features`: {said}. The mean is over the seeds that all sets have.\n"


def promised(rows: list[dict[str, Any]], sets: list[str]) -> dict[str, Any]:
    """Compares what `train` promises to find with what was found, set by set, by rank correlation."""
    from scipy.stats import spearmanr

    said, found = [], []
    for name in sets:
        own = [row for row in rows if row["set"] == name and row["variant"] == "features"]
        own = [row for row in own if row["expected"]]
        if own:
            said.append(
                float(np.mean([row["expected"]["found"] / row["expected"]["defects"] for row in own]))
            )
            found.append(1 - float(np.mean([row["miss_rate"] for row in own])))
    if len(said) < 3:
        return {}
    return {"rank_correlation": float(spearmanr(said, found).statistic), "promised": said, "found": found}


def write_tables(rows: list[dict[str, Any]], arguments: argparse.Namespace) -> None:
    """Writes the results and their tables."""
    everything = list(arguments.sets)
    with_masks = [name for name in everything if name in WITH_MASKS]
    own = [row for row in rows if "from" not in row]
    measured = {row["set"] for row in rows if "from" in row}
    beside = [name for name in everything if name in measured]
    misses = {f"missed at {rate:g}": f"at_{rate:g}/missed" for rate in RATES}
    misses |= {f"missed at {rate:g}, at the ROC's own point": f"at_{rate:g}/missed_at_roc" for rate in RATES}
    figures = {
        "image_auroc": (columns(own, "image_auroc"), everything),
        # Over the sets on which the peers were measured.
        "beside_peers": (columns(rows, "image_auroc"), beside),
        "pixel_auroc": (columns(rows, "pixel_auroc"), with_masks),
        "aupro": (columns(rows, "aupro"), with_masks),
        "false_alarm_rate_observed": (columns(own, "false_alarm_rate_observed"), everything),
        **{name: (columns(own, key), everything) for name, key in misses.items()},
        **{f"lost by calibration at {rate:g}": (lost(own, rate), everything) for rate in RATES},
    }
    found = {name: summarise(given, chosen) for name, (given, chosen) in figures.items() if chosen}
    promise = promised(own, everything)
    moved, moved_table = negatives(own, everything)
    results = {"seeds": arguments.seeds, **found, "negatives": moved, "promise": promise, "runs": rows}
    presets = ("features", "features-fast", *PEERS.values())
    parts = [name for name in FEATURES if name != "features-fast"]

    def chosen(figure: str, names: Sequence[str]) -> dict[str, Any]:
        return {name: found[figure][name] for name in names if name in found.get(figure, {})}

    verdict_rows = {"alarms at 0.05": found["false_alarm_rate_observed"].get("features")}
    further = [*misses, *(f"lost by calibration at {rate:g}" for rate in RATES)]
    verdict_rows |= {name: found[name].get("features") for name in further}
    titles = {"pixel_auroc": "pixel AUROC", "aupro": "AUPRO (to 0.3)"}
    tables = {
        "table.md": table(chosen("image_auroc", presets), everything)
        + seeds_of(own, everything)
        + "\nBeside anomalib's models, over the sets on which these were measured:\n\n"
        + table(chosen("beside_peers", presets), beside),
        "ablation.md": table(chosen("image_auroc", parts), everything),
        "negatives.md": moved_table,
        "pixels.md": "\n".join(
            table(chosen(figure, (*MAPPED, *PEERS.values())), with_masks, title)
            for figure, title in titles.items()
            if figure in found
        ),
        "alarms.md": table({k: v for k, v in verdict_rows.items() if v}, everything, "`features`")
        + "\n"
        + alarms_table(own, everything, "features")
        + "".join(pooled_alarms(own, everything, "features", rate) for rate in RATES)
        + (
            f"\nWhat `train` promises to find and what was found: rank correlation over the sets "
            f"{promise['rank_correlation']:.2f}.\n"
            if promise
            else ""
        ),
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
    log.restore(("set", "variant", "seed"))
    run_all(log, arguments)
    write_tables(log.rows + peers(), arguments)


if __name__ == "__main__":
    main()
