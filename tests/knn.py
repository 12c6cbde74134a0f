"""An energy from outside the package: the distance to the nearest normal views, as in PatchCore (2106.08265).

With this file on the Python path it is used by a configuration file with
`patch: {base: {kind: "tests.knn:KNNConfig", neighbours: 3}}`. Nothing else has to know of it: networks tilt
it, model files hold its tensors, and export traces it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jsonargparse.typing import PositiveInt
from torch import Tensor

from patchebm.config.features import EnergyConfig
from patchebm.energy import Energy


@dataclass
class KNNConfig(EnergyConfig):
    """The mean squared distance to the nearest normal views.

    Args:
        neighbours: how many nearest views count.
        views: how many normal views are kept, drawn at random.
    """

    kind: str = "tests.knn:KNNConfig"  # where this class is; what `kind:` says in a configuration
    neighbours: PositiveInt = 3
    views: PositiveInt = 1000
    target: ClassVar[str] = "tests.knn:KNNEnergy"


class KNNEnergy(Energy):
    """E(x) = the mean squared distance from x to the k nearest of the kept views `(n, d)`."""

    views: Tensor

    def __init__(self, views: Tensor, neighbours: int) -> None:
        super().__init__()
        self.register_buffer("views", views)  # a buffer is saved, and moves with the model to its device
        self.neighbours = min(neighbours, len(views))

    @classmethod
    def fit(cls, views: Tensor, config: KNNConfig, generator: torch.Generator) -> KNNEnergy:
        chosen = torch.randperm(len(views), generator=generator)[: config.views]
        return cls(views[chosen].flatten(1), config.neighbours)

    @classmethod
    def restore(cls, config: KNNConfig, tensors: Mapping[str, Tensor]) -> KNNEnergy:
        return cls(tensors["views"], config.neighbours)

    def rest(self, hidden: tuple[Tensor, ...]) -> Tensor:
        x = hidden[0].flatten(1)
        squared = x.square().sum(1, keepdim=True) - 2 * x @ self.views.T + self.views.square().sum(1)
        return squared.topk(self.neighbours, largest=False).values.mean(1)
