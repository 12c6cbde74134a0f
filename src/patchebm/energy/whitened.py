"""An energy together with the space that it lives in."""

from __future__ import annotations

from torch import Tensor

from patchebm.energy.base import Energy, Position
from patchebm.energy.fused import Affine, Fused
from patchebm.energy.whitening import Whitening


class WhitenedEnergy(Energy):
    """E(x) = E_white(whiten(x)).

    Args:
        energy: of whitened views.
        whitening: None for the space of the views themselves.
    """

    # The identity: the whole energy is the rest.
    first_stage_is_affine = True

    def __init__(self, energy: Energy, whitening: Whitening | None) -> None:
        super().__init__()
        self.energy = energy
        self.whitening = whitening

    def rest(self, hidden: tuple[Tensor, ...]) -> Tensor:
        """Energies `(B,)` of views `(B, C, h, w)`."""
        value: Tensor = self.energy(self._whiten(hidden[0]))
        return value

    def components(self, x: Tensor, position: Position | None = None, *, gradient: bool = False) -> Tensor:
        """Return the components of the energy in its space."""
        return self.energy.components(self._whiten(x), position, gradient=gradient)

    def fused(self, space: Affine, *, whole: bool) -> Fused:
        """Return the fused form of the energy, with this whitening behind the given space."""
        if self.whitening is not None:
            own = self.whitening.affine()
            space = space.then(own.matrix, own.shift)
        return self.energy.fused(space, whole=whole)

    def _whiten(self, x: Tensor) -> Tensor:
        return x if self.whitening is None else self.whitening(x)
