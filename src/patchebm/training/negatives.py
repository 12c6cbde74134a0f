"""Where chains start.

Negatives decide what an energy learns (DESIGN, section 3): chains from the informative Gaussian teach it
what a photograph is, chains from corrupted normal images what a defect could be.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from patchebm.training.corruption import corrupt

Draw = Callable[[int, torch.Generator], tuple[Tensor, Tensor]]
"""`(n, generator)` to n views `(n, C, H, W)` and the slot `(n,)` of each: which of an energy's Gaussians
judges it (see `GaussianEnergy`)."""


class Start(Protocol):
    """Draws starts of chains."""

    from_data: bool
    """Whether starts are training views but for a corruption."""

    def __call__(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """`(n, C, H, W)` float32 in [-1, 1], and the grid position `(n,)` int64 that each stands for."""
        ...


class UniformStart:
    """Uniform noise in [-1, 1], as in JEM (Grathwohl et al. 2020) and IGEBM.

    Args:
        shape: (C, H, W) of one chain.
        draw: draws normal views; a chain gets the slot of one.
    """

    from_data = False

    def __init__(self, shape: tuple[int, int, int], draw: Draw) -> None:
        self._shape = shape
        self._draw = draw

    def __call__(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """`(n, C, H, W)` uniform noise and the slots of random views."""
        noise = torch.rand((n, *self._shape), generator=generator) * 2 - 1
        return noise, self._draw(n, generator)[1]


class InformativeStart:
    """Exactly N(mean, Cov + floor I) of training views, without forming Cov (JEM++, arXiv 2109.09032).

    `x = mean + Xc^T z / sqrt(n) + sqrt(floor) * eps`, z ~ N(0, I_n), eps ~ N(0, I_d), with Xc the n
    centred views: memory n * d instead of d * d (at 128 px RGB 0.2 GB for 1,000 views, not 9.7 GB).

    Args:
        views: `(n, C, H, W)` training views. Centred in place of a copy being kept: hand in a tensor
            that is not used afterwards, or a clone.
        draw: draws normal views; a chain gets the slot of one.
        floor: isotropic variance; 1e-4 in the published code.
        bound: largest absolute value of a pixel, 1; infinity for features.
    """

    from_data = False

    def __init__(self, views: Tensor, draw: Draw, floor: float = 1e-4, bound: float = 1.0) -> None:
        self._draw = draw
        self._bound = bound
        self._mean = views.mean(0)
        self._centred = views.sub_(self._mean).flatten(1)
        self._floor = floor

    def __call__(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """`(n, C, H, W)` draws, clamped as chains are."""
        return self.unclamped(n, generator).clamp(-self._bound, self._bound), self._draw(n, generator)[1]

    def unclamped(self, n: int, generator: torch.Generator) -> Tensor:
        """`(n, C, H, W)` draws of the Gaussian itself."""
        count, dimensions = self._centred.shape
        z = torch.randn((n, count), generator=generator)
        eps = torch.randn((n, dimensions), generator=generator)
        flat = (z / count**0.5) @ self._centred
        noisy: Tensor = flat.add_(eps, alpha=self._floor**0.5)
        return noisy.view(n, *self._mean.shape).add_(self._mean)


class NoisedStart:
    """Normal views plus Gaussian noise of random scale: near-data negatives where views are features.

    Args:
        draw: draws normal views and their slots.
        scale: smallest and largest standard deviation; drawn log-uniformly in between for each view, so that
            an energy learns the neighbourhood of the data at every distance (denoising score matching does
            the same with a ladder of scales, Song and Ermon 2019, arXiv 1907.05600).
    """

    from_data = True

    def __init__(self, draw: Draw, scale: tuple[float, float]) -> None:
        self._draw = draw
        self._low, self._high = map(math.log, scale)

    def __call__(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """`(n, C, H, W)` noised views and their slots."""
        views, slots = self._draw(n, generator)
        u = torch.rand((n, *[1] * (views.ndim - 1)), generator=generator)
        scale = (self._low + (self._high - self._low) * u).exp()
        return views + scale * torch.randn(views.shape, generator=generator), slots


class CorruptedStart:
    """Normal views with a piece that does not belong (see `patchebm.training.corruption`).

    Args:
        draw: draws normal views and their slots.
    """

    from_data = True

    def __init__(self, draw: Draw) -> None:
        self._draw = draw

    def __call__(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """`(n, C, H, W)` corrupted views and their slots."""
        views, slots = self._draw(n, generator)
        return corrupt(views, generator), slots
