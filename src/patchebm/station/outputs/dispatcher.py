"""This module empties the outbox: a thread for each output sends its messages in order, at least once."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Protocol

from sqlalchemy import Update, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from patchebm.errors import PatchebmError
from patchebm.station.database.base import now, table_of
from patchebm.station.database.history import OutboxMessage, Output
from patchebm.station.outputs import open_sender
from patchebm.station.outputs.base import Failure, Line, Message, Sender

_log = logging.getLogger(__name__)

# Times that a message is sent while the receiver answers with an error, before it is set aside for later.
ATTEMPTS = 5
# Seconds between attempts: the first, doubled up to the second.
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 60.0
# How long a message that was set aside waits.
SECOND_ROUND = timedelta(minutes=10)
# Messages that are read at once.
BATCH = 50
# Seconds after which the outbox is looked at without being told.
IDLE = 5.0
# Seconds between two notes of what has arrived.
NOTE_EVERY = 0.5

_MESSAGES = table_of(OutboxMessage)


class OpenSession(Protocol):
    """This class opens a session of one transaction."""

    def __call__(self, *, write: bool = False) -> AbstractContextManager[Session]:
        """Yields the session."""
        ...


class Dispatcher:
    """This class runs a thread for each enabled output.

    Args:
        open_session: opens the database.
        line: what outputs may ask of the station.
    """

    def __init__(self, open_session: OpenSession, line: Line) -> None:
        self._open_session = open_session
        self._line = line
        self._broken: dict[str, str] = {}
        self._lock = threading.Lock()
        self._deliveries: dict[int, _Delivery] = {}
        self._stopped = False

    def refresh(self) -> None:
        """Takes in which outputs there are, and what their settings are."""
        # Under the lock: what another thread has read before a change must not undo it.
        with self._lock:
            if self._stopped:
                return
            with self._open_session() as session:
                rows = session.scalars(select(Output).where(Output.enabled)).all()
            wanted = {row.id: (row.name, row.kind, row.settings) for row in rows}
            for output_id, delivery in list(self._deliveries.items()):
                if wanted.get(output_id) != delivery.facts:
                    delivery.stop(wait=True)
                    del self._deliveries[output_id]
            self._broken = {}
            for output_id, facts in wanted.items():
                if output_id not in self._deliveries:
                    try:
                        sender = open_sender(facts[1], facts[2])
                        sender.start(self._line, facts[0])
                    # An ImportError: a library is there, and what it needs is not.
                    except (PatchebmError, ImportError) as error:
                        _log.error("output %s cannot be used: %s", facts[0], error)
                        self._broken[facts[0]] = str(error)
                        continue
                    delivery = _Delivery(output_id, facts, sender, self._open_session)
                    self._deliveries[output_id] = delivery
                    delivery.start()

    def wake(self) -> None:
        """Says that the outbox has grown."""
        with self._lock:
            for delivery in self._deliveries.values():
                delivery.wake()

    def stop(self) -> None:
        """Ends all threads; what is not sent is sent after the next start."""
        with self._lock:
            self._stopped = True
            for delivery in self._deliveries.values():
                delivery.stop(wait=False)
            for delivery in self._deliveries.values():
                delivery.stop(wait=True)

    def failing(self) -> dict[str, str]:
        """Returns the outputs whose receivers cannot be reached now, and why."""
        with self._lock:
            failing = {d.facts[0]: d.trouble for d in self._deliveries.values() if d.trouble}
            return failing | self._broken


class _Delivery:
    """This class is the thread of one output."""

    def __init__(
        self,
        output_id: int,
        facts: tuple[str, str, dict[str, object]],
        sender: Sender,
        open_session: OpenSession,
    ) -> None:
        self.facts = facts
        self.failure: str | None = None
        self._id = output_id
        self._sender = sender
        self._open_session = open_session
        # What has arrived and is not noted yet: one transaction for many, and repeated after a SIGKILL.
        self._sent: list[tuple[OutboxMessage, int]] = []
        self._noted_at = time.monotonic()
        self._stop = threading.Event()
        self._news = threading.Event()
        # A daemon: a receiver that hangs does not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name=f"output-{facts[0]}", daemon=True)

    @property
    def trouble(self) -> str:
        return self.failure or self._sender.state

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        self._news.set()

    def stop(self, *, wait: bool) -> None:
        self._stop.set()
        self._news.set()
        if wait:
            # Longer than a receiver that answers takes; one that hangs is left behind.
            self._thread.join(2.0)

    def _run(self) -> None:
        pause = FIRST_PAUSE
        while not self._stop.is_set():
            self._news.clear()
            try:
                if not self._send_waiting():
                    self._news.wait(IDLE)
                pause = FIRST_PAUSE
            except DBAPIError as error:
                _log.error("output %s: the database failed: %s", self.facts[0], error.orig)
                self._stop.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
        self._sender.close()

    def _send_waiting(self) -> bool:
        """Sends what waits. Returns whether more may wait."""
        of_mine = OutboxMessage.output_id == self._id
        pending = (of_mine, OutboxMessage.state == "pending")
        late = (of_mine, OutboxMessage.state == "set_aside", OutboxMessage.sent < now() - SECOND_ROUND)
        with self._open_session() as session:
            again = session.scalars(
                select(OutboxMessage).where(*late).order_by(OutboxMessage.id).limit(BATCH)
            ).all()
            rows = session.scalars(
                select(OutboxMessage).where(*pending).order_by(OutboxMessage.id).limit(BATCH)
            ).all()
        for row in again:
            if self._stop.is_set():
                return False
            failure = self._sender.send(Message(row.key, row.kind, row.body, row.number))
            self._note(row, "sent" if failure is None else "set_aside", row.attempts + 1, failure)
            if failure is not None and not failure.answered:
                break
        for row in rows:
            if not self._deliver(row):
                break
            if time.monotonic() - self._noted_at > NOTE_EVERY:
                self._note_sent()
        self._note_sent()
        return len(rows) == BATCH

    def _deliver(self, row: OutboxMessage) -> bool:
        """Sends a message until it has arrived or is set aside. Returns False if it stops before."""
        longest = min(LONGEST_PAUSE, self._sender.longest_pause)
        pause, attempts, refused = min(FIRST_PAUSE, longest), row.attempts, 0
        while not self._stop.is_set():
            failure = self._sender.send(Message(row.key, row.kind, row.body, row.number))
            attempts += 1
            if failure is None:
                self._sent.append((row, attempts))
                if self.failure is not None:
                    _log.info("output %s works again", self.facts[0])
                self.failure = None
                return True
            # No answer: the receiver is down, and the next message would fare no better. A bad answer may
            # of this very message, which must not hold up the others for ever.
            refused += failure.answered
            if refused >= ATTEMPTS:
                _log.error(
                    "output %s: %s; message %s is sent again later", self.facts[0], failure.sentence, row.key
                )
                self._note(row, "set_aside", attempts, failure)
                return True
            if self.failure is None:
                _log.warning("output %s: %s; trying again", self.facts[0], failure.sentence)
                self._note(row, "pending", attempts, failure)
            self.failure = failure.sentence
            self._stop.wait(pause)
            pause = min(2 * pause, longest)
        return False

    def _note_sent(self) -> None:
        """Notes which messages have arrived."""
        self._noted_at = time.monotonic()
        if not self._sent:
            return
        with self._open_session(write=True) as session:
            for row, attempts in self._sent:
                session.execute(
                    _still(row).values(state="sent", attempts=attempts, last_error="", sent=now())
                )
        self._sent.clear()

    def _note(self, row: OutboxMessage, state: str, attempts: int, failure: Failure | None) -> None:
        last_error = "" if failure is None else failure.sentence[:200]
        # Of what was set aside, the time of the last attempt.
        sent = None if state == "pending" else now()
        with self._open_session(write=True) as session:
            session.execute(
                _still(row).values(state=state, attempts=attempts, last_error=last_error, sent=sent)
            )


def _still(row: OutboxMessage) -> Update:
    """Returns the change of a message if it is there still: its output may have been deleted meanwhile.

    The id alone does not say so: a message of another output may have got it since.
    """
    found = _MESSAGES.c
    return update(_MESSAGES).where(found.id == row.id, found.output_id == row.output_id, found.key == row.key)
