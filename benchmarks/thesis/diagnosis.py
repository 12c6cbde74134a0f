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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import options, parse
from patchebm.config.presets import load_preset
from patchebm.evaluation.summary import markdown
from patchebm.files import write_text
from patchebm.images.folders import open_image_set
from patchebm.provenance import versions

HERE = Path(__file__).resolve().parent
BEFORE, NOW = "before the fix", "as it is"
WINDOW = 20
"""Steps of which a line of the table has the means."""


@contextmanager
def recorded(two_modes: bool) -> Iterator[list[tuple[float, float]]]:
    """Yields a list that a training in the block adds each step's gaps to: the loss' own, and the scores'."""
    import torch

    from patchebm.training import fit
    from patchebm.training.batch_statistics import batch_statistics

    gaps: list[tuple[float, float]] = []
    mended = fit.energies

    def watched(energy: Any, data: Any, negatives: Any, kind: Any) -> Any:
        if two_modes:
            energy.eval()
            up = energy.at(negatives[1])(negatives[0])
            energy.train()
            down = energy.at(data[1])(data[0])
        else:
            down, up = mended(energy, data, negatives, kind)
        with torch.no_grad(), batch_statistics(energy, "data"):
            scored = energy.at(negatives[1])(negatives[0]).mean() - energy.at(data[1])(data[0]).mean()
        gaps.append((float(up.detach().mean() - down.detach().mean()), float(scored)))
        return down, up

    fit.energies = watched
    try:
        yield gaps
    finally:
        fit.energies = mended


def gaps_of(arguments: argparse.Namespace, loss: str) -> list[tuple[float, float]]:
    """Returns the two gaps of each step of a training."""
    from patchebm.detector import EnsembleDetector

    training = {"steps": arguments.steps}
    network = {"negatives": {"kind": "noised", "scale": [1e-6, 1e-6]}, "sampler": None, "training": training}
    config = load_preset("thesis-small", {"seed": 0, "levels": ["patch"], "patch": {"network": network}})
    images = open_image_set(arguments.data / arguments.sets[0]).train
    with recorded(loss == BEFORE) as gaps:
        EnsembleDetector(config, device=arguments.device).fit(
            [image.path for image in images], [image.group for image in images]
        )
    return gaps


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
