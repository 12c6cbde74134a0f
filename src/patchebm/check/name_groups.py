"""This module finds out whether the names of images may say which of them show the same part.

Names alone prove nothing: `part7_2.png` may be the second view of part 7, or picture 2 of camera 7. So what
they suggest is said only if images of one presumed part look alike, too.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from patchebm.images.order import MAX_P, MIN_SHARE, at_least, nearest_neighbours

PATTERNS = (
    # part7_2.png, part7-left.png: all but the last word; then all but the first: left_part7.png.
    r"^(.+)[_\-. ][^_\-. ]+\.[^.]+$",
    r"^[^_\-. ]+[_\-. ](.+)\.[^.]+$",
    # part7a.png, part7b.png.
    r"^(.*\d)[A-Za-z]\.[^.]+$",
)
"""What `--groups` can search in names, in the order in which they are tried."""

# A part is seldom photographed more often, and a name that few share is that of a camera or a day.
_MOST_OF_A_PART, _FEWEST_PARTS = 30, 4
# So many images a part, at least, or most parts would have one.
_IMAGES_A_PART = 1.5
# As for the order of images.
_MAX_IMAGES = 2000


@dataclass(frozen=True)
class NameGroups:
    """This class is what names suggest.

    Attributes:
        pattern: for `--groups`.
        parts: how many there would be.
        images: compared.
        alike: how many of them look most like another image of the same presumed part.
        expected: how many would if names meant nothing.
        p: probability of so many then (binomial).
    """

    pattern: str
    parts: int
    images: int
    alike: int
    expected: float
    p: float


def groups_in_names(names: Sequence[str], thumbnails: NDArray[np.float64]) -> NameGroups | None:
    """Returns what the names of images suggest, if they suggest anything that their thumbnails bear out.

    Args:
        names: of files, without folders.
        thumbnails: `(N, d)` what the images look like.
    """
    names, thumbnails = names[:_MAX_IMAGES], thumbnails[:_MAX_IMAGES]
    count = len(names)
    if count < 2 * _FEWEST_PARTS:
        return None
    std = thumbnails.std(0)
    nearest = nearest_neighbours((thumbnails - thumbnails.mean(0)) / np.where(std > 0, std, 1))
    for pattern in PATTERNS:
        matches = [re.search(pattern, name) for name in names]
        keys = [match[1] for match in matches if match]
        if len(keys) < count:
            continue
        sizes = Counter(keys)
        largest = max(sizes.values())
        if len(sizes) < _FEWEST_PARTS or count < _IMAGES_A_PART * len(sizes) or largest > _MOST_OF_A_PART:
            continue
        alike = sum(keys[i] == keys[int(j)] for i, j in enumerate(nearest))
        expected = sum(size * (size - 1) for size in sizes.values()) / (count - 1)
        p = at_least(alike, count, expected / count)
        if p < MAX_P and alike >= MIN_SHARE * count:
            return NameGroups(pattern, len(sizes), count, alike, expected, p)
    return None
