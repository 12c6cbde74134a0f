"""This module runs a thread for each enabled source."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any, Protocol, runtime_checkable

from sqlalchemy import select

from patchebm.errors import PatchebmError
from patchebm.station.arrival import Outcome
from patchebm.station.database.products import Product, Source
from patchebm.station.errors import ConflictError, NotFoundError, UnavailableError
from patchebm.station.sources import open_source
from patchebm.station.sources.base import (
    Context,
    Counting,
    ImageSource,
    Miss,
    OpenSession,
    Receive,
    Tell,
    Triggered,
)
from patchebm.station.sources.pushed_views import PushedViews

_log = logging.getLogger(__name__)


@runtime_checkable
class Camera(ImageSource, Triggered, Protocol):
    """This class is a source that takes triggers."""


Facts = tuple[str, str, dict[str, Any], int, str]


class Sources:
    """This class runs the sources.

    Args:
        open_session: opens the database.
        receive: takes images.
        miss: lists parts that cannot be inspected.
        tell: tells open pages of joined verdicts.
    """

    def __init__(self, open_session: OpenSession, receive: Receive, miss: Miss, tell: Tell) -> None:
        self._open_session = open_session
        self._receive = receive
        self._miss = miss
        self._tell = tell
        self._lock = threading.Lock()
        self._running: dict[int, tuple[Facts, Context, ImageSource, threading.Thread]] = {}
        self._broken: dict[str, str] = {}
        self._stopped = False

    def refresh(self) -> None:
        """Takes in which sources there are, and what their settings are."""
        query = select(Source, Product.name).join(Product).where(Source.enabled)
        # Under the lock: what another thread has read before a change must not undo it.
        with self._lock:
            if self._stopped:
                return
            with self._open_session() as session:
                rows = session.execute(query).all()
            wanted: dict[int, Facts] = {
                row.id: (row.name, row.kind, row.settings, row.product_id, product) for row, product in rows
            }
            for source_id, (facts, context, _, thread) in list(self._running.items()):
                if wanted.get(source_id) != facts:
                    context.stop.set()
                    thread.join()
                    del self._running[source_id]
            self._broken = {}
            for source_id, facts in wanted.items():
                if source_id not in self._running:
                    self._start(source_id, facts)

    def stop(self) -> None:
        """Ends all sources, once what they handed over is inspected."""
        with self._lock:
            self._stopped = True
            for _, context, _, _ in self._running.values():
                context.stop.set()
            for _, _, _, thread in self._running.values():
                thread.join()

    def states(self) -> dict[str, str]:
        """Returns one sentence on each source, "" if all is well, by name."""
        with self._lock:
            running = {facts[0]: source.state for facts, _, source, _ in self._running.values()}
            return running | self._broken

    def running(self, name: str) -> ImageSource:
        """Returns a source that runs. Raises NotFoundError if there is none of that name, or it is off."""
        with self._lock:
            for facts, _, source, _ in self._running.values():
                if facts[0] == name:
                    return source
            if name in self._broken:
                raise UnavailableError(f"source '{name}' cannot be used: {self._broken[name]}")
        raise NotFoundError(f"no source '{name:.64}' is turned on")

    def trigger(self, name: str, part: str = "", key: str | None = None) -> Future[Outcome]:
        """Has a camera take an image of a part, and the image inspected.

        Args:
            name: of the source.
            part: what the line calls the part.
            key: `Idempotency-Key`, or None; see `Triggered.trigger`.

        Raises:
            NotFoundError: no such source runs.
            ConflictError: it takes no triggers from outside, one came just before (debounce), or another part
                came under the key.
            UnavailableError: it cannot be used, or too many triggers wait.
        """
        source = self.running(name)
        if not isinstance(source, Triggered):
            raise ConflictError(f"source '{name}' takes images as they come; it has no trigger")
        return source.trigger(part, key)

    def push_views(
        self, name: str, images: Mapping[str, bytes], part: str = "", key: str | None = None
    ) -> Future[Outcome]:
        """Has the views of a part inspected and joined; see `PushedViews.push`.

        Raises:
            NotFoundError: no such source runs.
            ConflictError: it takes no images from outside, or another part came under the key.
            ConfigError: the views are not those of the source.
        """
        source = self.running(name)
        if not isinstance(source, PushedViews):
            raise ConflictError(
                f"source '{name}' takes no images from outside; add one of the kind pushed-views"
            )
        return source.push(images, part, key)

    def counts(self) -> dict[str, dict[str, int]]:
        """Returns what the sources with triggers have counted since they started, by name."""
        with self._lock:
            running = [(facts[0], source) for facts, _, source, _ in self._running.values()]
        return {name: source.counts for name, source in running if isinstance(source, Counting)}

    def trigger_product(self, product: str, part: str, key: str | None) -> Future[Outcome]:
        """Has the camera of a product take an image. See `Triggered.trigger`.

        Raises:
            UnavailableError: it has no such camera, or several.
            PatchebmError: there is no image, or the station does not take it.
        """
        found = self._triggered(product)
        if len(found) != 1:
            raise UnavailableError(self._which(product, len(found)))
        return found[0].trigger(part, key)

    def trigger_trouble(self, product: str) -> str:
        """Returns why a trigger for a product would give no image now; "" if nothing is known against it."""
        found = self._triggered(product)
        return found[0].state if len(found) == 1 else self._which(product, len(found))

    def _triggered(self, product: str) -> list[Camera]:
        with self._lock:
            running = [(facts[4], source) for facts, _, source, _ in self._running.values()]
        return [
            source
            for name, source in running
            if name == product and isinstance(source, Camera) and source.takes_triggers
        ]

    @staticmethod
    def _which(product: str, count: int) -> str:
        if count:
            return f"{count} cameras of product {product} take triggers; let one of them work"
        return f"product {product} has no camera that takes triggers; add one"

    def _start(self, source_id: int, facts: Facts) -> None:
        name, kind, settings, product_id, product = facts
        context = Context(
            source_id,
            name,
            product_id,
            product,
            self._receive,
            self._miss,
            self._open_session,
            tell=self._tell,
        )
        try:
            source = open_source(kind, context, settings)
        except PatchebmError as error:
            _log.error("source %s cannot be used: %s", name, error)
            self._broken[name] = str(error)
            return
        thread = threading.Thread(target=source.run, name=f"source-{name}")
        self._running[source_id] = (facts, context, source, thread)
        thread.start()
