"""This module tries every source and output of a station, and says what is wrong with each."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

from patchebm.errors import PatchebmError
from patchebm.station.arrival import Missed, Outcome
from patchebm.station.outputs import open_sender
from patchebm.station.services import outputs, sources
from patchebm.station.sources import open_source
from patchebm.station.sources.base import Context
from patchebm.station.station import Station


def io_test(station: Station) -> Iterator[tuple[str, str | None]]:
    """Yields each source and output that works, and what is wrong with it, or None.

    Args:
        station: that does not work itself; another process may serve it.
    """
    with station.session() as session:
        inputs = [
            (row.name, row.kind, row.settings, row.product.name, row.product_id)
            for row in sources.everything(session)
            if row.enabled
        ]
        wanted = [(row.name, row.kind, row.settings) for row in outputs.everything(session) if row.enabled]
    for name, kind, settings, product, product_id in inputs:
        context = Context(0, name, product_id, product, _receive, _miss, station.session, threading.Event())
        yield f"source {name} ({kind})", _checked(lambda: open_source(kind, context, settings))  # noqa: B023
    for name, kind, settings in wanted:
        yield f"output {name} ({kind})", _checked(lambda: open_sender(kind, settings))  # noqa: B023


def _checked(opened: Any) -> str | None:
    try:
        problem: str | None = opened().check()
    except PatchebmError as error:
        return str(error)
    return problem


def _receive(*_: Any, **__: Any) -> Future[Outcome]:
    raise PatchebmError("images are not inspected while sources are tried")


def _miss(missed: Missed) -> None:
    raise PatchebmError(missed.message)
