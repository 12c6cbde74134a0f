"""This module holds the queue of parts that came, and the threads that inspect them.

The queue is bounded. A source that can wait does; whoever pushes is told to come back, and the part is listed
as missed until it came again. Verdicts of a product are stored in the order in which its images came.
"""

from __future__ import annotations

import hashlib
import logging
import os
import queue
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager

from sqlalchemy.orm import Session

from patchebm.errors import ImageError, PatchebmError
from patchebm.station.active_models import ActiveModels
from patchebm.station.arrival import Arrival, FileMark, Inspected, Missed, Outcome
from patchebm.station.errors import ConflictError, UnavailableError
from patchebm.station.images import checked_header
from patchebm.station.in_order import InOrder
from patchebm.station.services import inspections, names
from patchebm.station.services.names import line
from patchebm.station.settings import Settings
from patchebm.station.writer import Writer

_log = logging.getLogger(__name__)

# Characters of a part's name.
MOST = 128
# Seconds between two looks at whether the station stops.
_PATIENCE = 0.2

OpenSession = Callable[[], AbstractContextManager[Session]]


class Inspector:
    """This class takes images, has them inspected and hands the verdicts to the writer.

    Args:
        settings: of the station.
        open_session: opens the database for reading.
        active_models: finds the model of a product.
        writer: stores.
    """

    def __init__(
        self, settings: Settings, open_session: OpenSession, active_models: ActiveModels, writer: Writer
    ) -> None:
        self._settings = settings
        self._open_session = open_session
        self._active_models = active_models
        self._writer = writer
        self._waiting: queue.Queue[Arrival | None] = queue.Queue(settings.queue)
        self._in_order: InOrder[Inspected] = InOrder(writer.put)
        self._taking = threading.Lock()
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        # What is on its way, by product and key: two requests with one key are one part.
        self._on_the_way: dict[tuple[int, str], Arrival] = {}
        count = settings.workers or len(os.sched_getaffinity(0))
        self._threads = [threading.Thread(target=self._run, name=f"inspector-{i}") for i in range(count)]
        self.missed = 0
        """Parts that were not inspected since the start."""

    def start(self) -> None:
        """Begins to inspect."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Takes no more parts, inspects those that wait, and ends."""
        self._stopping.set()
        for thread in self._threads:
            if thread.is_alive():
                # Behind all that wait.
                self._waiting.put(None)
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    @property
    def waiting(self) -> int:
        """Returns the number of parts that wait."""
        return self._waiting.qsize()

    def receive(
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
        """Takes an image.

        Args:
            product_name: what it shows.
            source: where it came from.
            content: bytes of the file.
            part: what the line calls the part.
            key: `Idempotency-Key`: what was sent under it before is not inspected again.
            file: which watched file it is.
            wait: whether to wait for room in the queue; else a full queue is an error.
            unjoined_id: of a view: the same for all views of the part.

        Returns:
            What becomes of it: `as_dict` of its inspection once that is stored. Its error is an ImageError if
            the image cannot be inspected, or UnavailableError.

        Raises:
            NotFoundError: there is no such product.
            ConflictError: another image came under this key.
            ImageError: it is no image, or has too many pixels; it is listed as missed.
            UnavailableError: there is no model, the queue is full, or the station stops; the first two are
                listed.
        """
        part = line(part, "part", MOST)
        if key is not None:
            names.key(key)
        sha256 = hashlib.sha256(content).hexdigest()
        product_id = self._active_models.product_id(product_name)
        if key is not None:
            with self._open_session() as session:
                there = inspections.by_key(session, product_id, key)
                if there is not None:
                    _require_same(there.image_sha256, sha256, key)
                    return _done(inspections.as_dict(there) | {"replayed": True})

        def missed(reason: str, error: PatchebmError) -> None:
            # A file stays where it is, and its source tries it again.
            if file is None:
                self.miss(Missed(product_id, source, part, key, reason, str(error), sha256=sha256))

        if self._stopping.is_set():
            raise UnavailableError("the station is stopping; send the part again")
        try:
            header = checked_header(content, self._settings.megapixels, part or "the image")
        except ImageError as error:
            missed("unreadable", error)
            raise
        arrival = Arrival(
            product_id, product_name, source, part, key, content, sha256, header, file, unjoined_id
        )
        try:
            self._active_models.of(product_id)
        except UnavailableError as error:
            missed("no_model", error)
            raise
        if key is not None:
            with self._lock:
                earlier = self._on_the_way.setdefault((product_id, key), arrival)
            if earlier is not arrival:
                _require_same(earlier.sha256, sha256, key)
                return earlier.outcome
            arrival.outcome.add_done_callback(lambda _: self._arrived(product_id, key))
            # It may have been stored since it was looked for above.
            try:
                with self._open_session() as session:
                    there = inspections.by_key(session, product_id, key)
            except Exception as error:
                # Others who sent it meanwhile wait for its outcome.
                arrival.outcome.set_exception(error)
                raise
            if there is not None:
                arrival.outcome.set_result(inspections.as_dict(there) | {"replayed": True})
                return arrival.outcome
        if not self._enqueue(arrival, wait=wait):
            full = UnavailableError(
                f"{self._settings.queue} parts wait already, more than the model can inspect; send the part "
                "again, more slowly"
            )
            if not self._stopping.is_set():
                missed("queue_full", full)
            arrival.outcome.set_exception(full)
        return arrival.outcome

    def _enqueue(self, arrival: Arrival, *, wait: bool) -> bool:
        while not self._stopping.is_set():
            try:
                self._waiting.put(arrival, timeout=_PATIENCE if wait else 0)
            except queue.Full:
                if not wait:
                    return False
            else:
                return True
        return False

    def _arrived(self, product_id: int, key: str) -> None:
        with self._lock:
            self._on_the_way.pop((product_id, key), None)

    def miss(self, missed: Missed) -> None:
        """Lists a part that was not inspected."""
        self.missed += 1
        self._writer.put(missed)

    def _run(self) -> None:
        while True:
            # Under a lock, so that turns are in the order in which parts came.
            with self._taking:
                arrival = self._waiting.get()
                if arrival is None:
                    return
                turn = self._in_order.begin(arrival.product_id)
            self._in_order.end(turn, self._inspected(arrival))

    def _inspected(self, arrival: Arrival) -> Inspected | None:
        try:
            return self._active_models.of(arrival.product_id).inspect(arrival)
        except PatchebmError as error:
            reason = "unreadable" if isinstance(error, ImageError) else "no_model"
            self._give_up(arrival, reason, error)
        # A runtime fails in ways of its own; the thread must go on with the next part.
        except Exception as error:
            _log.exception("inspecting part %s failed", arrival.id)
            line = (str(error).splitlines() or [type(error).__name__])[0]
            self._give_up(arrival, "failed", UnavailableError(f"the model failed on this part ({line:.120})"))
        return None

    def _give_up(self, arrival: Arrival, reason: str, error: PatchebmError) -> None:
        if arrival.file is None:
            missed = Missed(
                arrival.product_id,
                arrival.source,
                arrival.part,
                arrival.key,
                reason,
                str(error),
                arrival.time,
                arrival.sha256,
            )
            self.miss(missed)
        arrival.outcome.set_exception(error)


def _require_same(before: str, now: str, key: str) -> None:
    if before != now:
        raise ConflictError(f"another image came under the Idempotency-Key '{key}'; use a key for each part")


def _done(outcome: Outcome) -> Future[Outcome]:
    future: Future[Outcome] = Future()
    future.set_result(outcome)
    return future
