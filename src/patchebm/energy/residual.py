"""A small residual network on feature vectors: the energy that noise contrast refines."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from patchebm.energy.base import Energy


class ResidualEnergy(Energy):
    """E(x) of flattened views: a linear first stage, one residual layer, a linear read-out.

    Args:
        dimensions: of a flattened view.
        hidden: width of both hidden layers.
        generator: draws the weights: He-normal, and zeros at the read-out, so that E starts at 0.
    """

    # One linear layer: PYLD's inner loop collapses into one step.
    first_stage_is_affine = True

    def __init__(self, dimensions: int, hidden: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.enter = nn.Linear(dimensions, hidden)
        self.residual = nn.Linear(hidden, hidden)
        self.leave = nn.Linear(hidden, 1)
        for layer, gain in ((self.enter, 1.0), (self.residual, 1.0), (self.leave, 0.0)):
            nn.init.normal_(layer.weight, 0.0, gain * layer.in_features**-0.5, generator=generator)
            nn.init.zeros_(layer.bias)

    def first_stage(self, x: Tensor) -> tuple[Tensor, ...]:
        """Hidden values `(B, hidden)` before the first activation."""
        return (self.enter(x.flatten(1)),)

    def rest(self, hidden: tuple[Tensor, ...]) -> Tensor:
        """Energies `(B,)`."""
        h = silu(hidden[0])
        h = h + silu(self.residual(h))
        return self.leave(h).squeeze(1)  # type: ignore[no-any-return]
