"""This module turns what users hand in, files, bytes, arrays or Pillow images, into decoded pixels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from patchebm.errors import ImageError
from patchebm.images.decoders import MAX_PIXELS, decode, read_file
from patchebm.images.decoding import STANDARD, Decoding, Misfit
from patchebm.images.photo import Photo
from patchebm.images.reading import samples_of_pillow
from patchebm.images.samples import Samples, array_samples

Image: TypeAlias = "str | Path | Photo | bytes | NDArray[np.generic] | Pillow.Image"
"""A file, a photo, the bytes of a file, a Pillow image, or an array `(H, W)` or `(H, W, 1 or 3)`: uint8,
uint16, or floating point in [0, 1]. A model's `decoding_` says which number of 16 bits is white."""

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


class Read(NamedTuple):
    """This class is an image that was read.

    Attributes:
        pixels: `(H, W, 1 or 3)` float32 in [0, 1].
        misfit: what makes it doubtful under the rule by which it was read, if anything does.
    """

    pixels: NDArray[np.float32]
    misfit: Misfit | None


def pixels_of(image: Image, index: int, decoding: Decoding = STANDARD) -> NDArray[np.float32]:
    """Returns the pixels `(H, W, 1 or 3)` float32 in [0, 1] of an image; see `read_input`."""
    return read_input(image, index, decoding).pixels


def read_input(image: Image, index: int, decoding: Decoding = STANDARD) -> Read:
    """Reads an image.

    Args:
        image: of any kind that `Image` names. A photo is read by `decoding` from here on.
        index: what messages call an image that has no name.
        decoding: what the numbers of files, of Pillow images and of uint16 arrays mean. Floating-point
            arrays are pixels already.

    Raises:
        ImageError: the file or the bytes cannot be read, the array is of the wrong shape, type or range, or
            the image is too small or too large.
    """
    name = name_of(image, index)
    if isinstance(image, Photo):
        image.decoding = decoding
        read = Read(image.pixels, image.misfit)
    elif isinstance(image, np.ndarray) and np.issubdtype(image.dtype, np.floating):
        read = Read(_floats(_shaped(image, name), name), None)
    else:
        samples = input_samples(image, index, decoding)
        read = Read(decoding.pixels(samples, name), decoding.misfit(samples, name))
    height, width = read.pixels.shape[:2]
    if min(height, width) < MIN_SIDE:
        raise ImageError(
            f"{name} has {width} x {height} pixels, too few to score; give at least {MIN_SIDE} x {MIN_SIDE}"
        )
    return read


def readable_samples(images: Iterable[Image], decoding: Decoding) -> Iterator[Samples]:
    """Yields the numbers of each image that can be read; the others will be named when they are used."""
    for index, image in enumerate(images):
        try:
            yield input_samples(image, index, decoding)
        except ImageError:
            continue


def input_samples(image: Image, index: int, decoding: Decoding = STANDARD) -> Samples:
    """Returns the numbers of an image, before anything is made of them; arguments are as for `read_input`."""
    name = name_of(image, index)
    if isinstance(image, str | Path | Photo):
        path = image.path if isinstance(image, Photo) else Path(image)
        return decode(read_file(path), path, decoding.page)
    if isinstance(image, bytes | bytearray):
        return decode(bytes(image), Path(name), decoding.page)
    if isinstance(image, Pillow.Image):
        return samples_of_pillow(image, name, decoding)
    if isinstance(image, np.ndarray):
        values = _shaped(image, name)
        if values.dtype not in (np.uint8, np.uint16) and not np.issubdtype(values.dtype, np.floating):
            raise ImageError(f"{name} has dtype {values.dtype}; give uint8, uint16 or float32 in [0, 1]")
        return array_samples(values)
    raise ImageError(f"{name} is a {type(image).__name__}; give a path, bytes, an array or a Pillow image")


def _shaped(array: NDArray[np.generic], name: str) -> NDArray[np.generic]:
    """Returns an array as `(H, W, 1 or 3)`."""
    values = array[:, :, None] if array.ndim == 2 else array
    if values.ndim != 3 or values.shape[2] not in (1, 3) or not min(values.shape):
        raise ImageError(f"{name} has shape {array.shape}; give (height, width) or (height, width, 1 or 3)")
    if values.shape[0] * values.shape[1] > MAX_PIXELS:
        raise ImageError(f"{name} has more than {MAX_PIXELS // 1_000_000} million pixels; cut it into parts")
    return values


def _floats(values: NDArray[np.generic], name: str) -> NDArray[np.float32]:
    floats = values.astype(np.float32)
    # One comparison is false for NaN, too.
    if not (floats.min() >= 0 and floats.max() <= 1):
        raise ImageError(f"{name} has values outside [0, 1]; scale it and remove NaN")
    return floats
