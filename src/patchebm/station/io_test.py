"""This module tries every source and output of a station, and says what is wrong with each."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from patchebm.errors import PatchebmError
from patchebm.station.arrival import Missed, Outcome
from patchebm.station.outputs import open_sender
from patchebm.station.outputs.base import Sender
from patchebm.station.plc.sender import PlcSender
from patchebm.station.services import outputs, sources
from patchebm.station.sources import open_source
from patchebm.station.sources.base import Context, ImageSource
from patchebm.station.sources.camera import CameraSource
from patchebm.station.sources.views import ViewsSource
from patchebm.station.station import Station

IN_USE = "not tried, because the station runs and uses it"
# A camera gives its frames to one program alone, and many a PLC takes one connection alone.
_ALONE = (CameraSource, ViewsSource, PlcSender)


@dataclass(frozen=True)
class Tried:
    """This class is a source or an output that was tried.

    Attributes:
        name: for people, such as `output plc (s7)`.
        said: one sentence, or `works`.
        works: False if something is wrong with it.
    """

    name: str
    said: str
    works: bool


def io_test(station: Station, *, serves: bool) -> Iterator[Tried]:
    """Yields each source and output that is turned on, and how it is.

    Args:
        station: that does not work itself.
        serves: whether another process serves the station: then what only one of both can use is not tried.
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
        yield _tried(f"source {name} ({kind})", lambda: open_source(kind, context, settings), serves)  # noqa: B023
    for name, kind, settings in wanted:
        yield _tried(f"output {name} ({kind})", lambda: open_sender(kind, settings), serves)  # noqa: B023


def _tried(name: str, opened: Callable[[], ImageSource | Sender], serves: bool) -> Tried:
    try:
        found = opened()
        if serves and isinstance(found, _ALONE):
            return Tried(name, IN_USE, works=True)
        problem = found.check()
    except PatchebmError as error:
        problem = str(error)
    return Tried(name, problem or "works", works=problem is None)


def _receive(*_: Any, **__: Any) -> Future[Outcome]:
    raise PatchebmError("images are not inspected while sources are tried")


def _miss(missed: Missed) -> None:
    raise PatchebmError(missed.message)
