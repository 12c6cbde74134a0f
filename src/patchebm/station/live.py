"""This module passes on to pages that are open what has just been stored."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

# Events that wait for a page that is slow; beyond, the oldest go, and the page loads its list again.
MOST = 256
# Seconds between two messages to a page: it gets all events of that time at once, however fast parts come.
PAUSE = 0.1


def as_event(kind: str, facts: Mapping[str, Any]) -> str:
    """Returns a server-sent event, as all pages get it."""
    return f"event: {kind}\ndata: {json.dumps(facts)}\n\n"


class Subscription:
    """This class is a page that is open; it belongs to the event loop."""

    def __init__(self) -> None:
        self._waiting: deque[str] = deque()
        self._there = asyncio.Event()
        self._lost = 0

    def offer(self, events: Sequence[str]) -> None:
        """Hands events over."""
        self._waiting.extend(events)
        while len(self._waiting) > MOST:
            self._waiting.popleft()
            self._lost += 1
        self._there.set()

    async def next(self, seconds: float) -> str:
        """Returns the events that wait; "" if the subscription has ended.

        Raises:
            TimeoutError: there was none for so long.
        """
        await asyncio.wait_for(self._there.wait(), seconds)
        self._there.clear()
        text = "".join(self._waiting)
        self._waiting.clear()
        if self._lost:
            text = as_event("lost", {"events": self._lost}) + text
            self._lost = 0
        return text


class Live:
    """This class passes events on to all who subscribed; `publish` and `close` may be called from any thread.

    One event loop serves all subscriptions, and it alone touches them.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._subscriptions: set[Subscription] = set()
        self._closed = False

    def publish(self, events: Sequence[str]) -> None:
        """Passes events on, as `as_event` makes them."""
        if self._loop is not None and self._subscriptions:
            self._loop.call_soon_threadsafe(self._offer, events)

    async def events(self, seconds: float) -> AsyncIterator[str]:
        """Yields the events of each `PAUSE` until the station stops; "" after `seconds` without any."""
        self._loop = asyncio.get_running_loop()
        subscription = Subscription()
        self._subscriptions.add(subscription)
        try:
            while not self._closed:
                try:
                    yield await subscription.next(seconds)
                except TimeoutError:
                    yield ""
                await asyncio.sleep(PAUSE)
        finally:
            self._subscriptions.discard(subscription)

    def close(self) -> None:
        """Ends all subscriptions: a server that stops waits for its connections."""
        self._closed = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._offer, ())

    @property
    def watching(self) -> int:
        """Returns the number of pages that are open."""
        return len(self._subscriptions)

    def _offer(self, events: Sequence[str]) -> None:
        for subscription in self._subscriptions:
            subscription.offer(events)
