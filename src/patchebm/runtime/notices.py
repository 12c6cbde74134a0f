"""This module says once what many images have in common that their reader should know."""

from __future__ import annotations

import warnings
from collections.abc import Callable

from patchebm.images.decoding import Misfit


def _warn(sentence: str) -> None:
    """Says it as Python does, which from the command line is not how users want it."""
    warnings.warn(sentence, stacklevel=2)


class Notices:
    """This class takes what makes images doubtful, and says each kind once.

    Args:
        say: takes the sentences; a Python warning unless told otherwise.

    Attributes:
        said: the sentences so far.
    """

    def __init__(self, say: Callable[[str], None] = _warn) -> None:
        self.say = say
        self.said: list[str] = []
        self._kinds: set[str] = set()

    def note(self, misfit: Misfit | None) -> None:
        """Says what makes an image doubtful, unless nothing does or another image was in the same way."""
        if misfit is None or misfit.kind in self._kinds:
            return
        self._kinds.add(misfit.kind)
        self.said.append(misfit.sentence)
        self.say(misfit.sentence)
