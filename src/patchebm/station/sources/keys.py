"""This module has a part that is sent again under its `Idempotency-Key` answered as before: `Keyed`."""

from __future__ import annotations

import operator
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from patchebm.station.arrival import Outcome
from patchebm.station.errors import ConflictError
from patchebm.station.services import inspections
from patchebm.station.sources.base import Context

Mark = TypeVar("Mark")


class Keyed(Generic[Mark]):
    """This class knows which parts of a source are on their way under a key; threads may share it.

    Args:
        stored: returns what is stored under a key, or None.
        same: says whether the mark of a part that came before and that of one that comes now are of one part.
    """

    def __init__(
        self,
        stored: Callable[[str], tuple[Mark, Outcome] | None],
        same: Callable[[Mark, Mark], bool] = operator.eq,
    ) -> None:
        self._stored = stored
        self._same = same
        self._lock = threading.Lock()
        self._on_the_way: dict[str, tuple[Mark, Future[Outcome]]] = {}

    def once(self, key: str, mark: Mark, take: Callable[[], Future[Outcome]]) -> Future[Outcome]:
        """Takes a part, unless it came before under the same key.

        Args:
            key: `Idempotency-Key`.
            mark: tells the part from others.
            take: takes the part.

        Returns:
            What becomes of the part; with `replayed` if it is stored already.

        Raises:
            ConflictError: another part came under the key.
        """
        with self._lock:
            before = self._on_the_way.get(key) or self._answered(key)
            if before is not None:
                if not self._same(before[0], mark):
                    raise ConflictError(
                        f"another part came under the Idempotency-Key '{key}'; use a key for each part"
                    )
                return before[1]
            future = take()
            self._on_the_way[key] = mark, future
        # Not under the lock: of what is done already it is called at once. What was stored is found before
        # it is forgotten here.
        future.add_done_callback(lambda _: self._forget(key))
        return future

    def _answered(self, key: str) -> tuple[Mark, Future[Outcome]] | None:
        there = self._stored(key)
        if there is None:
            return None
        mark, outcome = there
        future: Future[Outcome] = Future()
        future.set_result(outcome | {"replayed": True})
        return mark, future

    def _forget(self, key: str) -> None:
        with self._lock:
            self._on_the_way.pop(key, None)


def keyed_images(context: Context) -> Keyed[tuple[str, str]]:
    """Returns the keys of a source each of whose parts is one image; source and part are their marks."""

    def stored(key: str) -> tuple[tuple[str, str], Outcome] | None:
        with context.open_session() as session:
            row = inspections.by_key(session, context.product_id, key)
            return None if row is None else ((row.source, row.part), inspections.as_dict(row))

    return Keyed(stored)
