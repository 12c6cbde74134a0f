"""A fitted detector as one module from decoded pixels to score and heat map, for export.

Resize, normalisation, backbone, both levels, ensemble and calibration in float32 operations that every
runtime has. The score is that of `EnsembleDetector.predict`, which the export checks picture by picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from patchebm.config import FeaturesConfig
from patchebm.deploy.heads import Along, ImageHead, PatchHead
from patchebm.deploy.members import log_sum_exp
from patchebm.detector.detector import EnsembleDetector
from patchebm.errors import ConfigError, PatchebmError
from patchebm.features.region import cells_outside
from patchebm.features.tiling import maps_of


class Scored(NamedTuple):
    """What the graph says of pictures.

    Attributes:
        score: `(B,)` higher = more anomalous.
        levels: `(B, L)` the score of each level, in the detector's order.
        grids: of each level, `(B, h, w)` values of the cells that it judges.
        maps: of each level, `(B, H, W)`: its grid at the pictures' own size.
        heat_map: `(B, H, W)`, the mean of `maps`.
    """

    score: Tensor
    levels: Tensor
    grids: list[Tensor]
    maps: list[Tensor]
    heat_map: Tensor


class ScoringGraph(nn.Module):
    """Decoded pictures to scores and heat maps.

    Args:
        detector: fitted, on features.

    Attributes:
        size: height and width to which pictures are resized.
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
        joined: dict[str, nn.Module] = {}
        for name, level in detector.levels_.items():
            whole = name == "image"
            heads[name] = ImageHead(level) if whole else PatchHead(level, features.grid)
            view = level.views.view_size if whole else features.grid
            joined[name] = Joined(detector.backbone.strides, features, view)
        self.heads = nn.ModuleDict(heads)
        self.joined = nn.ModuleDict(joined)
        self.mean, self.std = detector.mean_, detector.std_
        self.region = detector.region
        self.eval()
        self.requires_grad_(False)

    def forward(self, pictures: Tensor) -> Scored:
        """Score pictures of one size.

        Args:
            pictures: `(B, H, W, 1 or 3)` float32 in [0, 1].
        """
        score, levels, grids = self.judge(self.prepare(pictures))
        size = (pictures.shape[1], pictures.shape[2])
        maps = [_resized(grid[:, None], size)[:, 0] for grid in grids]
        heat_map = maps[0] if len(maps) == 1 else (maps[0] + maps[1]) * 0.5
        return Scored(score, levels, grids, maps, heat_map)

    def prepare(self, pictures: Tensor) -> Tensor:
        """`(B, 3, *size)` in [-1, 1] of pictures `(B, H, W, 1 or 3)` in [0, 1]."""
        x = pictures.permute(0, 3, 1, 2)
        # Both are linear, so that the order does not matter; after the resize there is less to do.
        x = _resized(x, self.size) * 2 - 1
        return x.expand(-1, 3, -1, -1)

    def judge(self, x: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Scores, level scores and grids of prepared pictures `(B, 3, *size)`."""
        if self.region is not None:
            x = x * self.region
        maps = maps_of(self.backbone, x)
        columns, grids = [], []
        for name, head in self.heads.items():
            score, grid = head(self.joined[name](maps))
            columns.append(score)
            if self.region is not None:
                outside = cells_outside(self.region, (int(grid.shape[1]), int(grid.shape[2])))
                grid = torch.where(outside, grid.amin((1, 2), keepdim=True), grid)
            grids.append(grid)
        levels = torch.stack(columns, dim=1)
        combined = log_sum_exp(levels, (1,)).flatten()
        return (combined - self.mean) / self.std, levels, grids


class Joined(nn.Module):
    """Maps of all blocks as `patchebm.features.maps.FeatureMaps` joins them, at the size of a level's view.

    Resizing to the grid, local means, and resizing to the view are linear: one matrix an axis does all three,
    and the image level does not pay for the finer grid of the patch level.

    Args:
        strides: of the blocks.
        config: sizes.
        view: height and width that the level sees; `config.grid`, or coarser.
    """

    def __init__(self, strides: Sequence[int], config: FeaturesConfig, view: tuple[int, int]) -> None:
        super().__init__()
        self.spread = nn.ModuleList(
            Separable(
                [
                    _resizing(cells, seen, antialias=True) @ _to_grid(side // stride, cells, config.pool)
                    for side, cells, seen in zip(config.size, config.grid, view, strict=True)
                ]
            )
            for stride in strides
        )

    def forward(self, maps: list[Tensor]) -> Tensor:
        """A map `(B, channels, *view)` of the blocks' maps `(B, c, h, w)`."""
        return torch.cat([spread(one) for spread, one in zip(self.spread, maps, strict=True)], dim=1)


class Separable(nn.Module):
    """A linear operator that works along rows and along columns, each by a matrix.

    Resizing and local means are of this kind: two small products of matrices do both in one, borders
    included, in every runtime alike.

    Args:
        matrices: `(h', h)` and `(w', w)`.
    """

    columns: Tensor

    def __init__(self, matrices: list[Tensor]) -> None:
        super().__init__()
        self.rows = Along(matrices[0].float())
        self.register_buffer("columns", matrices[1].float().T.contiguous())

    def forward(self, x: Tensor) -> Tensor:
        """Maps `(B, C, h', w')` of maps `(B, C, h, w)`."""
        y: Tensor = self.rows(x @ self.columns)
        return y


def _resizing(source: int, target: int, *, antialias: bool) -> Tensor:
    """Torch's bilinear resize along one axis as a matrix `(target, source)`, float64."""
    eye = torch.eye(source, dtype=torch.float64)[None, None]
    if source == target:
        return eye[0, 0]
    resized = interpolate(
        eye, size=(target, source), mode="bilinear", antialias=antialias, align_corners=False
    )
    return resized[0, 0]


def _to_grid(source: int, cells: int, pool: int) -> Tensor:
    """From a block's map to the grid, local means with zeros beyond the border included; float64."""
    matrix = _resizing(source, cells, antialias=source > cells)
    if pool > 1:
        half = pool // 2
        matrix = avg_pool2d(matrix[None], (pool, 1), stride=1, padding=(half, 0))[0]
    return matrix


def _resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    return interpolate(x, size=size, mode="bilinear", antialias=True, align_corners=False)
