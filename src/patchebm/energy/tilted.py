"""A network that tilts the informative Gaussian: E(x) = E_gauss(x) / T + E_net(x, dE_gauss/dx).

Far from the data E grows quadratically whatever the network says, so chains cannot run away, and
training starts from a useful detector instead of from noise. The network may see, beside the view, the
gradient of the Gaussian's energy: a picture of what the Gaussian finds odd, and where. That gradient is
affine in x, so the first stage stays affine and PYLD keeps its closed form.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from patchebm.energy.base import Energy
from patchebm.energy.gaussian import GaussianEnergy


class TiltedEnergy(Energy):
    """Sum of a fitted Gaussian energy and a network; only the network learns.

    Args:
        base: the Gaussian; its tensors are buffers.
        network: the energy that learns; takes C channels, or 2C with `sees_gradient`.
        temperature: T > 0. A Gaussian of d pixels has energies of order d/2 and a network of order 1;
            T brings the two to one scale.
        gradient_scale: 0 shows the network the view alone; else what dE_gauss/dx is multiplied by before
            it joins the view as further channels (its inverse root mean square brings it to order 1).
    """

    def __init__(
        self, base: GaussianEnergy, network: Energy, temperature: float = 1.0, gradient_scale: float = 0.0
    ) -> None:
        super().__init__()
        self.base = base
        self.network = network
        self.temperature = temperature
        self.gradient_scale = gradient_scale
        self.first_stage_is_affine = network.first_stage_is_affine
        self._slot: Tensor | None = None

    def first_stage(self, x: Tensor) -> tuple[Tensor, ...]:
        """The network's first stage, and x itself for the base."""
        return (*self.network.first_stage(self._network_input(x)), x)

    def rest(self, hidden: tuple[Tensor, ...]) -> Tensor:
        """Energies `(B,)`."""
        base = self.base.energy_at(hidden[-1], self._slot)
        return self.network.rest(hidden[:-1]) + base / self.temperature

    def network_energy(self, x: Tensor) -> Tensor:
        """What the network alone says of views `(B, C, H, W)`: energies `(B,)`."""
        return self.network(self._network_input(x))  # type: ignore[no-any-return]

    @property
    def learner(self) -> nn.Module:
        """The network; the base is fitted once and stays."""
        return self.network

    def at(self, slot: Tensor | None) -> TiltedEnergy:
        """The same sum with the Gaussian bound to the slots `(B,)` of a batch."""
        bound = TiltedEnergy(self.base, self.network, self.temperature, self.gradient_scale)
        bound._slot = slot
        return bound

    def _network_input(self, x: Tensor) -> Tensor:
        if not self.gradient_scale:
            return x
        return torch.cat([x, self.base.gradient_at(x, self._slot) * self.gradient_scale], dim=1)
