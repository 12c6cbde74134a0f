"""This module says what an engine is: it distributes blocks of images to workers."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Protocol, TypeVar

from patchebm.scale.block import Done


class Numbered(Protocol):
    """This class is a block of images, with a number that no other block of the run has."""

    @property
    def number(self) -> int:
        """Returns the number."""

    @property
    def images(self) -> str:
        """Returns what messages call the images."""


B = TypeVar("B", bound=Numbered)
_B = TypeVar("_B", bound=Numbered, contravariant=True)


class Work(Protocol[_B]):
    """This class is what workers do with blocks; it can be pickled. `patchebm.scale.block.Task` is one."""

    def check_worker(self, where: str) -> None:
        """Raises PatchebmError if a worker, which messages call `where`, cannot do it."""

    def score(self, block: _B) -> Done:
        """Scores a block and writes its part, whole or not at all."""


class Engine(Protocol):
    """This class distributes the work."""

    def score(self, work: Work[B], blocks: Iterable[B]) -> Generator[Done, None, None]:
        """Does the work on blocks, and yields what was done as it is done.

        Blocks may be done more than once and in any order: the last part written is as good as the first.
        An engine that goes on when workers die gives up a block at which they do each time: `stop` says so.
        When the generator is closed, the work ends.
        """
