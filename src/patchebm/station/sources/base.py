"""This module says what a source of images does, and what the station hands to it."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from sqlalchemy.orm import Session

from patchebm.station.arrival import FileMark, Missed, Outcome


class Receive(Protocol):
    """This class hands an image to the station: `Inspector.receive`."""

    def __call__(
        self,
        product_name: str,
        source: str,
        content: bytes,
        *,
        part: str = "",
        key: str | None = None,
        file: FileMark | None = None,
        wait: bool = False,
        unjoined_id: uuid.UUID | None = None,
    ) -> Future[Outcome]:
        """Returns what becomes of the image."""
        ...


class Tell(Protocol):
    """This class tells open pages what has been stored: `Live.publish`."""

    def __call__(self, events: Sequence[str], /) -> None:
        """Passes events on, as `live.as_event` makes them."""
        ...


class OpenSession(Protocol):
    """This class opens a session of one transaction: `Station.session`."""

    def __call__(self, *, write: bool = False) -> AbstractContextManager[Session]:
        """Yields the session."""
        ...


class Miss(Protocol):
    """This class lists a part that was not inspected: `Inspector.miss`."""

    def __call__(self, missed: Missed) -> None:
        """Lists it."""
        ...


@dataclass(frozen=True)
class Context:
    """This class holds what a source works with.

    Attributes:
        source_id: its row.
        name: its name, which history shows.
        product_id: whose images it brings.
        product: the product's name.
        receive: takes an image.
        miss: lists a part that cannot be inspected.
        open_session: opens the database.
        stop: set when the source is to end.
        tell: tells open pages of a joined verdict; nobody, where it is left out.
    """

    source_id: int
    name: str
    product_id: int
    product: str
    receive: Receive
    miss: Miss
    open_session: OpenSession
    stop: threading.Event = field(default_factory=threading.Event)
    tell: Tell = field(default=lambda _: None)


class ImageSource(Protocol):
    """This class brings images from somewhere, in a thread of its own."""

    def run(self) -> None:
        """Brings images until `Context.stop` is set; what fails is tried again."""
        ...

    def check(self) -> str | None:
        """Tries, without `run`, whether images can be had. Returns what is wrong as a sentence, or None."""
        ...

    @property
    def state(self) -> str:
        """Returns one sentence on how it goes, for pages; "" if all is well."""
        ...


@runtime_checkable
class Triggered(Protocol):
    """This class is a source that takes an image when it is told to, as a camera does."""

    @property
    def takes_triggers(self) -> bool:
        """Says whether it waits for triggers from outside, and has no clock or frames of its own for them."""
        ...

    def trigger(self, part: str = "", key: str | None = None) -> Future[Outcome]:
        """Takes an image and hands it to the station; threads may share it.

        Args:
            part: what the line calls the part.
            key: `Idempotency-Key`, or None; a part that came under it before is not taken again.

        Returns:
            What becomes of the part; with `replayed` if it came before.

        Raises:
            ConflictError: another part came under this key.
            PatchebmError: there is no image, or the station does not take it.
        """
        ...


@runtime_checkable
class Counting(Protocol):
    """This class is a source that counts its parts."""

    @property
    def counts(self) -> dict[str, int]:
        """Returns how many parts since the start were inspected, missed and late, and triggers bounced."""
        ...
