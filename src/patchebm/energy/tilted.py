"""A network that tilts the informative Gaussian: E(x) = E_gauss(x) / T + E_net(x, dE_gauss/dx).

Far from the data E grows quadratically whatever the network says, so chains cannot run away, and
training starts from a useful detector instead of from noise. The network may see, beside the view, the
gradient of the Gaussian's energy: a picture of what the Gaussian finds odd, and where.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from patchebm.energy.base import Energy
from patchebm.energy.gaussian import GaussianEnergy


CLIP = 8.0
"""Bound of the scaled gradient that the network sees: eight standard deviations of what normals show."""


class TiltedEnergy(Energy):
    """Sum of a fitted Gaussian energy and a network; only the network learns.

    Args:
        base: the Gaussian; its tensors are buffers.
        network: the energy that learns; takes C channels, or 2C with `sees_gradient`.
        temperature: T > 0. A Gaussian of d pixels has energies of order d/2 and a network of order 1;
            T brings the two to one scale.
        gradient_scale: 0 shows the network the view alone; else what dE_gauss/dx is multiplied by before
            it joins the view as further channels (its inverse root mean square brings it to order 1).
            It is clamped to +-CLIP there, since the gradient of a defect may be a hundred times as large.
    """

    def __init__(
        self, base: GaussianEnergy, network: Energy, temperature: float = 1.0, gradient_scale: float = 0.0
    ) -> None:
        super().__init__()
        self.base = base
        self.network = network
        self.temperature = temperature
        self.gradient_scale = gradient_scale
        # Where the network sees a clamped gradient, x itself is the first stage: affine, too.
        self.first_stage_is_affine = bool(gradient_scale) or network.first_stage_is_affine
        self._slot: Tensor | None = None

    def first_stage(self, x: Tensor) -> tuple[Tensor, ...]:
        """The network's first stage, and x itself for the base."""
        return (x,) if self.gradient_scale else (*self.network.first_stage(x), x)

    def rest(self, hidden: tuple[Tensor, ...]) -> Tensor:
        """Energies `(B,)`."""
        x = hidden[-1]
        network = self.network_energy(x) if self.gradient_scale else self.network.rest(hidden[:-1])
        return network + self.base.energy_at(x, self._slot) / self.temperature

    def network_energy(self, x: Tensor) -> Tensor:
        """What the network alone says of views `(B, C, H, W)`: energies `(B,)`."""
        if self.gradient_scale:
            gradient = self.base.gradient_at(x, self._slot) * self.gradient_scale
            x = torch.cat([x, gradient.clamp(-CLIP, CLIP)], dim=1)
        return self.network(x)  # type: ignore[no-any-return]

    @property
    def learner(self) -> nn.Module:
        """The network; the base is fitted once and stays."""
        return self.network

    def at(self, slot: Tensor | None) -> TiltedEnergy:
        """The same sum with the Gaussian bound to the slots `(B,)` of a batch."""
        bound = TiltedEnergy(self.base, self.network, self.temperature, self.gradient_scale)
        bound._slot = slot
        return bound
