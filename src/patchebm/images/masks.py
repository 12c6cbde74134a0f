"""This module decides which pixels of a mask mark a defect, and what about it is worth saying."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Above this share of the image, and of its border, a mask marks what is around the defect, perhaps.
_MOST = 0.5
# From this share of faint pixels on that have the value of their neighbours to the right and below, values
# are labels. Measured on 51 masks of four sets: saved as JPEG of quality 50 to 100 or scaled to half, at most
# .16; their regions numbered from 1, at least .59.
_FLAT = 0.3


@dataclass(frozen=True)
class Mask:
    """This class is what the masks of one image say.

    Attributes:
        pixels: `(H, W)` bool, True on defects.
        shades: whether a file holds shades, of which half of its brightest value was the limit.
        labels: the values other than 0 in a file that holds several and no shades, else empty.
    """

    pixels: NDArray[np.bool_]
    shades: bool = False
    labels: tuple[int, ...] = ()

    @property
    def marks_most(self) -> bool:
        """Says whether more than half of the image and of its border is marked, as in an inverted mask."""
        border = np.concatenate([self.pixels[[0, -1]].ravel(), self.pixels[:, [0, -1]].ravel()])
        return float(self.pixels.mean()) > _MOST and float(border.mean()) > _MOST


def mask_of(values: NDArray[Any]) -> Mask:
    """Decides which pixels of a mask mark a defect.

    Values that fill areas are one label or several: all but 0 mark defects. Shades, which JPEG and scaling
    leave around edges, do not fill areas: what has at least half of the brightest value marks a defect.

    Args:
        values: `(H, W)`, the brightest colour channel of each pixel.
    """
    known = np.unique(values)
    half = float(known[-1]) / 2
    faint = (values > 0) & (values < half)
    if faint.any() and _flatness(values, faint) < _FLAT:
        return Mask(values >= half, shades=True)
    labels = tuple(int(value) for value in known if value)
    return Mask(values > 0, labels=labels if len(labels) > 1 and faint.any() else ())


def joined(masks: Sequence[Mask]) -> Mask:
    """Returns the masks of one image as one: what any of them marks is marked."""
    return Mask(
        np.logical_or.reduce([mask.pixels for mask in masks]),
        shades=any(mask.shades for mask in masks),
        labels=max((mask.labels for mask in masks), key=len),
    )


def _flatness(values: NDArray[Any], faint: NDArray[np.bool_]) -> float:
    """Returns the share of faint pixels that have the value of their neighbours to the right and below."""
    same = np.zeros(values.shape, dtype=bool)
    same[:-1, :-1] = (values[:-1, :-1] == values[:-1, 1:]) & (values[:-1, :-1] == values[1:, :-1])
    return float(same[faint].mean())
