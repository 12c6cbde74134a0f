"""A network that tilts a reference energy: E(x) = E_base(x) / T + E_net(x).

Far from the data E grows quadratically whatever the network says, so chains cannot run away, and
training starts from a useful detector instead of from noise.
"""

from __future__ import annotations

from torch import Tensor, nn

from patchebm.energy.base import Energy


class TiltedEnergy(Energy):
    """Sum of a fitted base energy and a network; only the network learns.

    Args:
        base: the reference energy, for instance a `GaussianEnergy`; its tensors are buffers.
        network: the energy that learns.
        temperature: T > 0. A Gaussian of d pixels has energies of order d/2 and a network of order 1;
            T brings the two to one scale.
    """

    def __init__(self, base: Energy, network: Energy, temperature: float = 1.0) -> None:
        super().__init__()
        self.base = base
        self.network = network
        self.temperature = temperature
        self.first_stage_is_affine = network.first_stage_is_affine

    def first_stage(self, x: Tensor) -> tuple[Tensor, ...]:
        """The network's first stage, and x itself for the base."""
        return (*self.network.first_stage(x), x)

    def rest(self, hidden: tuple[Tensor, ...]) -> Tensor:
        """Energies `(B,)`."""
        return self.network.rest(hidden[:-1]) + self.base(hidden[-1]) / self.temperature

    @property
    def learner(self) -> nn.Module:
        """The network; the base is fitted once and stays."""
        return self.network

    def at(self, position: Tensor | None) -> Energy:
        """The same sum with the base bound to the batch's grid positions."""
        base = self.base.at(position)
        return self if base is self.base else TiltedEnergy(base, self.network, self.temperature)
