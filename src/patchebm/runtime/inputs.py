"""This module turns what users hand in, files, bytes, arrays or Pillow images, into decoded pixels."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from patchebm.errors import ImageError
from patchebm.images.decoding import MAX_PIXELS
from patchebm.images.photo import Photo
from patchebm.images.reading import decode_image, image_of, read_image

Image: TypeAlias = "str | Path | Photo | bytes | NDArray[np.generic] | Pillow.Image"
"""A file, a photo, the bytes of a file, a Pillow image, or an array `(H, W)` or `(H, W, 1 or 3)`: uint8,
uint16, or floating point in [0, 1]."""

# An image with fewer pixels along a side shows nothing that a network trained on whole parts knows.
MIN_SIDE = 8


def listed(images: Image | Iterable[Image]) -> Iterable[Image]:
    """Returns one image as a list of one, and many as they are."""
    one = isinstance(images, str | Path | Photo | bytes | bytearray | Pillow.Image)
    if one or (isinstance(images, np.ndarray) and images.ndim in (2, 3)):
        return [images]  # type: ignore[list-item]
    return images  # type: ignore[return-value]


def name_of(image: Image, index: int) -> str:
    """Returns what messages and predictions call an image: its path, or its number."""
    if isinstance(image, Photo):
        return str(image.path)
    return str(image) if isinstance(image, str | Path) else f"image {index}"


def pixels_of(image: Image, index: int) -> NDArray[np.float32]:
    """Returns pixels `(H, W, 1 or 3)` float32 in [0, 1].

    Raises:
        ImageError: the file or the bytes cannot be read, the array is of the wrong shape, type or range, or
            the image is too small or too large.
    """
    name = name_of(image, index)
    if isinstance(image, str | Path):
        pixels = read_image(image)
    elif isinstance(image, Photo):
        pixels = image.pixels
    elif isinstance(image, bytes | bytearray):
        pixels = decode_image(bytes(image), name)
    elif isinstance(image, Pillow.Image):
        pixels = image_of(image, name)
    elif isinstance(image, np.ndarray):
        pixels = _from_array(image, name)
    else:
        raise ImageError(
            f"{name} is a {type(image).__name__}; give a path, bytes, an array or a Pillow image"
        )
    height, width = pixels.shape[:2]
    if min(height, width) < MIN_SIDE:
        raise ImageError(
            f"{name} has {width} x {height} pixels, too few to score; give at least {MIN_SIDE} x {MIN_SIDE}"
        )
    return pixels


def _from_array(array: NDArray[np.generic], name: str) -> NDArray[np.float32]:
    values = array[:, :, None] if array.ndim == 2 else array
    if values.ndim != 3 or values.shape[2] not in (1, 3) or not min(values.shape):
        raise ImageError(f"{name} has shape {array.shape}; give (height, width) or (height, width, 1 or 3)")
    if values.shape[0] * values.shape[1] > MAX_PIXELS:
        raise ImageError(f"{name} has more than {MAX_PIXELS // 1_000_000} million pixels; cut it into parts")
    if values.dtype in (np.uint8, np.uint16):
        scaled = values.astype(np.float32)
        scaled /= np.float32(255 if values.dtype == np.uint8 else 65535)
        return scaled
    if not np.issubdtype(values.dtype, np.floating):
        raise ImageError(f"{name} has dtype {values.dtype}; give uint8, uint16 or float32 in [0, 1]")
    floats = values.astype(np.float32)
    # One comparison is false for NaN, too.
    if not (floats.min() >= 0 and floats.max() <= 1):
        raise ImageError(f"{name} has values outside [0, 1]; scale it and remove NaN")
    return floats
