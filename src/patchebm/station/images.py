"""This module looks at images as they come: what they are, and what a chart of the light needs."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from patchebm.errors import ImageError
from patchebm.images.decoders import Header, read_header
from patchebm.images.formats import FORMATS

SUFFIXES = {kind: endings[0] for kind, endings in FORMATS.items()}
"""The ending of the file that an image of each kind is stored as."""

MEDIA_TYPES = {
    "PNG": "image/png",
    "JPEG": "image/jpeg",
    "BMP": "image/bmp",
    "TIFF": "image/tiff",
    "WEBP": "image/webp",
    "NPY": "application/octet-stream",
}
# Maps are smooth: more pixels along a side show nothing more.
MAX_MAP_SIDE = 512
# Pixels along a side of the middle that sharpness is measured on.
_SHARP_SIDE = 1024
# Rec. 601, as Pillow turns colours into grey.
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def checked_header(content: bytes, megapixels: float, name: str) -> Header:
    """Returns what the header of an image says, without unpacking it.

    Args:
        content: of the file.
        megapixels: that are taken, at most: a file of a few kB can unpack to many GB.
        name: what messages call it.

    Raises:
        ImageError: it is no image that the station reads, or has more pixels.
    """
    header = read_header(content, Path(name))
    if header.width * header.height > megapixels * 1e6:
        raise ImageError(
            f"{name} has {header.width} x {header.height} pixels, more than {megapixels:g} million; scale it "
            "down, or raise megapixels in station.toml"
        )
    return header


def light(pixels: NDArray[np.float32]) -> tuple[float, float]:
    """Returns brightness and sharpness of an image.

    Args:
        pixels: `(H, W, 1 or 3)` float32 in [0, 1].

    Returns:
        The mean, and the variance of the Laplacian of the grey image (Pech-Pacheco et al. 2000), of its
        middle where it is large.
    """
    height, width = pixels.shape[:2]
    top, left = max(0, (height - _SHARP_SIDE) // 2), max(0, (width - _SHARP_SIDE) // 2)
    middle = pixels[top : top + _SHARP_SIDE, left : left + _SHARP_SIDE]
    grey = middle[:, :, 0] if middle.shape[2] == 1 else middle @ _LUMA
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    return float(pixels.mean()), float((around - 4 * grey[1:-1, 1:-1]).var())


def pack_map(heat: NDArray[np.float32], low: float, high: float) -> bytes:
    """Returns an anomaly map as a grey PNG: black is `low`, white is `high`; large maps are scaled down.

    Args:
        heat: `(H, W)` float32, finite.
        low: what good parts commonly show.
        high: above `low`.
    """
    levels = np.clip((heat - low) * np.float32(255 / (high - low)), 0, 255)
    image = Image.fromarray(np.rint(levels).astype(np.uint8))
    factor = -(-max(image.size) // MAX_MAP_SIDE)
    if factor > 1:
        image = image.reduce(factor)
    packed = io.BytesIO()
    image.save(packed, "PNG", compress_level=1)
    return packed.getvalue()


def coloured_map(content: bytes) -> bytes:
    """Returns a packed map in colours, transparent where it shows nothing: PNG to lay over the image."""
    from patchebm.runtime.plasma import plasma

    with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
        strength = np.asarray(image, dtype=np.float32) / np.float32(255)
    colours = np.rint(plasma(strength) * 255).astype(np.uint8)
    alpha = np.rint(strength * 255).astype(np.uint8)
    drawn = io.BytesIO()
    Image.fromarray(np.dstack([colours, alpha])).save(drawn, "PNG", compress_level=1)
    return drawn.getvalue()
