"""This module puts the application together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Protocol

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from starlette.concurrency import run_in_threadpool

from patchebm._version import __version__
from patchebm.station.settings import Settings
from patchebm.station.station import Station
from patchebm.station.web import events, operations
from patchebm.station.web.api import connections, exports, inspections, joined, people, products
from patchebm.station.web.bodies import BodyLimit
from patchebm.station.web.headers import SecurityHeaders
from patchebm.station.web.pages import (
    calibration,
    cameras,
    drift,
    history,
    home,
    line,
    login,
    models,
    review,
    trainings,
)
from patchebm.station.web.pages import (
    connections as connections_pages,
)
from patchebm.station.web.pages import (
    people as people_pages,
)
from patchebm.station.web.pages.rendering import STATIC
from patchebm.station.web.problems import add_handlers
from patchebm.station.web.watching import Watching

API = (inspections.router, joined.router, exports.router, products.router, connections.router, people.router)
PAGES = (
    login.router,
    home.router,
    line.router,
    history.router,
    review.router,
    models.router,
    trainings.router,
    cameras.router,
    connections_pages.router,
    calibration.router,
    drift.router,
    people_pages.router,
    events.router,
    operations.router,
)


class Beside(Protocol):
    """This class works beside a station, in threads of its own."""

    def stop(self) -> None:
        """Ends it."""
        ...


def create_app(settings: Settings, beside: Callable[[Station], Beside] | None = None) -> FastAPI:
    """Returns the application of a station; serving it starts the station, and ending stops it.

    Args:
        settings: as read. The database must have the newest schema.
        beside: starts what works beside the station, and ends with it.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        station = Station(settings)
        app.state.station = station
        companion = None
        try:
            await run_in_threadpool(station.start)
            companion = beside(station) if beside is not None else None
            yield
        finally:
            if companion is not None:
                await run_in_threadpool(companion.stop)
            await run_in_threadpool(station.stop)

    app = FastAPI(
        title="patchebm station",
        version=__version__,
        lifespan=lifespan,
        openapi_url="/api/v1/openapi.json",
        # Both would load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
    )
    add_handlers(app)
    app.add_middleware(BodyLimit, settings=settings)
    app.add_middleware(Watching)
    app.add_middleware(SecurityHeaders)
    for router in API:
        app.include_router(router, prefix="/api/v1")
    for router in PAGES:
        app.include_router(router)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    return app
