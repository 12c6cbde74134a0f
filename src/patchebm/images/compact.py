"""Pixels that wait, or go to another process, as the bytes that they came from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def compact(pixels: NDArray[np.float32]) -> NDArray[np.generic]:
    """Returns the pixels as the bytes that they came from, where they did: a quarter of the memory."""
    small = np.rint(pixels * np.float32(255)).astype(np.uint8)
    return small if (expand(small) == pixels).all() else pixels


def expand(pixels: NDArray[np.generic]) -> NDArray[np.float32]:
    """Returns what `compact` was given, exactly."""
    if pixels.dtype != np.uint8:
        return pixels.astype(np.float32, copy=False)
    wide = pixels.astype(np.float32)
    wide /= np.float32(255)
    return wide
