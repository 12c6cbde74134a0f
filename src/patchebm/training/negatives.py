"""Negatives: what the energy is pushed up on, and the init of chains if a sampler moves them.

Negatives decide what an energy learns. Where they are samples of the model, the contrastive loss has the
gradient of the negative log-likelihood (Grathwohl et al. 2020, arXiv 1912.03263, eq. 2); a sampler moves
chains towards such samples. Negatives that stay where they were drawn teach by noise contrast (Gutmann and
Hyvarinen 2012): samples of the informative Gaussian what a photograph is, corrupted normal images what a
defect could be.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from patchebm.training.corruption import corrupt

if TYPE_CHECKING:
    from patchebm.config.training import (
        CorruptedConfig,
        InformativeConfig,
        NegativesConfig,
        NoisedConfig,
        SyntheticConfig,
        UniformConfig,
    )

Draw = Callable[[int, torch.Generator], tuple[Tensor, Tensor]]
"""Maps `(n, generator)` to n normal views `(n, C, H, W)` float32 on the CPU, and the position `(n,)` int64 of
each: the index of the Gaussian that it belongs to (see `GaussianEnergy`)."""


class Negatives(Protocol):
    """An object that draws negatives."""

    from_data: bool
    """Whether a negative is a training view with a change, and so gets the data's noise as well."""

    def __call__(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Returns n negatives `(n, C, H, W)` float32 on the CPU, and the position `(n,)` int64 of each."""
        ...


class UniformNegatives:
    """Uniform noise in [-1, 1], as in JEM (Grathwohl et al. 2020) and IGEBM.

    Args:
        draw: draws normal views; a negative gets the position of one.
        shape: (C, H, W) of one negative.
    """

    from_data = False

    def __init__(self, draw: Draw, shape: tuple[int, int, int]) -> None:
        self._draw = draw
        self._shape = shape

    @classmethod
    def build(cls, config: UniformConfig, draw: Draw, **given: Any) -> UniformNegatives:
        """Returns the negatives of a configuration; see `build_negatives`."""
        del config
        return cls(draw, given["shape"])

    def __call__(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Returns `(n, C, H, W)` uniform noise and the positions of random views."""
        noise = torch.rand((n, *self._shape), generator=generator) * 2 - 1
        return noise, self._draw(n, generator)[1]


class InformativeNegatives:
    """Samples of exactly N(mean, Cov + floor I) of training views (JEM++, arXiv 2109.09032).

    Cov is never formed: `x = mean + Xc^T z / sqrt(n) + sqrt(floor) * eps`, z ~ N(0, I_n), eps ~ N(0, I_d),
    with Xc the n centred views, takes memory n * d instead of d * d (at 128 px RGB 0.2 GB for 1,000 views,
    not 9.7 GB).

    Args:
        draw: draws normal views; a negative gets the position of one.
        views: `(n, C, H, W)` training views. They are centred in place, so that no copy is kept: pass a
            tensor that is not used afterwards, or a clone.
        floor: isotropic variance; 1e-4 in the published code.
        bound: largest absolute value of a pixel, 1; infinity for features.
    """

    from_data = False

    def __init__(self, draw: Draw, views: Tensor, floor: float = 1e-4, bound: float = 1.0) -> None:
        self._draw = draw
        self._bound = bound
        self._mean = views.mean(0)
        self._centred = views.sub_(self._mean).flatten(1)
        self._floor = floor

    @classmethod
    def build(cls, config: InformativeConfig, draw: Draw, **given: Any) -> InformativeNegatives:
        """Returns the negatives of a configuration; see `build_negatives`."""
        del config
        return cls(draw, given["sample"](), bound=given["bound"])

    def __call__(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Returns `(n, C, H, W)` samples, clamped as chains are, and the positions of random views."""
        return self.unclamped(n, generator).clamp(-self._bound, self._bound), self._draw(n, generator)[1]

    def unclamped(self, n: int, generator: torch.Generator) -> Tensor:
        """Returns `(n, C, H, W)` samples of the Gaussian itself."""
        count, dimensions = self._centred.shape
        z = torch.randn((n, count), generator=generator)
        eps = torch.randn((n, dimensions), generator=generator)
        flat = (z / count**0.5) @ self._centred
        noisy: Tensor = flat.add_(eps, alpha=self._floor**0.5)
        return noisy.view(n, *self._mean.shape).add_(self._mean)


class NoisedNegatives:
    """Normal views plus Gaussian noise of random scale: negatives near the data if views are features.

    Args:
        draw: draws normal views.
        scale: smallest and largest standard deviation. Each view's own is drawn log-uniformly in between, so
            that the energy learns the neighbourhood of the data at every distance (denoising score matching
            does the same with a ladder of scales, Song and Ermon 2019, arXiv 1907.05600).
    """

    from_data = True

    def __init__(self, draw: Draw, scale: tuple[float, float]) -> None:
        self._draw = draw
        self._low, self._high = map(math.log, scale)

    @classmethod
    def build(cls, config: NoisedConfig, draw: Draw, **given: Any) -> NoisedNegatives:
        """Returns the negatives of a configuration; see `build_negatives`."""
        del given
        return cls(draw, config.scale)

    def __call__(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Returns `(n, C, H, W)` noised views and their positions."""
        noised, positions, _ = self.with_centres(n, generator)
        return noised, positions

    def with_centres(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Returns `(n, C, H, W)` noised views, their positions, and the views as they were."""
        views, positions = self._draw(n, generator)
        u = torch.rand((n, *[1] * (views.ndim - 1)), generator=generator)
        scale = (self._low + (self._high - self._low) * u).exp()
        return views + scale * torch.randn(views.shape, generator=generator), positions, views


class SyntheticNegatives:
    """Views of synthetic defects, and noised normal views.

    On solar cells a network that was trained against synthetic defects alone found held-out kinds of them
    well and read .50 on real ones; with half of the negatives noised it read .91.

    Args:
        draw: draws normal views.
        damaged: `(n, C, h, w)` views of synthetic defects; with none all negatives are noised.
        noised: share of the negatives that are noised normal views.
        scale: smallest and largest standard deviation of the noise.
    """

    from_data = True

    def __init__(self, draw: Draw, damaged: Tensor, noised: float, scale: tuple[float, float]) -> None:
        self._damaged = damaged
        self._share = noised if len(damaged) else 1.0
        self._noised = NoisedNegatives(draw, scale)

    @classmethod
    def build(cls, config: SyntheticConfig, draw: Draw, **given: Any) -> SyntheticNegatives:
        """Returns the negatives of a configuration; see `build_negatives`."""
        return cls(draw, given["sample"](), config.noised, config.scale)

    def __call__(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Returns `(n, C, H, W)` views, the noised ones first, and their positions."""
        views, positions, _ = self.with_centres(n, generator)
        return views, positions

    def with_centres(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the same and the good view `(n, C, H, W)` that each lies around.

        Of a noised view it is the view as it was; of a synthetic defect the origin, the mean of good views at
        its position.
        """
        noised = round(n * self._share)
        views, positions, centres = self._noised.with_centres(noised, generator)
        if noised == n:
            return views, positions, centres
        chosen = torch.randint(len(self._damaged), (n - noised,), generator=generator)
        # The cells of a level that has positions of its own are all of one kind: 0.
        more = torch.zeros(n - noised, dtype=positions.dtype)
        damaged = self._damaged[chosen]
        centres = torch.cat([centres, torch.zeros_like(damaged)])
        return torch.cat([views, damaged]), torch.cat([positions, more]), centres


class CorruptedNegatives:
    """Normal views with a piece that does not belong (see `patchebm.training.corruption`).

    Args:
        draw: draws normal views.
    """

    from_data = True

    def __init__(self, draw: Draw) -> None:
        self._draw = draw

    @classmethod
    def build(cls, config: CorruptedConfig, draw: Draw, **given: Any) -> CorruptedNegatives:
        """Returns the negatives of a configuration; see `build_negatives`."""
        del config, given
        return cls(draw)

    def __call__(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Returns `(n, C, H, W)` corrupted views and their positions."""
        views, positions = self._draw(n, generator)
        return corrupt(views, generator), positions


def build_negatives(
    config: NegativesConfig,
    draw: Draw,
    *,
    shape: tuple[int, ...],
    sample: Callable[[], Tensor],
    bound: float,
) -> Negatives:
    """Returns the negatives of a configuration.

    Args:
        config: which negatives.
        draw: draws normal views.
        shape: `(C, H, W)` of a view.
        sample: returns views `(n, C, H, W)` that may be changed: normal ones, or of synthetic defects where
            the negatives are made of these.
        bound: the largest absolute value of a view.
    """
    negatives: Negatives = config.load_target().build(config, draw, shape=shape, sample=sample, bound=bound)
    return negatives
