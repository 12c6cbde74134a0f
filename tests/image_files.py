"""Image files of kinds that Pillow cannot write."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def save(path: Path, array: Any, mode: str | None = None, **options: Any) -> Path:
    image = array if isinstance(array, Image.Image) else Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


def png(array: np.ndarray, colour: int, *, interlaced: bool = False, **chunks: bytes) -> bytes:
    """A PNG with 16 bits a channel, which Pillow cannot write in colour."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    # The seven passes of Adam7: first column and row, then the steps.
    passes = [
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    ]
    parts = [array[y::dy, x::dx] for x, y, dx, dy in passes] if interlaced else [array]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for part in parts for row in part)
    head = struct.pack(">IIBBBBB", array.shape[1], array.shape[0], 16, colour, 0, 0, int(interlaced))
    extra = b"".join(chunk(name.encode(), data) for name, data in chunks.items())
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + chunk(b"IDAT", zlib.compress(rows))
    ) + chunk(b"IEND", b"")


def tiff(array: np.ndarray, order: str = "<", data: bytes | None = None, **tags: int) -> bytes:
    """A TIFF with its tags behind the pixels, for layouts that Pillow cannot write."""
    height, width = array.shape[:2]
    channels = array.shape[2] if array.ndim == 3 else 1
    if data is None:
        planes = np.moveaxis(array, 2, 0) if tags.get("planar") == 2 else array
        data = planes.astype(array.dtype.newbyteorder(order)).tobytes()  # type: ignore[call-overload]
    if tags.get("compression") == 8:
        data = zlib.compress(data)
    bits = tags.get("bits", array.dtype.itemsize * 8)
    strips = channels if tags.get("planar") == 2 else 1
    step = len(data) // strips
    entries: list[tuple[int, str, list[int]]] = [
        (256, "H", [width]),
        (257, "H", [height]),
        (258, "H", [bits] * channels),
        (259, "H", [tags.get("compression", 1)]),
        (262, "H", [tags.get("photometric", 1 if channels == 1 else 2)]),
        (273, "I", [8 + step * k for k in range(strips)]),
        (274, "H", [tags.get("orientation", 1)]),
        (277, "H", [channels]),
        (278, "H", [height]),
        (279, "I", [step] * strips),
        (284, "H", [tags.get("planar", 1)]),
        *([(338, "H", [tags["extra"]])] if "extra" in tags else []),
        (339, "H", [tags.get("sample", 1)] * channels),
    ]
    start = 8 + len(data) + len(data) % 2
    end, body, tail = start + 2 + 12 * len(entries) + 4, b"", b""
    for tag, code, values in entries:
        packed = struct.pack(f"{order}{len(values)}{code}", *values)
        body += struct.pack(order + "HHI", tag, {"H": 3, "I": 4}[code], len(values))
        body += struct.pack(order + "I", end + len(tail)) if len(packed) > 4 else packed.ljust(4, b"\0")
        tail += packed if len(packed) > 4 else b""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", start)
    ifd = struct.pack(order + "H", len(entries)) + body + b"\0\0\0\0" + tail
    return head + data + b"\0" * (len(data) % 2) + ifd


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path
