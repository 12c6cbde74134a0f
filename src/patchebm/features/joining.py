"""The maps of all blocks on one grid, and linear functions of them, in few operations."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d, interpolate

from patchebm.energy.fused import Affine
from patchebm.features.framing import Framing


class Separable(nn.Module):
    """A linear operator that works along rows and along columns, each by a matrix.

    Resizing, local means and smoothing are of this kind: two small products of matrices do all of them at
    once, borders included, in every runtime alike.

    Args:
        rows: `(h', h)`.
        columns: `(w', w)`.
    """

    rows: Tensor
    columns: Tensor

    def __init__(self, rows: Tensor, columns: Tensor) -> None:
        super().__init__()
        self.register_buffer("rows", rows.float().contiguous(), persistent=False)
        self.register_buffer("columns", columns.float().T.contiguous(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps `(B, C, h', w')` of maps `(B, C, h, w)`."""
        return self.rows @ (x @ self.columns)


class Join(nn.Module):
    """Brings the maps of all blocks to the grid of a level, as `FeatureExtractor.join` does.

    Args:
        operators: for each block what brings its map to the grid.
    """

    def __init__(self, operators: Sequence[Separable]) -> None:
        super().__init__()
        self.operators = nn.ModuleList(operators)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Joined maps `(B, C, h, w)` of the blocks' maps `(B, c, h', w')`."""
        return torch.cat([one(each) for one, each in zip(self.operators, maps, strict=True)], dim=1)


class LinearMaps(nn.Module):
    """Linear functions of every cell of a map, each as a 1x1 convolution.

    Args:
        functions: each with as many columns as the map has channels.
    """

    def __init__(self, functions: Sequence[Affine]) -> None:
        super().__init__()
        self.count = len(functions)
        for i, one in enumerate(functions):
            weight = one.matrix.float()[:, :, None, None].contiguous()
            self.register_buffer(f"weight{i}", weight, persistent=False)
            self.register_buffer(f"bias{i}", one.shift.float().contiguous(), persistent=False)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Values `(B, R, h, w)` of each function, of maps `(B, C, h, w)`."""
        return [conv2d(x, getattr(self, f"weight{i}"), getattr(self, f"bias{i}")) for i in range(self.count)]


def build_join(strides: Sequence[int], framing: Framing, pool: int, grid: tuple[int, int]) -> Join:
    """Build what brings the blocks' maps to a level's grid.

    Resizing to the extractor's grid, local means, and resizing to a coarser grid are linear: one matrix an
    axis does all three, so that a coarse level does not pay for the extractor's finer grid.

    Args:
        strides: of the blocks.
        framing: sizes.
        pool: side of the window of local means.
        grid: rows and columns of the level; `framing.grid`, or coarser.
    """
    return Join(
        [
            Separable(
                *(
                    _resizing(cells, target) @ _to_grid(side // stride, cells, pool)
                    for side, cells, target in zip(framing.size, framing.grid, grid, strict=True)
                )
            )
            for stride in strides
        ]
    )


def smoother(grid: tuple[int, int], side: int, width: float | None = None) -> Separable:
    """Build the Gaussian window of `side` cells that smooths maps on a grid.

    At the border the outermost cells stand in for those beyond it.

    Args:
        grid: rows and columns.
        side: of the window, in cells; odd.
        width: standard deviation in cells; None for a third of the side.
    """
    return Separable(*(_smoothing(cells, side, width or side / 3) for cells in grid))


def _smoothing(cells: int, side: int, width: float) -> Tensor:
    offsets = torch.arange(side, dtype=torch.float64) - side // 2
    weights = torch.exp(-0.5 * (offsets / width).square())
    weights = weights / weights.sum()
    matrix = torch.zeros(cells, cells, dtype=torch.float64)
    for row in range(cells):
        for offset, weight in zip(offsets.long().tolist(), weights, strict=True):
            matrix[row, min(max(row + offset, 0), cells - 1)] += weight
    return matrix


def _resizing(source: int, target: int) -> Tensor:
    """Torch's bilinear, antialiased resize along one axis as a matrix `(target, source)`, float64."""
    eye = torch.eye(source, dtype=torch.float64)[None, None]
    if source == target:
        return eye[0, 0]
    # Antialiasing changes nothing where a map grows.
    resized = interpolate(eye, size=(target, source), mode="bilinear", antialias=True, align_corners=False)
    return resized[0, 0]


def _to_grid(source: int, cells: int, pool: int) -> Tensor:
    """From a block's map to the grid, local means with zeros beyond the border included; float64."""
    matrix = _resizing(source, cells)
    if pool > 1:
        half = pool // 2
        matrix = avg_pool2d(matrix[None], (pool, 1), stride=1, padding=(half, 0))[0]
    return matrix
