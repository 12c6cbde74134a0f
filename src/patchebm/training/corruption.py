"""Corruptions make negatives near the data out of normal views of pixels.

Each view gets one random corruption inside one random shape. They are crude on purpose: an energy that
tells them from normal views has learnt what normal views are like near the data, not a catalogue of
defects (cracks and holes, which none of them resembles, gain the most from it).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d


def corrupt(views: Tensor, generator: torch.Generator) -> Tensor:
    """Returns each view with one corruption; the input is left alone.

    Args:
        views: `(B, C, H, W)` float32 in [-1, 1].
        generator: CPU generator that decides everything.

    Returns:
        `(B, C, H, W)` in [-1, 1].
    """
    shapes = _shapes(views, generator)
    kinds = torch.randint(len(_CORRUPTIONS), (len(views),), generator=generator)
    out = views.clone()
    for kind, corruption in enumerate(_CORRUPTIONS):
        chosen = (kinds == kind).nonzero().squeeze(1)
        if len(chosen):
            changed = corruption(views, chosen, generator)
            out[chosen] += shapes[chosen] * (changed - views[chosen])
    return out.clamp_(-1, 1)


def _uniform(shape: tuple[int, ...], low: float, high: float, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator)


def _log_uniform(shape: tuple[int, ...], low: float, high: float, generator: torch.Generator) -> Tensor:
    return _uniform(shape, math.log(low), math.log(high), generator).exp()


def _shapes(views: Tensor, generator: torch.Generator) -> Tensor:
    """Returns masks `(B, 1, H, W)` of turned rectangles and ellipses, round or wobbly, .1 to .7 wide."""
    n, _, height, width = views.shape
    one = (n, 1, 1)
    y = torch.linspace(-1, 1, height)[None, :, None] - _uniform(one, -1, 1, generator)
    x = torch.linspace(-1, 1, width)[None, None, :] - _uniform(one, -1, 1, generator)
    angle = _uniform(one, 0, math.pi, generator)
    u = (angle.cos() * x + angle.sin() * y) / _uniform(one, 0.1, 0.7, generator)
    v = (angle.cos() * y - angle.sin() * x) / _uniform(one, 0.1, 0.7, generator)
    bearing = torch.atan2(v, u)
    lobes = torch.randint(2, 6, one, generator=generator)
    wobble = 1 + 0.35 * torch.sin(lobes * bearing + _uniform(one, 0, 2 * math.pi, generator))
    radius = (u.square() + v.square()).sqrt()
    kind = torch.randint(3, one, generator=generator)
    size = torch.where(
        kind == 0, torch.maximum(u.abs(), v.abs()), torch.where(kind == 1, radius, radius / wobble)
    )
    # An edge about a pixel wide, as a lens would make it.
    return ((1 - size) * height / 4 + 0.5).clamp(0, 1)[:, None]


def _rolled(views: Tensor, reach: float, generator: torch.Generator) -> Tensor:
    """Returns each view rolled by its own offset of up to `reach` of its size, never by none."""
    n, _, height, width = views.shape
    down = (_uniform((n,), -reach, reach, generator) * height).round().long()
    right = (_uniform((n,), -reach, reach, generator) * width).round().long()
    right = torch.where((down == 0) & (right == 0), torch.ones_like(right), right)
    rows = (torch.arange(height)[None] - down[:, None]) % height
    columns = (torch.arange(width)[None] - right[:, None]) % width
    batch = torch.arange(n)[:, None, None]
    return views.permute(0, 2, 3, 1)[batch, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _paste(views: Tensor, chosen: Tensor, generator: torch.Generator) -> Tensor:
    """Returns pieces of other normal views, at least half opaque."""
    other = views[torch.randint(len(views), (len(chosen),), generator=generator)]
    opacity = _uniform((len(chosen), 1, 1, 1), 0.5, 1, generator)
    return views[chosen] + opacity * (_rolled(other, 0.5, generator) - views[chosen])


def _shift(views: Tensor, chosen: Tensor, generator: torch.Generator) -> Tensor:
    """Returns a piece of the view itself, moved by up to a quarter of its size."""
    return _rolled(views[chosen], 0.25, generator)


def _noise(views: Tensor, chosen: Tensor, generator: torch.Generator) -> Tensor:
    """Adds Gaussian noise, half of it smooth over 3 x 3 pixels (and tripled, to keep its variance)."""
    scale = _log_uniform((len(chosen), 1, 1, 1), 0.05, 0.5, generator)
    noise = torch.randn(views[chosen].shape, generator=generator)
    smooth = torch.rand((len(chosen), 1, 1, 1), generator=generator) < 0.5
    return views[chosen] + scale * torch.where(smooth, 3 * avg_pool2d(noise, 3, 1, 1), noise)


def _tint(views: Tensor, chosen: Tensor, generator: torch.Generator) -> Tensor:
    """Makes views brighter or darker, and of another colour."""
    common = 0.25 * torch.randn((len(chosen), 1, 1, 1), generator=generator)
    colour = 0.15 * torch.randn((len(chosen), views.shape[1], 1, 1), generator=generator)
    return views[chosen] + common + (colour if views.shape[1] > 1 else 0)


_CORRUPTIONS = (_paste, _shift, _noise, _tint)
