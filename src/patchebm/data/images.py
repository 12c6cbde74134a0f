"""Reading one picture or one mask from a file into a numpy array, or saying in a sentence why not.

Pillow decodes; this module decides what the numbers mean. Where Pillow returns numbers that are not those of
the file (signed or planar 16-bit TIFF, for instance) the file is refused rather than read wrongly.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from patchebm.errors import ImageError

IMAGE_SUFFIXES: frozenset[str] = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})
"""File endings of pictures, in lower case; compare with `path.suffix.lower()`."""

MAX_PIXELS = 175_000_000
"""Largest picture that is read, in pixels.

A picture this size takes 2 GB as RGB float32. It is above the 151 megapixels of the largest industrial
sensors and just below 178,956,970, where Pillow itself refuses a file as a decompression bomb.
"""

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
# pixels, so a picture read without it may be wrong, and the file is truncated or damaged anyway.
_LOST_TAGS = ("Corrupt EXIF data", "Tag data larger than file", "Tag offset too large")

_Samples: TypeAlias = "NDArray[np.unsignedinteger[Any]]"  # uint8 or uint16


def read_image(path: str | Path) -> NDArray[np.float32]:
    """Read a picture as float32 of shape (H, W, C), C-contiguous, with values in [0, 1].

    PNG, JPEG, BMP and TIFF are read, whatever the file is called; black is 0 and white is 1.

    - C is 1 for grey, 1-bit and palette pictures whose palette holds greys only, else 3 (RGB). It follows
      from the kind of file and not from its pixels, so that a grey scene saved as RGB has C = 3.
    - 8-bit values are divided by 255, 16-bit grey by 65535 and 12-bit grey TIFF by 4095, without loss.
    - **16 bits per channel in colour, or in grey with alpha, are read to 8**: Pillow keeps the upper byte
      only. Where less than 1/16 of the range is used (12-bit data in 16 bits), that is refused.
    - Alpha is dropped, not blended: a transparent pixel has the colour stored under it.
    - CMYK becomes RGB by the plain formula. Colour profiles and gamma are not applied.
    - EXIF orientation is applied; H and W are those of the upright picture.
    - Of a JPEG with embedded previews (MPO) the main picture is read. TIFF with several pages and animated
      PNG are refused, since it is not known which page is meant.
    - Damage inside a JPEG that leaves its end mark in place cannot be seen: libjpeg fills the gap with grey.

    Args:
        path: file to read.

    Raises:
        ImageError: the file is missing, a folder, empty, truncated, damaged, not a picture, larger than
            `MAX_PIXELS`, or holds floats, signed or 32-bit integers, Lab, raw YCbCr, 16-bit CMYK or separate
            16-bit planes.
    """
    file = Path(path)
    return _values(file, _load(file))


def decode_image(content: bytes, name: str) -> NDArray[np.float32]:
    """As `read_image`, from the bytes of a file.

    Args:
        content: of a file.
        name: what messages call it.

    Raises:
        ImageError: as `read_image`.
    """
    if not content:
        raise ImageError(f"{name} is empty (0 bytes); send it again or leave it out")
    path = Path(name)
    return _values(path, _decoded(path, io.BytesIO(content)))


def picture_of(image: Image.Image, name: str) -> NDArray[np.float32]:
    """As `read_image`, from a Pillow image, which is read upright where it came from a file.

    Args:
        image: of any mode that `read_image` reads.
        name: what messages call it.

    Raises:
        ImageError: damaged, too large, or of floats or 32-bit integers.
    """
    path = Path(name)
    if image.width * image.height > MAX_PIXELS:
        raise ImageError(_too_large(path))
    if not image.width or not image.height:
        raise ImageError(f"{name} has no pixels; leave it out")
    try:
        image.load()
    except Exception as error:
        raise ImageError(_damaged(path)) from error
    deep = image.mode.startswith("I;16")
    # Pillow turns a TIFF upright itself while it loads it.
    orientation = 1 if image.format == "TIFF" else _orientation(image)
    return _values(path, _Loaded(image, "", white=65535 if deep else 255, orientation=orientation))


def read_mask(path: str | Path, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Read a defect mask as bool of shape (H, W): True wherever any colour channel is not zero.

    Args:
        path: file to read; every kind that `read_image` reads, with the exceptions below.
        size: (H, W) of the upright picture that the mask belongs to.

    Raises:
        ImageError: as `read_image`; the size is not `size`; the file is a JPEG (its compression turns the
            zeros around a defect into ones and twos), has 16-bit colours (Pillow drops their lower byte) or
            has transparent pixels (which of colour and alpha marks the defect is not known).
    """
    file = Path(path)
    loaded = _load(file)
    if loaded.kind == "JPEG":
        raise ImageError(f"{file} is a JPEG, which blurs the edge of a mask; save the mask as PNG")
    if loaded.deep_colour:
        raise ImageError(f"{file} is a mask in 16-bit colour; save it as an 8-bit grey PNG")
    if _is_transparent(loaded.image):
        raise ImageError(f"{file} is a mask with transparent pixels; save it as a grey PNG without alpha")
    samples = _samples(file, loaded)
    if samples.shape[:2] != tuple(size):
        mask_size, picture_size = (f"{w} x {h}" for h, w in (samples.shape[:2], size))
        raise ImageError(
            f"{file} is a mask of {mask_size} pixels for a picture of {picture_size}; "
            "give both the same width and height"
        )
    return np.asarray((samples != 0).any(axis=2))


@dataclass(frozen=True)
class _Loaded:
    """A decoded picture and what the header said that Pillow's mode does not tell."""

    image: Image.Image
    kind: str
    white: int = 255
    inverted: bool = False
    deep_colour: bool = False
    grey_alpha: bool = False
    orientation: int = 1


def _load(path: Path) -> _Loaded:
    """Decode the file completely; every failure becomes an ImageError."""
    _require_file(path)
    try:
        with path.open("rb") as stream:
            return _decoded(path, stream)
    except OSError as error:
        raise ImageError(
            f"{path} cannot be read: {error.strerror}; check its permissions and the disk"
        ) from error


def _decoded(path: Path, stream: BinaryIO) -> _Loaded:
    """Decode what a stream holds; every failure becomes an ImageError that calls it `path`."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            loaded = _decode(path, stream)
        except ImageError:
            raise
        except UnidentifiedImageError as error:
            stream.seek(0)
            raise ImageError(_unidentified(path, stream.read(4))) from error
        except Image.DecompressionBombError as error:
            raise ImageError(_too_large(path)) from error
        except MemoryError as error:
            raise ImageError(f"{path} needs more memory than there is; scale it down") from error
        except Exception as error:
            # Damaged files make Pillow's plugins raise nearly anything: SyntaxError, KeyError, struct.error.
            if isinstance(error, OSError) and error.errno is not None:
                raise ImageError(
                    f"{path} cannot be read: {error.strerror}; check its permissions and the disk"
                ) from error
            raise ImageError(_damaged(path)) from error
    if loaded.kind == "TIFF" and any(str(w.message).startswith(_LOST_TAGS) for w in caught):
        raise ImageError(_damaged(path))
    return loaded


def _decode(path: Path, stream: BinaryIO) -> _Loaded:
    image = Image.open(stream, formats=_FORMATS)
    if image.width * image.height > MAX_PIXELS:
        raise ImageError(_too_large(path))
    if image.width == 0 or image.height == 0:
        raise ImageError(_damaged(path))
    # An MPO is a JPEG with more pictures behind it; the first is the photograph.
    kind = "JPEG" if image.format == "MPO" else str(image.format)
    pages = int(getattr(image, "n_frames", 1))
    if kind != "JPEG" and pages > 1:
        raise ImageError(f"{path} holds {pages} pages; save the one that is meant as a file of its own")
    if kind == "TIFF":
        return _decode_tiff(path, image)
    depth, colour = 8, _PNG_GREY
    if kind == "PNG":
        # Bit depth and colour type stand here in every PNG; Pillow's mode does not tell 16-bit colour from 8.
        stream.seek(24)
        depth, colour = stream.read(2)
    image.load()
    deep = depth == 16
    return _Loaded(
        image,
        kind,
        white=65535 if deep and colour == _PNG_GREY else 255,
        deep_colour=deep and colour != _PNG_GREY,
        grey_alpha=colour == _PNG_GREY_ALPHA,
        orientation=_orientation(image),
    )


def _decode_tiff(path: Path, image: Image.Image) -> _Loaded:
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
        raise ImageError(_unsupported(path, what))
    inverted = bits == 16 and tags.get(_TAG_PHOTOMETRIC) == _WHITE_IS_ZERO
    # Pillow turns a TIFF upright itself while it loads it, so its orientation stays 1 here.
    image.load()
    deep = bits > 8 and colour
    white = 255 if deep else {12: 4095, 16: 65535}.get(bits, 255)
    return _Loaded(image, "TIFF", white=white, inverted=inverted, deep_colour=deep)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_TAG_ORIENTATION, 1))
    except Exception:
        # A damaged EXIF block does not spoil the pixels; every viewer shows such a picture as it is stored.
        return 1


def _values(path: Path, loaded: _Loaded) -> NDArray[np.float32]:
    """Pixels as float32 in [0, 1]."""
    values = _samples(path, loaded).astype(np.float32)
    values /= np.float32(loaded.white)
    return values


def _samples(path: Path, loaded: _Loaded) -> _Samples:
    """Pixels as the file has them, upright, of shape (H, W, 1 or 3), white being `loaded.white`."""
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
                f"{path} is a 16-bit colour picture that uses less than 1/16 of its range, too little to be "
                "read at 8 bits; stretch its values and save it with 8 bits per channel"
            )
    if samples.ndim == 2:
        samples = samples[:, :, np.newaxis]
    return np.ascontiguousarray(_upright(samples, loaded.orientation))


def _as_8_bit(path: Path, image: Image.Image) -> Image.Image:
    """The picture in mode L or RGB."""
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
    raise ImageError(_unsupported(path, what))


def _has_grey_palette(image: Image.Image) -> bool:
    palette = np.array(image.getpalette("RGB"), dtype=np.uint8).reshape(-1, 3)
    return bool((palette == palette[:, :1]).all())


def _is_transparent(image: Image.Image) -> bool:
    """Whether any pixel is not fully opaque, by an alpha channel or by a colour declared transparent."""
    if "transparency" in image.info:
        return image.mode != "P" or image.convert("RGBA").getchannel("A").getextrema()[0] != 255
    if image.mode not in ("LA", "La", "PA", "RGBA"):
        return False
    return image.getchannel(image.getbands()[-1]).getextrema()[0] != 255


def _upright(samples: _Samples, orientation: int) -> _Samples:
    """Undo the EXIF orientation of an (H, W, C) array; 2 to 8 as in the EXIF standard, others unchanged."""
    if orientation in (5, 6, 7, 8):
        samples = samples.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        samples = samples[::-1]
    if orientation in (2, 3, 6, 7):
        samples = samples[:, ::-1]
    return samples


def _require_file(path: Path) -> None:
    # Asked before opening, since opening a pipe would wait for its other end for ever.
    try:
        if path.is_dir():
            raise ImageError(f"{path} is a folder, not a picture; name a file in it")
        if not path.exists():
            raise ImageError(f"{path} does not exist; check the path")
        if not path.is_file():
            raise ImageError(f"{path} is not a regular file; name a picture")
        empty = path.stat().st_size == 0
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"{path!s:.200} cannot be read: {reason}; check the path") from error
    if empty:
        raise ImageError(f"{path} is empty (0 bytes); copy it again or leave it out")


def _unidentified(path: Path, start: bytes) -> str:
    kind = next((kind for magic, kind in _MAGIC.items() if start.startswith(magic)), None)
    if kind is None:
        return f"{path} is not a PNG, JPEG, BMP or TIFF picture; convert it to one of these or leave it out"
    return (
        f"{path} starts as {kind} but is truncated or of a kind that cannot be read; "
        "copy it again or convert it to 8-bit PNG"
    )


def _damaged(path: Path) -> str:
    return f"{path} is truncated or damaged; copy it again or leave it out"


def _too_large(path: Path) -> str:
    limit = MAX_PIXELS // 1_000_000
    return f"{path} claims to have more than {limit} million pixels; scale it down or cut it into parts"


def _unsupported(path: Path, what: str) -> str:
    return f"{path} holds {what}, which cannot be read; save it with 8 bits per channel or as 16-bit grey"
