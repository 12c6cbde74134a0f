"""This module holds the numbers of an image as its file has them, before anything is made of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from patchebm.errors import ImageError

Numbers = NDArray[Any]

DEEP_WHITE = 65535
"""The largest of 16-bit numbers."""


@dataclass(frozen=True)
class Samples:
    """This class holds the numbers of an image, upright; `Decoding.pixels` makes pixels of them.

    Attributes:
        values: `(H, W, 1 or 3)` uint8, uint16, or what needs a range: int16, int32, float32 and the like.
        white: the number that the kind of file calls white: 255, 4095 in a TIFF of 12 bits a sample, 65535
            where 16 bits are stored and nothing says how many of them are used; None for what needs a range.
        alpha: `(H, W)` of the type of `values`, the largest number where it is opaque; None if it is
            opaque everywhere.
        kind: of file, as in `patchebm.images.formats.FORMATS`; '' for what is none.
        inverted: whether 0 is white and the largest number black.
    """

    values: Numbers
    white: int | None
    alpha: Numbers | None = None
    kind: str = ""
    inverted: bool = False

    @property
    def is_deep(self) -> bool:
        """Returns whether 16 bits are stored, so that a set has to tell how many of them are used."""
        return self.white == DEEP_WHITE

    @property
    def brightest(self) -> int:
        """Returns the largest number."""
        return int(self.values.max())


def array_samples(values: Numbers, kind: str = "") -> Samples:
    """Returns the samples of an array `(H, W, 1 or 3)` of plain numbers."""
    if values.dtype == bool:
        return Samples(values.astype(np.uint8) * np.uint8(255), 255, kind=kind)
    white = {np.dtype(np.uint8): 255, np.dtype(np.uint16): DEEP_WHITE}.get(values.dtype)
    return Samples(values, white, kind=kind)


def pillow_samples(
    image: Image.Image,
    path: Path,
    *,
    deep: Numbers | None = None,
    white: int | None = None,
    kind: str = "",
    inverted: bool = False,
    orientation: int = 1,
) -> Samples:
    """Returns the samples of a Pillow image whose pixels are loaded.

    Args:
        image: of any mode that is read.
        path: what messages call it.
        deep: the numbers `(H, W, bands)` uint16, where the image holds only their upper bytes.
        white: where it differs from the largest number of the mode.
        kind: of the file.
        inverted: whether 0 is white, which Pillow undoes in 8-bit images only.
        orientation: 2 to 8 as in the EXIF standard; others leave the image as it is.

    Raises:
        ImageError: its colours are of a kind that cannot be read.
    """
    alpha: Numbers | None
    if deep is not None:
        # Grey, grey with alpha, RGB or RGB with alpha.
        colours = 1 if deep.shape[2] < 3 else 3
        values, alpha = deep[:, :, :colours], deep[:, :, -1] if deep.shape[2] in (2, 4) else None
        if alpha is None:
            alpha = _keyed(values, image.info.get("transparency"))
        white = white or DEEP_WHITE
    elif image.mode.startswith("I;16") or (image.mode == "I" and kind == "PNG"):
        # Older Pillow gives 16-bit grey PNG as 32-bit integers.
        values = np.asarray(image).astype(np.uint16)[:, :, np.newaxis]
        alpha = _keyed(values, image.info.get("transparency"))
        white = white or DEEP_WHITE
    elif image.mode in ("I", "F"):
        values, alpha = np.asarray(image)[:, :, np.newaxis], None
    else:
        alpha = _alpha_of(image)
        values = np.asarray(_as_8_bit(path, image))
        values = values[:, :, np.newaxis] if values.ndim == 2 else values
        # Pillow has undone an inversion of these.
        white, inverted = 255, False
    if alpha is not None and (alpha == np.iinfo(alpha.dtype).max).all():
        alpha = None
    return Samples(
        np.ascontiguousarray(_upright(values, orientation)),
        white,
        None if alpha is None else np.ascontiguousarray(_upright(alpha, orientation)),
        kind,
        inverted,
    )


def unsupported(path: Path, what: str) -> str:
    """Returns the sentence on a file of numbers that would be read wrongly."""
    return f"{path} holds {what}, which cannot be read; save it with 8 or 16 bits per channel, or as .npy"


def _as_8_bit(path: Path, image: Image.Image) -> Image.Image:
    """Returns the image in mode L or RGB, without its alpha."""
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
    raise ImageError(unsupported(path, f"{mode} colours"))


def _has_grey_palette(image: Image.Image) -> bool:
    palette = np.array(image.getpalette("RGB"), dtype=np.uint8).reshape(-1, 3)
    return bool((palette == palette[:, :1]).all())


def _alpha_of(image: Image.Image) -> Numbers | None:
    """Returns how opaque the pixels of an 8-bit image are `(H, W)` uint8; None if nothing says so."""
    if image.mode == "La":
        return np.asarray(image.convert("LA").getchannel("A"))
    if image.mode in ("LA", "PA", "RGBA"):
        return np.asarray(image.getchannel("A"))
    if "transparency" in image.info and image.mode in ("1", "L", "P", "RGB"):
        return np.asarray(image.convert("RGBA").getchannel("A"))
    return None


def _keyed(values: Numbers, key: int | tuple[int, ...] | None) -> Numbers | None:
    """Returns the alpha `(H, W)` of an image of which one colour is declared transparent."""
    if key is None:
        return None
    return np.where((values == np.array(key)).all(axis=2), 0, DEEP_WHITE).astype(np.uint16)


def _upright(values: Numbers, orientation: int) -> Numbers:
    """Undoes the EXIF orientation of an (H, W) or (H, W, C) array."""
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return values
