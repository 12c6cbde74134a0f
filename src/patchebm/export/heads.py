"""The levels of a scoring graph: what members say of a map of features, as a score and a heat map."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from patchebm.detector.level import LevelModel
from patchebm.detector.positions import PositionStandardiser
from patchebm.energy import CellsEnergy, Energy, GaussianEnergy, MixtureEnergy, ResidualEnergy, TiltedEnergy
from patchebm.errors import ConfigError
from patchebm.export.joining import Along, Separable
from patchebm.export.members import CellMember, ViewMembers


class PatchHead(nn.Module):
    """The patch level: a score from standardised values of all cells, and these as a heat map.

    Args:
        level: fitted, on features.
        spreads: for each block what brings its map to the grid.
        channels: of each block.
        grid: height and width.
    """

    scale: Tensor
    shift: Tensor
    map_scale: Tensor
    map_shift: Tensor

    def __init__(
        self,
        level: LevelModel,
        spreads: Sequence[Separable],
        channels: Sequence[int],
        grid: tuple[int, int],
    ) -> None:
        super().__init__()
        _check(level, (MixtureEnergy, ResidualEnergy))
        score = level.config.score
        alone = score.components == "network"
        self.spreads = nn.ModuleList(spreads)
        self.members = nn.ModuleList(
            CellMember(m, channels, grid, network_only=alone) for m in level.members_
        )
        self.rows = _smoother(grid[0], score.smooth)
        self.columns = _smoother(grid[1], score.smooth)
        scale, shift = _standardising(level.standardisers_, grid)
        self.register_buffer("scale", scale)
        self.register_buffer("shift", shift)
        scale, shift = _standardising(level.map_standardisers_, grid)
        self.register_buffer("map_scale", scale)
        self.register_buffer("map_shift", shift)
        self.top = min(score.top, grid[0] * grid[1])
        self.mean, self.std = level.mean_, level.std_

    def forward(self, maps: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Scores `(B,)` and heat maps `(B, h, w)` of the blocks' maps `(B, c, h', w')`."""
        *early, last = self.spreads
        spread = [one(each) for one, each in zip(early, maps[:-1], strict=True)]
        parts = []
        for member in self.members:
            assert isinstance(member, CellMember)
            parts.append(member(spread, last(member.deep(maps[-1]))))
        components = _mean(parts)
        if self.rows is not None and self.columns is not None:
            components = self.rows(self.columns(components.transpose(2, 3)).transpose(2, 3))
        values = (components * self.scale).sum(1) + self.shift
        top = torch.topk(values.flatten(1), self.top, dim=1, sorted=False).values.mean(1)
        heat = (components * self.map_scale).sum(1) + self.map_shift
        return (top - self.mean) / self.std, heat


class ImageHead(nn.Module):
    """The image level: a score of the whole, and a standardised value of every cell for the map.

    Args:
        level: fitted, on features.
        spreads: for each block what brings its map to the cells that the level sees.
    """

    scale: Tensor
    map_scale: Tensor
    map_shift: Tensor

    def __init__(self, level: LevelModel, spreads: Sequence[Separable]) -> None:
        super().__init__()
        _check(level, (GaussianEnergy, CellsEnergy))
        alone = level.config.score.components == "network"
        self.spreads = nn.ModuleList(spreads)
        view = level.views.view_size
        self.members = ViewMembers(level.members_, level.channels, view, network_only=alone)
        scale, shift = _standardising(level.standardisers_, (1, 1))
        # Of one position the whole calibration is one affine function.
        self.register_buffer("scale", scale[0, :, 0, 0] / level.std_)
        self.shift = (float(shift) - level.mean_) / level.std_
        scale, shift = _standardising(level.map_standardisers_, view)
        self.register_buffer("map_scale", scale[0, 0])
        self.register_buffer("map_shift", shift)

    def forward(self, maps: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Scores `(B,)` and heat maps `(B, h, w)` of the blocks' maps `(B, c, h', w')`."""
        spread = [one(each) for one, each in zip(self.spreads, maps, strict=True)]
        components, cells = self.members(torch.cat(spread, dim=1))
        score = (components.mean(1) * self.scale).sum(1) + self.shift
        return score, cells.mean(1) * self.map_scale + self.map_shift


def _check(level: LevelModel, kinds: tuple[type[Energy], ...]) -> None:
    for member in level.members_:
        energy = member.energy
        parts = [energy.base, energy.network] if isinstance(energy, TiltedEnergy) else [energy]
        if (
            not all(isinstance(part, (*kinds, CellsEnergy)) for part in parts)
            or level.config.score.kind != "energy"
        ):
            names = " and ".join(type(part).__name__ for part in parts)
            raise ConfigError(
                f"{level.name}: a level of {names} with {level.name}.score.kind {level.config.score.kind} "
                "cannot be exported; train with the preset features or features-max"
            )


def _smoother(cells: int, side: int) -> Along | None:
    """The Gaussian window of `LevelModel._smooth` along one axis, its borders included."""
    if side == 1:
        return None
    offsets = torch.arange(side, dtype=torch.float64) - side // 2
    weights = torch.exp(-0.5 * (offsets / (side / 3)).square())
    weights = weights / weights.sum()
    matrix = torch.zeros(cells, cells, dtype=torch.float64)
    for row in range(cells):
        for offset, weight in zip(offsets.long().tolist(), weights, strict=True):
            matrix[row, min(max(row + offset, 0), cells - 1)] += weight
    return Along(matrix.float())


def _standardising(
    standardisers: Sequence[PositionStandardiser], grid: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """What turns components into values: `(1, K, h, w)` factors and the `(h, w)` shift of their sum."""
    spread = torch.stack([torch.from_numpy(s.std_).expand(1, grid[0] * grid[1]) for s in standardisers])
    mean = torch.stack([torch.from_numpy(s.mean_).expand_as(spread[0]) for s in standardisers])
    scale = 1 / (spread * len(standardisers) ** 0.5)
    shift = -(mean * scale).sum(0)
    return scale.view(1, -1, *grid).float(), shift.view(grid).float()


def _mean(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.stack(list(parts)).mean(0)
