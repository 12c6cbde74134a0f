"""This module decodes an image file and reads its header, or says in a sentence why it cannot.

Pillow decodes. Where it returns numbers that are not those of the file (signed or planar 16-bit TIFF, for
instance) the file is refused rather than read wrongly.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from patchebm.errors import ImageError

MAX_PIXELS = 175_000_000
"""Largest image that is read, in pixels.

An image this size takes 2 GB as RGB float32. It is above the 151 megapixels of the largest industrial
sensors and just below 178,956,970, where Pillow itself refuses a file as a decompression bomb.
"""

MAX_BYTES = 2 * 2**30
"""Largest file that is read: above what `MAX_PIXELS` of four 16-bit channels take without compression."""

_FORMATS = ("PNG", "JPEG", "BMP", "TIFF")
_MAGIC = {
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
}
_TAG_BITS, _TAG_PHOTOMETRIC, _TAG_ORIENTATION, _TAG_PLANAR, _TAG_SAMPLE_FORMAT = 258, 262, 274, 284, 339
_WHITE_IS_ZERO, _SEPARATE_PLANES = 0, 2
_PNG_GREY, _PNG_GREY_ALPHA = 0, 4
# What Pillow warns of when it has to leave out a TIFF tag. Each may be the one that says how to read the
# pixels, so an image read without it may be wrong, and the file is truncated or damaged anyway.
_LOST_TAGS = ("Corrupt EXIF data", "Tag data larger than file", "Tag offset too large")


@dataclass(frozen=True)
class Decoded:
    """This class holds a decoded image and what the header says that Pillow's mode does not."""

    image: Image.Image
    kind: str
    white: int = 255
    inverted: bool = False
    deep_colour: bool = False
    grey_alpha: bool = False
    orientation: int = 1


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


def decode(content: bytes, path: Path) -> Decoded:
    """Decodes the content of a file completely; every failure becomes an ImageError that calls it `path`."""
    if not content:
        raise ImageError(f"{path} is empty (0 bytes); copy it again or leave it out")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            loaded = _decode(path, content)
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
    if loaded.kind == "TIFF" and any(str(w.message).startswith(_LOST_TAGS) for w in caught):
        raise ImageError(damaged(path))
    return loaded


def _decode(path: Path, content: bytes) -> Decoded:
    image = Image.open(io.BytesIO(content), formats=_FORMATS)
    if image.width * image.height > MAX_PIXELS:
        raise ImageError(too_large(path))
    if image.width == 0 or image.height == 0:
        raise ImageError(damaged(path))
    # An MPO is a JPEG with more images behind it; the first is the photograph.
    kind = "JPEG" if image.format == "MPO" else str(image.format)
    pages = int(getattr(image, "n_frames", 1))
    if kind != "JPEG" and pages > 1:
        raise ImageError(f"{path} holds {pages} pages; save the one that is meant as a file of its own")
    if kind == "TIFF":
        return _decode_tiff(path, image)
    depth, colour = 8, _PNG_GREY
    if kind == "PNG":
        # Bit depth and colour type stand here in every PNG; Pillow's mode does not tell 16-bit colour from 8.
        depth, colour = content[24:26]
    image.load()
    deep = depth == 16
    return Decoded(
        image,
        kind,
        white=65535 if deep and colour == _PNG_GREY else 255,
        deep_colour=deep and colour != _PNG_GREY,
        grey_alpha=colour == _PNG_GREY_ALPHA,
        orientation=orientation_of(image),
    )


def _decode_tiff(path: Path, image: Image.Image) -> Decoded:
    tags: Any = image.tag_v2  # type: ignore[attr-defined]
    bits = max(tags.get(_TAG_BITS, (1,)))
    colour = image.mode not in ("1", "L") and not image.mode.startswith("I")
    what = None
    if any(sample in (2, 3) for sample in tags.get(_TAG_SAMPLE_FORMAT, (1,))):
        what = "signed or floating-point numbers"
    elif bits > 8 and tags.get(_TAG_PLANAR, 1) == _SEPARATE_PLANES and colour:
        what = "16-bit colours in separate planes"
    elif bits > 8 and image.mode == "CMYK":
        what = "16-bit CMYK"
    if what is not None:
        raise ImageError(unsupported(path, what))
    inverted = bits == 16 and tags.get(_TAG_PHOTOMETRIC) == _WHITE_IS_ZERO
    # Pillow turns a TIFF upright itself while it loads it, so its orientation stays 1 here.
    image.load()
    deep = bits > 8 and colour
    white = 255 if deep else {12: 4095, 16: 65535}.get(bits, 255)
    return Decoded(image, "TIFF", white=white, inverted=inverted, deep_colour=deep)


def orientation_of(image: Image.Image) -> int:
    """Returns the EXIF orientation; 1, which is upright, where there is none."""
    try:
        return int(image.getexif().get(_TAG_ORIENTATION, 1))
    except Exception:
        # A damaged EXIF block does not spoil the pixels; every viewer shows such an image as it is stored.
        return 1


def _unidentified(path: Path, start: bytes) -> str:
    kind = next((kind for magic, kind in _MAGIC.items() if start.startswith(magic)), None)
    if kind is None:
        return f"{path} is not a PNG, JPEG, BMP or TIFF image; convert it to one of these or leave it out"
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


def unsupported(path: Path, what: str) -> str:
    """Returns the sentence on a file of numbers that would be read wrongly."""
    return f"{path} holds {what}, which cannot be read; save it with 8 bits per channel or as 16-bit grey"
