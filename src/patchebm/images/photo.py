"""This module opens an image file once for all that is made of it: its hash, its pixels, its fingerprint."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from patchebm.images.compact import compact, expand
from patchebm.images.decoders import decode, read_file
from patchebm.images.decoding import STANDARD, Decoding, Misfit


class Photo:
    """This class is an image file whose content is read at its first use and kept until `release`.

    Args:
        path: the file.
        decoding: what its numbers mean; a model's is its `decoding_`.

    >>> photo = Photo("good/1.png")                         # doctest: +SKIP
    >>> photo.sha256, photo.pixels.shape                    # doctest: +SKIP
    """

    def __init__(self, path: str | Path, decoding: Decoding = STANDARD) -> None:
        self.path = Path(path)
        self._decoding = decoding
        self._facts: tuple[Misfit | None, bool, str] | None = None

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

    @property
    def decoding(self) -> Decoding:
        """Returns what the numbers of the file mean. Another value has the pixels made again."""
        return self._decoding

    @decoding.setter
    def decoding(self, decoding: Decoding) -> None:
        if decoding != self._decoding:
            self._decoding, self._facts = decoding, None
            self.__dict__.pop("pixels", None)

    @cached_property
    def pixels(self) -> NDArray[np.float32]:
        """Returns the pixels `(H, W, 1 or 3)` float32 in [0, 1]. Raises ImageError as `read_image` does."""
        samples = decode(self.content, self.path, self._decoding.page)
        # The samples themselves are not kept: they would take as much room again.
        misfit = self._decoding.misfit(samples, self.path)
        self._facts = misfit, samples.alpha is not None, samples.values.dtype.name
        return self._decoding.pixels(samples, self.path)

    @property
    def misfit(self) -> Misfit | None:
        """Returns what makes the image doubtful under its decoding, if anything does."""
        return self._known()[0]

    @property
    def is_transparent(self) -> bool:
        """Returns whether any pixel is not fully opaque."""
        return self._known()[1]

    @property
    def numbers(self) -> str:
        """Returns the type of the numbers in the file, such as uint8 or uint16."""
        return self._known()[2]

    def release(self) -> None:
        """Lets go of the content and the pixels; the hash is kept, since it takes no room."""
        self.__dict__.pop("content", None)
        self.__dict__.pop("pixels", None)

    def __getstate__(self) -> dict[str, Any]:
        """Returns what another process gets: what is known of the photo, without the content of the file."""
        state = self.__dict__.copy()
        state.pop("content", None)
        if "pixels" in state:
            state["pixels"] = compact(state["pixels"])
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Takes what `__getstate__` gave."""
        self.__dict__.update(state)
        if "pixels" in state:
            self.__dict__["pixels"] = expand(state["pixels"])

    def _known(self) -> tuple[Misfit | None, bool, str]:
        if self._facts is None:
            _ = self.pixels
        assert self._facts is not None
        return self._facts
