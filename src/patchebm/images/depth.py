"""This module finds how many bits a camera used of the 16 that its files store, from a set of images.

One image cannot tell: a dark one of 12 bits looks like one of 10. The brightest value of a set can.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from patchebm.images.samples import DEEP_WHITE, Samples

DEPTHS = (8, 10, 12, 13, 14, 16)
"""Bits that cameras give."""

_BYTE = 255
# Beyond this value only 16 bits are left.
_DECIDED = 2 ** DEPTHS[-2]


@dataclass(frozen=True)
class Depth:
    """This class is what 16-bit images of a set show of the camera's bits.

    Attributes:
        brightest: the largest value of all.
        unused: the number of low bits that are zero in every value of every image.
    """

    brightest: int
    unused: int

    @property
    def white_level(self) -> int:
        """Returns the value that stands for white.

        The smallest usual depth that holds the brightest value decides. A set that uses less than half of its
        depth may be taken for one of fewer bits, and becomes brighter in that, all of its images alike.

        Where low bits are never used and what is above them needs more than 8 bits, the camera has put its
        bits into the upper end of the 16, and white is all of these. (With 8 bits or fewer that may as well
        be 8-bit data that was multiplied, for instance to 10 bits, so that the brightest value decides.)
        """
        if not self.brightest:
            return DEEP_WHITE
        if self.is_left_aligned:
            return DEEP_WHITE + 1 - (1 << min(self.unused, 8))
        return int(2**self._bits - 1)

    @property
    def is_left_aligned(self) -> bool:
        """Returns whether the bits lie at the upper end of the 16."""
        return self.unused > 0 and (self.brightest >> self.unused > _BYTE or self._bits == DEPTHS[-1])

    @property
    def _bits(self) -> int:
        return next(bits for bits in DEPTHS if self.brightest < 2**bits)

    def describe(self) -> str:
        """Returns a sentence on what was found."""
        white = self.white_level
        if not self.brightest:
            return f"the 16-bit images are black all over, so that white is taken to be {white}"
        if self.is_left_aligned:
            bits = 16 - min(self.unused, 8)
            what = f"they hold {bits}-bit data in their upper bits, so that white is {white}"
        else:
            what = f"they are read as {self._bits}-bit data, in which white is {white}"
        return f"the brightest value of the 16-bit images is {self.brightest}: {what}"


def measure_depth(images: Iterable[Samples]) -> Depth | None:
    """Returns what images show of the camera's bits; None if none of them has 16-bit numbers.

    Args:
        images: those without 16-bit numbers do not count. No more are taken than are needed.
    """
    brightest, used = -1, 0
    for samples in images:
        if not samples.is_deep:
            continue
        brightest = max(brightest, samples.brightest)
        used |= int(np.bitwise_or.reduce(samples.values, axis=None))
        if brightest >= _DECIDED and used & 1:
            break
    if brightest < 0:
        return None
    return Depth(brightest, max(0, (used & -used).bit_length() - 1))
