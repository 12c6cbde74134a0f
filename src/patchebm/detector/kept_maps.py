"""What is kept of many images waits in a temporary file, so that memory does not grow with them.

That holds for small tensors, too: one that stays takes its room from where a large one has just been, and the
next large one no longer fits there. Evidence of 4 kB an image made a fit grow by 800 kB an image.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from typing import IO, NamedTuple

import torch
from torch import Tensor

from patchebm.energy.fused import Evidence
from patchebm.errors import PatchebmError

# Bytes that stay in memory; small sets need no file.
IN_MEMORY = 32 * 2**20


class _File(tempfile.SpooledTemporaryFile):  # type: ignore[type-arg]
    """A temporary file that is closed with the last sequence that reads from it."""

    def __del__(self) -> None:
        """Close the file, of which Python would warn otherwise."""
        self.close()


class KeptMaps:
    """A sequence of tensors, or None, that are read from a file each time that they are used.

    The file lies where temporary files lie (`$TMPDIR`), has no name, and is gone with the sequence.

    Raises:
        PatchebmError: there is no room for the file.
    """

    def __init__(self) -> None:
        self._file: IO[bytes] = _File(IN_MEMORY)
        # Where each begins, what its numbers are, and its shape.
        self._places: list[tuple[int, torch.dtype, torch.Size] | None] = []

    def append(self, view: Tensor | None) -> None:
        """Keep a tensor of any shape and type, on the CPU; or that there is none."""
        if view is None:
            self._places.append(None)
            return
        try:
            begin = self._file.seek(0, os.SEEK_END)
            self._file.write(view.numpy().tobytes())
            self._file.flush()
        except OSError as error:
            raise PatchebmError(
                f"what is to be kept of the images does not fit into {tempfile.gettempdir()} "
                f"({error.strerror or error}); free some space, or set TMPDIR to a folder with more"
            ) from error
        self._places.append((begin, view.dtype, view.shape))

    def has(self, index: int) -> bool:
        """Say whether there is a tensor, without reading it."""
        return self._places[index] is not None

    def subset(self, chosen: Sequence[int]) -> KeptMaps:
        """Return some of the tensors, in the same file."""
        other = KeptMaps.__new__(KeptMaps)
        other._file = self._file
        other._places = [self._places[i] for i in chosen]
        return other

    def __len__(self) -> int:
        """Return how many there are, with those that are None."""
        return len(self._places)

    def __iter__(self) -> Iterator[Tensor | None]:
        """Read them one by one."""
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: int) -> Tensor | None:
        """Read a tensor."""
        place = self._places[index]
        if place is None:
            return None
        begin, dtype, shape = place
        self._file.seek(begin)
        data = bytearray(self._file.read(dtype.itemsize * shape.numel()))
        return torch.frombuffer(data, dtype=dtype).view(shape) if data else torch.empty(shape, dtype=dtype)


class KeptEvidence:
    """Evidence of images by their numbers, one or several for each."""

    def __init__(self) -> None:
        self._tensors = KeptMaps()
        self._of: dict[int, list[int]] = {}

    def add(self, image: int, evidence: Evidence) -> None:
        """Keep evidence `(1, K, h, w)` of an image, or of one of its versions, on the CPU."""
        self._of.setdefault(image, []).append(len(self._tensors))
        self._tensors.append(evidence.components)
        # Often the same.
        self._tensors.append(None if evidence.cells is evidence.components else evidence.cells)

    def of(self, image: int) -> list[Evidence]:
        """Return what was kept of an image, in its order."""
        found = []
        for row in self._of.get(image, []):
            components, cells = self._tensors[row], self._tensors[row + 1]
            assert components is not None
            found.append(Evidence(components, components if cells is None else cells))
        return found


class Cells(NamedTuple):
    """Residuals of one image that networks are trained on, each `(n, C)` float16.

    Attributes:
        good: of the image itself.
        clean: of undamaged places of its damaged versions.
        damaged: of damaged places of these.
    """

    good: Tensor
    clean: Tensor
    damaged: Tensor


class KeptCells:
    """Cells of images by their numbers, in a file."""

    def __init__(self) -> None:
        self._tensors = KeptMaps()
        self._of: dict[int, int] = {}

    def add(self, image: int, cells: Cells) -> None:
        """Keep the cells of an image."""
        self._of[image] = len(self._tensors)
        for one in cells:
            self._tensors.append(one)

    def all(self) -> list[Cells]:
        """Return the cells of all images, in the order of their numbers."""
        return [self._read(begin) for _, begin in sorted(self._of.items())]

    def _read(self, begin: int) -> Cells:
        found = [one for i in range(begin, begin + 3) if (one := self._tensors[i]) is not None]
        return Cells(*found)
