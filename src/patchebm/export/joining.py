"""The maps of all blocks on the grid of a level, as products of matrices."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from patchebm.config.schema import FeaturesConfig


class Along(nn.Module):
    """A linear operator along the rows of maps, `(.., h, w) -> (.., H, w)`.

    Args:
        matrix: `(H, h)`.
    """

    matrix: Tensor

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.register_buffer("matrix", matrix.contiguous())

    def forward(self, x: Tensor) -> Tensor:
        """Maps `(.., H, w)` of maps `(.., h, w)`."""
        return self.matrix @ x


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


def spreads(strides: Sequence[int], config: FeaturesConfig, view: tuple[int, int]) -> list[Separable]:
    """For each block what brings its map to a level's view, as `patchebm.features.maps.FeatureMaps` does.

    Resizing to the grid, local means, and resizing to the view are linear: one matrix an axis does all three,
    and the image level does not pay for the finer grid of the patch level.

    Args:
        strides: of the blocks.
        config: sizes.
        view: height and width that the level sees; `config.grid`, or coarser.
    """
    return [
        Separable(
            [
                _resizing(cells, seen, antialias=True) @ _to_grid(side // stride, cells, config.pool)
                for side, cells, seen in zip(config.size, config.grid, view, strict=True)
            ]
        )
        for stride in strides
    ]


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
