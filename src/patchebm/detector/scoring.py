"""How the energies of views become numbers that can be compared: components and local gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from patchebm.config.schema import ScoreConfig
from patchebm.energy import CellsEnergy, Energy, GaussianEnergy, TiltedEnergy, Whitening
from patchebm.energy.base import energy_gradient
from patchebm.energy.cells import cells_of
from patchebm.features.views import Views

# Side of the neighbourhood over which squared gradients are averaged, as in Genc et al. 2021.
NEIGHBOURHOOD = 5


class Member(NamedTuple):
    """A fitted energy and, on features, the space in which it lives."""

    energy: Energy
    whitening: Whitening | None = None

    def space(self, x: Tensor) -> Tensor:
        """Views `(B, C, H, W)` as the energy takes them."""
        return x if self.whitening is None else self.whitening(x)


def local_gradient(gradient: Tensor) -> Tensor:
    """Local means of the squared gradient `(B, C, H, W)` to `(B, H, W)` (Genc et al. 2021, 2105.03270)."""
    squared = gradient.square().sum(1, keepdim=True)
    # A map of a few cells is local as it is.
    side = NEIGHBOURHOOD if min(gradient.shape[-2:]) >= 4 * NEIGHBOURHOOD else 1
    half = side // 2
    return avg_pool2d(squared, side, stride=1, padding=half, count_include_pad=False).squeeze(1)


def view_components(energy: Energy, x: Tensor, slot: Tensor | None, config: ScoreConfig) -> Tensor:
    """What an energy says of each view, component by component.

    A tilted energy has two, the base's and the network's (or the latter alone), others one. A
    Gaussian's energy and squared gradients are positive with a long tail and enter as logarithms, whose
    spread a standard deviation describes; a network's energy enters as it is.

    Args:
        energy: a member's energy, in evaluation mode.
        x: `(B, C, H, W)` views.
        slot: `(B,)` their slots, or None.
        config: which score.

    Returns:
        `(B, K)`, higher = more anomalous.
    """
    if isinstance(energy, TiltedEnergy):
        with torch.no_grad():
            network = energy.at(slot).network_energy(x)[:, None]
        if config.components == "network":
            return network
        return torch.cat([view_components(energy.base, x, slot, config), network], dim=1)
    if config.kind == "gradient":
        if isinstance(energy, GaussianEnergy):
            gradient = energy.gradient_at(x, slot)
        else:
            gradient = energy_gradient(energy, x)[1]
        strongest = local_gradient(gradient).flatten(1).amax(1, keepdim=True)
        return strongest.clamp(min=1e-12).log()
    with torch.no_grad():
        value: Tensor = energy.at(slot)(x)[:, None]
    return value.clamp(min=1e-12).log() if isinstance(energy, GaussianEnergy) else value


def image_components(
    members: Sequence[Member], images: list[Tensor], views: Views, config: ScoreConfig
) -> Tensor:
    """Components of all test views of images resized for scoring, averaged over members.

    Args:
        members: in evaluation mode.
        images: `(C, H, W)` each, as `views.for_scoring` gives them.
        views: cut them.
        config: which score.

    Returns:
        `(N, G, K)` float64.
    """
    rows = []
    batch = views.at_once
    at_once = max(1, batch // views.positions)
    for first in range(0, len(images), at_once):
        chunk = images[first : first + at_once]
        x = torch.cat([views.grid(image) for image in chunk])
        joined = torch.stack([_components(member, x, views, config) for member in members]).mean(0)
        rows.append(joined.view(len(chunk), views.positions, joined.shape[1]))
    return torch.cat(rows)


def _components(member: Member, x: Tensor, views: Views, config: ScoreConfig) -> Tensor:
    """Components `(B, K)` float64 of the views of whole images, `views.at_once` at a time."""
    energy, x = member.energy, member.space(x)
    slots = _slots(energy, views.positions)
    slot = None if slots is None else slots.repeat(len(x) // views.positions)
    batch = views.at_once
    parts = [
        view_components(energy, x[i : i + batch], None if slot is None else slot[i : i + batch], config)
        for i in range(0, len(x), batch)
    ]
    return torch.cat(parts).double()


def local_maps(member: Member, images: list[Tensor]) -> Tensor:
    """What of whole images `(C, H, W)`, or maps of features, is odd: `(N, H, W)` float64.

    Where a network judges cells these are its energies of them, else the logarithm of the local gradient.
    """
    energy = member.energy
    # A few at a time: whole images may be large.
    maps = []
    for first in range(0, len(images), 8):
        x = member.space(torch.stack(images[first : first + 8]))
        judge = energy.network if isinstance(energy, TiltedEnergy) else energy
        if isinstance(judge, CellsEnergy):
            with torch.no_grad():
                maps.append(judge.cell(cells_of(x)).view(len(x), *x.shape[2:]))
        else:
            maps.append(local_gradient(energy_gradient(energy, x)[1]).clamp(min=1e-12).log())
    return torch.cat(maps).double()


def _slots(energy: Energy, positions: int) -> Tensor | None:
    """The slot of each grid position, where the energy has a Gaussian per position."""
    base = energy.base if isinstance(energy, TiltedEnergy) else energy
    if isinstance(base, GaussianEnergy) and base.slots > 1:
        return torch.arange(positions)
    return None
