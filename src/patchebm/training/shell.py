"""Chains that stay as far from a good view as they started: negatives that neither arrive nor leave.

A chain that walks down the energy without bounds ends at a good view, which then stands among the negatives,
or far from all of them, where nothing is to be learnt. GLASS (Chen et al. 2024, arXiv 2407.09359) moves
noised features by a few steps of the gradient and projects them on a shell around the good feature. This is
the same, with noise in each step, so that chains of one start part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from patchebm.energy.base import Energy, energy_gradient
from patchebm.training.samplers import ChainLog, Sampler, Trace, gaussian_noise


@runtime_checkable
class CentredNegatives(Protocol):
    """An object that draws negatives, and says what good view each of them lies around."""

    def with_centres(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Returns negatives `(n, C, H, W)`, their positions `(n,)`, and the centres `(n, C, H, W)`."""
        ...


@dataclass(frozen=True)
class ShellLangevin:
    """Langevin dynamics on a shell around the good view of each chain.

    With the radius r of a chain, its distance from the centre at the start, and d numbers in a view:
    `x <- project(x - lr * r * dE/dx / |dE/dx| + noise * r * eps / sqrt(d))`, eps ~ N(0, I). The projection
    moves x along the line to the centre until its distance lies between `shell[0] * r` and `shell[1] * r`.
    Steps are shares of the radius, so that a faint negative and a gross one turn by the same angle.

    Args:
        steps: full gradients.
        lr: length of a step down the energy, as a share of the radius.
        noise: length of the noise of a step, as a share of the radius.
        shell: smallest and largest distance from the centre, as shares of the radius.
        bound: largest absolute value of a pixel, 1; infinity for features.
    """

    steps: int = 5
    lr: float = 0.1
    noise: float = 0.02
    shell: tuple[float, float] = (1.0, 1.5)
    bound: float = 1.0

    def around(self, centres: Tensor) -> Sampler:
        """Returns the sampler of chains that lie around centres `(B, C, H, W)`."""
        return _Around(self, centres)

    def __call__(self, energy: Energy, x: Tensor, generator: torch.Generator) -> tuple[Tensor, ChainLog]:
        """Moves chains `(B, C, H, W)` around the origin, the mean of good views in a whitened space."""
        return self.around(torch.zeros_like(x))(energy, x, generator)


@dataclass(frozen=True)
class _Around:
    """The sampler of chains whose centres are known."""

    walk: ShellLangevin
    centres: Tensor

    def __call__(self, energy: Energy, x: Tensor, generator: torch.Generator) -> tuple[Tensor, ChainLog]:
        walk = self.walk
        trace = Trace(x)
        radius = _norm(x - self.centres)
        for _ in range(walk.steps):
            value, gradient = energy_gradient(energy, x)
            trace.step(value, gradient)
            # An untrained network has no gradient.
            x = x - walk.lr * radius * gradient / _norm(gradient).clamp(min=1e-12)
            if walk.noise:
                x = x + walk.noise * radius * gaussian_noise(x, generator) / x[0].numel() ** 0.5
            x = self._project(x, radius).clamp(-walk.bound, walk.bound)
        return x.detach(), trace.log(x)

    def _project(self, x: Tensor, radius: Tensor) -> Tensor:
        """Returns the chains, moved towards their centres or away from them onto the shell."""
        low, high = self.walk.shell
        offset = x - self.centres
        distance = _norm(offset).clamp(min=1e-12)
        return self.centres + offset * (distance.clamp(low * radius, high * radius) / distance)


def _norm(x: Tensor) -> Tensor:
    """Returns the length of each view, `(B, 1, 1, 1)`."""
    length: Tensor = x.flatten(1).norm(dim=1)
    return length.view(-1, *[1] * (x.ndim - 1))
