"""The cheap form of an energy: linear functions of the features, and what follows them.

A whitening, the products with a mixture's centres and a network's first layer are all linear in the
features. An energy folds the whitening into each of them, and computes the rest from their values, cell by
cell, on maps `(B, R, h, w)`.

The functions below are those that runtimes compute fast: each is written as the operation that ONNX Runtime
and PyTorch do best, and has a plain counterpart in `torch` that the tests compare it with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d

if TYPE_CHECKING:
    from patchebm.energy.base import Energy

# Side of the neighbourhood over which squared gradients are averaged, as in Genc et al. 2021.
NEIGHBOURHOOD = 5


class Affine(NamedTuple):
    """The function x -> A x + b of feature vectors.

    Attributes:
        matrix: A `(R, C)` float64.
        shift: b `(R,)` float64.
    """

    matrix: Tensor
    shift: Tensor

    @classmethod
    def identity(cls, channels: int) -> Affine:
        """Leave vectors of so many channels as they are."""
        return cls(torch.eye(channels, dtype=torch.float64), torch.zeros(channels, dtype=torch.float64))

    def then(self, matrix: Tensor, shift: Tensor) -> Affine:
        """Apply x -> matrix x + shift to the result."""
        matrix, shift = matrix.detach().cpu().double(), shift.detach().cpu().double()
        return Affine(matrix @ self.matrix, matrix @ self.shift + shift)


class Evidence(NamedTuple):
    """What an energy says of feature maps, before calibration; higher = more anomalous.

    Attributes:
        components: `(B, K, h, w)`, or `(B, K, 1, 1)` of an energy of whole maps.
        cells: `(B, K', h, w)`: what is odd at each cell; None where that was not asked for.
    """

    components: Tensor
    cells: Tensor | None


class Fused(NamedTuple):
    """An energy as linear functions of the features and what follows them.

    Attributes:
        linear: one or more functions.
        rest: a module from the maps `(B, R, h, w)` of the functions' values, in a list, to `Evidence`; its
            argument `maps` says whether cells are wanted.
    """

    linear: list[Affine]
    rest: nn.Module


class CellByCell(nn.Module):
    """The rest of an energy that has no cheaper form: it is called for every cell.

    Args:
        energy: of single cells `(B, C, 1, 1)`.
    """

    def __init__(self, energy: Energy) -> None:
        super().__init__()
        self.energy = energy

    def forward(self, values: list[Tensor], *, maps: bool = True) -> Evidence:
        """Return the evidence of whitened maps `(B, C, h, w)`; cells cost nothing."""
        del maps
        (x,) = values
        found = self.energy.components(cells_of(x))
        # As in `channel_sum`: sizes of maps are constants of a graph, but for the number of images.
        grid = (int(x.shape[2]), int(x.shape[3]), int(found.shape[1]))
        components = found.reshape(-1, *grid).permute(0, 3, 1, 2)
        return Evidence(components, components)


class WholeMap(nn.Module):
    """The rest of an energy of whole maps that has no cheaper form.

    Args:
        energy: of maps `(B, C, h, w)`.
    """

    def __init__(self, energy: Energy) -> None:
        super().__init__()
        self.energy = energy

    def forward(self, values: list[Tensor], *, maps: bool = True) -> Evidence:
        """Return the evidence of whitened maps `(B, C, h, w)`."""
        (x,) = values
        components = self.energy.components(x)[:, :, None, None]
        return Evidence(components, self.energy.localise(x)[:, None] if maps else None)


class Both(nn.Module):
    """The rest of a base and of the network that tilts it.

    Args:
        base: the base in its fused form.
        network: the network in its fused form.

    The components stand beside each other; the network says which cells are odd.
    """

    def __init__(self, base: Fused, network: Fused) -> None:
        super().__init__()
        self.count = len(base.linear)
        self.base, self.network = base.rest, network.rest

    def forward(self, values: list[Tensor], *, maps: bool = True) -> Evidence:
        """Return the evidence of the values of both parts' functions."""
        base = self.base(values[: self.count], maps=False)
        network = self.network(values[self.count :], maps=maps)
        return Evidence(torch.cat([base.components, network.components], dim=1), network.cells)


def cells_of(maps: Tensor) -> Tensor:
    """Take all cells `(B * h * w, C, 1, 1)` of maps `(B, C, h, w)`, map by map and row by row."""
    return maps.movedim(1, -1).reshape(-1, int(maps.shape[1]))[:, :, None, None]


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Apply a linear layer `(R, C)`, `(R,)` to every cell of maps `(B, C, h, w)`, as a 1x1 convolution."""
    return conv2d(x, weight[:, :, None, None], bias)


def channel_sum(x: Tensor) -> Tensor:
    """Sum maps `(B, C, h, w)` over their channels, `(B, 1, h, w)`, as a product, which runtimes do faster."""
    # Sizes are constants of an exported graph: one that asks its maps for them computes them for each image.
    channels, height, width = int(x.shape[1]), int(x.shape[2]), int(x.shape[3])
    ones = torch.ones(1, channels, dtype=x.dtype, device=x.device)
    return (ones @ x.reshape(-1, channels, height * width)).reshape(-1, 1, height, width)


def channel_max(x: Tensor) -> Tensor:
    """Take the largest of the channels of maps `(B, C, h, w)`, `(B, 1, h, w)`.

    Halves are compared until one channel is left, which takes ONNX Runtime a third of the time of its own
    reduction over an axis that is not the last.
    """
    channels = int(x.shape[1])
    while channels > 1:
        half = (channels + 1) // 2
        x = torch.maximum(x[:, :half], x[:, channels - half :])
        channels = half
    return x


def log_sum_exp(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Take the log-sum-exp over axes, which are kept; it cannot overflow.

    Spelt out, because a runtime's own operator need not subtract the largest value first.
    """
    top = x.amax(axes, keepdim=True)
    return (x - top).exp().sum(axes, keepdim=True).log() + top


def local_gradient(gradient: Tensor) -> Tensor:
    """Average the squared gradient `(B, C, H, W)` locally, `(B, H, W)` (Genc et al. 2021, 2105.03270)."""
    squared = gradient.square().sum(1, keepdim=True)
    # A map of a few cells is local as it is.
    side = NEIGHBOURHOOD if min(gradient.shape[-2:]) >= 4 * NEIGHBOURHOOD else 1
    return avg_pool2d(squared, side, stride=1, padding=side // 2, count_include_pad=False).squeeze(1)


def strongest(maps: Tensor) -> Tensor:
    """Take the logarithm of the largest value of maps `(B, H, W)`, `(B, 1)`."""
    return positive_log(maps.flatten(1).amax(1, keepdim=True))


def positive_log(x: Tensor) -> Tensor:
    """Take the logarithm of values >= 0; that of identical views, 0, stays finite."""
    return x.clamp(min=1e-12).log()
