"""How long PYLD and SGLD-20 take to an image-level energy of equal quality.

The image level of `thesis-small` is trained with each sampler, all else equal, and looked at after every so
many steps: how far energies of corrupted held-out good images lie above those of the same images as they are,
in standard deviations of the latter, and the share of pairs in the right order (corruption AUROC). No test
image decides anything: their AUROC stands beside it. Time is that of the processor, of training alone.

Rows are in log.jsonl; a curve of the same length that is in it, or in the committed results.json, is not
measured again. It takes about an hour of one core.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.common import Log, options, parse, write_results
from patchebm.config.presets import load_preset
from patchebm.evaluation.evaluate import evaluate
from patchebm.evaluation.metrics import MAIN, image_metrics
from patchebm.evaluation.summary import markdown
from patchebm.images.folders import ImageSet, open_image_set

if TYPE_CHECKING:
    from patchebm.detector import EnsembleDetector
    from patchebm.detector.training_set import Reading

HERE = Path(__file__).resolve().parent
SETS = ("bottle",)
_BUFFER = {"buffer_size": 100, "noise": 0.0}
SAMPLERS: dict[str, dict[str, Any]] = {
    "PYLD-10-5": {"kind": "pyld", "outer": 10, "inner": 5, "lr": 0.2, **_BUFFER},
    "PYLD-5-10": {"kind": "pyld", "outer": 5, "inner": 10, "lr": 0.2, **_BUFFER},
    # As JEM has it.
    "SGLD-20": {"kind": "sgld", "steps": 20, "lr": 1.0, "noise": 0.01, "buffer_size": 100},
}
REFERENCE = "SGLD-20"
NO_NOISE = ", no noise on data"
VARIANTS = [*SAMPLERS, *(name + NO_NOISE for name in SAMPLERS)]
# Corruption AUROCs to which the time is measured.
QUALITIES = (0.6, 0.7, 0.8, 0.9)
# Corrupted versions of each held-out image.
CORRUPTIONS = 20


def curve(
    image_set: ImageSet, variant: str, seed: int, *, steps: int, every: int, device: str
) -> list[dict[str, float]]:
    """Returns steps, seconds of the processor, separation and AUROCs, point by point."""
    # What a training imports is loaded now, and is not counted.
    import lightning.fabric.loggers  # noqa: F401
    import torch.utils.tensorboard  # noqa: F401

    from patchebm.detector import EnsembleDetector

    training: dict[str, Any] = {"checkpoint_every": every}
    if variant.endswith(NO_NOISE):
        training["data_noise"] = 0.0
    network = {"sampler": SAMPLERS[variant.removesuffix(NO_NOISE)], "training": training}
    config = load_preset("thesis-small", {"seed": seed, "levels": ["image"], "image": {"network": network}})
    paths = [image.path for image in image_set.train]
    points, seconds = [], 0.0
    reading: Reading | None = None
    with tempfile.TemporaryDirectory() as folder:
        # Nothing in the loop depends on the steps to come: a longer training goes on from a shorter one.
        for done in range(every, steps + 1, every):
            config.level("image").network.training.steps = done
            detector = EnsembleDetector(config, device=device)
            if reading is None:
                reading = detector.read(paths, len(paths))
            level = detector.build_level("image", reading.inputs)
            began = time.process_time()
            detector.fit_reading(replace(reading, levels={"image": level}), folder=folder)
            seconds += time.process_time() - began
            test = evaluate(detector, image_set, pixels=False)["image_auroc"]
            points.append(
                {"steps": done, "cpu_seconds": round(seconds, 2), **held_out(detector, reading), "test": test}
            )
    return points


def held_out(detector: EnsembleDetector, reading: Reading) -> dict[str, float]:
    """Returns how an image level tells corrupted held-out images from the same as they are."""
    import torch

    from patchebm.training.corruption import corrupt

    assert detector.held_out_ is not None
    kept = reading.kept["image"].views
    views = torch.stack([kept[i].pixels for i in detector.held_out_.indices])
    damaged = corrupt(views.repeat(CORRUPTIONS, 1, 1, 1), torch.Generator().manual_seed(0))
    energy: Any = detector.levels_["image"].energies[0]  # type: ignore[union-attr]
    device = next(energy.parameters()).device
    with torch.no_grad():
        good, bad = (energy(x.to(device)).double().cpu().numpy() for x in (views, damaged))
    labels = np.arange(len(good) + len(bad)) >= len(good)
    return {
        "separation": float((bad.mean() - good.mean()) / good.std(ddof=1)),
        "held_out": image_metrics(labels, np.concatenate([good, bad]))[MAIN.name],
    }


def reached(points: list[dict[str, float]], quality: float) -> float | None:
    """Returns the seconds after which the corruption AUROC reaches a quality and keeps it; None for never."""
    value = None
    before: dict[str, float] | None = None
    for point in points:
        if point["held_out"] < quality:
            value = None
        elif value is None:
            value = point["cpu_seconds"]
            if before is not None:
                share = (quality - before["held_out"]) / (point["held_out"] - before["held_out"])
                value = before["cpu_seconds"] + share * (point["cpu_seconds"] - before["cpu_seconds"])
        before = point
    return value


def conditions(row: dict[str, Any]) -> tuple[str, str]:
    """Returns the sampler of a row, and what it shares with those that it is compared with."""
    sampler = row["variant"].removesuffix(NO_NOISE)
    without = row["variant"].removeprefix(sampler)
    return sampler, f"{row['set']} seed {row['seed']}, {steps_of(row)} steps{without}"


def steps_of(row: dict[str, Any]) -> int:
    """Returns the length of the training of a row."""
    return int(row["points"][-1]["steps"])


def key(row: dict[str, Any]) -> tuple[str, str, int, int]:
    """Returns what a row is known by."""
    return row["set"], row["variant"], row["seed"], steps_of(row)


def results(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns the seconds of each sampler to each quality, by conditions."""
    found: dict[str, Any] = {}
    for row in rows:
        times = {f"{quality:g}": reached(row["points"], quality) for quality in QUALITIES}
        sampler, where = conditions(row)
        found.setdefault(where, {})[sampler] = times
    return found


def table(rows: list[dict[str, Any]]) -> str:
    """Returns Markdown: the end of each curve, and the seconds to each quality."""
    if not rows:
        return "Nothing has been run yet.\n"
    times = results(rows)
    lines = []
    for row in rows:
        sampler, where = conditions(row)
        last = row["points"][-1]
        cells = []
        for quality in (f"{quality:g}" for quality in QUALITIES):
            own, other = times[where][sampler][quality], times[where].get(REFERENCE, {}).get(quality)
            said = "never" if own is None else f"{own:.0f} s"
            cells.append(said + (f", {other / own:.1f} times" if own and other else ""))
        lines.append(
            [
                f"{sampler}, {where}",
                f"{last['cpu_seconds'] / last['steps']:.2f}",
                *cells,
                f"{last['held_out']:.3f}",
                f"{last['separation']:.2f}",
                f"{last['test']:.3f}",
            ]
        )
    ends = ["corruption AUROC at the end", "separation", "image AUROC on test images"]
    head = ["sampler", "CPU seconds a step", *(f"to {quality:g}" for quality in QUALITIES), *ends]
    return markdown(head, lines)


def main(argv: list[str] | None = None) -> None:
    parser = options(HERE, __doc__, sets=SETS, seeds=(0,), trains=True)
    parser.add_argument("--steps", type=int, default=150, help="of each training; default: 150")
    parser.add_argument("--every", type=int, default=15, help="steps between two points; default: 15")
    parser.add_argument(
        "--samplers",
        nargs="*",
        default=VARIANTS,
        choices=VARIANTS,
        metavar="SAMPLER",
        help=f"of {'; '.join(VARIANTS)}. None makes the table alone",
    )
    arguments = parse(parser, argv)
    steps, every = (4, 2) if arguments.quick else (arguments.steps, arguments.every)
    log = Log(arguments.out)
    log.restore(key)
    done = {key(row) for row in log.rows}
    for seed in arguments.seeds:
        for name in arguments.sets:
            for variant in arguments.samplers:
                # A training ends at its last point.
                if (name, variant, seed, steps // every * every) in done:
                    continue
                print(f"-- {name}, {variant}, seed {seed}", file=sys.stderr)
                points = curve(
                    open_image_set(arguments.data / name),
                    variant,
                    seed,
                    steps=steps,
                    every=every,
                    device=arguments.device,
                )
                log.keep({"set": name, "variant": variant, "seed": seed, "points": points})
    write_results(arguments, {"seconds": results(log.rows), "runs": log.rows}, {"table.md": table(log.rows)})


if __name__ == "__main__":
    main()
