"""Sums over maps, from which the Gaussians of positions are made without the maps.

Sums over parts of the images, added up, are those of all images: in batches, in several processes, and with a
fold taken out again. Products are formed in single precision, batch by batch, and added up in double
precision, so that a hundred thousand images lose no more digits than a hundred.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

# Maps that are added up at once: what bounds the memory that it takes.
BATCH = 16
# Images whose mean is subtracted from all before squares are added up.
SHIFT_IMAGES = 50


@dataclass
class Moments:
    """Sums over maps; sums of sums are those of all maps.

    Attributes:
        count: images; the maps of several versions of one image count as one.
        shift: `(C,)` is subtracted from every cell first, so that nothing cancels.
        first: `(P, C)` the sum of the maps at each of P = h * w positions, in double precision where the
            device has it.
        second: `(R, C, C)` the sum of outer products at the positions of each of R zones, as precise; each
            position counts by its share in the 3 x 3 means of the zone's positions.
        grid: h and w.
        zones: rows and columns of zones.
    """

    count: float
    shift: Tensor
    first: Tensor
    second: Tensor
    grid: tuple[int, int]
    zones: tuple[int, int]

    @classmethod
    def empty(cls, shift: Tensor, grid: tuple[int, int], zones: tuple[int, int]) -> Moments:
        """Return the moments of no maps; `zones` must divide the grid."""
        # Graphics processors of Apple and Intel may know no double precision.
        precise = torch.float64 if shift.device.type in ("cpu", "cuda") else torch.float32
        channels = len(shift)
        first = torch.zeros(grid[0] * grid[1], channels, dtype=precise, device=shift.device)
        second = torch.zeros(zones[0] * zones[1], channels, channels, dtype=precise, device=shift.device)
        return cls(0.0, shift, first, second, grid, zones)

    @classmethod
    def of(cls, maps: Tensor, shift: Tensor, zones: tuple[int, int], weight: float = 1.0) -> Moments:
        """Add up maps `(n, C, h, w)`, each with a weight; `zones` must divide the grid."""
        moments = cls.empty(shift, (maps.shape[2], maps.shape[3]), zones)
        moments.add(maps, weight)
        return moments

    def add(self, maps: Tensor, weight: float = 1.0) -> None:
        """Add maps `(n, C, h, w)` in place, each with a weight."""
        for batch in torch.split(maps, BATCH):
            self._add(batch.to(self.shift), weight)

    def _add(self, maps: Tensor, weight: float) -> None:
        rows = maps.flatten(2).permute(2, 0, 1) - self.shift
        for zone, (positions, weights) in enumerate(_members(self.grid, self.zones)):
            # The roots of the weights on both factors.
            scaled = rows[positions.to(rows.device)] * (weight * weights.to(rows)).sqrt()[:, None, None]
            flat = scaled.reshape(-1, rows.shape[2])
            self.second[zone] += flat.T @ flat
        self.first += weight * rows.sum(1)
        self.count += weight * len(maps)

    def to(self, device: torch.device) -> Moments:
        """Return the moments on a device."""
        empty = Moments.empty(self.shift.to(device), self.grid, self.zones)
        first, second = self.first.to(empty.first), self.second.to(empty.second)
        return Moments(self.count, empty.shift, first, second, self.grid, self.zones)

    def __add__(self, other: Moments) -> Moments:
        """Return the moments of the maps of both."""
        first, second = self.first + other.first, self.second + other.second
        return Moments(self.count + other.count, self.shift, first, second, self.grid, self.zones)

    def __iadd__(self, other: Moments) -> Moments:
        """Add the moments of other maps in place."""
        self.first += other.first
        self.second += other.second
        self.count += other.count
        return self

    def __sub__(self, other: Moments) -> Moments:
        """Return the moments of the maps of this one without those of the other."""
        first, second = self.first - other.first, self.second - other.second
        return Moments(self.count - other.count, self.shift, first, second, self.grid, self.zones)


def shift_of(maps: Sequence[Tensor]) -> Tensor:
    """Return the mean `(C,)` of some maps `(C, h, w)`, for `Moments.shift`."""
    return torch.stack([one.float().mean((1, 2)) for one in maps]).mean(0)


class MomentSums:
    """The moments of a stream of maps, none of which is kept.

    Args:
        zones: rows and columns of zones.
        device: where they are added up.
    """

    def __init__(self, zones: tuple[int, int], device: torch.device) -> None:
        self._zones, self._device = zones, device
        self._waiting: list[Tensor] = []
        self._moments: Moments | None = None

    def add(self, view: Tensor) -> None:
        """Add a map `(C, h, w)`."""
        self._waiting.append(view)
        if len(self._waiting) >= SHIFT_IMAGES:
            self._flush()

    def without(self, views: Iterable[Tensor]) -> MomentSums:
        """Return the sums without some of the maps that were added, given again."""
        other = MomentSums(self._zones, self._device)
        moments = self.moments()
        if moments is not None:
            gone = Moments.empty(moments.shift, moments.grid, self._zones)
            for view in views:
                gone.add(view[None])
            other._moments = moments - gone
        return other

    def moments(self) -> Moments | None:
        """Return the sums over all maps so far; None where there are none."""
        self._flush()
        return self._moments

    def _flush(self) -> None:
        if not self._waiting:
            return
        if self._moments is None:
            height, width = self._waiting[0].shape[1:]
            shift = shift_of(self._waiting).to(self._device)
            self._moments = Moments.empty(shift, (height, width), self._zones)
        self._moments.add(torch.stack(self._waiting))
        self._waiting = []


@cache
def _members(grid: tuple[int, int], zones: tuple[int, int]) -> Sequence[tuple[Tensor, Tensor]]:
    """For each zone the positions in reach of its own, and the weight of each in their 3 x 3 means."""
    height, width = grid
    h, w = height // zones[0], width // zones[1]
    found = []
    for i in range(zones[0]):
        for j in range(zones[1]):
            inside = torch.zeros(1, 1, height, width, dtype=torch.float64)
            inside[..., i * h : (i + 1) * h, j * w : (j + 1) * w] = 1
            # Each position hands its mean, a 9th (6th and 4th at the border) of each neighbour, to the
            # zone.
            neighbours = avg_pool2d(torch.ones_like(inside), 3, 1, 1, divisor_override=1)
            weight = avg_pool2d(inside / neighbours, 3, 1, 1, divisor_override=1).flatten()
            positions = weight.nonzero().squeeze(1)
            found.append((positions, weight[positions]))
    return found
