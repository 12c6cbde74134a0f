"""This module decodes an image file, or says in a sentence why it cannot.

Pillow decodes all but `.npy`. Where it returns numbers that are not those of the file (TIFF of planar 16-bit
colours, for instance) the file is refused rather than read wrongly.
"""

from __future__ import annotations

import io
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from patchebm.errors import ImageError
from patchebm.images.formats import FORMATS, NAMES
from patchebm.images.npy import MAGIC, read_npy
from patchebm.images.samples import Numbers, Samples, array_samples, pillow_samples, unsupported

MAX_PIXELS = 175_000_000
"""Largest image that is read, in pixels.

An image this size takes 2 GB as RGB float32. It is above the 151 megapixels of the largest industrial
sensors and just below 178,956,970, where Pillow itself refuses a file as a decompression bomb.
"""

MAX_BYTES = 2 * 2**30
"""Largest file that is read: above what `MAX_PIXELS` of four 16-bit channels take without compression."""

_PILLOW = tuple(kind for kind in FORMATS if kind != "NPY")
_MAGIC = {
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"RIFF": "WEBP",
}
_TAG_BITS, _TAG_PHOTOMETRIC, _TAG_ORIENTATION, _TAG_PLANAR, _TAG_SAMPLE_FORMAT = 258, 262, 274, 284, 339
_WHITE_IS_ZERO, _SEPARATE_PLANES = 0, 2
_SIGNED, _FLOATS = 2, 3
_PNG_GREY, _PNG_GREY_ALPHA = 0, 4
# Pillow's names of the two orders of bytes, and of the machine's own.
_OTHER_ORDER = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
# What Pillow warns of when it has to leave out a TIFF tag. Each may be the one that says how to read the
# pixels, so an image read without it may be wrong, and the file is truncated or damaged anyway.
_LOST_TAGS = ("Corrupt EXIF data", "Tag data larger than file", "Tag offset too large")
# Python catches warnings for all threads at once: two that catch together would take each other's.
_CATCHING = threading.RLock()


def read_file(path: Path) -> bytes:
    """Returns the content of an image file; every failure becomes an ImageError that names it."""
    # Asked before opening, since opening a pipe would wait for its other end for ever.
    try:
        if path.is_dir():
            raise ImageError(f"{path} is a folder, not an image; name a file in it")
        if not path.exists():
            raise ImageError(f"{path} does not exist; check the path")
        if not path.is_file():
            raise ImageError(f"{path} is not a regular file; name an image")
        if path.stat().st_size > MAX_BYTES:
            raise ImageError(
                f"{path} has more than {MAX_BYTES >> 30} GiB; scale it down or cut it into parts"
            )
        return path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageError(
            f"{path!s:.200} cannot be read: {reason}; check the path, its permissions and the disk"
        ) from error


def decode(content: bytes, path: Path, page: int | None = None) -> Samples:
    """Decodes the content of a file completely; every failure becomes an ImageError that calls it `path`.

    Args:
        content: of the file.
        path: what messages call it.
        page: which page of a file that holds several, from 1 on; None refuses such a file.
    """
    if not content:
        raise ImageError(f"{path} is empty (0 bytes); copy it again or leave it out")
    try:
        if _is_tiff(content):
            with _caught_warnings() as caught:
                samples = _decode(path, content, page)
        else:
            caught = []
            samples = _decode(path, content, page)
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError(_unidentified(path, content[:4])) from error
    except Image.DecompressionBombError as error:
        raise ImageError(too_large(path)) from error
    except MemoryError as error:
        raise ImageError(f"{path} needs more memory than there is; scale it down") from error
    except Exception as error:
        # Damaged files make Pillow's plugins raise nearly anything: SyntaxError, KeyError, struct.error.
        raise ImageError(damaged(path)) from error
    if any(str(w.message).startswith(_LOST_TAGS) for w in caught):
        raise ImageError(damaged(path))
    return samples


class Header(NamedTuple):
    """This class is what the header of an image file says.

    Attributes:
        kind: a key of `FORMATS`.
        width: pixels, as stored.
        height: pixels, as stored.
    """

    kind: str
    width: int
    height: int


def read_header(content: bytes, path: Path) -> Header:
    """Returns what the header of an image says, without unpacking it. Raises ImageError as `decode` does."""
    if not content:
        raise ImageError(f"{path} is empty (0 bytes); copy it again or leave it out")
    if content.startswith(MAGIC):
        # An array is not packed: it is as large as its file.
        height, width = array_samples(read_npy(content, path, MAX_PIXELS), kind="NPY").values.shape[:2]
        return Header("NPY", width, height)
    try:
        with _caught_warnings(), Image.open(io.BytesIO(content), formats=_PILLOW) as image:
            # An MPO is a JPEG with more images behind it.
            kind = "JPEG" if image.format == "MPO" else str(image.format)
            return Header(kind, image.width, image.height)
    except Image.DecompressionBombError as error:
        raise ImageError(too_large(path)) from error
    except Exception as error:
        raise ImageError(_unidentified(path, content[:4])) from error


def _is_tiff(content: bytes) -> bool:
    return _MAGIC.get(content[:4]) == "TIFF"


@contextmanager
def _caught_warnings() -> Iterator[list[warnings.WarningMessage]]:
    """Yields a list that gets what Pillow warns of, one thread at a time."""
    with _CATCHING, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield caught


def _decode(path: Path, content: bytes, page: int | None) -> Samples:
    if content.startswith(MAGIC):
        return array_samples(read_npy(content, path, MAX_PIXELS), kind="NPY")
    image = _open(path, content, page)
    # An MPO is a JPEG with more images behind it; the first is the photograph.
    kind = "JPEG" if image.format == "MPO" else str(image.format)
    if kind == "TIFF":
        return _decode_tiff(path, content, page, image)
    # Bit depth and colour type stand here in every PNG; Pillow's mode does not tell 16-bit colour from 8.
    depth, colour = content[24:26] if kind == "PNG" else (8, _PNG_GREY)
    deep = None
    if depth == 16 and colour != _PNG_GREY:
        deep = _deep_grey_alpha(image) if colour == _PNG_GREY_ALPHA else _deep(path, content, page, image)
    image.load()
    return pillow_samples(image, path, deep=deep, kind=kind, orientation=orientation_of(image))


def _open(path: Path, content: bytes, page: int | None) -> Image.Image:
    """Opens a file at its page, without decoding it; what it warns of counts for TIFF alone."""
    if _is_tiff(content):
        return _open_file(path, content, page)
    with _caught_warnings():
        return _open_file(path, content, page)


def _open_file(path: Path, content: bytes, page: int | None) -> Image.Image:
    image = Image.open(io.BytesIO(content), formats=_PILLOW)
    _check_size(path, image)
    pages = int(getattr(image, "n_frames", 1))
    if image.format not in ("JPEG", "MPO"):
        if pages > 1 and page is None:
            raise ImageError(
                f"{path} holds {pages} pages; train with --page 1, or another, or save the one that is meant "
                "as a file of its own"
            )
        if page is not None and (pages > 1 or image.format == "TIFF"):
            if page > pages:
                raise ImageError(f"{path} has no page {page}, only {pages}; name another page")
            image.seek(page - 1)
            _check_size(path, image)
    return image


def _check_size(path: Path, image: Image.Image) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise ImageError(too_large(path))
    if image.width == 0 or image.height == 0:
        raise ImageError(damaged(path))


def _decode_tiff(path: Path, content: bytes, page: int | None, image: Image.Image) -> Samples:
    tags: Any = image.tag_v2  # type: ignore[attr-defined]
    bits = max(tags.get(_TAG_BITS, (1,)))
    sample_format = max(tags.get(_TAG_SAMPLE_FORMAT, (1,)))
    colour = image.mode not in ("1", "L", "F") and not image.mode.startswith("I")
    what = None
    if sample_format in (_SIGNED, _FLOATS) and image.mode not in ("I", "F"):
        # Pillow takes signed 8-bit numbers for unsigned ones.
        what = "signed or floating-point numbers of a kind"
    elif image.mode == "I" and sample_format != _SIGNED:
        what = "32-bit integers"
    elif bits > 8 and tags.get(_TAG_PLANAR, 1) == _SEPARATE_PLANES and colour:
        what = "16-bit colours in separate planes"
    elif bits > 8 and image.mode == "CMYK":
        what = "16-bit CMYK"
    if what is not None:
        raise ImageError(unsupported(path, what))
    deep = _deep(path, content, page, image) if bits > 8 and colour else None
    # Pillow turns a TIFF upright itself while it loads it.
    image.load()
    return pillow_samples(
        image,
        path,
        deep=deep,
        white={12: 4095}.get(bits),
        kind="TIFF",
        inverted=tags.get(_TAG_PHOTOMETRIC) == _WHITE_IS_ZERO,
    )


def _deep(path: Path, content: bytes, page: int | None, image: Image.Image) -> Numbers:
    """Returns 16-bit colours `(H, W, bands)` uint16 of an image that is not loaded yet.

    Pillow keeps the upper byte of each. Told that the bytes lie the other way round, it keeps the lower one.
    """
    lower = _open(path, content, page)
    premultiplied = "RGBa" in _layout(image)
    for one, other_byte in ((image, False), (lower, True)):
        layout = _layout(one).replace("RGBa", "RGBA")
        _decode_as(one, _other_order(layout) if other_byte else layout)
    values: Numbers = np.asarray(image).astype(np.uint16) << 8 | np.asarray(lower)
    if premultiplied:
        alpha = np.maximum(values[:, :, 3:], 1).astype(np.float64)
        values[:, :, :3] = np.minimum(np.rint(values[:, :, :3] * (65535 / alpha)), 65535)
    return values


def _layout(image: Image.Image) -> str:
    """Returns Pillow's name of how the pixels of an image that is not loaded yet lie in the file."""
    arguments: Any = image.tile[0][3]  # type: ignore[attr-defined]
    return str(arguments if isinstance(arguments, str) else arguments[0])


def _other_order(layout: str) -> str:
    """Returns a layout of 16-bit colours with the bytes exchanged. Raises KeyError if it is none."""
    name, _, order = layout.partition(";16")
    return f"{name};16{_OTHER_ORDER[order]}"


def _decode_as(image: Image.Image, layout: str) -> None:
    """Loads an image as if its pixels lay in the file in another way."""
    tiles = []
    for tile in image.tile:  # type: ignore[attr-defined]
        arguments = layout if isinstance(tile[3], str) else (layout, *tile[3][1:])
        # Tiles are plain tuples in Pillow before 11.
        tiles.append(tile._replace(args=arguments) if hasattr(tile, "_replace") else (*tile[:3], arguments))
    image.tile = tiles  # type: ignore[attr-defined]
    image.load()


def _deep_grey_alpha(image: Image.Image) -> Numbers:
    """Returns 16-bit grey with alpha `(H, W, 2)` uint16 of a PNG that is not loaded yet."""
    # Two numbers of two bytes are, for Pillow, one pixel of four bands.
    _decode_as(image, "RGBA")
    bands: Numbers = np.asarray(image).astype(np.uint16)
    return np.asarray(bands[:, :, ::2] << 8 | bands[:, :, 1::2])


def orientation_of(image: Image.Image) -> int:
    """Returns the EXIF orientation; 1, which is upright, where there is none."""
    try:
        with _caught_warnings():
            return int(image.getexif().get(_TAG_ORIENTATION, 1))
    except Exception:
        # A damaged EXIF block does not spoil the pixels; every viewer shows such an image as it is stored.
        return 1


def _unidentified(path: Path, start: bytes) -> str:
    kind = next((kind for magic, kind in _MAGIC.items() if start.startswith(magic)), None)
    if kind is None:
        return f"{path} is not a {NAMES} image; convert it to one of these or leave it out"
    return (
        f"{path} starts as {kind} but is truncated or of a kind that cannot be read; "
        "copy it again or convert it to 8-bit PNG"
    )


def damaged(path: Path) -> str:
    """Returns the sentence on a file whose pixels cannot all be read."""
    return f"{path} is truncated or damaged; copy it again or leave it out"


def too_large(path: Path) -> str:
    """Returns the sentence on a file of more than `MAX_PIXELS`."""
    limit = MAX_PIXELS // 1_000_000
    return f"{path} claims to have more than {limit} million pixels; scale it down or cut it into parts"
