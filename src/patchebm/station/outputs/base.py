"""This module says what an output does, and what the station offers to outputs that talk to a PLC."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from patchebm.station.arrival import Outcome


@dataclass(frozen=True)
class Message:
    """This class is what an output sends.

    Attributes:
        key: the same each time that the message is sent: receivers leave out what they know.
        kind: for instance `inspection`.
        body: what JSON can hold.
        number: of an inspection, 1, 2, ... within the output, the same each time; else 0.
    """

    key: str
    kind: str
    body: dict[str, Any]
    number: int = 0


@dataclass(frozen=True)
class Failure:
    """This class says why a message has not arrived.

    Attributes:
        sentence: for people, without secrets.
        answered: whether the receiver answered: then this very message may be at fault, and others may pass.
    """

    sentence: str
    answered: bool


@dataclass(frozen=True)
class Last:
    """This class is the last part that an output had triggered, as its key tells.

    Attributes:
        key: under which it was inspected.
        waits: whether its result has not arrived yet.
    """

    key: str
    waits: bool


class Line(Protocol):
    """This class is what the station offers to outputs through which a PLC triggers it."""

    @property
    def folder(self) -> Path:
        """Returns the station's folder, for certificates."""
        ...

    def trigger(self, product: str, part: str, key: str | None) -> Future[Outcome]:
        """Has the product's camera take an image, and inspects it.

        Raises:
            PatchebmError: that cannot be.
        """
        ...

    def trouble(self, product: str) -> str:
        """Returns why parts of a product cannot be inspected now; "" if they can be."""
        ...

    def camera_trouble(self, product: str) -> str:
        """Returns why the product's camera cannot be triggered now; "" if it can be."""
        ...

    def last_triggered(self, output: str) -> Last | None:
        """Returns the last part whose key begins with `output/`, of those that went to this output."""
        ...

    def signed_in(self, name: str, password: str) -> bool:
        """Says whether a user of the station has this password; guesses are limited."""
        ...


class Sender(Protocol):
    """This class sends messages, one at a time, from one thread."""

    longest_pause: float
    """Seconds between two attempts, at most."""

    def start(self, line: Line, name: str) -> None:
        """Begins to work, before the first message. What fails is tried again, and said by `state`.

        Args:
            line: of the station.
            name: of the output.
        """
        ...

    def send(self, message: Message) -> Failure | None:
        """Sends a message once. Returns None if it has arrived."""
        ...

    def close(self) -> None:
        """Lets go of what it holds."""
        ...

    def check(self) -> str | None:
        """Tries, without `start`, whether the other side can be reached. Returns what is wrong, or None."""
        ...

    @property
    def state(self) -> str:
        """Returns one sentence on what is wrong now; "" if all is well."""
        ...

    @property
    def shown(self) -> dict[str, Any]:
        """Returns its settings without secrets."""
        ...
