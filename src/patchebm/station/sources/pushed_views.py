"""This module takes several views of a part by HTTP, and joins their verdicts: `PushedViews`."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

from patchebm.errors import ConfigError, PatchebmError
from patchebm.station.arrival import Outcome
from patchebm.station.services.names import line
from patchebm.station.sources.base import Context
from patchebm.station.sources.camera import MOST
from patchebm.station.sources.joiner import Joiner
from patchebm.station.sources.options import Options
from patchebm.station.sources.triggers import Trigger


class PushedViews:
    """This class takes the images of all views of a part at once.

    Each view is an inspection of its own under the same part, with the source `NAME/VIEW`, as that of a
    camera is; see `ViewsSource`.

    Args:
        context: of the station.
        settings: `views`, by name: `product`, else that of the source; and `ng_views`, see `Joiner`.

    Raises:
        ConfigError: a setting cannot be.
    """

    def __init__(self, context: Context, settings: dict[str, Any]) -> None:
        options = Options("pushed-views", settings)
        self._context = context
        self._joiner = Joiner(context, options, with_images=True)
        options.finish()
        self._products = {name: self._product(name, one) for name, one in self._joiner.settings.items()}

    def run(self) -> None:
        """Waits until it is told to stop: it works when images come."""
        self._context.stop.wait()

    def check(self) -> str | None:
        """Returns None: there is nothing to be tried."""
        return None

    @property
    def state(self) -> str:
        """Returns "": all is well."""
        return ""

    @property
    def counts(self) -> dict[str, int]:
        """Returns how many parts since the start were joined, and how many had no verdict."""
        return self._joiner.counts

    def push(self, images: Mapping[str, bytes], part: str = "", key: str | None = None) -> Future[Outcome]:
        """Has the views of a part inspected.

        Args:
            images: bytes of the file of each view, by its name.
            part: what the line calls the part.
            key: `Idempotency-Key` of the part, or None; that of a view is `key/VIEW`.

        Returns:
            The joined verdict; see `Joiner.join`.

        Raises:
            ConfigError: the views are not those of the source, or the name of the part or the key cannot be.
            ConflictError: another part came under the key.
        """
        part = line(part, "part", MOST)
        if set(images) != set(self._products):
            sent = ", ".join(f"{name:.64}" for name in images) or "none"
            raise ConfigError(
                f"source '{self._context.name}' takes the views {', '.join(self._products)}, and {sent} "
                "came; send one image in a field of each name"
            )
        marks = frozenset((name, hashlib.sha256(content).hexdigest()) for name, content in images.items())
        return self._joiner.once(part, key, lambda: self._take(images, part, key), marks)

    def _take(self, images: Mapping[str, bytes], part: str, key: str | None) -> Future[Outcome]:
        trigger, unjoined_id = Trigger(part, key), uuid.uuid4()
        futures: dict[str, Future[Outcome]] = {}
        for name, product in self._products.items():
            try:
                futures[name] = self._context.receive(
                    product,
                    f"{self._context.name}/{name}",
                    images[name],
                    part=part,
                    key=None if key is None else f"{key}/{name}",
                    unjoined_id=unjoined_id,
                )
            except PatchebmError as error:
                futures[name] = Future()
                futures[name].set_exception(error)
        self._joiner.join(trigger, futures)
        return trigger.outcome

    def _product(self, name: str, settings: dict[str, Any]) -> str:
        options = Options(f"view '{name}' of a pushed-views", settings)
        options.word("product", "")
        options.finish()
        return self._joiner.product_of(name, settings)[1]
