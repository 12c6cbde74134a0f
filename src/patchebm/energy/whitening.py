"""The space that energies of features live in: channels of unit spread, uncorrelated within a cluster.

Channels of a pretrained network differ in scale by orders of magnitude and are far from independent. In
whitened space an isotropic energy, isotropic noise and a sampler's step mean the same in every direction.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from patchebm.config.features import MixtureConfig, WhiteningConfig, WithinConfig
from patchebm.energy.fused import Affine
from patchebm.energy.mixture import MixtureEnergy

# Added to every variance, relative to the mean variance: constant channels stay harmless.
FLOOR = 1e-3
# Below so many views a cluster, views would lie too near to their own centre.
MIN_PER_CLUSTER = 100
# Weight of the total covariance in the one within clusters, which alone would rest on few directions.
SHRINKAGE = 0.05


class Whitening(nn.Module):
    """x -> (x - mean) W, channel by channel, the same at every place of a view.

    Args:
        mean: `(C,)`.
        matrix: `(C, C)`, W.
    """

    mean: Tensor
    matrix: Tensor

    def __init__(self, mean: Tensor, matrix: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("matrix", matrix)

    @classmethod
    def fit(cls, views: Tensor, config: WhiteningConfig, generator: torch.Generator) -> Whitening:
        """Learn the space from normal views.

        Args:
            views: `(n, C, h, w)` float32, n >= 2.
            config: `scale` divides all channels by one number, `diagonal` each by its own standard
                deviation, `within` turns the covariance within clusters of views, at most one for a hundred
                views, into the identity, as linear discriminant analysis does with its classes.
            generator: draws the clusters.
        """
        x = views.movedim(1, -1).flatten(0, -2)
        mean = x.mean(0)
        variance = x.var(0, unbiased=False)
        floor = FLOOR * variance.mean() + 1e-12
        if config.kind == "scale":
            return cls(mean, torch.eye(len(mean)) / (variance.mean() + floor).sqrt())
        scale = (variance + floor).rsqrt()
        if not isinstance(config, WithinConfig):
            return cls(mean, torch.diag(scale))
        scaled = (x - mean) * scale
        components = max(1, min(config.clusters, len(scaled) // MIN_PER_CLUSTER))
        clusters = MixtureEnergy.fit(scaled, MixtureConfig(components=components), generator)
        within = torch.zeros((len(mean), len(mean)), dtype=torch.float64)
        for chunk in torch.split(scaled, 8192):
            nearest = clusters.centres[torch.cdist(chunk, clusters.centres).argmin(1)]
            difference = (chunk - nearest).double()
            within += difference.T @ difference
        within /= len(scaled)
        total = (scaled.T @ scaled).double() / len(scaled)
        blend = (1 - SHRINKAGE) * within + SHRINKAGE * total
        blend += FLOOR * blend.diagonal().mean() * torch.eye(len(mean))
        values, vectors = torch.linalg.eigh(blend)
        # The symmetric square root: of all whitenings the one that turns the channels least (ZCA).
        root = (vectors * values.clamp(min=1e-12).rsqrt()) @ vectors.T
        return cls(mean, scale[:, None] * root.float())

    @torch.no_grad()
    def forward(self, views: Tensor) -> Tensor:
        """Views `(B, C, h, w)` in whitened space, float32."""
        moved: Tensor = (views.movedim(1, -1) - self.mean) @ self.matrix
        return moved.movedim(-1, 1)

    def affine(self) -> Affine:
        """The same function as A x + b of a vector."""
        matrix = self.matrix.cpu().double().T
        return Affine(matrix, -(matrix @ self.mean.cpu().double()))
