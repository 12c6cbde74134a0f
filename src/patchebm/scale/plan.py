"""This module cuts a source into blocks of images; each block becomes one part of the results."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import pyarrow as pa

from patchebm.errors import DataError
from patchebm.files import as_unicode
from patchebm.scale.source import Row, Source

# A source gives about so many parts, so that all workers are busy until the end, ...
_PARTS = 256
# ... of at least and at most so many images: a part of 1,024 images is some ten seconds of work.
_SMALLEST, _LARGEST = 8, 1024


@dataclass(frozen=True)
class Plan:
    """This class says what a source consists of.

    Attributes:
        images: how many there are.
        sha256: over the names of all images and what is carried along, in order.
        block: images of a block, at most; only the last may have fewer.
    """

    images: int
    sha256: str
    block: int

    @property
    def parts(self) -> int:
        """Returns how many blocks there are."""
        return math.ceil(self.images / self.block)

    def expected(self, number: int) -> range:
        """Returns the numbers of the images of a block."""
        return range(number * self.block, min((number + 1) * self.block, self.images))


@dataclass(frozen=True)
class Block:
    """This class is a number of images that one worker scores at a time.

    Attributes:
        number: of the block, from 0 on.
        first: the number of its first image in the source.
        rows: its images.
        carried: names and types of what is carried along.
    """

    number: int
    first: int
    rows: tuple[Row, ...]
    carried: pa.Schema

    @property
    def images(self) -> str:
        """Returns what messages call the images: the first and the last of them."""
        first, last = (as_unicode(self.rows[i].image) for i in (0, -1))
        return first if len(self.rows) == 1 else f"{first} to {last}"


class Planner:
    """This class counts images one by one, and plans for all of them.

    Args:
        carried: the names of the columns that are carried along.
        parts: how many blocks there should be, about.
        smallest: images of a block, at least.
    """

    def __init__(self, carried: Sequence[str], parts: int = _PARTS, smallest: int = _SMALLEST) -> None:
        self._digest = hashlib.sha256(repr(list(carried)).encode())
        self._count = 0
        self._parts = parts
        self._smallest = smallest

    def add(self, row: Row) -> None:
        """Counts an image."""
        self._digest.update(repr((row.image, row.carried)).encode("utf-8", "surrogateescape") + b"\n")
        self._count += 1

    def plan(self) -> Plan:
        """Returns the plan for what was counted."""
        block = min(max(math.ceil(self._count / self._parts), self._smallest), _LARGEST)
        return Plan(self._count, self._digest.hexdigest(), block)


def plan_of(source: Source) -> Plan:
    """Returns what a source consists of; goes through it once.

    Raises:
        DataError: it has no images.
    """
    planner = Planner(source.carried.names)
    for row in source.rows():
        planner.add(row)
    plan = planner.plan()
    if not plan.images:
        raise DataError(f"{source.name} has no rows; name images in it")
    return plan


def blocks_of(source: Source, plan: Plan, done: Collection[int] = ()) -> Iterator[Block]:
    """Yields the blocks of a source that are not done, in order, with one of them in memory."""
    rows = source.rows()
    for number in range(plan.parts):
        some = tuple(islice(rows, plan.block))
        if len(some) != len(plan.expected(number)):
            raise DataError(f"{source.name} changed while it was read; start again")
        if number not in done:
            yield Block(number, number * plan.block, some, source.carried)


def part_name(number: int) -> str:
    """Returns what the file of a block's results is called."""
    return f"part-{number:06d}.parquet"
