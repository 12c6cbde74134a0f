"""This module turns the bytes of GenICam's pixel formats into numbers, of 10 and 12 bits as they are.

The formats are those of the Pixel Format Naming Convention (EMVA, PFNC 2.4); those that end with `Packed` are
of GigE Vision 1.2.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from patchebm.errors import ConfigError
from patchebm.station.sources.frames import Frame, Pixels

_GREY = re.compile(r"(Mono|Bayer(?:RG|GR|GB|BG))(8|10|12|14|16)(p|Packed)?$")
_COLOUR = {"RGB8": 1, "BGR8": -1}
_PATTERNS = {"RG": "RGGB", "GR": "GRBG", "GB": "GBRG", "BG": "BGGR"}


def require_known(name: str) -> None:
    """Raises ConfigError for a pixel format that cannot be read."""
    found = _GREY.match(name)
    if name in _COLOUR or (found and not (found[3] and found[2] not in ("10", "12"))):
        if name.startswith("Bayer"):
            try:
                import cv2  # noqa: F401
            except ImportError as error:
                raise ConfigError(
                    f"pixel_format {name} needs OpenCV; run pip install 'patchebm[camera]'"
                ) from error
        return
    raise ConfigError(
        f"pixel_format '{name:.40}' cannot be read; use for instance Mono8, Mono10, Mono12, BayerRG8 or RGB8"
    )


def frame_of(content: bytes, name: str, width: int, height: int) -> Frame:
    """Returns the frame that a buffer holds.

    Args:
        content: of the buffer.
        name: of the pixel format; `require_known` took it.
        width: in pixels.
        height: in pixels.

    Raises:
        ValueError: the buffer is shorter than the frame.
    """
    if name in _COLOUR:
        colours = np.frombuffer(content, np.uint8, 3 * width * height).reshape(height, width, 3)
        return Frame(np.ascontiguousarray(colours[:, :, :: _COLOUR[name]]))
    found = _GREY.match(name)
    assert found is not None
    bits = int(found[2])
    pixels = _numbers(content, bits, found[3] or "", width * height).reshape(height, width)
    if found[1] != "Mono":
        pixels = _colours(pixels, _PATTERNS[found[1][-2:]])
    return Frame(pixels, 2**bits - 1)


def _numbers(content: bytes, bits: int, packing: str, count: int) -> Pixels:
    if not packing:
        return np.frombuffer(content, np.uint8 if bits == 8 else np.dtype("<u2"), count).astype(
            np.uint8 if bits == 8 else np.uint16
        )
    if packing == "p":
        # Bit after bit, the lowest first, across bytes.
        stored = np.frombuffer(content, np.uint8, -(-count * bits // 8))
        single = np.unpackbits(stored, bitorder="little", count=count * bits).reshape(count, bits)
        return np.asarray(single @ (1 << np.arange(bits, dtype=np.uint16)), dtype=np.uint16)
    # Two numbers in three bytes: the high bits of each, with the low bits of both between.
    three = np.frombuffer(content, np.uint8, -(-count // 2) * 3).reshape(-1, 3).astype(np.uint16)
    low = bits - 8
    mask = (1 << low) - 1
    first = three[:, 0] << low | three[:, 1] & mask
    second = three[:, 2] << low | three[:, 1] >> 4 & mask
    return np.stack([first, second], axis=1).reshape(-1)[:count].astype(np.uint16)


def _colours(pixels: Pixels, pattern: str) -> Pixels:
    import cv2

    found: Any = cv2.cvtColor(pixels, getattr(cv2, f"COLOR_Bayer{pattern}2RGB"))
    colours: Pixels = found
    return colours
