"""The one interface that samplers, training and detectors know of an energy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor, nn

from patchebm.energy.fused import (
    Affine,
    CellByCell,
    Fused,
    WholeMap,
    local_gradient,
    positive_log,
    strongest,
)

if TYPE_CHECKING:
    from typing_extensions import Self


Position: TypeAlias = "Tensor | slice"
"""Which of an energy's positions each view of a batch has: `(B,)` int64, or a slice of all positions."""


class Energy(nn.Module, ABC):
    """A callable `(B, C, H, W) -> (B,)`, low for normal, split into a first stage and the rest.

    The split is what PYLD needs (Yang and Ji 2021, arXiv 2109.09032, after YOPO): the co-state
    `p = dE/dh` at the first stage's output h is computed once and used for several cheap steps through
    the first stage alone. `forward(x)` is always `rest(first_stage(x))`.

    A new energy needs `forward` (or the two stages) and `fit`. What else stands here has a default that works
    for any energy of feature vectors, and that an energy replaces where it has something better.
    """

    first_stage_is_affine: bool = False
    """Whether `first_stage` is affine in x, so that its Jacobian is the same everywhere."""

    def first_stage(self, x: Tensor) -> tuple[Tensor, ...]:
        """Map `(B, C, H, W)` to one or more hidden tensors, each with B as its first dimension.

        The default is the identity, so that the whole energy is the rest.
        """
        return (x,)

    @abstractmethod
    def rest(self, hidden: tuple[Tensor, ...]) -> Tensor:
        """Map the first stage's output to energies `(B,)`."""

    def forward(self, x: Tensor) -> Tensor:
        """Energies `(B,)`, float32, of a batch `(B, C, H, W)`."""
        return self.rest(self.first_stage(x))

    @classmethod
    def fit(cls, views: Tensor, config: Any, generator: torch.Generator) -> Self:
        """Fit the energy to normal views in closed form; networks are trained instead.

        Args:
            views: `(n, C, h, w)` float32.
            config: of the class whose `target` this energy is.
            generator: decides everything random.
        """
        raise NotImplementedError(f"{cls.__name__} has no fit in closed form")

    @classmethod
    def restore(cls, config: Any, tensors: Mapping[str, Tensor]) -> Self:
        """Build the energy again from its `state_dict`.

        The default hands the tensors to the constructor, by name.
        """
        del config
        return cls(**tensors)

    @property
    def learner(self) -> nn.Module:
        """The part whose parameters learn; all of it unless it stands on a fitted base."""
        return self

    def at(self, position: Position | None) -> Energy:
        """This energy for views at the given positions `(B,)`; itself unless it depends on them."""
        del position
        return self

    def components(self, x: Tensor, position: Position | None = None, *, gradient: bool = False) -> Tensor:
        """Return what each part of the energy says of views `(B, C, H, W)`, for calibration to standardise.

        Values that are positive with a long tail come as logarithms, which a standard deviation describes.

        Args:
            x: the views.
            position: where they stand.
            gradient: take the largest local mean of the squared gradient dE/dx instead of the energy (Genc et
                al. 2021, arXiv 2105.03270); the network of a tilted energy counts by its energy all the same.

        Returns:
            `(B, K)`, higher = more anomalous.
        """
        if gradient:
            return strongest(local_gradient(energy_gradient(self.at(position), x)[1]))
        value: Tensor = self.at(position)(x)
        return value[:, None]

    def localise(self, x: Tensor) -> Tensor:
        """Return a map `(B, H, W)` of what is odd in whole views `(B, C, H, W)`: the log local gradient."""
        return positive_log(local_gradient(energy_gradient(self, x)[1]))

    def fused(self, space: Affine, *, whole: bool) -> Fused:
        """Return the cheap form of the energy of feature maps, with the whitening `space` folded in.

        The default whitens, and calls `components`.

        Args:
            space: from a cell's features to the space that the energy lives in.
            whole: whether a whole map is a view, rather than each of its cells.
        """
        return Fused([space], WholeMap(self) if whole else CellByCell(self))


def energy_gradient(energy: Energy, x: Tensor) -> tuple[Tensor, Tensor]:
    """Compute energies `(B,)` and their gradient `dE/dx` `(B, C, H, W)`, both detached.

    No gradient reaches the energy's parameters.
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_(True)
        value = energy(x)
        (gradient,) = torch.autograd.grad(value.sum(), x)
    return value.detach(), gradient
