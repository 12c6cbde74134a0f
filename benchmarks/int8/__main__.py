"""What training on a backbone in int8 costs in accuracy, and saves in time.

Parts: `accuracy`, the preset features and its Gaussians alone with the backbone in int8, beside the committed
runs of `python -m benchmarks.features`, which computed it in float32; `times`, both exported to ONNX, and the
bare backbone, by turns with one thread: time of the processor, which others on the machine hardly move.

A run that is in log.jsonl is not repeated (the times are one line), and runs of results.json are restored.
All of it takes an hour of two cores.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.common import HERE as BENCHMARKS
from benchmarks.common import SETS, Log, fitted, options, parse, runs_of, shorten, write_results
from benchmarks.cost.clock import KINDS
from benchmarks.features.__main__ import columns, verdicts
from benchmarks.variants import FEATURES
from patchebm.config.features import FeaturesConfig
from patchebm.evaluation.summary import markdown, summarise, table
from patchebm.images.folders import ImageSet, open_image_set
from patchebm.images.reading import read_image
from patchebm.line.machine import hardware
from patchebm_products import draw

HERE = Path(__file__).resolve().parent
WORK = BENCHMARKS.parent / "runs" / "int8"
PARTS = ("accuracy", "times")
VARIANTS = ("features", "Gaussians alone")
SIDES = (256, 384)
BARE = "bare backbone, f32"
# Images that are drawn to fit the models that are timed, and scores of one in a round.
DRAWN, CALLS = 12, 5


def in_int8(variant: str, seed: int) -> FeaturesConfig:
    """Returns a variant of the preset features with its backbone in int8."""
    config = FEATURES[variant](seed)
    assert isinstance(config, FeaturesConfig)
    config.features.precision = "int8"
    return config


def accuracy(image_set: ImageSet, variant: str, seed: int, device: str, *, quick: bool) -> dict[str, Any]:
    """Returns the figures of a variant in int8 on a set."""
    from patchebm.evaluation.evaluate import evaluate

    config = in_int8(variant, seed)
    began = time.perf_counter()
    detector = fitted(shorten(config) if quick else config, image_set.train, device)
    seconds = time.perf_counter() - began
    figures = evaluate(detector, image_set, pixels=False)
    scores = [(row["score"], row["defect"]) for row in figures["predictions"]]
    defects = detector.synthetic_defects_
    return {
        "part": "accuracy",
        "set": image_set.name,
        "variant": variant,
        "seed": seed,
        "image_auroc": figures["image_auroc"],
        "expected": None if defects is None else defects.at(detector.threshold_.value).to_dict(),
        **verdicts(detector, scores),
        "fit_seconds": round(seconds, 1),
    }


def exported(side: int, work: Path) -> dict[str, tuple[str, Path]]:
    """Returns what is timed at an input size, by name: its kind for `benchmarks.cost.clock`, and its file."""
    import onnx

    from patchebm.config.features import ExtractorConfig
    from patchebm.detector import EnsembleDetector
    from patchebm.export.build import build_bundle
    from patchebm.features.backbone import load_backbone
    from patchebm.features.quantise import backbone_graph

    images = work / "images"
    images.mkdir(parents=True, exist_ok=True)
    files = [images / f"{side}-{i:02d}.png" for i in range(DRAWN)]
    for i, file in enumerate(files):
        pixels, _ = draw("flange", seed=0, split="train/good", index=i, defect="good", size=side)
        Image.fromarray(pixels).save(file)
    features = ExtractorConfig()
    bare = work / "bare.onnx"
    onnx.save(backbone_graph(load_backbone(features.backbone, features.blocks)), bare)
    found = {BARE: ("onnx-bare", bare)}
    for precision in ("f32", "int8"):
        file = work / f"{side}-{precision}.patchebm"
        found[f"features, {precision}"] = ("bundle", file)
        if file.exists():
            continue
        # What a score costs does not depend on how long the networks were trained.
        config = shorten(FEATURES["features"](0))
        assert isinstance(config, FeaturesConfig)
        config.features.size, config.features.crop = (side, side), False
        config.features.precision = precision  # type: ignore[assignment]
        config.defects.learn, config.defects.local_checks = 2 * DRAWN, DRAWN
        detector = EnsembleDetector(config, device="cpu").fit(files)
        build_bundle(detector, verify=files[:2]).write(file)
    return found


def times(work: Path, rounds: int) -> dict[str, Any]:
    """Returns milliseconds of the processor for a score, of each contender in each round, by input size."""
    found: dict[str, Any] = {}
    for side in SIDES:
        contenders = exported(side, work)
        pixels = read_image(work / "images" / f"{side}-00.png")
        calls = {
            name: KINDS[kind](str(file), work, pixels)(1, False) for name, (kind, file) in contenders.items()
        }
        rows: dict[str, list[float]] = {name: [] for name in calls}
        for number in range(rounds):
            # Every other round backwards: what drifts within a round does not favour the first.
            for name in list(calls) if number % 2 == 0 else reversed(calls):
                calls[name]()
                began = time.process_time()
                for _ in range(CALLS):
                    calls[name]()
                rows[name].append(1000 * (time.process_time() - began) / CALLS)
        found[str(side)] = rows
    return {"part": "times", "machine": hardware(), "milliseconds": found}


def accuracy_tables(rows: list[dict[str, Any]], beside: list[dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    """Returns Markdown and figures: each variant at both precisions, over the runs that both have."""
    text, results = [], {}
    for variant in VARIANTS:
        own = {(row["set"], row["seed"]): row for row in rows if row["variant"] == variant}
        theirs = {(row["set"], row["seed"]): row for row in beside if row["variant"] == variant}
        both = sorted(own.keys() & theirs.keys())
        sets = [name for name in SETS if name in {key[0] for key in both}]
        if not sets:
            continue
        joined = [{**own[key], "variant": "int8"} for key in both]
        joined += [{**theirs[key], "variant": "f32"} for key in both]
        figures = {}
        for title, key in (("image AUROC", "image_auroc"), ("missed at 0.05", "at_0.05/missed")):
            found = summarise(columns(joined, key), sets)
            figures[title] = {name: found[name] for name in ("f32", "int8")}
            means = [found[name]["mean"] for name in ("int8", "f32") if "mean" in found[name]]
            if len(means) == 2:
                figures[title]["difference"] = means[0] - means[1]
            shown = {name: found[name] for name in ("f32", "int8")}
            text.append(table(shown, sets, f"`{variant}`, {title}", deviations=False))
        counts = ", ".join(f"{name} {sum(key[0] == name for key in both)}" for name in sets)
        text.append(f"Seeds: {counts}.\n")
        results[variant] = figures
    return "\n".join(text), results


def times_table(found: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Returns Markdown and figures: the median of each contender, and of its ratios round by round."""
    lines, results = [], {}
    for side, rows in found["milliseconds"].items():
        bare, f32 = np.array(rows[BARE]), np.array(rows["features, f32"])
        for name, own in rows.items():
            facts = {
                "ms": float(np.median(own)),
                "to_bare": float(np.median(np.array(own) / bare)),
                "to_f32": float(np.median(np.array(own) / f32)),
            }
            results[f"{name}, {side} px"] = facts
            cells = [f"{facts['ms']:.1f}", f"{facts['to_bare']:.2f}", f"{facts['to_f32']:.2f}"]
            lines.append([f"{side} px", name, *cells])
    machine = found["machine"]
    head = ["image", "ONNX Runtime, 1 thread", "ms of the processor", "/ bare backbone", "/ features, f32"]
    words = f"{machine['processor']} ({' '.join(machine['flags'])}), {machine['cores']:g} cores.\n"
    return words + "\n" + markdown(head, lines), results


def main(argv: list[str] | None = None) -> None:
    parser = options(HERE, __doc__, sets=SETS, seeds=(0,), trains=True)
    words = "none makes the tables alone"
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=PARTS, help=words)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=VARIANTS, metavar="VARIANT")
    parser.add_argument("--rounds", type=int, default=15, help="turns of each contender (default 15)")
    parser.add_argument("--work", type=Path, default=WORK, help=f"folder of models (default {WORK})")
    arguments = parse(parser, argv)
    log = Log(arguments.out)
    log.restore(("part", "set", "variant", "seed"))
    done = {(row["set"], row["variant"], row["seed"]) for row in log.rows if row["part"] == "accuracy"}
    for variant in arguments.variants if "accuracy" in arguments.parts else ():
        for seed in arguments.seeds:
            for name in arguments.sets:
                if (name, variant, seed) in done:
                    continue
                print(f"-- {name}, {variant}, seed {seed}", file=sys.stderr)
                image_set = open_image_set(arguments.data / name)
                log.keep(accuracy(image_set, variant, seed, arguments.device, quick=arguments.quick))
    if "times" in arguments.parts and not any(row["part"] == "times" for row in log.rows):
        log.keep(times(arguments.work.resolve(), arguments.rounds))
    rows = [row for row in log.rows if row["part"] == "accuracy"]
    beside, file = runs_of("features")
    text, results = accuracy_tables(rows, beside)
    results = {"beside": file, "accuracy": results}
    for row in log.rows:
        if row["part"] == "times":
            words, results["times"] = times_table(row)
            text += "\n" + words
    write_results(arguments, {**results, "runs": log.rows}, {"table.md": text})


if __name__ == "__main__":
    main()
