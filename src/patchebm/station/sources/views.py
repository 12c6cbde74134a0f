"""This module joins several views of a part, each of a camera of its own, to one verdict: `ViewsSource`."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

from patchebm.errors import ConfigError, PatchebmError
from patchebm.station.arrival import Outcome
from patchebm.station.services.names import line
from patchebm.station.sources.base import Context
from patchebm.station.sources.camera import MOST, CameraSource
from patchebm.station.sources.joiner import Joiner
from patchebm.station.sources.options import Options
from patchebm.station.sources.triggers import INTERVAL, SOFTWARE, Trigger, Triggers

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
            without its trigger; `ng_views`, see `Joiner`; `trigger`: interval or software; `interval` and
            `debounce`.
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
        self._joiner = Joiner(context, options)
        options.finish()
        views = self._joiner.settings
        self._views = {name: self._open(name, one, kinds) for name, one in views.items()}

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
        return self._joiner.counts | {"bounced": self._triggers.bounced}

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
            The joined verdict; see `web.api.schemas.JoinedPart`, and `Joiner.join` for its error.

        Raises:
            ConfigError, ConflictError, UnavailableError: as of `CameraSource.trigger`.
        """
        part = line(part, "part", MOST)
        return self._joiner.once(part, key, lambda: self._begin(part, key))

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

    def _open(self, name: str, settings: dict[str, Any], kinds: dict[str, OpenView]) -> CameraSource:
        rest = dict(settings)
        kind = rest.pop("kind", None)
        if kind not in kinds:
            raise ConfigError(f"view '{name}' needs kind, one of {', '.join(kinds)}")
        for key in _OF_PART:
            if key in rest:
                raise ConfigError(f"{key} is of the part, not of view '{name}'; set it beside views")
        product_id, product = self._joiner.product_of(name, rest)
        rest.pop("product", None)
        context = replace(
            self._context, name=f"{self._context.name}/{name}", product=product, product_id=product_id
        )
        try:
            view = kinds[kind](context, rest)
        except ConfigError as error:
            raise ConfigError(f"view '{name}': {error}") from error
        # A view whose camera gives no frame is given up with the part, which would wait for it for ever.
        view.shorten_deadline(self._triggers.deadline)
        return view

    def _begin(self, part: str, key: str | None) -> Future[Outcome]:
        trigger = self._triggers.software(part, key)
        self._triggers.all()
        return self._take(trigger)

    def _take(self, trigger: Trigger) -> Future[Outcome]:
        unjoined_id = uuid.uuid4()
        futures: dict[str, Future[Outcome]] = {}
        for name, view in self._views.items():
            try:
                key = None if trigger.key is None else f"{trigger.key}/{name}"
                futures[name] = view.trigger(trigger.part, key, unjoined_id)
            except PatchebmError as error:
                futures[name] = Future()
                futures[name].set_exception(error)
        self._joiner.join(trigger, futures, self._triggers.deadline)
        return trigger.outcome
