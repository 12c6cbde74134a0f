"""This module finds the connected regions of an anomaly map, with numpy alone.

A map is smooth, so that a region is a few hundred runs of pixels however large the image is: runs are
joined to those of the row above by a union-find over whole arrays. `scipy.ndimage.label` does the same and
would cost every line's PC 100 MB.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Region:
    """This class is a connected region of pixels that are hotter than a threshold.

    Pixels that touch at a corner belong together. Coordinates are pixels of the image that was given, whose
    top left pixel is (0, 0).

    Attributes:
        area: in pixels.
        share: the area as a share of the image.
        box: left, top, width and height of the smallest upright box around it.
        centre: the mean x and y of its pixels.
        peak: the largest value of the anomaly map in it.
    """

    area: int
    share: float
    box: tuple[int, int, int, int]
    centre: tuple[float, float]
    peak: float

    def record(self) -> dict[str, Any]:
        """Returns the region as a JSON record."""
        return asdict(self) | {"box": list(self.box), "centre": list(self.centre)}


def find_regions(
    heat_map: NDArray[np.float32], threshold: float, smallest: int = 1
) -> tuple[tuple[Region, ...], NDArray[np.bool_]]:
    """Finds the regions of a map that lie above a threshold.

    Args:
        heat_map: `(H, W)` float32, finite.
        threshold: pixels above it are marked.
        smallest: regions of fewer pixels are left out.

    Returns:
        The regions, that of the highest peak first, and the mask `(H, W)` of their pixels.

    Raises:
        ValueError: the map has values that are not finite.
    """
    # Both are not a number where any value is: no array of that size is needed to know.
    if not np.isfinite([heat_map.min(), heat_map.max()]).all():
        raise ValueError("the anomaly map has values that are not finite")
    mask = heat_map > threshold
    if not mask.any():
        return (), mask
    rows, starts, ends = _runs(mask)
    lengths = ends - starts
    _, label = np.unique(_joined(rows, starts, ends, mask.shape[1]), return_inverse=True)
    area = np.bincount(label, lengths).astype(np.intp)
    kept = area >= smallest
    run_peaks = np.maximum.reduceat(heat_map[mask], np.cumsum(lengths) - lengths)
    mask[mask] = np.repeat(kept[label], lengths)
    peak = np.full(area.size, -np.inf)
    np.maximum.at(peak, label, run_peaks)
    left, top = np.full((2, area.size), mask.size)
    right, bottom = np.zeros((2, area.size), dtype=np.intp)
    np.minimum.at(left, label, starts)
    np.minimum.at(top, label, rows)
    np.maximum.at(right, label, ends)
    np.maximum.at(bottom, label, rows + 1)
    x = np.bincount(label, lengths * (starts + ends - 1) / 2) / area
    y = np.bincount(label, lengths * rows) / area
    order = [int(i) for i in np.lexsort((left, top, -area, -peak)) if kept[i]]
    found = [
        Region(
            area=int(area[i]),
            share=float(area[i] / mask.size),
            box=(int(left[i]), int(top[i]), int(right[i] - left[i]), int(bottom[i] - top[i])),
            centre=(float(x[i]), float(y[i])),
            peak=float(peak[i]),
        )
        for i in order
    ]
    return tuple(found), mask


def regions_sentence(regions: Sequence[Region]) -> str:
    """Returns how many regions there are, and where the hottest of them lies."""
    hottest = regions[0]
    x, y = hottest.centre
    place = f"{hottest.area} px ({hottest.share:.2%}) at x {x:.0f}, y {y:.0f}"
    return f"1 region: {place}" if len(regions) == 1 else f"{len(regions)} regions, the hottest: {place}"


def _runs(mask: NDArray[np.bool_]) -> tuple[_Indices, _Indices, _Indices]:
    """Returns the row, first column and column behind the last of each run of pixels, in reading order."""
    # Most rows and columns of a large image have nothing in them.
    found, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, left = found[0], columns[0]
    inside = mask[top : found[-1] + 1, left : columns[-1] + 1]
    edges = np.diff(inside.astype(np.int8), axis=1, prepend=0, append=0)
    rows, starts = np.nonzero(edges == 1)
    return rows + top, starts + left, np.nonzero(edges == -1)[1] + left


def _joined(rows: _Indices, starts: _Indices, ends: _Indices, width: int) -> _Indices:
    """Returns for each run the smallest number of a run that it is connected with."""
    # One number for a place, so that the runs of all rows can be searched at once.
    base = rows * (width + 2)
    above = base - (width + 2)
    first = np.searchsorted(base + ends, above + starts, side="left")
    behind = np.searchsorted(base + starts, above + ends, side="right")
    count = np.maximum(behind - first, 0)
    lower = np.repeat(np.arange(rows.size), count)
    upper = np.repeat(first - np.cumsum(count) + count, count) + np.arange(lower.size)
    parent = np.arange(rows.size)
    while True:
        a, b = parent[lower], parent[upper]
        if np.array_equal(a, b):
            return parent
        np.minimum.at(parent, np.maximum(a, b), np.minimum(a, b))
        while not np.array_equal(parent, grandparent := parent[parent]):
            parent = grandparent
