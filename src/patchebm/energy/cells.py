"""The energy of a whole feature map from an energy of its cells."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from patchebm.energy.base import Energy
from patchebm.energy.fused import Affine, Evidence, Fused, cells_of, log_sum_exp


class CellsEnergy(Energy):
    """E(x) = logsumexp over cells of E_cell, minus log of their number: the oddest cells decide.

    Args:
        cell: an energy of single cells `(B, C, 1, 1)`.
    """

    # The identity: the whole energy is the rest.
    first_stage_is_affine = True

    def __init__(self, cell: Energy) -> None:
        super().__init__()
        self.cell = cell

    def rest(self, hidden: tuple[Tensor, ...]) -> Tensor:
        """Energies `(B,)` of maps `(B, C, h, w)`."""
        x = hidden[0]
        energies = self.cell(cells_of(x)).view(len(x), -1)
        return torch.logsumexp(energies, dim=1) - math.log(energies.shape[1])

    def localise(self, x: Tensor) -> Tensor:
        """Return the energy of each cell `(B, h, w)` of maps `(B, C, h, w)`."""
        energies: Tensor = self.cell(cells_of(x))
        return energies.view(len(x), *x.shape[2:])

    def fused(self, space: Affine, *, whole: bool) -> Fused:
        """Return the fused form of the cells' energy, and the log-mean-exp of its result."""
        assert whole, "the energy of whole maps was taken for one of cells"
        cell = self.cell.fused(space, whole=False)
        return Fused(cell.linear, _Whole(cell.rest))


class _Whole(nn.Module):
    """The rest of an energy of whole maps: that of its cells, and their log-mean-exp."""

    def __init__(self, cells: nn.Module) -> None:
        super().__init__()
        self.cells = cells

    def forward(self, values: list[Tensor], *, maps: bool = True) -> Evidence:
        del maps
        cells = self.cells(values).components
        count = int(cells.shape[2]) * int(cells.shape[3])
        return Evidence(log_sum_exp(cells, (2, 3)) - math.log(count), cells)
