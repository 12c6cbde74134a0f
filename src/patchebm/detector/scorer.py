"""The one scorer: from decoded images to level scores, ensemble score and anomaly maps.

Prediction runs it, export traces it, and the anomalib plug-in wraps it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from patchebm.detector.level import Level
from patchebm.energy.fused import log_sum_exp
from patchebm.features.extractor import FeatureExtractor
from patchebm.features.resize import resize


class PixelInputs(nn.Module):
    """Images themselves, in [-1, 1].

    Args:
        channels: 1 where all good images were grey, else 3.
    """

    # Grey from colour by the Rec. 601 luma.
    LUMA = (0.299, 0.587, 0.114)
    region: Tensor | None = None

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def prepare(self, images: Tensor) -> Tensor:
        """Turn images `(B, H, W, 1 or 3)` in [0, 1] into `(B, channels, H, W)` in [-1, 1]."""
        x = images.permute(0, 3, 1, 2)
        if self.channels == 1 and x.shape[1] == 3:
            x = (x * x.new_tensor(self.LUMA)[:, None, None]).sum(1, keepdim=True)
        return (x.expand(-1, self.channels, -1, -1) * 2 - 1).contiguous()

    def forward(self, prepared: Tensor) -> Tensor:
        """Return the images as they are."""
        return prepared


class Scores(NamedTuple):
    """What the scorer says of images.

    Attributes:
        score: `(B,)` higher = more anomalous; 0 and 1 are mean and standard deviation of good parts.
        levels: `(B, L)` the score of each level, in the detector's order, on the same scale.
        grids: of each level `(B, h, w)`, its map at the level's own size; empty where no maps are wanted.
    """

    score: Tensor
    levels: Tensor
    grids: list[Tensor]


class Scorer(nn.Module):
    """Images to scores and maps, in float32 operations that every runtime has.

    Args:
        inputs: what brings images to the levels.
        levels: fitted.
        mean: of the combined scores of good parts.
        std: of the same.
    """

    inputs: FeatureExtractor | PixelInputs
    mean: Tensor
    std: Tensor

    def __init__(
        self, inputs: FeatureExtractor | PixelInputs, levels: Mapping[str, Level], mean: float, std: float
    ) -> None:
        super().__init__()
        self.inputs = inputs
        self.levels = nn.ModuleDict(levels)
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32))
        self.eval()
        self.requires_grad_(False)

    def prepare(self, images: Tensor) -> Tensor:
        """Bring images `(B, H, W, 1 or 3)` float32 in [0, 1], of one size, to the form that `score` takes."""
        return self.inputs.prepare(images)

    def score(self, prepared: Tensor, *, maps: bool = True) -> Scores:
        """Score prepared images."""
        given = self.inputs(prepared)
        found = [level(given, maps=maps) for level in self.levels.values()]
        levels = torch.stack([one.score for one in found], dim=1)
        score = (combine(levels) - self.mean) / self.std
        return Scores(score, levels, [self._inside(one.map) for one in found if one.map is not None])

    def maps(self, grids: Sequence[Tensor], size: tuple[int, int] | Tensor) -> tuple[list[Tensor], Tensor]:
        """Bring the levels' grids to a size; see `patchebm.features.resize.resize`.

        Returns:
            The map `(B, H, W)` of each level, and the anomaly map, their mean.
        """
        maps = [resize(grid[:, None], size)[:, 0] for grid in grids]
        return maps, sum(maps[1:], maps[0]) / len(maps)

    def forward(self, images: Tensor) -> tuple[Scores, list[Tensor], Tensor]:
        """Score images, with maps at their own size: `score` and `maps` in one."""
        scores = self.score(self.prepare(images))
        maps, anomaly_map = self.maps(scores.grids, (images.shape[1], images.shape[2]))
        return scores, maps, anomaly_map

    def _inside(self, grid: Tensor) -> Tensor:
        """Let a map be nowhere hotter outside the region of interest than at its coolest place."""
        region = self.inputs.region
        if region is None:
            return grid
        outside = adaptive_avg_pool2d(region[None, None], (int(grid.shape[1]), int(grid.shape[2])))[0, 0] == 0
        return torch.where(outside, grid.amin((1, 2), keepdim=True), grid)


def combine(levels: Tensor) -> Tensor:
    """Combine comparable level scores `(B, L)` into one `(B,)`: the log-sum-exp over the levels.

    With scores in standard deviations of normal images, a level that is sure wins, as the maximum would have
    it, and two levels that both have doubts add up. It needs no weights, hence no labels.
    """
    return log_sum_exp(levels, (1,))[:, 0]
