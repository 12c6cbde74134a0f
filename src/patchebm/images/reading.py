"""This module reads an image or a mask into a numpy array, or says in a sentence why it cannot.

`patchebm.images.decoders` decodes, `patchebm.images.decoding` says what the numbers mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from patchebm.errors import ImageError
from patchebm.images.decoders import MAX_PIXELS, damaged, decode, orientation_of, read_file, too_large
from patchebm.images.decoding import STANDARD, Decoding
from patchebm.images.masks import Mask, joined, mask_of
from patchebm.images.samples import Numbers, Samples, pillow_samples

# White of 16-bit colours of which the upper byte alone is left.
_UPPER_BYTE_WHITE = 255 << 8


def read_image(path: str | Path, decoding: Decoding = STANDARD) -> NDArray[np.float32]:
    """Reads an image as float32 of shape (H, W, C), C-contiguous, with values in [0, 1].

    PNG, JPEG, BMP, TIFF, WebP and arrays in `.npy` are read, whatever the file is called; black is 0 and
    white is 1.

    - C is 1 for grey, 1-bit and palette images whose palette holds greys only, else 3 (RGB). It follows
      from the kind of file and not from its pixels, so that a grey scene saved as RGB has C = 3.
    - 8-bit values are divided by 255, 12-bit TIFF by 4095 and 16-bit values by the white level of
      `decoding`, without loss, in colour too.
    - Floating-point numbers (32 bits in a grey TIFF, any in `.npy`) are read by the range of `decoding`, and
      so are signed 16- and 32-bit integers; without one, floating-point numbers must lie in [0, 1].
    - Where an image is transparent, the background of `decoding` shines through.
    - CMYK becomes RGB by the plain formula. Colour profiles and gamma are not applied.
    - EXIF orientation is applied; H and W are those of the upright image.
    - Of a JPEG with embedded previews (MPO) the main image is read. Of TIFF with several pages, and of
      animations, the page of `decoding` is read; without one they are refused, since it is not known which
      is meant.
    - Damage inside a JPEG that leaves its end mark in place cannot be seen: libjpeg fills the gap with grey.

    Args:
        path: file to read.
        decoding: what the numbers mean; that of a model is its `decoding_`.

    Raises:
        ImageError: the file is missing, a folder, empty, truncated, damaged, not an image, larger than
            `MAX_PIXELS`, or holds numbers whose range is not known, objects, unsigned 32-bit integers, Lab,
            raw YCbCr, 16-bit CMYK or separate 16-bit planes.
    """
    file = Path(path)
    return decode_image(read_file(file), file, decoding)


def decode_image(content: bytes, name: str | Path, decoding: Decoding = STANDARD) -> NDArray[np.float32]:
    """Returns what `read_image` does, from the bytes of a file.

    Args:
        content: of a file.
        name: what messages call it.
        decoding: what the numbers mean.

    Raises:
        ImageError: as `read_image`.
    """
    return decoding.pixels(decode(content, Path(name), decoding.page), name)


def samples_of_pillow(image: Image.Image, name: str, decoding: Decoding = STANDARD) -> Samples:
    """Returns the numbers of a Pillow image, upright where it came from a file.

    Args:
        image: of any mode that `read_image` reads.
        name: what messages call it.
        decoding: what the numbers will be taken for.

    Raises:
        ImageError: damaged, too large, or of 16-bit colours of which Pillow keeps too little.
    """
    path = Path(name)
    if image.width * image.height > MAX_PIXELS:
        raise ImageError(too_large(path))
    if not image.width or not image.height:
        raise ImageError(f"{name} has no pixels; leave it out")
    layouts = [tile[3] if isinstance(tile[3], str) else tile[3][0] for tile in getattr(image, "tile", [])]
    cut = any(";16" in layout for layout in layouts) and not image.mode.startswith("I")
    if cut and decoding.white < _UPPER_BYTE_WHITE:
        raise ImageError(
            f"{name} has 16-bit colours, of which Pillow keeps the upper byte alone, too little with white "
            f"at {decoding.white}; give the path or the bytes of the file"
        )
    try:
        image.load()
    except Exception as error:
        raise ImageError(damaged(path)) from error
    # Pillow turns a TIFF upright itself while it loads it.
    orientation = 1 if image.format == "TIFF" else orientation_of(image)
    return pillow_samples(image, path, kind=image.format or "", orientation=orientation)


def read_mask(path: str | Path, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Reads a defect mask as bool of shape (H, W), True on defects; see `patchebm.images.masks.mask_of`.

    Args:
        path: file to read; every kind that `read_image` reads, with the exceptions below.
        size: (H, W) of the upright image that the mask belongs to.

    Raises:
        ImageError: as `read_image`; the size is not `size`; or the file has transparent pixels (which of
            colour and alpha marks the defect is not known).
    """
    return read_masks([Path(path)], size).pixels


def read_masks(paths: Sequence[Path], size: tuple[int, int]) -> Mask:
    """Reads the masks of one image and joins them: what any of them marks is marked.

    Args:
        paths: at least one file.
        size: (H, W) of the upright image.

    Raises:
        ImageError: as `read_mask`.
    """
    return joined([mask_of(_mask_values(path, size)) for path in paths])


def _mask_values(file: Path, size: tuple[int, int]) -> Numbers:
    """Returns the brightest colour channel of each pixel of a mask, (H, W)."""
    samples = decode(read_file(file), file)
    if samples.alpha is not None:
        raise ImageError(f"{file} is a mask with transparent pixels; save it as a grey PNG without alpha")
    if samples.values.shape[:2] != tuple(size):
        mask_size, image_size = (f"{w} x {h}" for h, w in (samples.values.shape[:2], size))
        raise ImageError(
            f"{file} is a mask of {mask_size} pixels for an image of {image_size}; "
            "give both the same width and height"
        )
    # Which number stands for nothing marked.
    values = samples.white - samples.values if samples.inverted and samples.white else samples.values
    return np.asarray(values.max(axis=2))
