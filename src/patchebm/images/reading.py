"""This module reads an image or a mask into a numpy array, or says in a sentence why it cannot.

`patchebm.images.decoding` decodes; here it is decided what the numbers mean.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from patchebm.errors import ImageError
from patchebm.images.decoding import (
    MAX_PIXELS,
    Decoded,
    damaged,
    decode,
    orientation_of,
    read_file,
    too_large,
    unsupported,
)

IMAGE_SUFFIXES: frozenset[str] = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})
"""File endings of images, in lower case; compare with `path.suffix.lower()`."""

_Samples: TypeAlias = "NDArray[np.unsignedinteger[Any]]"  # uint8 or uint16


def read_image(path: str | Path) -> NDArray[np.float32]:
    """Reads an image as float32 of shape (H, W, C), C-contiguous, with values in [0, 1].

    PNG, JPEG, BMP and TIFF are read, whatever the file is called; black is 0 and white is 1.

    - C is 1 for grey, 1-bit and palette images whose palette holds greys only, else 3 (RGB). It follows
      from the kind of file and not from its pixels, so that a grey scene saved as RGB has C = 3.
    - 8-bit values are divided by 255, 16-bit grey by 65535 and 12-bit grey TIFF by 4095, without loss.
    - **16 bits per channel in colour, or in grey with alpha, are read to 8**: Pillow keeps the upper byte
      only. Where less than 1/16 of the range is used (12-bit data in 16 bits), that is refused.
    - Alpha is dropped, not blended: a transparent pixel has the colour stored under it.
    - CMYK becomes RGB by the plain formula. Colour profiles and gamma are not applied.
    - EXIF orientation is applied; H and W are those of the upright image.
    - Of a JPEG with embedded previews (MPO) the main image is read. TIFF with several pages and animated
      PNG are refused, since it is not known which page is meant.
    - Damage inside a JPEG that leaves its end mark in place cannot be seen: libjpeg fills the gap with grey.

    Args:
        path: file to read.

    Raises:
        ImageError: the file is missing, a folder, empty, truncated, damaged, not an image, larger than
            `MAX_PIXELS`, or holds floats, signed or 32-bit integers, Lab, raw YCbCr, 16-bit CMYK or separate
            16-bit planes.
    """
    file = Path(path)
    return decode_image(read_file(file), file)


def decode_image(content: bytes, name: str | Path) -> NDArray[np.float32]:
    """Returns what `read_image` does, from the bytes of a file.

    Args:
        content: of a file.
        name: what messages call it.

    Raises:
        ImageError: as `read_image`.
    """
    path = Path(name)
    return _values(path, decode(content, path))


def image_of(image: Image.Image, name: str) -> NDArray[np.float32]:
    """Returns what `read_image` does, from a Pillow image, upright where it came from a file.

    Args:
        image: of any mode that `read_image` reads.
        name: what messages call it.

    Raises:
        ImageError: damaged, too large, or of floats or 32-bit integers.
    """
    path = Path(name)
    if image.width * image.height > MAX_PIXELS:
        raise ImageError(too_large(path))
    if not image.width or not image.height:
        raise ImageError(f"{name} has no pixels; leave it out")
    try:
        image.load()
    except Exception as error:
        raise ImageError(damaged(path)) from error
    deep = image.mode.startswith("I;16")
    # Pillow turns a TIFF upright itself while it loads it.
    orientation = 1 if image.format == "TIFF" else orientation_of(image)
    return _values(path, Decoded(image, "", white=65535 if deep else 255, orientation=orientation))


def read_mask(path: str | Path, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Reads a defect mask as bool of shape (H, W): True wherever any colour channel is not zero.

    Args:
        path: file to read; every kind that `read_image` reads, with the exceptions below.
        size: (H, W) of the upright image that the mask belongs to.

    Raises:
        ImageError: as `read_image`; the size is not `size`; the file is a JPEG (its compression turns the
            zeros around a defect into ones and twos), has 16-bit colours (Pillow drops their lower byte) or
            has transparent pixels (which of colour and alpha marks the defect is not known).
    """
    file = Path(path)
    loaded = decode(read_file(file), file)
    if loaded.kind == "JPEG":
        raise ImageError(f"{file} is a JPEG, which blurs the edge of a mask; save the mask as PNG")
    if loaded.deep_colour:
        raise ImageError(f"{file} is a mask in 16-bit colour; save it as an 8-bit grey PNG")
    if _is_transparent(loaded.image):
        raise ImageError(f"{file} is a mask with transparent pixels; save it as a grey PNG without alpha")
    samples = _samples(file, loaded)
    if samples.shape[:2] != tuple(size):
        mask_size, image_size = (f"{w} x {h}" for h, w in (samples.shape[:2], size))
        raise ImageError(
            f"{file} is a mask of {mask_size} pixels for an image of {image_size}; "
            "give both the same width and height"
        )
    return np.asarray((samples != 0).any(axis=2))


def _values(path: Path, loaded: Decoded) -> NDArray[np.float32]:
    """Returns pixels as float32 in [0, 1]."""
    values = _samples(path, loaded).astype(np.float32)
    values /= np.float32(loaded.white)
    return values


def _samples(path: Path, loaded: Decoded) -> _Samples:
    """Returns pixels as the file has them, upright, of shape (H, W, 1 or 3); `loaded.white` is white."""
    image = loaded.image
    samples: _Samples
    if image.mode.startswith("I;16") or (image.mode == "I" and loaded.kind == "PNG"):
        # Older Pillow gives 16-bit grey PNG as 32-bit integers.
        samples = np.asarray(image).astype(np.uint16)
        if loaded.inverted:
            samples = np.asarray(65535 - samples, dtype=np.uint16)
    else:
        samples = np.asarray(_as_8_bit(path, image))
        if loaded.grey_alpha and samples.ndim == 3:
            # Pillow gives 16-bit grey with alpha as RGB with three equal channels.
            samples = samples[:, :, 0]
        if loaded.deep_colour and samples.max() < 16:
            raise ImageError(
                f"{path} is a 16-bit colour image that uses less than 1/16 of its range, too little to be "
                "read at 8 bits; stretch its values and save it with 8 bits per channel"
            )
    if samples.ndim == 2:
        samples = samples[:, :, np.newaxis]
    return np.ascontiguousarray(_upright(samples, loaded.orientation))


def _as_8_bit(path: Path, image: Image.Image) -> Image.Image:
    """Returns the image in mode L or RGB."""
    mode = image.mode
    if mode in ("L", "RGB"):
        return image
    if mode == "1":
        return image.convert("L")
    if mode in ("LA", "La"):
        # La holds colours multiplied by alpha; converting to LA divides them again.
        return image.convert("LA").getchannel("L")
    if mode in ("P", "PA"):
        rgb = image.convert("RGB")
        return rgb.getchannel("R") if _has_grey_palette(image) else rgb
    if mode in ("RGBA", "RGBX", "CMYK"):
        return image.convert("RGB")
    what = {"I": "32-bit integers", "F": "floating-point numbers"}.get(mode, f"{mode} colours")
    raise ImageError(unsupported(path, what))


def _has_grey_palette(image: Image.Image) -> bool:
    palette = np.array(image.getpalette("RGB"), dtype=np.uint8).reshape(-1, 3)
    return bool((palette == palette[:, :1]).all())


def _is_transparent(image: Image.Image) -> bool:
    """Says whether any pixel is not fully opaque, by an alpha channel or a colour declared transparent."""
    if "transparency" in image.info:
        return image.mode != "P" or image.convert("RGBA").getchannel("A").getextrema()[0] != 255
    if image.mode not in ("LA", "La", "PA", "RGBA"):
        return False
    return image.getchannel(image.getbands()[-1]).getextrema()[0] != 255


def _upright(samples: _Samples, orientation: int) -> _Samples:
    """Undoes the EXIF orientation of an (H, W, C) array: 2 to 8 as in the EXIF standard, others unchanged."""
    if orientation in (5, 6, 7, 8):
        samples = samples.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        samples = samples[::-1]
    if orientation in (2, 3, 6, 7):
        samples = samples[:, ::-1]
    return samples
