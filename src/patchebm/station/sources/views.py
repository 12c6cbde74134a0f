"""This module joins several views of a part, each of a camera of its own, to one verdict: `ViewsSource`."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from typing import Any

from sqlalchemy import select

from patchebm.errors import ConfigError, PatchebmError
from patchebm.station.arrival import Outcome
from patchebm.station.database.base import iso, now, time_id
from patchebm.station.database.products import Product
from patchebm.station.errors import UnavailableError
from patchebm.station.live import as_event
from patchebm.station.services import joined, messages
from patchebm.station.services.names import line, slug
from patchebm.station.sources.base import Context
from patchebm.station.sources.camera import MOST, CameraSource
from patchebm.station.sources.options import Options
from patchebm.station.sources.triggers import INTERVAL, SOFTWARE, Trigger, Triggers

_log = logging.getLogger(__name__)

# Seconds between two looks at the clock.
_TICK = 0.01
# What concerns the part, and not one of its views.
_OF_PART = ("trigger", "interval", "debounce")

OpenView = Callable[[Context, dict[str, Any]], CameraSource]


class ViewsSource:
    """This class has all its cameras take an image at one trigger, and joins their verdicts.

    Each view is an inspection of its own under the same part, with the source `NAME/VIEW`. The joined verdict
    goes to outputs as a message of the kind `part`.

    Args:
        context: of the station.
        settings: `views`, by name: `kind`, `product` (else that of the source) and the settings of a camera
            without its trigger; `trigger`: interval or software; `interval` and `debounce`; `ng_views`, the
            number of views that must be NG for the part to be NG: 1, where the worst view decides, if left
            out.
        kinds: opens a view's camera, by kind.

    Raises:
        ConfigError: a setting cannot be.
    """

    def __init__(self, context: Context, settings: dict[str, Any], kinds: dict[str, OpenView]) -> None:
        options = Options("views", settings)
        self._context = context
        self._triggers = Triggers(options, (INTERVAL, SOFTWARE))
        if "delay" in settings:
            raise ConfigError("delay is of each view; set it there")
        views = options.get("views")
        if not isinstance(views, dict) or not 2 <= len(views) <= 16:
            raise ConfigError("a views source needs views: 2 to 16 cameras by name")
        needed = options.number("ng_views", 1, 1, len(views))
        if needed != int(needed):
            raise ConfigError("ng_views must be a whole number")
        self._needed = int(needed)
        options.finish()
        self._views = {name: self._open(name, one, kinds) for name, one in views.items()}
        self._lock = threading.Lock()
        self._counts = {"inspected": 0, "missed": 0, "late": 0}

    @property
    def cameras(self) -> dict[str, CameraSource]:
        """Returns the cameras by the names of their views."""
        return dict(self._views)

    @property
    def state(self) -> str:
        """Returns one sentence on how it goes; "" if all is well."""
        return "; ".join(f"{name}: {view.state}" for name, view in self._views.items() if view.state)

    @property
    def counts(self) -> dict[str, int]:
        """Returns how many parts since the start were inspected, missed and late, and triggers bounced."""
        with self._lock:
            return self._counts | {"bounced": self._triggers.bounced}

    def check(self) -> str | None:
        """Returns one sentence on what is wrong with the views, or None."""
        found = {name: view.check() for name, view in self._views.items()}
        return "; ".join(f"{name}: {told}" for name, told in found.items() if told) or None

    @property
    def takes_triggers(self) -> bool:
        """Says whether it waits for triggers from outside."""
        return self._triggers.kind == SOFTWARE

    def trigger(self, part: str = "", key: str | None = None) -> Future[Outcome]:
        """Has all views taken and inspected.

        Args:
            part: what the line calls the part.
            key: `Idempotency-Key` of the part, or None; that of a view is `key/VIEW`.

        Returns:
            The joined verdict; see `web.api.schemas.JoinedPart`. Its error is an UnavailableError if a view
            was not inspected and the others do not decide.

        Raises:
            ConfigError, ConflictError, UnavailableError: as of `CameraSource.trigger`.
        """
        trigger = self._triggers.software(line(part, "part", MOST), key)
        self._triggers.all()
        return self._take(trigger)

    def run(self) -> None:
        """Has the views work until it is told to stop."""
        threads = [
            threading.Thread(target=view.run, name=f"source-{self._context.name}/{name}")
            for name, view in self._views.items()
        ]
        for thread in threads:
            thread.start()
        while not self._context.stop.wait(_TICK if self._triggers.kind == INTERVAL else None):
            self._triggers.of_clock(time.monotonic())
            for trigger in self._triggers.all():
                self._take(trigger)
        for thread in threads:
            thread.join()

    def _open(self, name: str, settings: Any, kinds: dict[str, OpenView]) -> CameraSource:
        slug(name, "view")
        if not isinstance(settings, dict):
            raise ConfigError(f"view '{name}' must be the settings of a camera")
        rest = dict(settings)
        kind, product = rest.pop("kind", None), rest.pop("product", self._context.product)
        if kind not in kinds:
            raise ConfigError(f"view '{name}' needs kind, one of {', '.join(kinds)}")
        for key in _OF_PART:
            if key in rest:
                raise ConfigError(f"{key} is of the part, not of view '{name}'; set it beside views")
        with self._context.open_session() as session:
            product_id = session.scalar(select(Product.id).where(Product.name == product))
        if product_id is None:
            raise ConfigError(f"view '{name}': there is no product '{product!s:.64}'")
        context = replace(
            self._context, name=f"{self._context.name}/{name}", product=product, product_id=product_id
        )
        try:
            return kinds[kind](context, rest)
        except ConfigError as error:
            raise ConfigError(f"view '{name}': {error}") from error

    def _take(self, trigger: Trigger) -> Future[Outcome]:
        futures: dict[str, Future[Outcome]] = {}
        for name, view in self._views.items():
            try:
                key = None if trigger.key is None else f"{trigger.key}/{name}"
                futures[name] = view.trigger(trigger.part, key)
            except PatchebmError as error:
                futures[name] = Future()
                futures[name].set_exception(error)
        left = [len(futures)]
        for future in futures.values():
            future.add_done_callback(partial(self._one_done, trigger, futures, left))
        return trigger.outcome

    def _one_done(
        self, trigger: Trigger, futures: dict[str, Future[Outcome]], left: list[int], _: Future[Outcome]
    ) -> None:
        with self._lock:
            left[0] -= 1
            last = left[0] == 0
        if last:
            threading.Thread(target=self._join, args=(trigger, futures)).start()

    def _join(self, trigger: Trigger, futures: dict[str, Future[Outcome]]) -> None:
        """Joins the verdicts, once all views are done; not in the thread that stores: it stores, too."""
        views = {name: None if future.exception() else future.result() for name, future in futures.items()}
        verdict = joined_verdict(views, self._needed)
        late = self._triggers.deadline and time.monotonic() - trigger.time > self._triggers.deadline
        with self._lock:
            self._counts["late"] += bool(late)
            self._counts["inspected" if verdict else "missed"] += 1
        if verdict is None:
            told = "; ".join(f"{name}: {futures[name].exception()}" for name in views if views[name] is None)
            trigger.outcome.set_exception(UnavailableError(f"not all views were inspected ({told})"))
            return
        time_joined = now()
        worst = worst_view(views)
        facts = views[worst] or {}
        outcome: Outcome = {
            "id": str(time_id(time_joined)),
            "time": iso(time_joined),
            "product": self._context.product,
            "source": self._context.name,
            "part": trigger.part,
            "verdict": verdict,
            "ng_views": _count_ng(views),
            "worst_view": worst,
            "score": facts["score"],
            "threshold": facts["threshold"],
            "tail_probability": facts["tail_probability"],
            "idempotency_key": trigger.key,
            "views": views,
        }
        try:
            with self._context.open_session(write=True) as session:
                joined.store(session, self._context.product_id, time_joined, outcome)
        # Whatever the database does, the trigger gets its answer.
        except Exception as error:
            _log.exception("source %s: a joined verdict could not be stored", self._context.name)
            trigger.outcome.set_exception(
                UnavailableError(f"the verdict could not be stored ({error!s:.120})")
            )
        else:
            trigger.outcome.set_result(outcome)
            self._context.tell([as_event(messages.PART, outcome)])


def joined_verdict(views: Mapping[str, Outcome | None], needed: int) -> str | None:
    """Returns OK or NG; None if views that were not inspected would decide.

    Args:
        views: outcomes by name; None for a view that was not inspected.
        needed: views that must be NG for the part to be NG.
    """
    ng, missing = _count_ng(views), list(views.values()).count(None)
    if ng >= needed:
        return "NG"
    return "OK" if ng + missing < needed else None


def worst_view(views: Mapping[str, Outcome | None]) -> str:
    """Returns the name of the view that shows the part at its worst: NG first, then the rarest score.

    Args:
        views: outcomes by name, one of them at least; None for a view that was not inspected.
    """
    found = {name: view for name, view in views.items() if view is not None}
    return min(found, key=lambda name: (found[name]["verdict"] != "NG", found[name]["tail_probability"]))


def _count_ng(views: Mapping[str, Outcome | None]) -> int:
    return sum(view is not None and view["verdict"] == "NG" for view in views.values())
