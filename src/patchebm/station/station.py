"""This module holds what a running station is made of."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from patchebm.station import notices
from patchebm.station.active_models import ActiveModels
from patchebm.station.arrival import Outcome
from patchebm.station.database.engine import Sessions, open_engine, open_sessions
from patchebm.station.inspector import Inspector
from patchebm.station.limits import RateLimit
from patchebm.station.line import StationLine
from patchebm.station.live import Live, as_event
from patchebm.station.metrics import Metrics
from patchebm.station.outputs.dispatcher import Dispatcher
from patchebm.station.services import joining, messages, orphans, retention
from patchebm.station.settings import Settings
from patchebm.station.sources.runner import Sources
from patchebm.station.storage import Storage
from patchebm.station.token_cache import TokenCache
from patchebm.station.trainings import Trainings
from patchebm.station.writer import Writer

_log = logging.getLogger(__name__)

# What failed logins are counted over.
QUARTER = 900.0
# Seconds between two looks at what is older than it may be.
RETENTION_EVERY = 600.0
# Less is a disk that is about to be full.
MIN_FREE_BYTES = 100_000_000


class Station:
    """This class holds the parts of a station that live as long as its process.

    Args:
        settings: as read.

    Attributes:
        settings: as read.
        engine: of the database.
        storage: images, maps and bundles.
        active_models: the active model of each product.
        inspector: takes images.
        sources: bring images.
        outputs: send results.
        trainings: train models beside the line.
        live: events for pages that are open.
        metrics: figures for Prometheus.
        failed_logins: limits guesses at passwords, by name and by address.
        requests: limits requests, by address.
        tokens: knows who is who among those that send parts.
        ready: whether it has started and does not stop.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.engine: Engine = open_engine(settings.url)
        self._sessions: Sessions = open_sessions(self.engine)
        self.storage = Storage(settings.folder)
        self.live = Live()
        self.metrics = Metrics()
        self.active_models = ActiveModels(self.session, self.storage)
        self._writer = Writer(
            lambda: self.session(write=True),
            self.storage,
            self._stored,
            lambda: self.inspector.waiting > 0,
        )
        self.inspector = Inspector(settings, self.session, self.active_models, self._writer)
        self.sources = Sources(self.session, self.inspector.receive, self.inspector.miss, self.live.publish)
        self.outputs = Dispatcher(self.session, StationLine(self))
        self.trainings = Trainings(self.storage.trainings())
        self.failed_logins = RateLimit(settings.login_attempts / QUARTER, settings.login_attempts)
        self.requests = RateLimit(settings.requests_per_second, 10 * settings.requests_per_second)
        self.tokens = TokenCache(self.session)
        self.ready = False
        self._add_gauges()
        self._stopping = threading.Event()
        self._keeper = threading.Thread(target=self._keep_house, name="retention", daemon=True)

    @contextmanager
    def session(self, *, write: bool = False) -> Iterator[Session]:
        """Yields a session of one transaction: committed at the end, rolled back after an exception.

        Args:
            write: whether the transaction will write. On SQLite it then waits for its turn at once; a
                transaction that read before could not wait any more.
        """
        with self._sessions() as session:
            with session.begin():
                if write:
                    session.connection(execution_options={"write": True})
                yield session
            changed = notices.noted(session)
        self._notice(changed)

    def start(self) -> None:
        """Begins to work."""
        was_joined, was_missed = joining.finish(self.session)
        if was_joined or was_missed:
            _log.warning(
                "the last process ended before all views were joined: %d parts are joined now, %d are missed",
                was_joined,
                was_missed,
            )
        # Of requests that the end of the last process has interrupted.
        shutil.rmtree(self.storage.uploads(), ignore_errors=True)
        self.active_models.refresh()
        self._writer.start()
        self.inspector.start()
        self.outputs.refresh()
        self.sources.refresh()
        self.trainings.start()
        self._keeper.start()
        self.ready = True

    def stop(self) -> None:
        """Inspects and stores what waits, and closes the database."""
        self.ready = False
        self._stopping.set()
        self.live.close()
        self.trainings.stop()
        self.sources.stop()
        self.inspector.stop()
        self._writer.stop()
        self.outputs.stop()
        self.engine.dispose()

    def problems(self) -> list[str]:
        """Returns why parts cannot be inspected and stored now, whatever the product."""
        problems = []
        if not self.ready:
            problems.append("it is starting or stopping")
        try:
            with self.session() as session:
                session.execute(text("SELECT 1"))
        except DBAPIError:
            problems.append("the database does not answer")
        if self.storage.free_bytes() < MIN_FREE_BYTES:
            problems.append("the disk is full")
        if self.inspector.waiting >= self.settings.queue:
            problems.append("the queue is full")
        return problems

    def _notice(self, changed: frozenset[str]) -> None:
        """Takes in what a transaction of this process changed; the command line's station does not work."""
        if not self.ready:
            return
        if notices.MODELS in changed:
            self.active_models.refresh()
        if notices.TOKENS in changed:
            self.tokens.forget()
        if notices.OUTPUTS in changed:
            self.outputs.refresh()
        if notices.SOURCES in changed:
            self.sources.refresh()
        if notices.MESSAGES in changed:
            self.outputs.wake()

    def _add_gauges(self) -> None:
        inspector, storage, live = self.inspector, self.storage, self.live
        self.metrics.gauge("patchebm_queue_parts", "Parts that wait.", lambda: inspector.waiting)
        self.metrics.gauge(
            "patchebm_missed_parts",
            "Parts that could not be inspected.",
            lambda: inspector.missed,
        )
        self.metrics.gauge("patchebm_free_bytes", "Free bytes of the disk.", storage.free_bytes)
        self.metrics.gauge("patchebm_open_pages", "Pages with a live view.", lambda: live.watching)
        self.metrics.sources(self.sources.counts)
        self.metrics.gauge("patchebm_outbox_messages", "Messages not sent yet.", self._unsent)

    def _unsent(self) -> float:
        with self.session() as session:
            return sum(sum(states.values()) for states in messages.counts(session).values())

    def _stored(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            self.metrics.inspected(outcome)
        self.live.publish([as_event("inspection", outcome) for outcome in outcomes])

    def _keep_house(self) -> None:
        try:
            swept = orphans.sweep(self.session, self.storage)
        # The next start tries again.
        except Exception:
            _log.exception("looking for files of parts that were never stored failed")
        else:
            if swept:
                _log.info("%d files of parts that were never stored are deleted", swept)
        while not self._stopping.wait(RETENTION_EVERY if self.ready else 1.0):
            began = time.monotonic()
            try:
                freed = retention.apply(self.session, self.storage, stop=self._stopping)
            # Whatever fails here, parts go on being inspected, and it is tried again.
            except Exception:
                _log.exception("retention failed")
            else:
                if freed:
                    _log.info("retention freed %d bytes in %.1f s", freed, time.monotonic() - began)
