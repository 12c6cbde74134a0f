"""Fitting one energy on feature vectors or on maps of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from patchebm.config.schema import EnergyConfig, ImageConfig, PatchConfig
from patchebm.detector.member import train_network
from patchebm.detector.scoring import Member
from patchebm.energy import (
    CellsEnergy,
    Energy,
    GaussianEnergy,
    MixtureEnergy,
    ResidualEnergy,
    TiltedEnergy,
    Whitening,
)
from patchebm.energy.cells import cells_of
from patchebm.training.negatives import Draw, InformativeNegatives, Negatives, NoisedNegatives

# Views whitened, or scored for their mean and spread, at once.
CHUNK = 8192


@dataclass(frozen=True)
class FeatureTask:
    """All that decides one fit.

    Attributes:
        label: for the progress bar.
        config: of the level.
        views: `(n, C, h, w)` float16 or float32 training views.
        images: number of images that they come from, which an epoch counts.
        seed: decides everything random.
        folder: for checkpoints and logs; None keeps nothing.
    """

    label: str
    config: PatchConfig | ImageConfig
    views: Tensor
    images: int
    seed: int
    folder: Path | None


def fit_feature_member(task: FeatureTask) -> Member:
    """Fit the whitening and the energy that `task` describes, ready to score.

    Raises:
        TrainingError: the energy diverged for good, or a checkpoint cannot be read.
    """
    config = task.config.energy
    generator = torch.Generator().manual_seed(task.seed)
    views = task.views.float()
    whitening: Whitening | None = None
    if config.whitening != "none":
        # Of this member's images alone: with a whitening of all, images that a member did not see scored
        # so much like those it saw that 6 of 20 good bottles were called anomalous at a stated 5 %.
        whitening = Whitening.fit(
            views, config.whitening, components=config.mixture.components, generator=generator
        )
        views = torch.cat([whitening(chunk) for chunk in torch.split(views, CHUNK)])
    return Member(_fit_energy(task, views, generator).eval(), whitening)


def _fit_energy(task: FeatureTask, views: Tensor, generator: torch.Generator) -> Energy:
    """The energy of views in the space that they are whitened to."""
    config = task.config.energy
    if config.kind in ("gaussian", "mixture"):
        return _base(config, config.kind, views, generator)
    base = _base(config, config.base, views, generator) if config.kind == "tilted" else None
    if config.network.kind == "mlp":
        return _train_network(task, views, base, generator)
    # Noise on all cells at once would be too easy to tell from data: the network trains cell by cell.
    network = CellsEnergy(_train_network(task, cells_of(views), None, generator))
    return network if base is None else TiltedEnergy(base, network, 0.0)


def _train_network(
    task: FeatureTask, views: Tensor, base: Energy | None, generator: torch.Generator
) -> Energy:
    """Train the network of views, alone or as a tilt of the base."""
    config = task.config.energy
    network = ResidualEnergy(
        views[0].numel(), config.network.hidden, config.network.activation, generator=generator
    )
    energy: Energy = network
    if base is not None:
        weight, offset = 0.0, 0.0
        if config.tilt:
            with torch.inference_mode():
                values = torch.cat([base(chunk) for chunk in torch.split(views, CHUNK)])
            weight, offset = 1 / float(values.std().clamp(min=1e-6)), float(values.mean())
        energy = TiltedEnergy(base, network, weight, offset)

    def draw(n: int, own: torch.Generator) -> tuple[Tensor, Tensor]:
        chosen = torch.randint(len(views), (n,), generator=own)
        return views[chosen], torch.zeros(n, dtype=torch.long)

    train_network(
        energy,
        task.config,
        draw,
        _negatives(task.config, views, draw),
        bound=math.inf,
        images=task.images,
        seed=task.seed,
        label=task.label,
        folder=task.folder,
    )
    return energy


def _base(config: EnergyConfig, kind: str, views: Tensor, generator: torch.Generator) -> Energy:
    if kind == "mixture":
        return MixtureEnergy.fit(
            views,
            components=config.mixture.components,
            em_steps=config.mixture.em_steps,
            generator=generator,
        )
    return GaussianEnergy.fit(views[None], rank=config.gaussian.rank, floor=config.gaussian.floor)


def _negatives(config: PatchConfig | ImageConfig, views: Tensor, draw: Draw) -> Negatives:
    if config.chains.start == "noised":
        return NoisedNegatives(draw, config.chains.noise_scale)
    return InformativeNegatives(draw, views.clone(), bound=math.inf)
