"""This module stores inspected parts: all that wait in one transaction, so that the disk is waited for once.

A part's image lies on the disk before its row is committed, and its sender hears of the verdict after that.
"""

from __future__ import annotations

import itertools
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager

from sqlalchemy import insert, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from patchebm.station.arrival import Arrival, FileMark, Inspected, Missed, Outcome
from patchebm.station.database.base import table_of, time_id
from patchebm.station.database.history import Inspection, MissedPart, SourceFile
from patchebm.station.database.products import Source
from patchebm.station.errors import UnavailableError
from patchebm.station.services import drift, inspections, messages
from patchebm.station.storage import Storage

_log = logging.getLogger(__name__)

# Parts in one transaction, at most.
BATCH = 64
# Seconds that a transaction waits for further parts, where some wait to be inspected.
DELAY = 0.004
# Files that are written at once.
AT_ONCE = 16
# Seconds between two attempts to store what cannot be sent again: parts that were missed.
RETRY = 1.0
# Missed parts that wait for a database or a disk that is full, at most.
MOST_OWED = 10_000

# Of the table, not of the class: nothing is to become an object.
_INSERT = insert(table_of(Inspection))

Entry = Inspected | Missed
OpenSession = Callable[[], AbstractContextManager[Session]]


class Writer:
    """This class is the thread that stores what was inspected, in the order in which it was handed over.

    Args:
        open_session: opens the database for writing.
        storage: gets images and maps.
        stored: called with what a transaction stored, after its commit.
        more_come: says whether parts wait to be inspected.
    """

    def __init__(
        self,
        open_session: OpenSession,
        storage: Storage,
        stored: Callable[[Sequence[Outcome]], None],
        more_come: Callable[[], bool],
    ) -> None:
        self._open_session = open_session
        self._storage = storage
        self._stored = stored
        self._more_come = more_come
        self._entries: queue.SimpleQueue[Entry | None] = queue.SimpleQueue()
        # Missed parts that could not be stored yet: nobody sends them again.
        self._owed: list[Missed] = []
        self._thread = threading.Thread(target=self._run, name="writer")
        self._disk = ThreadPoolExecutor(AT_ONCE, "disk")

    def start(self) -> None:
        """Begins to store."""
        self._thread.start()

    def put(self, entry: Entry) -> None:
        """Hands over something to store."""
        self._entries.put(entry)

    def stop(self) -> None:
        """Stores what was handed over, and ends."""
        self._entries.put(None)
        if self._thread.is_alive():
            self._thread.join()
        self._disk.shutdown()

    def _run(self) -> None:
        going = True
        while going:
            batch: list[Inspected | Missed] = []
            try:
                entry = self._entries.get(timeout=RETRY if self._owed else None)
                until = time.monotonic() + DELAY
                while entry is not None:
                    batch.append(entry)
                    if len(batch) == BATCH:
                        break
                    # Others are on their way: they share the transaction, and the disk is waited for once.
                    wait = until - time.monotonic() if self._more_come() else 0.0
                    entry = self._entries.get(wait > 0, max(wait, 0.0))
                going = entry is not None
            except queue.Empty:
                pass
            self._store(batch)
        if self._owed:
            _log.error("%d missed parts could not be stored", len(self._owed))

    def _store(self, batch: Sequence[Entry]) -> None:
        inspected = [entry for entry in batch if isinstance(entry, Inspected)]
        # The disk takes all images and maps at once, which takes hardly longer than one, while the database
        # prepares their rows.
        files = [self._begin_files(one.arrival, one.heat_map) for one in inspected]
        missed = self._owed + [entry for entry in batch if isinstance(entry, Missed)]
        self._owed = []
        try:
            outcomes = self._commit(inspected, missed, list(itertools.chain(*files)))
        # Whatever fails here, the thread must go on with the next part.
        except Exception as error:
            # Two parts under one key, as after a backup was restored; or a commit without an answer, of
            # which nobody knows whether it happened; or a disk that is full. Each whose files are there is
            # looked for, and stored alone if it is absent.
            _log.error("storing %d parts failed: %s", len(inspected), getattr(error, "orig", error))
            inspected = self._written(inspected, files)
            outcomes = [self._alone(one) for one in inspected]
            self._store_missed(missed)
        done: list[Outcome] = []
        for one, outcome in zip(inspected, outcomes, strict=True):
            if isinstance(outcome, Exception):
                self._fail(one, outcome)
            else:
                one.arrival.outcome.set_result(outcome)
                done.append(outcome)
        if done:
            self._stored(done)

    def _written(
        self, inspected: Sequence[Inspected], files: Sequence[Sequence[Future[None]]]
    ) -> list[Inspected]:
        """Returns the parts whose images and maps are on the disk; the others fail."""
        written = []
        for one, own in zip(inspected, files, strict=True):
            errors = [error for file in own if (error := file.exception()) is not None]
            if errors:
                self._fail(one, errors[0])
            else:
                written.append(one)
        return written

    def _begin_files(self, arrival: Arrival, heat_map: bytes) -> list[Future[None]]:
        image = self._storage.image(arrival.id, arrival.header.kind)
        files = [(image, arrival.content), (self._storage.map(arrival.id), heat_map)]
        return [self._disk.submit(self._storage.put_new, path, content) for path, content in files]

    def _commit(
        self, inspected: Sequence[Inspected], missed: Sequence[Missed], files: Sequence[Future[None]] = ()
    ) -> list[Outcome | Exception]:
        """Stores rows once the files are on the disk. Raises what writing one of these has raised."""
        outcomes: list[Outcome | Exception] = []
        if not inspected and not missed:
            return outcomes
        with self._open_session() as session:
            if inspected:
                drift.take_in(session, [one.row for one in inspected])
                session.execute(_INSERT, [one.row for one in inspected])
                told = [inspections.from_row(one.row, one.arrival.product, one.version) for one in inspected]
                messages.enqueue(session, [one.row["product_id"] for one in inspected], told)
                outcomes += told
                keyed = [one for one in inspected if one.arrival.key is not None]
                inspections.resolve_missed(
                    session,
                    [(one.row["product_id"], one.arrival.key or "", one.row["id"]) for one in keyed],
                )
            for entry in missed:
                session.add(_missed_row(entry))
            marks = [(one.arrival.file, one.arrival.sha256) for one in inspected]
            marks += [(entry.file, entry.sha256) for entry in missed]
            _mark_files(session, [(mark, sha256) for mark, sha256 in marks if mark is not None])
            for file in files:
                file.result()
        return outcomes

    def _alone(self, one: Inspected) -> Outcome | Exception:
        """Stores one part, or returns why it cannot be stored, or what is stored already."""
        try:
            if (there := self._find(one)) is not None:
                return there
            return self._commit([one], [])[0]
        except Exception as error:
            return error

    def _find(self, one: Inspected) -> Outcome | None:
        with self._open_session() as session:
            query = inspections.shown().where(Inspection.id == one.row["id"])
            found = session.scalar(query)
            if found is None and one.arrival.key is not None:
                found = inspections.by_key(session, one.row["product_id"], one.arrival.key)
            return None if found is None else inspections.as_dict(found)

    def _store_missed(self, missed: list[Missed]) -> None:
        """Stores missed parts, or keeps them for the next attempt, so that no part waits for them."""
        try:
            self._commit([], missed)
        except Exception as error:
            if len(missed) > MOST_OWED:
                lost = len(missed) - MOST_OWED
                _log.error("%d missed parts are not listed: %s", lost, getattr(error, "orig", error))
            self._owed = missed[-MOST_OWED:]

    def _is_surely_absent(self, one: Inspected, error: BaseException) -> bool:
        """Says whether a part is not stored, and will not be by a commit that was under way."""
        if not isinstance(error, DBAPIError):
            return True
        try:
            return not error.connection_invalidated and self._find(one) is None
        except Exception:
            return False

    def _fail(self, one: Inspected, error: BaseException) -> None:
        # A row that promises an image which is gone would be worse than a file too many.
        if self._is_surely_absent(one, error):
            self._storage.delete(one.arrival.id, one.arrival.header.kind)
        reason = getattr(error, "orig", error)
        _log.error("part %s was inspected and could not be stored: %s", one.arrival.id, reason)
        one.arrival.outcome.set_exception(
            UnavailableError(
                "the verdict could not be stored: the disk is full or the database fails; send the part again"
            )
        )


def _mark_files(session: Session, marks: Sequence[tuple[FileMark, str]]) -> None:
    """Notes that files of folders are done with; of a source that was deleted meanwhile nothing is noted."""
    if not marks:
        return
    wanted = {mark.source_id for mark, _ in marks}
    # No source is deleted between this and the commit: the database would refuse its files, and their parts.
    there = select(Source.id).where(Source.id.in_(wanted)).with_for_update(read=True, key_share=True)
    known = set(session.scalars(there))
    for mark, sha256 in marks:
        if mark.source_id in known:
            session.merge(
                SourceFile(source_id=mark.source_id, state=mark.state, name=mark.name, sha256=sha256)
            )


def _missed_row(entry: Missed) -> MissedPart:
    return MissedPart(
        id=time_id(entry.time),
        time=entry.time,
        product_id=entry.product_id,
        source=entry.source,
        part=entry.part,
        idempotency_key=entry.key,
        reason=entry.reason,
        message=entry.message,
    )
