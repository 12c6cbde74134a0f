"""Fitting one energy on the images of all folds but one."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from patchebm.config.schema import ChainsConfig, ImageConfig, NetworkConfig, PatchConfig
from patchebm.config.training import PYLDConfig, SamplerConfig, SGLDConfig, TrainingConfig
from patchebm.device import resolve_device
from patchebm.energy import Energy, GaussianEnergy, TiltedEnergy, WideResNetEnergy
from patchebm.features.views import PixelViews, Resized
from patchebm.training.fit import fit_network
from patchebm.training.negatives import (
    CorruptedNegatives,
    Draw,
    InformativeNegatives,
    Negatives,
    NoisedNegatives,
    UniformNegatives,
)

# Views that a Gaussian of all positions and the informative start are made of: enough for the covariance
# of small patches, and below this many bytes for large ones.
MOST_VIEWS = 20_000
MOST_VIEW_BYTES = 256 * 2**20
# Views that tell the scale of a Gaussian's energies and gradients.
MOST_SCALE_VIEWS = 1024


@dataclass(frozen=True)
class MemberTask:
    """All that decides one fit.

    Attributes:
        label: for the progress bar.
        config: of the level.
        views: how the level sees images.
        images: the training images of this member, resized.
        folds: `(N,)` inner fold of each, for the cross-fitted Gaussians that the network trains on.
        seed: decides everything random.
        folder: for checkpoints and logs; None keeps nothing.
    """

    label: str
    config: PatchConfig | ImageConfig
    views: PixelViews
    images: list[Resized]
    folds: NDArray[np.int64]
    seed: int
    folder: Path | None


def fit_member(task: MemberTask) -> Energy:
    """Fit the energy that `task` describes, ready to score.

    Raises:
        TrainingError: the energy diverged for good, or a checkpoint cannot be read.
    """
    generator = torch.Generator().manual_seed(task.seed)
    energy_config = task.config.energy
    channels = task.images[0].pixels.shape[0]
    if energy_config.kind == "gaussian":
        return _gaussian(task, list(range(len(task.images))), generator).eval()
    if energy_config.kind == "network":
        network = build_network(energy_config.network, channels, generator)
        _train(network, task, _Draw(task), generator)
        return network
    network = build_network(
        energy_config.network, channels * (2 if energy_config.sees_gradient else 1), generator
    )
    # In-sample energies of a Gaussian are far below those of new images. So the network trains beside
    # Gaussians that never saw the images they judge: one for each inner fold, in slots of their own.
    parts = [
        _gaussian(task, np.flatnonzero(task.folds != fold).tolist(), generator)
        for fold in range(int(task.folds.max()) + 1)
    ]
    crossed = GaussianEnergy.concatenate(parts)
    draw = _Draw(task, slots_per_fold=parts[0].slots)
    mean, std, scale = _scales(crossed, task, parts[0].slots, generator)
    tilted = TiltedEnergy(
        crossed,
        network,
        1 / std if energy_config.tilt else 0.0,
        mean,
        scale if energy_config.sees_gradient else None,
    )
    _train(tilted, task, draw, generator)
    tilted.base = _gaussian(task, list(range(len(task.images))), generator)
    return tilted.eval()


def build_network(config: NetworkConfig, channels: int, generator: torch.Generator) -> WideResNetEnergy:
    """The network of a configuration for views of so many channels."""
    return WideResNetEnergy(
        channels,
        config.depth,
        config.width,
        config.norm,
        config.activation,
        config.pooling,
        generator=generator,
    )


def build_sampler(config: ChainsConfig) -> SamplerConfig | None:
    """The sampler of a configuration."""
    if config.steps == 0:
        return None
    common: dict[str, Any] = {
        "lr": config.lr,
        "noise": config.noise,
        "buffer_size": config.buffer_size,
        "restart": config.restart,
    }
    if config.sampler == "sgld":
        return SGLDConfig(steps=config.steps, **common)
    return PYLDConfig(outer=config.steps, inner=config.inner, eps=config.eps, **common)


class _Draw:
    """Draws training views and the slot of each: its fold and, with a Gaussian per position, its cell."""

    def __init__(self, task: MemberTask, slots_per_fold: int = 1) -> None:
        self._task = task
        self._folds = torch.from_numpy(task.folds)
        self._slots_per_fold = slots_per_fold

    def __call__(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        drawn = self._task.views.draw(self._task.images, n, generator)
        cell = drawn.cell if self._slots_per_fold > 1 else torch.zeros_like(drawn.cell)
        return drawn.views, self._folds[drawn.image] * self._slots_per_fold + cell


def _gaussian(task: MemberTask, chosen: list[int], generator: torch.Generator) -> GaussianEnergy:
    """The informative Gaussian of the chosen images."""
    config = task.config.energy.gaussian
    images = [task.images[i] for i in chosen]
    if config.per_position or task.views.positions == 1:
        grids = torch.stack([task.views.grid(image.pixels) for image in images])
        return GaussianEnergy.fit(grids.transpose(0, 1), rank=config.rank, floor=config.floor)
    views = _many_views(task, images, generator)
    return GaussianEnergy.fit(views[None], rank=config.rank, floor=config.floor)


def _many_views(task: MemberTask, images: list[Resized], generator: torch.Generator) -> Tensor:
    """As many views of the images as describe them well and fit into memory, `(n, C, h, w)`."""
    if task.views.positions == 1:
        return torch.stack([image.pixels for image in images])
    one = images[0].pixels.shape[0] * task.views.view_size[0] * task.views.view_size[1]
    n = max(2, min(MOST_VIEWS, len(images) * task.views.positions, MOST_VIEW_BYTES // (4 * one)))
    return task.views.draw(images, n, generator).views


def _scales(
    gaussian: GaussianEnergy, task: MemberTask, slots_per_fold: int, generator: torch.Generator
) -> tuple[float, float, Tensor]:
    """Offset, spread and gradient scale for a tilted energy, from cross-fitted Gaussians.

    Returns:
        Mean and standard deviation of out-of-sample energies; and the inverse root mean square of their
        gradient, `(P, 1, 1, 1)` by position or, for whole images, `(1, C, H, W)` by pixel. A tenth of
        the mean is added to each mean square, so that no quiet pixel is blown up.
    """
    energies, squares = [], []
    if slots_per_fold == 1 and task.views.positions > 1:
        # One Gaussian for all patches: images may be trained on at another size than that of the grid.
        views, slot = _Draw(task)(MOST_SCALE_VIEWS, generator)
        energies.append(gaussian.energy_at(views, slot))
        mean_square = gaussian.gradient_at(views, slot).square().mean().view(1, 1, 1, 1)
    else:
        for image, fold in zip(task.images, task.folds.tolist(), strict=True):
            views = task.views.grid(image.pixels)
            slot = fold * slots_per_fold + torch.arange(len(views))
            energies.append(gaussian.energy_at(views, slot))
            squares.append(gaussian.gradient_at(views, slot).square())
        mean_square = torch.stack(squares).mean(0)
        if slots_per_fold > 1:
            mean_square = mean_square.mean(dim=(1, 2, 3), keepdim=True)
    scale = (mean_square + 0.1 * mean_square.mean()).clamp(min=1e-12).rsqrt()
    energy = torch.cat(energies)
    return float(energy.mean()), float(energy.std().clamp(min=1e-6)), scale


def _negatives(task: MemberTask, draw: Draw, generator: torch.Generator) -> Negatives:
    kind = task.config.chains.start
    if kind == "corrupted":
        return CorruptedNegatives(draw)
    if kind == "noised":
        return NoisedNegatives(draw, task.config.chains.noise_scale)
    channels = task.images[0].pixels.shape[0]
    if kind == "uniform":
        return UniformNegatives(draw, (channels, *task.views.view_size))
    return InformativeNegatives(draw, _many_views(task, task.images, generator))


def _train(energy: Energy, task: MemberTask, draw: Draw, generator: torch.Generator) -> None:
    train_network(
        energy,
        task.config,
        draw,
        _negatives(task, draw, generator),
        bound=1.0,
        images=len(task.images),
        seed=task.seed,
        label=task.label,
        folder=task.folder,
    )


def train_network(
    energy: Energy,
    config: PatchConfig | ImageConfig,
    draw: Draw,
    negatives: Negatives,
    *,
    bound: float,
    images: int,
    seed: int,
    label: str,
    folder: Path | None,
) -> None:
    """Train an energy's learner as a level's configuration says; see `fit_network`."""
    fit_network(
        energy,
        draw,
        negatives,
        training=TrainingConfig(**asdict(config.training)),
        sampler=build_sampler(config.chains),
        images=images,
        bound=bound,
        seed=seed,
        label=label,
        folder=folder,
        device=resolve_device("auto"),
    )
    energy.cpu()
