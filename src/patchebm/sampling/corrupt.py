"""Corrupted normal views: near-data negatives, where chains can start.

Each view gets one random corruption: a piece of another view of the batch (or of itself, moved) pasted
in, a blob of noise, or a blob of another brightness. They are crude on purpose: the chains' energies,
not a catalogue of defects, are to decide what is abnormal.
"""

from __future__ import annotations

import torch
from torch import Tensor


def corrupt(views: Tensor, generator: torch.Generator) -> Tensor:
    """Corrupt each view once; the input is left alone.

    Args:
        views: `(B, C, H, W)` float32 in [-1, 1].
        generator: CPU generator that decides everything.

    Returns:
        `(B, C, H, W)` in [-1, 1].
    """
    out = views.clone()
    kinds = torch.randint(len(_CORRUPTIONS), (len(views),), generator=generator)
    for i, kind in enumerate(kinds.tolist()):
        out[i] = _CORRUPTIONS[kind](views, i, generator)
    return out.clamp_(-1, 1)


def _uniform(low: float, high: float, generator: torch.Generator) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))


def _integer(below: int, generator: torch.Generator) -> int:
    return int(torch.randint(max(1, below), (), generator=generator))


def _blob(height: int, width: int, generator: torch.Generator) -> Tensor:
    """A soft, turned ellipse `(H, W)` in [0, 1]; its area is log-uniform from about 1 to 15 % of the view."""
    area = height * width * 0.01 * 15 ** _uniform(0, 1, generator)
    stretch = 4 ** _uniform(-1, 1, generator)
    radius_y, radius_x = (area / torch.pi * stretch) ** 0.5, (area / torch.pi / stretch) ** 0.5
    angle = torch.tensor(_uniform(0, torch.pi, generator))
    y = torch.arange(height)[:, None] - _uniform(0, height, generator)
    x = torch.arange(width)[None, :] - _uniform(0, width, generator)
    u = (angle.cos() * x + angle.sin() * y) / max(radius_x, 0.7)
    v = (angle.cos() * y - angle.sin() * x) / max(radius_y, 0.7)
    return ((1.5 - (u.square() + v.square()).sqrt()) * 2).clamp(0, 1)


def _paste(views: Tensor, i: int, generator: torch.Generator) -> Tensor:
    """A blob-shaped piece of a random view of the batch, from another place."""
    height, width = views.shape[-2:]
    source = views[_integer(len(views), generator)]
    moved = torch.roll(source, (_integer(height, generator), _integer(width, generator)), (1, 2))
    mask = _blob(height, width, generator)
    return views[i] * (1 - mask) + moved * mask


def _noise(views: Tensor, i: int, generator: torch.Generator) -> Tensor:
    """A blob of Gaussian noise, log-uniform in scale from 0.05 to 0.5."""
    height, width = views.shape[-2:]
    scale = 0.05 * 10 ** _uniform(0, 1, generator)
    noise = torch.randn(views.shape[1:], generator=generator) * scale
    return views[i] + noise * _blob(height, width, generator)


def _tint(views: Tensor, i: int, generator: torch.Generator) -> Tensor:
    """A blob that is brighter or darker, or of another colour, by 0.05 to 0.8 of the scale."""
    channels, height, width = views.shape[1:]
    sign = 1.0 if _uniform(-1, 1, generator) > 0 else -1.0
    strength = sign * 0.05 * 16 ** _uniform(0, 1, generator)
    colour = 1 + 0.3 * torch.randn((channels, 1, 1), generator=generator)
    return views[i] + strength * colour * _blob(height, width, generator)


_CORRUPTIONS = (_paste, _noise, _tint)
