"""How the energies of views become numbers that can be compared: components and local gradients."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from patchebm.config import ScoreConfig
from patchebm.data.views import Views
from patchebm.energy import Energy, GaussianEnergy, TiltedEnergy
from patchebm.energy.base import energy_gradient

# Views scored at once: bounds memory, and is the same for every picture, so that a score does not depend
# on what it is scored with.
BATCH = 256
# Side of the neighbourhood over which squared gradients are averaged, as in Genc et al. 2021.
NEIGHBOURHOOD = 5


def local_gradient(gradient: Tensor) -> Tensor:
    """Local means of the squared gradient `(B, C, H, W)` to `(B, H, W)` (Genc et al. 2021, 2105.03270)."""
    squared = gradient.square().sum(1, keepdim=True)
    half = NEIGHBOURHOOD // 2
    return avg_pool2d(squared, NEIGHBOURHOOD, stride=1, padding=half, count_include_pad=False).squeeze(1)


def view_components(energy: Energy, x: Tensor, slot: Tensor | None, config: ScoreConfig) -> Tensor:
    """What an energy says of each view, component by component.

    A tilted energy has two, the Gaussian's and the network's (or the latter alone), others one. A
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


def picture_components(energy: Energy, pictures: list[Tensor], views: Views, config: ScoreConfig) -> Tensor:
    """Components of all test views of pictures resized for scoring: `(N, G, K)` float64."""
    slots = _slots(energy, views.positions)
    rows = []
    at_once = max(1, BATCH // views.positions)
    for first in range(0, len(pictures), at_once):
        chunk = pictures[first : first + at_once]
        x = torch.cat([views.grid(picture) for picture in chunk])
        slot = None if slots is None else slots.repeat(len(chunk))
        parts = [
            view_components(energy, x[i : i + BATCH], None if slot is None else slot[i : i + BATCH], config)
            for i in range(0, len(x), BATCH)
        ]
        joined = torch.cat(parts)
        rows.append(joined.view(len(chunk), views.positions, joined.shape[1]))
    return torch.cat(rows).double()


def gradient_maps(energy: Energy, pictures: list[Tensor]) -> Tensor:
    """Logarithm of the local gradient of whole pictures `(C, H, W)`: `(N, H, W)` float64."""
    # A few at a time: whole pictures may be large.
    maps = []
    for first in range(0, len(pictures), 8):
        gradient = energy_gradient(energy, torch.stack(pictures[first : first + 8]))[1]
        maps.append(local_gradient(gradient).clamp(min=1e-12).log())
    return torch.cat(maps).double()


def _slots(energy: Energy, positions: int) -> Tensor | None:
    """The slot of each grid position, where the energy has a Gaussian per position."""
    base = energy.base if isinstance(energy, TiltedEnergy) else energy
    if isinstance(base, GaussianEnergy) and base.slots > 1:
        return torch.arange(positions)
    return None
