"""Views of a feature map: every cell is a patch."""

from __future__ import annotations

import torch
from torch import Tensor


class CellViews:
    """The cells of a feature map `(C, H, W)` as views `(C, 1, 1)`, row by row.

    Args:
        grid: rows and columns of the map.
    """

    view_size = (1, 1)
    # Cells are cheap: a whole map at once.
    at_once = 4096

    def __init__(self, grid: tuple[int, int]) -> None:
        self._grid = (grid[0], grid[1])
        self.positions = grid[0] * grid[1]

    def for_scoring(self, features: Tensor) -> Tensor:
        """The map as it is."""
        return features

    def grid(self, features: Tensor) -> Tensor:
        """All cells `(H * W, C, 1, 1)` float32 of a map `(C, H, W)`."""
        return features.flatten(1).T.float()[:, :, None, None].contiguous()

    def spread_map(self, values: Tensor) -> Tensor:
        """One value per cell `(H * W,)` as a map `(H, W)`."""
        return values.view(self._grid)

    def sample(self, features: Tensor, cells: int, generator: torch.Generator) -> Tensor:
        """Random cells `(n, C, 1, 1)` of a map to fit on, all of them if there are no more than `cells`."""
        rows = features.flatten(1).T[:, :, None, None]
        if cells >= len(rows):
            return rows.contiguous()
        return rows[torch.randperm(len(rows), generator=generator)[:cells]].contiguous()
