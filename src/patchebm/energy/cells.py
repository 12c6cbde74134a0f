"""The energy of a whole map of features from a network that judges its cells."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from patchebm.energy.base import Energy


class CellsEnergy(Energy):
    """E(x) = logsumexp over cells of E_cell, minus log of their number: the oddest cells decide.

    Args:
        cell: an energy of single cells `(B, C, 1, 1)`.
    """

    # The identity: the whole energy is "the rest".
    first_stage_is_affine = True

    def __init__(self, cell: Energy) -> None:
        super().__init__()
        self.cell = cell

    def first_stage(self, x: Tensor) -> tuple[Tensor, ...]:
        """The identity."""
        return (x,)

    def rest(self, hidden: tuple[Tensor, ...]) -> Tensor:
        """Energies `(B,)` of maps `(B, C, h, w)`."""
        x = hidden[0]
        energies = self.cell(cells_of(x)).view(len(x), -1)
        return torch.logsumexp(energies, dim=1) - math.log(energies.shape[1])


def cells_of(maps: Tensor) -> Tensor:
    """All cells `(B * h * w, C, 1, 1)` of maps `(B, C, h, w)`, map by map and row by row."""
    return maps.movedim(1, -1).flatten(0, -2)[:, :, None, None]
