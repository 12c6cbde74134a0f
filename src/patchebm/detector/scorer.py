"""The one scorer: from decoded images to level scores, ensemble score and anomaly maps.

Prediction runs it, export traces it, and the anomalib plug-in wraps it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, pad

from patchebm.detector.level import Level
from patchebm.detector.surround import Surround
from patchebm.energy.fused import log_sum_exp
from patchebm.features.extractor import FeatureExtractor
from patchebm.features.framing import STEPS
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
        weights: `(L,)` of the levels' scores in their sum; None combines them by log-sum-exp.
        surround: compares what lies around the box that is inspected, fitted; None where all is inspected.
    """

    inputs: FeatureExtractor | PixelInputs
    mean: Tensor
    std: Tensor
    weights: Tensor | None

    def __init__(
        self,
        inputs: FeatureExtractor | PixelInputs,
        levels: Mapping[str, Level],
        mean: float,
        std: float,
        weights: Tensor | None = None,
        surround: Surround | None = None,
    ) -> None:
        super().__init__()
        self.inputs = inputs
        self.surround = surround
        self.levels = nn.ModuleDict(levels)
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32))
        self.register_buffer("weights", None if weights is None else weights.float())
        self.eval()
        self.requires_grad_(False)

    def prepare(self, images: Tensor) -> Tensor:
        """Bring images `(B, H, W, 1 or 3)` float32 in [0, 1], of one size, to the form that `score` takes."""
        return self.inputs.prepare(images)

    def thumbnails(self, images: Tensor) -> Tensor | None:
        """Return what `score` takes beside prepared images; None where it takes nothing."""
        return None if self.surround is None else self.surround.thumbnails(images)

    def score(self, prepared: Tensor, thumbnails: Tensor | None = None, *, maps: bool = True) -> Scores:
        """Score prepared images, and what `thumbnails` gave of them."""
        given = self.inputs(prepared)
        found = [level(given, maps=maps) for level in self.levels.values()]
        levels = torch.stack([one.score for one in found], dim=1)
        score = self.ensemble(levels)
        grids = [self.inside(one.map) for one in found if one.map is not None]
        if self.surround is not None:
            assert thumbnails is not None, "the thumbnails of the images are missing"
            around = self.surround(thumbnails)
            score = torch.maximum(score, around.score)
            grids = [self.surround.onto(grid, around.map) for grid in grids]
        return Scores(score, levels, grids)

    def ensemble(self, levels: Tensor) -> Tensor:
        """Return the score `(B,)` that level scores `(B, L)` make, among those of good parts."""
        return (combine(levels, self.weights) - self.mean) / self.std

    def maps(self, grids: Sequence[Tensor], size: tuple[int, int] | Tensor) -> tuple[list[Tensor], Tensor]:
        """Bring the levels' grids to a size; see `patchebm.features.resize.resize`.

        Returns:
            The map `(B, H, W)` of each level, and the anomaly map: the mean of those that localise.
        """
        maps = [resize(grid[:, None], size)[:, 0] for grid in grids]
        return maps, mean_map(maps, list(self.levels.values()))  # type: ignore[arg-type]

    def forward(self, images: Tensor) -> tuple[Scores, list[Tensor], Tensor]:
        """Score images, with maps at their own size: `score` and `maps` in one."""
        scores = self.score(self.prepare(images), self.thumbnails(images))
        maps, anomaly_map = self.maps(scores.grids, (images.shape[1], images.shape[2]))
        return scores, maps, anomaly_map

    def inside(self, grid: Tensor) -> Tensor:
        """Let a map `(B, h, w)` be nowhere hotter outside what is inspected than at its coolest place."""
        region = self.inputs.region
        if region is None:
            return self._in_whole(grid)
        outside = adaptive_avg_pool2d(region[None, None], (int(grid.shape[1]), int(grid.shape[2])))[0, 0] == 0
        return self._in_whole(torch.where(outside, grid.amin((1, 2), keepdim=True), grid))

    @property
    def inspected(self) -> str | None:
        """What part of images is inspected, at what size, as half a sentence; None for models of pixels."""
        if isinstance(self.inputs, PixelInputs):
            return None
        around = "" if self.surround is None else " and compares what lies around it coarsely"
        return f"{self.inputs.framing.describe()}{around}"

    def _in_whole(self, grid: Tensor) -> Tensor:
        """Put the map of the box that is inspected into one of the whole image."""
        if isinstance(self.inputs, PixelInputs) or self.inputs.framing.whole:
            return grid
        top, bottom, left, right = self.inputs.framing.box
        # So many cells for each 64th of the image that no detail of the map is lost.
        cells = max(1, -(-int(grid.shape[1]) // (bottom - top)), -(-int(grid.shape[2]) // (right - left)))
        inner = resize(grid[:, None], ((bottom - top) * cells, (right - left) * cells))
        lowest = grid.amin((1, 2), keepdim=True)[:, None]
        margins = [cells * n for n in (left, STEPS - right, top, STEPS - bottom)]
        return (pad(inner - lowest, margins) + lowest)[:, 0]


def mean_map(maps: Sequence[Tensor], levels: Sequence[Level]) -> Tensor:
    """Return the mean of the maps of the levels that localise, or of all if none does."""
    chosen = [one for one, level in zip(maps, levels, strict=True) if level.localises] or list(maps)
    return sum(chosen[1:], chosen[0]) / len(chosen)


def combine(levels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Combine comparable level scores `(B, L)` into one `(B,)`.

    With weights, which were found on synthetic defects (`detector.weights`), it is the weighted sum. Without,
    it is the log-sum-exp over the levels: with scores in standard deviations of normal images a level that is
    sure wins, as the maximum would have it, and two levels that both have doubts add up.
    """
    if weights is not None:
        return (levels * weights).sum(1)
    return log_sum_exp(levels, (1,))[:, 0]
