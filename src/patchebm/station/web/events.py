"""This module sends pages what is stored, as it is stored: server-sent events."""

from __future__ import annotations

from collections.abc import AsyncIterator

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from patchebm.station.live import Live
from patchebm.station.web.dependencies import Operator, TheStation

router = APIRouter(include_in_schema=False)

# Seconds after which a quiet stream says that it lives, so that no proxy ends it.
HEARTBEAT = 15.0


@router.get("/events")
async def events(station: TheStation, actor: Operator) -> StreamingResponse:
    """Sends each part that is stored as an event `inspection`; `lost` says that the page was too slow."""
    return StreamingResponse(_stream(station.live), media_type="text/event-stream")


async def _stream(live: Live) -> AsyncIterator[str]:
    yield "retry: 2000\n\n"
    async for events in live.events(HEARTBEAT):
        yield events or ": still here\n\n"
