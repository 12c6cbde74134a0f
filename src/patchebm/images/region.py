"""This module reads the region of interest from the image in which a user drew it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from patchebm.errors import DataError
from patchebm.images.decoders import decode, read_file

# Widths and heights of two images may be rounded after scaling: 1 of 64 pixels.
_SAME_ASPECT = 1 / 64


@dataclass(frozen=True)
class Region:
    """This class is a region of interest as it was drawn.

    Attributes:
        path: the file.
        pixels: `(H, W)` bool, True where it is inspected.
    """

    path: Path
    pixels: NDArray[np.bool_]

    @property
    def share(self) -> float:
        """Returns the share of the image that is inspected, between 0 and 1."""
        return float(self.pixels.mean())

    def has_aspect(self, height: int, width: int) -> bool:
        """Returns whether the region may have been drawn on an image of such an aspect ratio."""
        rows, columns = self.pixels.shape
        return abs(math.log((width / height) / (columns / rows))) <= _SAME_ASPECT

    def require_aspect(self, height: int, width: int, image: Path) -> None:
        """Raises DataError if the region was not drawn on an image of such an aspect ratio; names it."""
        rows, columns = self.pixels.shape
        if not self.has_aspect(height, width):
            raise DataError(
                f"the region of interest {self.path} is {columns} x {rows} pixels and would be stretched "
                f"over {image} of {width} x {height}; draw it on one of the images"
            )


def read_region(path: str | Path) -> Region:
    """Reads a region of interest: what is black, or transparent, is not inspected.

    Of an image with transparent pixels, such as an overlay that was drawn on another image, each colour
    counts as much as it covers. What has at least half of the brightest value is inspected.

    Raises:
        ImageError: the file cannot be read; see `patchebm.images.reading.read_image`.
        DataError: nothing of the image is inspected, or all of it.
    """
    file = Path(path)
    samples = decode(read_file(file), file)
    bright = samples.values.astype(np.float32).max(axis=2)
    if samples.inverted and samples.white:
        bright = samples.white - bright
    if samples.alpha is not None:
        bright *= samples.alpha.astype(np.float32)
    most = float(bright.max())
    region = Region(file, bright >= most / 2 if most else np.zeros(bright.shape, dtype=bool))
    if not region.pixels.any():
        raise DataError(f"the region of interest {file} is black or transparent all over; paint it white")
    if region.pixels.all():
        raise DataError(
            f"the region of interest {file} is the whole image; paint black what is not to be inspected, or "
            "leave --roi out"
        )
    return region
