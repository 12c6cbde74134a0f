"""This module holds what goes through the station: a part that came, and what became of it."""

from __future__ import annotations

import uuid
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime
from time import monotonic
from typing import Any

from patchebm.images.decoders import Header
from patchebm.station.database.base import now, time_id

Outcome = dict[str, Any]
"""What REST answers, webhooks send and pages show of a part: see `services.inspections.as_dict`."""


@dataclass(frozen=True)
class FileMark:
    """This class says which file of a watched folder a part came from; see the table `source_files`."""

    source_id: int
    name: str
    state: bytes


@dataclass
class Arrival:
    """This class is an image that came and is not inspected yet.

    Attributes:
        product_id: of which product.
        product: its name.
        source: where from.
        part: what the line calls it.
        key: `Idempotency-Key`, or None.
        content: bytes of the file, as they came.
        sha256: of the content.
        header: what the image's header says.
        file: which watched file it was, or None.
        unjoined_id: of a view; see the table `inspections`.
        id: under which it is stored.
        time: when it came.
        began: the same on the monotonic clock, in seconds.
        outcome: gets what became of it, once that is stored, or the error.
    """

    product_id: int
    product: str
    source: str
    part: str
    key: str | None
    content: bytes
    sha256: str
    header: Header
    file: FileMark | None = None
    unjoined_id: uuid.UUID | None = None
    time: datetime = field(default_factory=now)
    began: float = field(default_factory=monotonic)
    outcome: Future[Outcome] = field(default_factory=Future)
    id: uuid.UUID = field(init=False)

    def __post_init__(self) -> None:
        self.id = time_id(self.time)


@dataclass(frozen=True)
class Inspected:
    """This class is an arrival with its verdict, not stored yet.

    Attributes:
        arrival: what came.
        version: number of the model.
        row: columns of its row in `inspections`.
        heat_map: its map as a PNG.
    """

    arrival: Arrival
    version: int
    row: dict[str, Any]
    heat_map: bytes


@dataclass(frozen=True)
class Missed:
    """This class is a part that was not inspected, not stored yet.

    Attributes:
        product_id: of which product.
        source: where from.
        part: what the line calls it.
        key: `Idempotency-Key`, or None.
        reason: see the table `missed_parts`.
        message: one sentence.
        time: when it came.
        sha256: of the content, "" if it was not read.
        file: which watched file it was; it is not tried again.
    """

    product_id: int
    source: str
    part: str
    key: str | None
    reason: str
    message: str
    time: datetime = field(default_factory=now)
    sha256: str = ""
    file: FileMark | None = None
