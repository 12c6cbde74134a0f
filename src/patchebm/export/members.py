"""What the members of a level compute, with all that is constant folded together: what follows the features.

A member's whitening x -> (x - m) W, the products with a mixture's centres and a network's first layer are all
linear in x. Each becomes one 1x1 convolution of `(B, C, h, w)` maps, with the whitening folded into it, and
nothing is transposed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from patchebm.detector.scoring import Member
from patchebm.energy import CellsEnergy, GaussianEnergy, MixtureEnergy, ResidualEnergy, TiltedEnergy
from patchebm.errors import ConfigError


class Linear(nn.Module):
    """Linear functions of every cell of a map: x -> A x + b, as a 1x1 convolution.

    Args:
        weight: `(R, C)`.
        bias: `(R,)`.
        groups: the map consists of as many, and each is seen by its own rows of A alone.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor, groups: int = 1) -> None:
        super().__init__()
        self.groups = groups
        self.register_buffer("weight", weight.float()[:, :, None, None].contiguous())
        self.register_buffer("bias", bias.float().contiguous())

    def forward(self, x: Tensor) -> Tensor:
        """Maps `(B, R, h, w)` of maps `(B, groups * C, h, w)`."""
        return conv2d(x, self.weight, self.bias, groups=self.groups)


class Refined(nn.Module):
    """Networks after their first layer, which is folded into what comes before: one value each a cell.

    Args:
        networks: of one width and activation.
    """

    def __init__(self, networks: Sequence[ResidualEnergy]) -> None:
        super().__init__()
        self.activate = networks[0].activate
        self.residual = _side_by_side([network.residual for network in networks])
        self.leave = _side_by_side([network.leave for network in networks])

    def forward(self, first: Tensor) -> Tensor:
        """Energies `(B, M, h, w)` of the first layers' values `(B, M * hidden, h, w)`."""
        h = self.activate(first)
        energies: Tensor = self.leave(h + self.activate(self.residual(h)))
        return energies


class ChannelSum(nn.Module):
    """The sum over the channels of maps, as a product, which runtimes do faster than a sum.

    Args:
        channels: of a map.
        grid: height and width, given for the reason that `_largest_channel` tells.
    """

    ones: Tensor

    def __init__(self, channels: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.grid = grid
        self.register_buffer("ones", torch.ones(1, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Sums `(B, 1, h, w)` of maps `(B, C, h, w)`."""
        height, width = self.grid
        return (self.ones @ x.reshape(-1, self.ones.shape[1], height * width)).reshape(-1, 1, height, width)


def log_sum_exp(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Log-sum-exp that keeps its axes and cannot overflow.

    Spelt out, because a runtime's own operator need not subtract the largest value first.
    """
    top = x.amax(axes, keepdim=True)
    return (x - top).exp().sum(axes, keepdim=True).log() + top


class CellMember(nn.Module):
    """One member's components of every cell, where each cell is a view.

    What it needs of whitened features y = A x + b is |y|^2 and linear functions. With A = Q R and R upper
    triangular, |y|^2 = |R x + Q' b|^2, and the rows of R for the last block's channels need no other block.
    They are computed where its map is still coarse, and resized to the grid in place of the block's channels,
    so that only the rows for the other blocks are left to compute on the grid.

    Args:
        member: its energy is a mixture, a `ResidualEnergy`, or a mixture that the latter tilts.
        channels: of each block.
        grid: height and width.
        network_only: whether the network alone counts.
    """

    offset: Tensor

    def __init__(
        self, member: Member, channels: Sequence[int], grid: tuple[int, int], *, network_only: bool
    ) -> None:
        super().__init__()
        energy = member.energy
        base = energy.base if isinstance(energy, TiltedEnergy) else energy
        judge = energy.network if isinstance(energy, TiltedEnergy) else energy
        network = judge.cell if isinstance(judge, CellsEnergy) else judge
        matrix, shift = _space(member, sum(channels))
        early = sum(channels[:-1])
        q, triangle = torch.linalg.qr(matrix)
        last = triangle[early:, early:]
        self.deep = Linear(last, torch.zeros(len(last)))
        # What is linear in x as a function of x with R x in place of the last block's channels.
        back = torch.eye(sum(channels), dtype=torch.float64)
        back[early:, early:] = torch.linalg.inv(last)
        self.mixture = isinstance(base, MixtureEnergy) and not network_only
        if self.mixture:
            assert isinstance(base, MixtureEnergy)
            # |y - c|^2 / 2v = |y|^2 / 2v - (y c / v - |c|^2 / 2v): the first term is the same for all
            # components, so that it leaves the log-sum-exp, and the second is linear.
            centres, variance = base.centres.double(), base.variance.double()
            offsets = base.log_weights.double() - centres.square().sum(1) / (2 * variance)
            self.assign = Linear(centres @ matrix @ back / variance, centres @ shift / variance + offsets)
            self.half_precision = float(0.5 / variance)
            self.components = len(centres)
            self.sum_components = ChannelSum(self.components, grid)
            self.sum_deep = ChannelSum(len(last), grid)
            turned = q.T @ shift
            self.register_buffer("offset", turned[early:, None, None].float())
            self.turn: Linear | None = None
            if early:
                self.turn = Linear((triangle @ back)[:early], turned[:early])
                self.sum_early = ChannelSum(early, grid)
        self.enter: Linear | None = None
        if isinstance(network, ResidualEnergy):
            self.enter, self.network = _entered([network], [(matrix @ back, shift)])

    def forward(self, early: list[Tensor], deep: Tensor) -> Tensor:
        """Components `(B, K, h, w)`.

        Args:
            early: maps `(B, c, h, w)` of all blocks but the last, resized to the grid.
            deep: `self.deep` of the last block's map, resized to the grid.
        """
        x = torch.cat([*early, deep], dim=1)
        components = []
        if self.mixture:
            logits = self.assign(x)
            top = _largest_channel(logits, self.components)
            assigned = self.sum_components((logits - top).exp()).log() + top
            square = self.sum_deep((deep + self.offset).square())
            if self.turn is not None:
                square = square + self.sum_early(self.turn(x).square())
            components.append(square * self.half_precision - assigned)
        if self.enter is not None:
            components.append(self.network(self.enter(x)))
        return torch.cat(components, dim=1)


class ViewMembers(nn.Module):
    """The members' components of a whole map as one view, and what their networks say of the cells.

    All members at once: they are small, and a runtime spends as long on starting an operator as on its work.

    Args:
        members: each energy is a `CellsEnergy`, or a Gaussian that the latter tilts.
        channels: of a map.
        view: height and width of a map.
        network_only: whether the networks alone count.
    """

    mean: Tensor
    axes: Tensor
    inverse: Tensor
    floor: Tensor

    def __init__(
        self, members: Sequence[Member], channels: int, view: tuple[int, int], *, network_only: bool
    ) -> None:
        super().__init__()
        networks, bases = [], []
        for member in members:
            energy = member.energy
            judge = energy.network if isinstance(energy, TiltedEnergy) else energy
            if not isinstance(judge, CellsEnergy) or not isinstance(judge.cell, ResidualEnergy):
                raise ConfigError(
                    "an image level without a network that judges cells cannot be exported; train with "
                    "image.energy.network.kind cells, as the preset features does"
                )
            networks.append(judge.cell)
            bases.append(energy.base if isinstance(energy, TiltedEnergy) else energy)
        spaces = [_space(member, channels) for member in members]
        self.enter, self.network = _entered(networks, spaces)
        height, width = view
        self.log_cells = math.log(height * width)
        gaussians = [base for base in bases if isinstance(base, GaussianEnergy) and not network_only]
        self.gaussian = len(gaussians) > 0
        if self.gaussian:
            joined = GaussianEnergy.concatenate(gaussians)
            self.whiten = Linear(torch.cat([m for m, _ in spaces]), torch.cat([shift for _, shift in spaces]))
            self.register_buffer("mean", joined.mean[:, None])
            self.register_buffer("axes", joined.axes.transpose(1, 2).contiguous())
            floor = joined.floor.double().view(-1, 1)
            self.register_buffer("inverse", (0.5 / (joined.variances.double() + floor)).float()[:, None])
            self.register_buffer("floor", (0.5 / floor).float())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Components `(B, M, K)` and the cells' energies `(B, M, h, w)` of maps `(B, C, h, w)`."""
        cells = self.network(self.enter(x))
        judged = log_sum_exp(cells, (2, 3)).flatten(1) - self.log_cells
        if not self.gaussian:
            return judged[:, :, None], cells
        centred = self.whiten(x).reshape(-1, *self.mean.shape) - self.mean
        # The axes are orthonormal: what they leave of the square is the square of what they leave.
        along = (centred @ self.axes).square()
        left = (centred.square().sum(3) - along.sum(3)).clamp(min=0)
        value = ((along * self.inverse).sum(3) + self.floor * left).flatten(1)
        return torch.stack([value.clamp(min=1e-12).log(), judged], dim=2), cells


def _entered(
    networks: Sequence[ResidualEnergy], spaces: Sequence[tuple[Tensor, Tensor]]
) -> tuple[Linear, Refined]:
    """Networks of whitened cells as their first layers, with the whitenings folded in, and the rest."""
    weights, biases = [], []
    for network, (matrix, shift) in zip(networks, spaces, strict=True):
        enter = network.enter.weight.detach().double()
        weights.append(enter @ matrix)
        biases.append(enter @ shift + network.enter.bias.detach().double())
    return Linear(torch.cat(weights), torch.cat(biases)), Refined(networks)


def _side_by_side(layers: Sequence[nn.Linear]) -> Linear:
    """Layers of several networks as one, each of which sees its own network's values."""
    weight = torch.cat([layer.weight.detach() for layer in layers])
    return Linear(weight, torch.cat([layer.bias.detach() for layer in layers]), groups=len(layers))


def _largest_channel(x: Tensor, channels: int) -> Tensor:
    """The largest value `(B, 1, h, w)` over the channels of maps `(B, channels, h, w)`.

    Halves are compared until one channel is left, which takes ONNX Runtime a third of the time of its own
    reduction over an axis that is not the last. The number is given, because one that a traced graph asks its
    maps for is computed again, by a dozen operators a step, for each image.
    """
    while channels > 1:
        half = (channels + 1) // 2
        x = torch.maximum(x[:, :half], x[:, channels - half :])
        channels = half
    return x


def _space(member: Member, channels: int) -> tuple[Tensor, Tensor]:
    """Whitening as y = A x + b, float64: A `(C, C)` and b `(C,)`."""
    if member.whitening is None:
        return torch.eye(channels, dtype=torch.float64), torch.zeros(channels, dtype=torch.float64)
    matrix = member.whitening.matrix.double().T
    return matrix, -(matrix @ member.whitening.mean.double())
