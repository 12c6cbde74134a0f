"""JEM's identity on features: clusters of normal views as the classes of an energy.

A classifier's logits are an energy, `E(u) = -logsumexp_k f_k(u)` (Grathwohl et al. 2020, arXiv 1912.03263,
eq. 6). With the clusters of normal views as classes and `f_k(u) = log pi_k - |u - mu_k|^2 / (2 v)`, JEM++'s
class-wise informative initialisation (Yang and Ji 2021, arXiv 2109.09032) is an energy before anything is
trained.
"""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from patchebm.energy.base import Energy
from patchebm.energy.fused import Affine, Evidence, Fused, channel_max, channel_sum
from patchebm.errors import ConfigError

if TYPE_CHECKING:
    from patchebm.config.features import MixtureConfig

# Views that a mixture is fitted on: k-means moves its centres little beyond some hundred views a centre.
MAX_VIEWS = 60_000
# Below so many views a component, centres describe single views rather than what they share.
MIN_PER_COMPONENT = 10
# Lloyd iterations; the within-cluster distance falls by less than a percent in later ones.
ITERATIONS = 8
# Components that count for nothing next to the largest would yield denormal numbers, which take a CPU ten
# times as long: exp(-60) is as good as 0.
NEGLIGIBLE = -60.0
# A thousandth of the views' own scale: identical views have no width at all.
MIN_WIDTH = 1e-3


class MixtureEnergy(Energy):
    """E(x) = -logsumexp_k [log pi_k - |x - mu_k|^2 / (2 v)], one isotropic width for all components.

    Covariances other than isotropic are a matter of the space that x lives in: see
    `patchebm.energy.whitening`. `-log p(x) = E(x) + log_normaliser`. Fit it with `MixtureEnergy.fit`.

    Args:
        centres: `(K, d)`, mu_k.
        log_weights: `(K,)`, log pi_k, which sum to one as weights.
        variance: `()`, v.
    """

    # The identity: the whole energy is the rest.
    first_stage_is_affine = True

    centres: Tensor
    log_weights: Tensor
    variance: Tensor

    def __init__(self, centres: Tensor, log_weights: Tensor, variance: Tensor) -> None:
        super().__init__()
        self.register_buffer("centres", centres)
        self.register_buffer("log_weights", log_weights)
        self.register_buffer("variance", variance)

    @classmethod
    def fit(cls, views: Tensor, config: MixtureConfig, generator: torch.Generator) -> MixtureEnergy:
        """Take k-means clusters as components, then, if asked, maximum likelihood by EM.

        Args:
            views: `(n, ...)` float32, n >= 2; a random subset of at most 60,000 is used.
            config: `components`, K, fewer where there are fewer than ten views a component; `em_steps`,
                rounds of expectation maximisation (Dempster et al. 1977) after k-means.
            generator: draws the subset and the first centres.

        Raises:
            ConfigError: fewer than two views.
        """
        if len(views) < 2:
            raise ConfigError("a mixture needs at least two views; give more good images")
        x = views.flatten(1)
        if len(x) > MAX_VIEWS:
            x = x[torch.randperm(len(x), generator=generator)[:MAX_VIEWS]]
        k = max(1, min(config.components, len(x) // MIN_PER_COMPONENT))
        labels = torch.from_numpy(_clusters(x.numpy(), k, generator)).long()
        count = torch.bincount(labels, minlength=k).to(x.dtype)
        kept = count > 0
        sums = torch.zeros((k, x.shape[1]), dtype=x.dtype).index_add_(0, labels, x)
        centres = sums[kept] / count[kept, None]
        within = (x - centres[(kept.cumsum(0) - 1)[labels]]).square().mean()
        least = MIN_WIDTH * (x - x.mean(0)).square().mean() + 1e-12
        mixture = cls(centres, (count[kept] / len(x)).log(), torch.maximum(within, least))
        for _ in range(config.em_steps):
            mixture = mixture._em_step(x, least)
        return mixture

    def _em_step(self, x: Tensor, least: Tensor) -> MixtureEnergy:
        """One round of EM on rows `(n, d)`: responsibilities, then weights, centres and the one width."""
        weight = torch.zeros_like(self.log_weights)
        sums = torch.zeros_like(self.centres)
        squares = torch.zeros((), dtype=x.dtype)
        for chunk in torch.split(x, 8192):
            responsibility = self._logits(chunk).softmax(1)
            weight += responsibility.sum(0)
            sums += responsibility.T @ chunk
            squares += chunk.square().sum()
        # A component that nothing belongs to any more keeps its centre, at next to no weight.
        safe = weight.clamp(min=1e-3)
        centres = torch.where(weight[:, None] > 1e-3, sums / safe[:, None], self.centres)
        # sum_nk r_nk |x_n - mu_k|^2 = sum |x|^2 - sum_k w_k |mu_k|^2 at the new centres.
        variance = (squares - (weight * centres.square().sum(1)).sum()) / x.numel()
        return MixtureEnergy(centres, (safe / safe.sum()).log(), torch.maximum(variance, least))

    @property
    def log_normaliser(self) -> Tensor:
        """log Z `()`, with p(x) = exp(-E(x)) / Z."""
        return 0.5 * self.centres.shape[1] * (self.variance.log() + math.log(2 * math.pi))

    def rest(self, hidden: tuple[Tensor, ...]) -> Tensor:
        """Energies `(B,)`."""
        logits = self._logits(hidden[0].flatten(1))
        logits = torch.maximum(logits, logits.amax(1, keepdim=True).detach() + NEGLIGIBLE)
        return -torch.logsumexp(logits, dim=1)

    def fused(self, space: Affine, *, whole: bool) -> Fused:
        """Express the energy of every cell by products with the centres and a sum of squares.

        |y - mu|^2 / 2v = |y|^2 / 2v - (y mu / v - |mu|^2 / 2v): the first term is the same for all
        components, so that it leaves the log-sum-exp, and the second is linear in y.
        """
        if whole:
            return super().fused(space, whole=whole)
        centres, variance = self.centres.cpu().double(), self.variance.cpu().double()
        offsets = self.log_weights.cpu().double() - centres.square().sum(1) / (2 * variance)
        logits = space.then(centres / variance, offsets)
        rest = _Cells(float(0.5 / variance))
        return Fused([logits, space], rest)

    def _logits(self, x: Tensor) -> Tensor:
        """f_k `(B, K)` of rows `(B, d)`."""
        squared = x.square().sum(1, keepdim=True) + self.centres.square().sum(1) - 2 * (x @ self.centres.T)
        # Clamped: the difference of large squares may come out a little below zero.
        return self.log_weights - squared.clamp(min=0) / (2 * self.variance)


class _Cells(nn.Module):
    """The rest of a mixture: |y|^2 / 2v minus the log-sum-exp of the products with the centres."""

    def __init__(self, half_precision: float) -> None:
        super().__init__()
        self.half_precision = half_precision

    def forward(self, values: list[Tensor], *, maps: bool = True) -> Evidence:
        del maps
        logits, y = values
        top = channel_max(logits)
        assigned = channel_sum((logits - top).clamp(min=NEGLIGIBLE).exp()).log() + top
        energy = channel_sum(y.square()) * self.half_precision - assigned
        return Evidence(energy, energy)


def _clusters(
    x: np.ndarray[tuple[int, int], np.dtype[np.float32]], k: int, generator: torch.Generator
) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    """The cluster `(n,)` of each row by Lloyd's k-means."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    seed = int(torch.randint(2**31 - 1, (1,), generator=generator))
    with warnings.catch_warnings():
        # Identical images have fewer distinct views than clusters, which is fine.
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = KMeans(k, init="random", n_init=1, max_iter=ITERATIONS, random_state=seed).fit(x)
    return fitted.labels_  # type: ignore[no-any-return]
