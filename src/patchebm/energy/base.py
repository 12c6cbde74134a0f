"""The one interface that samplers, training and detectors know of an energy."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn


class Energy(nn.Module, ABC):
    """A callable `(B, C, H, W) -> (B,)`, low for normal, split into a first stage and the rest.

    The split is what PYLD needs (Yang and Ji 2021, arXiv 2109.09032, after YOPO): the co-state
    `p = dE/dh` at the first stage's output h is computed once and used for several cheap steps through
    the first stage alone. `forward(x)` is always `rest(first_stage(x))`.
    """

    first_stage_is_affine: bool = False
    """Whether `first_stage` is affine in x, so that its Jacobian is the same everywhere."""

    @abstractmethod
    def first_stage(self, x: Tensor) -> tuple[Tensor, ...]:
        """Map `(B, C, H, W)` to one or more hidden tensors, each with B as its first dimension."""

    @abstractmethod
    def rest(self, hidden: tuple[Tensor, ...]) -> Tensor:
        """Map the first stage's output to energies `(B,)`."""

    def forward(self, x: Tensor) -> Tensor:
        """Energies `(B,)`, float32, of a batch `(B, C, H, W)`."""
        return self.rest(self.first_stage(x))

    @property
    def learner(self) -> nn.Module:
        """The part whose parameters learn; all of it unless it stands on a fitted base."""
        return self

    def at(self, slot: Tensor | None) -> Energy:
        """This energy for views of the given slots `(B,)`; itself unless it depends on them."""
        del slot
        return self


def energy_gradient(energy: Energy, x: Tensor) -> tuple[Tensor, Tensor]:
    """Energies `(B,)` and their gradient `dE/dx` `(B, C, H, W)`, both detached.

    No gradient reaches the energy's parameters.
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_(True)
        value = energy(x)
        (gradient,) = torch.autograd.grad(value.sum(), x)
    return value.detach(), gradient
