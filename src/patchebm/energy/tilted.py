"""A network that tilts a fitted base: E(x) = w (E_base(x) - c) + E_net(x).

Far from the data E grows quadratically whatever the network says, so chains cannot run away, and
training starts from a useful detector instead of from noise. The base is the informative Gaussian or a
mixture of clusters. Beside the view the network may see the gradient of a Gaussian's energy,
dE_gauss/dx: an image of what the Gaussian finds odd, and where.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from patchebm.energy.base import Energy, Position
from patchebm.energy.fused import Affine, Both, Fused
from patchebm.energy.gaussian import GaussianEnergy

SQUASH = 4.0
"""Bound of the scaled gradient g that the network sees: g / (1 + |g| / SQUASH)."""


class TiltedEnergy(Energy):
    """Sum of a fitted base energy and a network; only the network learns.

    Args:
        base: the Gaussian or mixture; its tensors are buffers.
        network: the energy that learns; takes C channels, or 2C with `gradient_input`.
        weight: w >= 0. A base of d dimensions has energies of order d/2 and a network of order 1; the
            inverse of the base's spread brings the two to one scale. 0 trains the network alone (it may
            still look at a Gaussian's gradient); the two then meet in the score.
        offset: c, the base's mean energy of normal views, so that normal views lie about 0.
        gradient_scale: None shows the network the view alone; else what dE_gauss/dx is multiplied by before
            it joins the view as further channels, so that normal views come out at order 1: `(1, C, H, W)`
            pixel by pixel, or `(P, 1, 1, 1)` grid position by grid position. The result is squashed to
            +-SQUASH, since the gradient of a defect may be a hundred times as large.
        network_only: whether the network's energy is the only component.
    """

    weight: Tensor
    offset: Tensor
    gradient_scale: Tensor | None

    def __init__(
        self,
        base: Energy,
        network: Energy,
        weight: float | Tensor = 1.0,
        offset: float | Tensor = 0.0,
        gradient_scale: Tensor | None = None,
        *,
        network_only: bool = False,
    ) -> None:
        super().__init__()
        if gradient_scale is not None and not isinstance(base, GaussianEnergy):
            raise ValueError("only a Gaussian base has a gradient that a network can see")
        self.base = base
        self.network = network
        # Buffers, so that they are saved: the gradient of the sum is a map of whole images.
        self.register_buffer("weight", torch.as_tensor(weight, dtype=torch.float32))
        self.register_buffer("offset", torch.as_tensor(offset, dtype=torch.float32))
        self._base_counts = bool(weight)
        self.network_only = network_only
        self.register_buffer("gradient_scale", gradient_scale)
        # Where the network sees a squashed gradient, x itself is the first stage: affine, too.
        self.first_stage_is_affine = gradient_scale is not None or network.first_stage_is_affine
        self._position: Position | None = None

    def first_stage(self, x: Tensor) -> tuple[Tensor, ...]:
        """The network's first stage, and x itself for the base."""
        return (x,) if self.gradient_scale is not None else (*self.network.first_stage(x), x)

    def rest(self, hidden: tuple[Tensor, ...]) -> Tensor:
        """Energies `(B,)`."""
        x = hidden[-1]
        network = self.network.rest(hidden[:-1]) if self.gradient_scale is None else self.network_energy(x)
        if not self._base_counts:
            return network
        base: Tensor = self.base.at(self._position)(x)
        return network + self.weight * (base - self.offset)

    def network_energy(self, x: Tensor) -> Tensor:
        """What the network alone says of views `(B, C, H, W)`: energies `(B,)`."""
        if self.gradient_scale is not None and isinstance(self.base, GaussianEnergy):
            scale = self.gradient_scale
            if isinstance(self._position, Tensor):
                scale = scale[self._position % len(scale)]
            elif self._position is not None and len(scale) > 1:
                scale = scale[self._position]
            gradient = self.base.gradient_at(x, self._position) * scale
            x = torch.cat([x, gradient / (1 + gradient.abs() / SQUASH)], dim=1)
        return self.network(x)  # type: ignore[no-any-return]

    @property
    def learner(self) -> nn.Module:
        """The network; the base is fitted once and stays."""
        return self.network

    def at(self, position: Position | None) -> TiltedEnergy:
        """Bind the Gaussian of the sum to the positions of a batch."""
        bound = copy.copy(self)
        bound._position = position
        return bound

    def components(self, x: Tensor, position: Position | None = None, *, gradient: bool = False) -> Tensor:
        """Return the components of the base and the network's energy `(B, K + 1)`, or the latter alone."""
        network = self.at(position).network_energy(x)[:, None]
        if self.network_only:
            return network
        return torch.cat([self.base.components(x, position, gradient=gradient), network], dim=1)

    def fused(self, space: Affine, *, whole: bool) -> Fused:
        """Return the fused forms of base and network beside each other."""
        base, network = self.base.fused(space, whole=whole), self.network.fused(space, whole=whole)
        return Fused([*base.linear, *network.linear], Both(base, network))
