"""This module joins the views of a part once all of them are inspected: `Joiner`."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import select

from patchebm.errors import ConfigError, ImageError, PatchebmError
from patchebm.station.arrival import Outcome
from patchebm.station.database.products import Product
from patchebm.station.errors import ConflictError, UnavailableError
from patchebm.station.live import as_event
from patchebm.station.services import joined, joining, messages, names
from patchebm.station.sources.base import Context
from patchebm.station.sources.keys import Keyed
from patchebm.station.sources.options import Options
from patchebm.station.sources.triggers import Trigger

_log = logging.getLogger(__name__)

# Errors that sending a part again does not change.
_FINAL = (ImageError, ConflictError)

# Views of a part.
FEWEST, MOST = 2, 16


class Joiner:
    """This class joins views, and knows which parts were joined under a key; threads may share it.

    Args:
        context: of the source.
        options: `views`, settings by name, and `ng_views`, the number of views that must be NG for the part
            to be NG: 1, where the worst view decides, if left out.
        with_images: whether images are sent along: a part that comes again then has the same.

    Attributes:
        settings: of each view, by name.

    Raises:
        ConfigError: a setting cannot be.
    """

    def __init__(self, context: Context, options: Options, *, with_images: bool = False) -> None:
        self._context = context
        views = options.get("views")
        if not isinstance(views, dict) or not FEWEST <= len(views) <= MOST:
            raise ConfigError(f"a {options.kind} source needs views: {FEWEST} to {MOST} by name")
        for name, settings in views.items():
            names.slug(name, "view")
            if not isinstance(settings, dict):
                raise ConfigError(f"view '{name}' must be an object of settings")
        self.settings: dict[str, dict[str, Any]] = views
        needed = options.number("ng_views", 1, 1, len(views))
        if needed != int(needed):
            raise ConfigError("ng_views must be a whole number")
        self._needed = int(needed)
        # That of a view is `key/VIEW`.
        self._longest_key = names.MAX_KEY - 1 - max(map(len, views))
        self._with_images = with_images
        self._keyed = Keyed(self._stored, _same)
        self._lock = threading.Lock()
        self._counts = {"inspected": 0, "missed": 0, "late": 0}

    @property
    def counts(self) -> dict[str, int]:
        """Returns how many parts since the start were joined, had no verdict, and were late."""
        with self._lock:
            return dict(self._counts)

    def product_of(self, view: str, settings: Mapping[str, Any]) -> tuple[int, str]:
        """Returns id and name of the product that a view is inspected as.

        Args:
            view: its name.
            settings: `product`, else that of the source.

        Raises:
            ConfigError: there is no such product.
        """
        product = settings.get("product", self._context.product)
        with self._context.open_session() as session:
            product_id = session.scalar(select(Product.id).where(Product.name == product))
        if product_id is None:
            raise ConfigError(f"view '{view}': there is no product '{product!s:.64}'")
        return product_id, product

    def once(
        self,
        part: str,
        key: str | None,
        take: Callable[[], Future[Outcome]],
        images: frozenset[tuple[str, str]] = frozenset(),
    ) -> Future[Outcome]:
        """Takes a part, unless it came before under its key.

        Args:
            part: what the line calls it.
            key: `Idempotency-Key`, or None.
            take: takes it.
            images: name and SHA-256 of each view, where they are sent along.

        Returns:
            The joined verdict; see `Keyed.once`.

        Raises:
            ConfigError: the key cannot be.
            ConflictError: another part came under the key.
        """
        if key is None:
            return take()
        names.key(key, self._longest_key)
        return self._keyed.once(key, _Mark(self._context.name, part, images), take)

    def join(self, trigger: Trigger, futures: Mapping[str, Future[Outcome]], deadline: float = 0) -> None:
        """Gives a part its joined verdict, once all of its views are done.

        Args:
            trigger: gets the verdict. Its error is an UnavailableError if a view was not inspected that would
                decide, or what no repetition changes, such as an ImageError.
            futures: of the views, by name.
            deadline: seconds from the trigger to the verdict; 0 for none.
        """
        left = [len(futures)]
        for future in futures.values():
            future.add_done_callback(partial(self._one_done, trigger, futures, deadline, left))

    def _one_done(
        self,
        trigger: Trigger,
        futures: Mapping[str, Future[Outcome]],
        deadline: float,
        left: list[int],
        _: Future[Outcome],
    ) -> None:
        with self._lock:
            left[0] -= 1
            last = left[0] == 0
        if last:
            # Not in the thread that stores: it stores, too.
            threading.Thread(target=self._join, args=(trigger, futures, deadline)).start()

    def _join(self, trigger: Trigger, futures: Mapping[str, Future[Outcome]], deadline: float) -> None:
        errors = {name: future.exception() for name, future in futures.items()}
        views = {name: None if errors[name] else _plain(future) for name, future in futures.items()}
        context = self._context
        try:
            with context.open_session(write=True) as session:
                outcome = joining.store(
                    session,
                    context.product_id,
                    context.product,
                    context.name,
                    trigger.part,
                    trigger.key,
                    views,
                    self._needed,
                )
        # Whatever the database does, the trigger gets its answer. The next start joins what is stored.
        except Exception as error:
            _log.exception("source %s: a joined verdict could not be stored", context.name)
            self._count("missed")
            trigger.outcome.set_exception(
                UnavailableError(f"the verdict could not be stored ({error!s:.120})")
            )
            return
        if deadline and time.monotonic() - trigger.time > deadline:
            self._count("late")
        if outcome is None:
            self._count("missed")
            trigger.outcome.set_exception(_refusal({name: e for name, e in errors.items() if e is not None}))
            return
        self._count("inspected")
        trigger.outcome.set_result(outcome)
        context.tell([as_event(messages.PART, outcome)])

    def _stored(self, key: str) -> tuple[_Mark, Outcome] | None:
        with self._context.open_session() as session:
            found = joined.by_key(session, self._context.product_id, key)
        if found is None:
            return None
        views = found["views"].items() if self._with_images else ()
        images = frozenset((name, view["sha256"]) for name, view in views if view is not None)
        return _Mark(found["source"], found["part"], images), found

    def _count(self, what: str) -> None:
        with self._lock:
            self._counts[what] += 1


class _Mark(NamedTuple):
    """This class tells a part from others; a view that was not inspected has no image here."""

    source: str
    part: str
    images: frozenset[tuple[str, str]]


def _same(before: _Mark, now: _Mark) -> bool:
    return before[:2] == now[:2] and before.images <= now.images


def _plain(future: Future[Outcome]) -> Outcome:
    """Returns what became of a view, as it is stored."""
    return {key: value for key, value in future.result().items() if key != "replayed"}


def _refusal(errors: Mapping[str, BaseException]) -> PatchebmError:
    told = "; ".join(f"{name}: {error}" for name, error in errors.items())
    kind = next((type(error) for error in errors.values() if isinstance(error, _FINAL)), UnavailableError)
    return kind(f"not all views were inspected ({told})")
