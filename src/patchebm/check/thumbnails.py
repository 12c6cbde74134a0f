"""This module compares what images look like as a whole: small versions of them, and nothing that is small.

It sees a part that is missing, turned or of another kind, another light, a picture of something else. A
scratch or a crack is far too small for it: that is for a trained model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from patchebm.images.profile import FLOORS, Traits

SIDE = 16
"""Pixels a side of the small version."""

# An image is compared with so many that look most like it: one may be much alike by chance.
_NEAREST = 3
_CHUNK = 256
# In robust standard deviations: what is less is not worth mentioning beside what is most.
_WORTH_SAYING = 3.0
# How many times as far, as a logarithm: less is never what makes an image odd.
_LOOK_FLOOR = 0.25


def thumbnail_of(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns the small version `(SIDE * SIDE * 3,)` of an image `(H, W, 1 or 3)`, both in [0, 1]."""
    planes = [
        np.asarray(Image.fromarray(plane).resize((SIDE, SIDE), Image.Resampling.BOX))
        for plane in np.ascontiguousarray(np.moveaxis(pixels, 2, 0))
    ]
    return np.stack(planes if len(planes) == 3 else planes * 3, axis=2).ravel()


def cells_of(thumbnails: NDArray[np.float32]) -> NDArray[np.float64]:
    """Returns the means `(N, 48)` of 4 x 4 cells of small versions `(N, SIDE * SIDE * 3)`."""
    cells = thumbnails.astype(np.float64).reshape(len(thumbnails), 4, SIDE // 4, 4, SIDE // 4, 3)
    return np.asarray(cells.mean((2, 4)).reshape(len(thumbnails), -1))


@dataclass(frozen=True)
class OddOne:
    """This class is an image that differs most from the others.

    Attributes:
        index: of the image.
        reasons: in what, the greatest difference first.
    """

    index: int
    reasons: tuple[str, ...]


def oddest(traits: Sequence[Traits], thumbnails: NDArray[np.float32], most: int) -> list[OddOne]:
    """Returns the images that differ most from the others as a whole, the oddest first.

    Some always do: that they are named says nothing of whether they are good.

    Args:
        traits: of images, no two of which are copies.
        thumbnails: `(N, SIDE * SIDE * 3)` their small versions.
        most: how many are returned.
    """
    count = len(traits)
    if count < 2:
        return []
    columns = {
        name: (np.array([one.numbers()[name] for one in traits]), floor) for name, floor in FLOORS.items()
    }
    # A hundredth of a grey level keeps images that are all the same finite.
    apart = _distances(thumbnails) + 1e-4
    columns["look"] = (np.log(apart), _LOOK_FLOOR)
    scores = {}
    for name, (values, floor) in columns.items():
        away = values - np.median(values)
        spread = max(1.4826 * float(np.median(np.abs(away))), floor)
        # To look much like others is not odd.
        scores[name] = away / spread if name == "look" else np.abs(away) / spread
    table = np.stack(list(scores.values()))
    chosen = np.argsort(-table.max(0), kind="stable")[:most]
    found = []
    for index in map(int, chosen):
        ranked = sorted(scores, key=lambda name: -scores[name][index])
        names = [name for name in ranked if scores[name][index] >= _WORTH_SAYING] or ranked[:1]
        reasons = (_reason(name, index, traits, apart) for name in names)
        found.append(OddOne(index, tuple(dict.fromkeys(reasons))))
    return found


def _distances(thumbnails: NDArray[np.float32]) -> NDArray[np.float64]:
    """Returns how far each image is from those that look most like it `(N,)`, as a difference of pixels."""
    nearest = min(_NEAREST, len(thumbnails) - 1)
    x = thumbnails.astype(np.float64)
    lengths = (x**2).sum(1)
    found = np.empty(len(x))
    for begin in range(0, len(x), _CHUNK):
        part = x[begin : begin + _CHUNK]
        squares = lengths[begin : begin + _CHUNK, None] + lengths - 2 * (part @ x.T)
        squares[np.arange(len(part)), np.arange(len(part)) + begin] = np.inf
        least = np.partition(squares, nearest - 1, axis=1)[:, :nearest]
        found[begin : begin + _CHUNK] = np.sqrt(np.maximum(least, 0) / x.shape[1]).mean(1)
    return found


def _reason(name: str, index: int, traits: Sequence[Traits], apart: NDArray[np.float64]) -> str:
    """Returns in words how an image differs from the median image."""
    one = traits[index]
    if name == "look":
        return (
            f"{apart[index] / np.median(apart):.1f} times as far from the images most like it as others are"
        )
    if name in ("size", "aspect"):
        width = round(float(np.median([other.width for other in traits])))
        height = round(float(np.median([other.height for other in traits])))
        return f"{one.width} x {one.height} pixels, where {width} x {height} is the median"
    shift = one.numbers()[name] - float(np.median([other.numbers()[name] for other in traits]))
    if name == "sharpness":
        return "sharper or noisier than others" if shift > 0 else "less sharp than others"
    what = "" if name == "brightness" else " in its brightest tenth"
    return f"{abs(100 * math.expm1(shift)):.0f} % {'brighter' if shift > 0 else 'darker'}{what} than others"
