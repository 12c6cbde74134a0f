"""A small residual network on feature vectors: the energy that noise contrast refines."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from patchebm.energy.activation import Activation, build_activation
from patchebm.energy.base import Energy


class ResidualEnergy(Energy):
    """E(x) of flattened views: a linear first stage, one residual layer, a linear read-out.

    Args:
        dimensions: of a flattened view.
        hidden: width of both hidden layers.
        activation: after each of them: `leaky_relu`, which runtimes compute in passing, or `silu`.
        generator: draws the weights: He-normal, and zeros at the read-out, so that E starts at 0.
    """

    # One linear layer: PYLD's inner loop collapses into one step.
    first_stage_is_affine = True

    def __init__(
        self, dimensions: int, hidden: int, activation: Activation = "silu", *, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.activate = build_activation(activation)
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
        h = self.activate(hidden[0])
        h = h + self.activate(self.residual(h))
        return self.leave(h).squeeze(1)  # type: ignore[no-any-return]
