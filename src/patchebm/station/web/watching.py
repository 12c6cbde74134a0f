"""This module counts, limits and logs requests."""

from __future__ import annotations

import logging
import math
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from patchebm.station.web.problems import problem

_log = logging.getLogger(__name__)

# Slower answers, and all errors, are logged one by one; the others are counted.
SLOW_SECONDS = 2.0
# Probes come often and say little.
_NOT_LIMITED = ("/healthz", "/readyz")


class Watching:
    """This class is a layer that counts requests by route, and refuses addresses that ask too often."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        station = scope["app"].state.station
        client = scope["client"][0] if scope["client"] else ""
        began, status = time.monotonic(), 500

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        wait = 0.0 if scope["path"] in _NOT_LIMITED else station.requests.take(client)
        try:
            if wait:
                sentence = "too many requests from this address; send them more slowly"
                answer = problem(429, sentence, {"Retry-After": str(math.ceil(wait))})
                await answer(scope, receive, send_and_note)
            else:
                await self._app(scope, receive, send_and_note)
        finally:
            took = time.monotonic() - began
            # The pattern, not the path: there are few patterns, and a path may hold anything.
            route = getattr(scope.get("route"), "path", "none")
            station.metrics.answered(route, scope["method"], status)
            if status >= 500 or (took > SLOW_SECONDS and route != "/events"):
                facts = {"route": route, "method": scope["method"], "status": status, "client": client}
                _log.warning(
                    "%s %s answered %d after %.2f s", scope["method"], route, status, took, extra=facts
                )
