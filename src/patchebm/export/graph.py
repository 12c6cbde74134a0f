"""A fitted detector as one module from decoded pixels to score and heat map, for export.

Resize, normalisation, backbone, both levels, ensemble and calibration in float32 operations that every
runtime has. The score is that of `EnsembleDetector.predict`, which the export checks image by image.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from patchebm.detector.detector import EnsembleDetector
from patchebm.errors import ConfigError, PatchebmError
from patchebm.export.heads import ImageHead, PatchHead
from patchebm.export.joining import spreads
from patchebm.export.members import log_sum_exp
from patchebm.features.region import cells_outside
from patchebm.features.tiling import maps_of


class Scored(NamedTuple):
    """What the graph says of images.

    Attributes:
        score: `(B,)` higher = more anomalous.
        levels: `(B, L)` the score of each level, in the detector's order.
        grids: of each level, `(B, h, w)` values of the cells that it judges.
        maps: of each level, `(B, H, W)`: its grid at the images' own size.
        heat_map: `(B, H, W)`, the mean of `maps`.
    """

    score: Tensor
    levels: Tensor
    grids: list[Tensor]
    maps: list[Tensor]
    heat_map: Tensor


class ScoringGraph(nn.Module):
    """Decoded images to scores and heat maps.

    Args:
        detector: fitted, on features.

    Attributes:
        size: height and width to which images are resized.
        level_names: the levels, in the order of `Scored.levels`.

    Raises:
        ConfigError: the detector looks at pixels, or its energies cannot be exported; says which can.
        PatchebmError: it is not fitted.
    """

    def __init__(self, detector: EnsembleDetector) -> None:
        super().__init__()
        if not hasattr(detector, "threshold_"):
            raise PatchebmError("this detector is not fitted; call fit, or load a saved one")
        if detector.backbone is None:
            raise ConfigError(
                "a model that looks at pixels cannot be exported; train with the preset features or "
                "features-max"
            )
        features = detector.config.features
        self.size = (features.size[0], features.size[1])
        self.level_names = tuple(detector.levels_)
        self.backbone = detector.backbone
        heads: dict[str, nn.Module] = {}
        for name, level in detector.levels_.items():
            whole = name == "image"
            to_view = spreads(
                detector.backbone.strides, features, level.views.view_size if whole else features.grid
            )
            if whole:
                heads[name] = ImageHead(level, to_view)
            else:
                heads[name] = PatchHead(level, to_view, detector.backbone.channels, features.grid)
        self.heads = nn.ModuleDict(heads)
        self.mean, self.std = detector.mean_, detector.std_
        self.region = detector.region
        self.eval()
        self.requires_grad_(False)

    def forward(self, images: Tensor) -> Scored:
        """Score images of one size.

        Args:
            images: `(B, H, W, 1 or 3)` float32 in [0, 1].
        """
        score, levels, grids = self.judge(self.prepare(images))
        size = (images.shape[1], images.shape[2])
        maps = [_resized(grid[:, None], size)[:, 0] for grid in grids]
        heat_map = maps[0] if len(maps) == 1 else (maps[0] + maps[1]) * 0.5
        return Scored(score, levels, grids, maps, heat_map)

    def prepare(self, images: Tensor) -> Tensor:
        """`(B, 3, *size)` in [-1, 1] of images `(B, H, W, 1 or 3)` in [0, 1]."""
        x = images.permute(0, 3, 1, 2)
        # Both are linear, so that the order does not matter; after the resize there is less to do. Three
        # factors turn grey into colour in passing.
        return _resized(x, self.size) * torch.full((3, 1, 1), 2.0) - 1

    def judge(self, x: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Scores, level scores and grids of prepared images `(B, 3, *size)`."""
        if self.region is not None:
            x = x * self.region
        maps = maps_of(self.backbone, x)
        columns, grids = [], []
        for head in self.heads.values():
            score, grid = head(maps)
            columns.append(score)
            if self.region is not None:
                outside = cells_outside(self.region, (int(grid.shape[1]), int(grid.shape[2])))
                grid = torch.where(outside, grid.amin((1, 2), keepdim=True), grid)
            grids.append(grid)
        levels = torch.stack(columns, dim=1)
        combined = log_sum_exp(levels, (1,))[:, 0]
        return (combined - self.mean) / self.std, levels, grids


def _resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    return interpolate(x, size=size, mode="bilinear", antialias=True, align_corners=False)
