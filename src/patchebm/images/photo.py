"""This module opens an image file once for all that is made of it: its hash, its pixels, its fingerprint."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from patchebm.images.decoding import read_file
from patchebm.images.reading import decode_image


class Photo:
    """This class is an image file whose content is read at its first use and kept until `release`.

    Args:
        path: the file.

    >>> photo = Photo("good/1.png")                         # doctest: +SKIP
    >>> photo.sha256, photo.pixels.shape                    # doctest: +SKIP
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def __repr__(self) -> str:
        return f"Photo({str(self.path)!r})"

    @cached_property
    def content(self) -> bytes:
        """Returns the bytes of the file. Raises ImageError if it cannot be read; names it."""
        return read_file(self.path)

    @cached_property
    def sha256(self) -> str:
        """Returns the SHA-256 of the bytes in hexadecimal. Raises ImageError if the file cannot be read."""
        return hashlib.sha256(self.content).hexdigest()

    @cached_property
    def pixels(self) -> NDArray[np.float32]:
        """Returns the pixels `(H, W, 1 or 3)` float32 in [0, 1]. Raises ImageError as `read_image` does."""
        return decode_image(self.content, self.path)

    def release(self) -> None:
        """Lets go of the content and the pixels; the hash is kept, since it takes no room."""
        self.__dict__.pop("content", None)
        self.__dict__.pop("pixels", None)
