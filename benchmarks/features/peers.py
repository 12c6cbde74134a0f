"""PatchCore and PaDiM, as published, on maps of the same backbone: what `features` is measured against.

PatchCore: Roth et al. 2022, arXiv 2106.08265: a greedy coreset of the normal features, the distance to the
nearest of them, the reweighted largest distance as the score (eq. 7, nine neighbours). PaDiM: Defard et al.
2021, arXiv 2011.08785: a Gaussian per position, covariance + 0.01 I, the largest Mahalanobis distance.

The greedy rule is run on a sample of the features: see `benchmarks/coreset.py`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from benchmarks.coreset import coreset
from patchebm.features.backbone import Backbone
from patchebm.features.views import resize

NEIGHBOURS = 9


class PeerMaps:
    """Maps as the peers take them: features of strides 8 and 16, local means over 3 x 3 with zeros beyond the
    border, then one grid.

    The zeros matter: with means over fewer neighbours at the border PatchCore fell from .812 to .647 on
    magnetic_tile.
    """

    def __init__(self, backbone: Backbone, size: tuple[int, int]) -> None:
        self._backbone = backbone
        self._size = size

    @torch.inference_mode()
    def __call__(self, image: Tensor) -> Tensor:
        """The map `(C, H, W)` of an image `(3, H, W)` in [-1, 1]."""
        maps = [avg_pool2d(m, 3, 1, 1) for m in self._backbone(resize(image, self._size)[None])]
        grid = maps[0].shape[-2:]
        return torch.cat([interpolate(m, size=grid, mode="bilinear") for m in maps], dim=1)[0]


class PatchCore:
    """Fit on maps `(N, C, H, W)`, score a map `(C, H, W)`."""

    def __init__(self, maps: Tensor, generator: torch.Generator) -> None:
        self.bank = coreset(_rows(maps), generator)
        self._squares = self.bank.square().sum(1)

    def score(self, features: Tensor) -> float:
        """The image score."""
        rows = _rows(features[None])
        squared = rows.square().sum(1, keepdim=True) + self._squares - 2 * rows @ self.bank.T
        nearest, which = squared.clamp(min=0).min(1)
        oddest = int(nearest.argmax())
        distance = nearest[oddest].sqrt()
        prototype = self.bank[which[oddest]]
        near = torch.cdist(prototype[None], self.bank)[0].topk(
            min(NEIGHBOURS, len(self.bank)), largest=False
        )[1]
        distances = torch.cdist(rows[oddest][None], self.bank[near])[0]
        weight = 1 - (distance - distances.max()).exp() / (distances - distances.max()).exp().sum()
        return float(weight * distance)


class PaDiM:
    """Fit on maps `(N, C, H, W)`, score a map `(C, H, W)`."""

    def __init__(self, maps: Tensor) -> None:
        self._mean = maps.float().mean(0)
        cells = maps.permute(2, 3, 0, 1).flatten(0, 1)
        mean = _rows(self._mean[None])
        inverses = []
        for position, centre in zip(cells, mean, strict=True):
            centred = position.float() - centre
            covariance = centred.T @ centred / max(1, len(centred) - 1)
            inverses.append(torch.linalg.inv(covariance + 0.01 * torch.eye(len(covariance))))
        self._inverse = torch.stack(inverses)

    def score(self, features: Tensor) -> float:
        """The image score."""
        centred = _rows((features - self._mean)[None])
        squared = torch.einsum("pc,pcd,pd->p", centred, self._inverse, centred)
        return float(squared.max().clamp(min=0).sqrt())


def _rows(maps: Tensor) -> Tensor:
    return maps.permute(0, 2, 3, 1).flatten(0, 2)
