"""A first look at some good images, before it is decided how all of them are read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from patchebm.images.compact import compact, expand
from patchebm.runtime.inputs import Image, name_of

# So many images are looked at, or as many as fit into so many bytes; they wait in memory until they are read,
# so that no file is opened twice.
MAX_IMAGES, MAX_BYTES = 64, 400 * 2**20


class Decoded(NamedTuple):
    """An image and what messages call it.

    Attributes:
        name: its path, or its number.
        pixels: `(H, W, 1 or 3)` float32 in [0, 1].
    """

    name: str
    pixels: NDArray[np.float32]


def decoded(
    images: Iterable[Image], pixels: Callable[[Image, int], NDArray[np.float32]]
) -> Iterator[Decoded]:
    """Decode images one by one with a function of the image and its number."""
    for i, image in enumerate(images):
        yield Decoded(name_of(image, i), pixels(image, i))


class Survey:
    """The first images of many; iterating over it gives them all, each once.

    Args:
        images: of which the first are taken.

    Attributes:
        found: how many images were looked at.
        grey: whether they have no colour.
    """

    def __init__(self, images: Iterator[Decoded]) -> None:
        self._first: list[tuple[str, NDArray[np.generic]]] = []
        size = 0
        for image in images:
            small = compact(image.pixels)
            self._first.append((image.name, small))
            size += small.nbytes
            if len(self._first) == MAX_IMAGES or size >= MAX_BYTES:
                break
        self._rest = images
        self.found = len(self._first)
        self.grey = all(pixels.shape[2] == 1 or _without_colour(pixels) for _, pixels in self._first)

    def some(self, most: int = MAX_IMAGES) -> Iterator[NDArray[np.float32]]:
        """Yield the pixels of at most so many of the first images, evenly spaced."""
        for i in np.linspace(0, self.found - 1, min(most, self.found)).round().astype(int):
            yield expand(self._first[i][1])

    def __iter__(self) -> Iterator[Decoded]:
        first = (Decoded(name, expand(pixels)) for name, pixels in self._first)
        return chain(first, self._rest)


def _without_colour(pixels: NDArray[np.generic]) -> bool:
    return bool((pixels[:, :, 1:] == pixels[:, :, :1]).all())
