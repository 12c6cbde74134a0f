"""This module reads arrays that numpy saved as `.npy`, without ever unpickling.

`numpy.load` would allocate what the header claims before it sees that the file is shorter; here the header
is checked against the file first.
"""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from patchebm.errors import ImageError

MAGIC = b"\x93NUMPY"


def read_npy(content: bytes, path: Path, max_pixels: int) -> NDArray[Any]:
    """Returns the array in the content of a `.npy` file, `(H, W, 1 or 3)`, C-contiguous, in native bytes.

    Args:
        content: of the file.
        path: what messages call it.
        max_pixels: H * W at most.

    Raises:
        ImageError: damaged, truncated, too large, of another shape, or not of plain numbers.
    """
    try:
        shape, fortran, dtype, start = _header(content)
    # A damaged header raises nearly anything: ValueError, SyntaxError, RecursionError, struct.error.
    except Exception as error:
        raise ImageError(f"{path} is no .npy file that can be read; save it again with numpy.save") from error
    if dtype.hasobject or dtype.kind not in "buif":
        raise ImageError(
            f"{path} holds {dtype.name if dtype.names is None else 'records'}, not plain numbers, and is not "
            "read; save an array of uint8, uint16 or floating-point numbers"
        )
    if len(shape) not in (2, 3) or min(shape) < 1 or (len(shape) == 3 and shape[2] not in (1, 3)):
        raise ImageError(f"{path} has shape {shape!s:.60}; save (height, width) or (height, width, 1 or 3)")
    if shape[0] * shape[1] > max_pixels:
        raise ImageError(
            f"{path} claims to have more than {max_pixels // 1_000_000} million pixels; scale it down or "
            "cut it into parts"
        )
    if len(content) - start != math.prod(shape) * dtype.itemsize:
        raise ImageError(f"{path} is truncated or damaged; copy it again or leave it out")
    flat = np.frombuffer(content, dtype, offset=start)
    array = flat.reshape(shape, order="F" if fortran else "C")
    array = array[:, :, np.newaxis] if array.ndim == 2 else array
    return np.ascontiguousarray(array, dtype=dtype.newbyteorder("="))


def _header(content: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    stream = io.BytesIO(content)
    version = npy_format.read_magic(stream)
    # Version 3 differs in the names of the fields of records alone.
    read = {
        (1, 0): npy_format.read_array_header_1_0,
        (2, 0): npy_format.read_array_header_2_0,
    }[version]
    shape, fortran, dtype = read(stream)
    return shape, fortran, dtype, stream.tell()
