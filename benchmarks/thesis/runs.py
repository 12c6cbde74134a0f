"""One run of a variant: a training that goes on where it stopped, its figures, and how its chains moved."""

from __future__ import annotations

import csv
import os
import re
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.thesis.held_out import held_out
from benchmarks.thesis.variants import configuration
from patchebm.config.base import RunConfig
from patchebm.errors import DivergedError
from patchebm.evaluation.evaluate import evaluate
from patchebm.images.folders import ImageSet

CHECKPOINT = "last.ckpt"
CURVES = {
    "distance": "chains/distance",
    "gradient_norm": "chains/gradient_norm",
    "gap": "energy/gap",
}
"""What a row says of the chains of a level, and what the curves of a training call it."""


def steps_of(config: RunConfig) -> int | str:
    """Returns how long the networks are trained: steps, 0 where there is none to train, or epochs."""
    networks = [network for name in config.levels if (network := config.level(name).network) is not None]
    if networks and networks[0].training.steps is None:
        return f"{networks[0].training.epochs} epochs"
    return max((network.training.steps for network in networks), default=0)


def run_folder(out: Path, name: str, variant: str, seed: int, steps: int | str) -> Path:
    """Returns where the benchmark keeps checkpoints and curves of a run, in the folder of its results."""
    return out / "runs" / f"{name}-{variant.replace(' ', '-')}-{seed}-{steps}"


def one_run(
    image_set: ImageSet, variant: str, seed: int, *, steps: int | None, folder: Path, device: str
) -> dict[str, Any]:
    """Returns the figures of one variant on one set.

    Args:
        image_set: fitted on its training images; its test images are scored once, after the last step.
        variant: its name.
        seed: of the run.
        steps: of each network; None for as many as the preset has.
        folder: for checkpoints and curves; a training that stopped goes on there.
        device: where the networks are trained.

    Returns:
        Image AUROC and oracle balanced accuracy of each level, how it tells held-out good images from damaged
        ones, chains of each level (means over the last quarter of the curves), roll-backs of the guard, and
        seconds of a step; of a training that the guard gave up, what it said instead of figures on images.
    """
    from patchebm.detector import EnsembleDetector

    config = configuration(variant, seed, steps)
    row: dict[str, Any] = {
        "set": image_set.name,
        "variant": variant,
        "seed": seed,
        "steps": steps_of(config),
    }
    detector = EnsembleDetector(config, device=device)
    paths = [image.path for image in image_set.train]
    reading = detector.read(paths, len(paths))
    before = sum(done for done, _ in states(folder))
    rolled_back = 0
    began, began_cpu = time.perf_counter(), time.process_time()
    try:
        detector.fit_reading(reading, [image.group for image in image_set.train], folder)
    except DivergedError as error:
        row["diverged"], rolled_back = str(error), error.rollbacks
    wall, cpu = time.perf_counter() - began, time.process_time() - began_cpu
    row["chains"] = {name: chains(folder / name) for name in config.levels}
    after = states(folder)
    # Of a training that was given up the checkpoint, if there is one, is older than its last roll-backs.
    row["rollbacks"] = max(rolled_back, sum(count for _, count in after))
    if (done := sum(steps for steps, _ in after) - before) > 0:
        row["step_seconds"] = round(wall / done, 4)
        row["step_cpu_seconds"] = round(cpu / done, 4)
        row["load"] = round(os.getloadavg()[0], 1)
    if "diverged" not in row:
        levels = evaluate(detector, image_set, pixels=False)["levels"]
        row["levels"] = {name: level["image_auroc"] for name, level in levels.items()}
        row["oracle"] = {name: level["oracle_balanced_accuracy"] for name, level in levels.items()}
        row["held_out"] = held_out(detector, image_set.train)
    return row


def with_rollbacks(row: dict[str, Any]) -> dict[str, Any]:
    """Returns a row of a training that was given up with the roll-backs that its own sentence tells of.

    Rows from before this was counted have those of the last checkpoint alone, which may be none.
    """
    told = re.search(r"diverged (\d+) times", row.get("diverged", ""))
    # After the last of these times it did not go back.
    return {**row, "rollbacks": max(row["rollbacks"], int(told[1]) - 1)} if told else row


def states(folder: Path) -> list[tuple[int, int]]:
    """Returns the steps done and the roll-backs of each training, from its checkpoint."""
    import torch

    found = [torch.load(file, weights_only=True, mmap=True) for file in folder.rglob(CHECKPOINT)]
    return [(state["steps"], state["guard"]["rollbacks"]) for state in found]


def read_curves(folder: Path) -> dict[int, dict[str, str]]:
    """Returns the points of the curves of a level by their step, in order."""
    # A training that went on writes the steps since its checkpoint again: the last word counts.
    curve = {
        int(point["step"]): point
        for file in sorted(folder.rglob("metrics.csv"), key=lambda file: file.stat().st_mtime)
        for point in csv.DictReader(file.open(encoding="utf-8"))
    }
    return dict(sorted(curve.items()))


def chains(folder: Path) -> dict[str, float]:
    """Returns how the chains of a level moved in the last quarter of its curves, and the largest gap of all.

    Distances are in units of the [-1, 1] scale, per step of training.
    """
    points = list(read_curves(folder).values())
    if not points:
        return {}
    late = points[-max(1, len(points) // 4) :]
    found = {
        name: float(np.mean([float(point[key]) for point in late]))
        for name, key in CURVES.items()
        if key in points[0]
    }
    return {**found, "largest_gap": max(abs(float(point["energy/gap"])) for point in points)}
