"""A small residual network on feature vectors, trained by noise contrast."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from patchebm.energy.activation import Activation, build_activation
from patchebm.energy.base import Energy
from patchebm.energy.fused import Affine, Evidence, Fused, linear

if TYPE_CHECKING:
    from patchebm.config.features import CellNetworkConfig


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
        self.fc1 = nn.Linear(dimensions, hidden)
        self.fc2 = nn.Linear(hidden, hidden)
        self.head = nn.Linear(hidden, 1)
        for layer, gain in ((self.fc1, 1.0), (self.fc2, 1.0), (self.head, 0.0)):
            nn.init.normal_(layer.weight, 0.0, gain * layer.in_features**-0.5, generator=generator)
            nn.init.zeros_(layer.bias)

    def first_stage(self, x: Tensor) -> tuple[Tensor, ...]:
        """Hidden values `(B, hidden)` before the first activation."""
        return (self.fc1(x.flatten(1)),)

    def rest(self, hidden: tuple[Tensor, ...]) -> Tensor:
        """Energies `(B,)`."""
        h = self.activate(hidden[0])
        h = h + self.activate(self.fc2(h))
        return self.head(h).squeeze(1)  # type: ignore[no-any-return]

    @classmethod
    def restore(cls, config: CellNetworkConfig, tensors: Mapping[str, Tensor]) -> ResidualEnergy:
        """Build the network again; its sizes are those of the tensors."""
        hidden, dimensions = tensors["fc1.weight"].shape
        # The weights drawn here are replaced at once.
        network = cls(dimensions, hidden, config.activation, generator=torch.Generator().manual_seed(0))
        network.load_state_dict(dict(tensors))
        return network

    def behind_first(self, x: Tensor) -> Tensor:
        """Return the energy of every cell `(B, 1, h, w)` from the first layer's values on maps."""
        h = self.activate(x)
        h = h + self.activate(linear(h, self.fc2.weight, self.fc2.bias))
        return linear(h, self.head.weight, self.head.bias)

    def fused(self, space: Affine, *, whole: bool) -> Fused:
        """Return the energy of every cell, with the whitening folded into the first layer."""
        if whole:
            return super().fused(space, whole=whole)
        first = space.then(self.fc1.weight, self.fc1.bias)
        return Fused([first], _Cells(self))


class _Cells(nn.Module):
    """The rest of the network behind its first layer, cell by cell."""

    def __init__(self, network: ResidualEnergy) -> None:
        super().__init__()
        self.network = network

    def forward(self, values: list[Tensor], *, maps: bool = True) -> Evidence:
        del maps
        (x,) = values
        energy = self.network.behind_first(x)
        return Evidence(energy, energy)
