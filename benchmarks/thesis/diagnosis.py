"""Why the energies stayed flat: the gap that the loss reads, and the gap that chains and scores meet.

The patch level of `thesis-small` is trained on one set against negatives that are themselves data (with noise
that nobody sees), so that there is nothing to learn: with the loss as it was before the fix, which normalised
data by their batch and negatives by the running statistics, and as it is. At each step the same data and
negatives are given to the energy as it scores.

    python -m benchmarks.thesis.diagnosis                                # half a minute of one core
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.common import options, parse
from patchebm.config.presets import load_preset
from patchebm.detector import EnsembleDetector
from patchebm.detector.fit_task import FitTask
from patchebm.detector.level import TrainingSet
from patchebm.detector.pixel_levels import PixelLevel
from patchebm.device import resolve_device
from patchebm.energy import Energy
from patchebm.evaluation.summary import markdown
from patchebm.files import write_text
from patchebm.images.folders import open_image_set
from patchebm.provenance import versions
from patchebm.training.batch_statistics import batch_statistics, energies
from patchebm.training.losses import contrastive_loss
from patchebm.training.negatives import Draw, Negatives, build_negatives
from patchebm.training.samplers import gaussian_noise

HERE = Path(__file__).resolve().parent
BEFORE, NOW = "before the fix", "as it is"
WINDOW = 20
"""Steps of which a line of the table has the means."""


@dataclass(frozen=True)
class WatchedTraining(FitTask):
    """What decides one fit, with a training of its own that notes two gaps at each step.

    It is the part of the training loop that the diagnosis is about: no sampler, and no checkpoints.

    Attributes:
        loss: as it was before the fix, or as it is.
        gaps: of each step, the gap in the loss and the gap in scores; filled in by the training.
    """

    loss: str = NOW
    gaps: list[tuple[float, float]] = field(default_factory=list)

    def train(
        self,
        energy: Energy,
        draw: Draw,
        config: Any,
        *,
        shape: tuple[int, ...],
        sample: Callable[[], Tensor],
        bound: float,
    ) -> None:
        """Train the network of an energy; see `FitTask.train`."""
        training = config.training
        negatives = build_negatives(config.negatives, draw, shape=shape, sample=sample, bound=bound)
        generator = torch.Generator().manual_seed(self.seed)
        energy.to(self.device).eval()
        optimizer = torch.optim.Adam(
            energy.learner.parameters(), lr=training.lr, weight_decay=training.weight_decay
        )

        def batch(source: Draw | Negatives) -> tuple[Tensor, Tensor]:
            views, position = source(training.batch_size, generator)
            views = views + training.data_noise * gaussian_noise(views, generator)
            return views.to(self.device), position.to(self.device)

        for _ in range(training.steps):
            data, others = batch(draw), batch(negatives)
            if self.loss == BEFORE:
                energy.eval()
                up = energy.at(others[1])(others[0])
                energy.train()
                down = energy.at(data[1])(data[0])
            else:
                down, up = energies(energy, data, others, training.negatives_statistics)
            with torch.no_grad(), batch_statistics(energy, "data"):
                scored = gap(energy.at(data[1])(data[0]), energy.at(others[1])(others[0]))
            self.gaps.append((gap(down, up), scored))
            optimizer.zero_grad()
            contrastive_loss(down, up).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        energy.eval()


def gap(data: Tensor, negatives: Tensor) -> float:
    """Returns the mean energy of negatives less that of data."""
    return float(negatives.detach().mean() - data.detach().mean())


def gaps_of(arguments: argparse.Namespace, loss: str) -> list[tuple[float, float]]:
    """Returns the two gaps of each step of a training: in the loss, and in scores."""
    training = {"steps": arguments.steps}
    network = {"negatives": {"kind": "noised", "scale": [1e-6, 1e-6]}, "sampler": None, "training": training}
    config = load_preset("thesis-small", {"seed": 0, "levels": ["patch"], "patch": {"network": network}})
    paths = [image.path for image in open_image_set(arguments.data / arguments.sets[0]).train]
    detector = EnsembleDetector(config, device=arguments.device)
    reading = detector.read(paths, len(paths))
    level = reading.levels["patch"]
    assert isinstance(level, PixelLevel)
    training_set = TrainingSet.of(reading.kept["patch"], *detector.assign_folds(reading.images))
    task = level.task(training_set, 0, loss, None, resolve_device(arguments.device))
    watched = WatchedTraining(**vars(task), loss=loss)
    level.fit_energy(training_set, watched)
    return watched.gaps


def table(gaps: dict[str, list[tuple[float, float]]]) -> str:
    """Returns Markdown: the means of the two gaps over some steps, side by side."""
    steps = len(next(iter(gaps.values())))
    lines = []
    for first in range(0, steps, WINDOW):
        last = min(first + WINDOW, steps)
        means = [f"{v:+.2f}" for own in gaps.values() for v in np.mean(own[first:last], axis=0)]
        lines.append([f"{first + 1} to {last}", *means])
    head = ["steps", *(f"{name}: gap in {place}" for name in gaps for place in ("the loss", "scores"))]
    return markdown(head, lines)


def main(argv: list[str] | None = None) -> None:
    parser = options(HERE, __doc__, sets=("bottle",), trains=True)
    parser.prog = "python -m benchmarks.thesis.diagnosis"
    parser.add_argument("--steps", type=int, default=100, help="of each training; default: 100")
    arguments = parse(parser, argv)
    gaps = {loss: gaps_of(arguments, loss) for loss in (BEFORE, NOW)}
    facts = {"command": arguments.command, "versions": versions(), "set": arguments.sets[0], "gaps": gaps}
    write_text(arguments.out / "diagnosis.json", json.dumps(facts, indent=1) + "\n")
    write_text(arguments.out / "diagnosis.md", table(gaps))
    print(table(gaps))


if __name__ == "__main__":
    main()
