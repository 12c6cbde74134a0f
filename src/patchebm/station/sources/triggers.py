"""This module decides at which frames a part is inspected."""

from __future__ import annotations

import threading
import time
import uuid
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field

from patchebm.errors import ConfigError
from patchebm.station.arrival import Outcome
from patchebm.station.errors import ConflictError, UnavailableError
from patchebm.station.sources.options import Options

FRAMES, INTERVAL, SOFTWARE = "frames", "interval", "software"
# Triggers that wait for their frames, at most.
MOST = 64


@dataclass
class Trigger:
    """This class is one trigger.

    Attributes:
        part: what the line calls the part.
        key: `Idempotency-Key`, or None.
        unjoined_id: of a view; see `Inspector.receive`.
        time: when it came, in seconds of the monotonic clock.
        fired: whether the camera was told to take its frame.
        outcome: gets what became of the part.
    """

    part: str = ""
    key: str | None = None
    unjoined_id: uuid.UUID | None = None
    time: float = field(default_factory=time.monotonic)
    fired: bool = False
    outcome: Future[Outcome] = field(default_factory=Future)


class Triggers:
    """This class holds the triggers that wait for their frames; threads may share it.

    Args:
        options: `trigger`: `frames`, `interval` or `software`; `interval`, the seconds between two parts;
            `debounce`, the seconds after a trigger in which others are ignored; `delay`, the seconds from a
            trigger to its frame; `deadline`, the seconds from a trigger to its stored verdict, 0 for none.
        choices: which triggers there are.
    """

    def __init__(self, options: Options, choices: tuple[str, ...] = (FRAMES, INTERVAL, SOFTWARE)) -> None:
        self.kind = options.word("trigger", SOFTWARE, choices)
        interval = options.maybe("interval", 0.01)
        if (self.kind == INTERVAL) != (interval is not None):
            raise ConfigError("interval, in seconds, is given with trigger = interval, and only then")
        self._interval = interval or 0.0
        self._debounce = options.number("debounce", 0, 0, 3600)
        self._delay = options.number("delay", 0, 0, 60)
        self.deadline = options.number("deadline", 0, 0, 3600)
        self._lock = threading.Lock()
        self._waiting: deque[Trigger] = deque()
        self._last = -float("inf")
        self._next = 0.0
        self.bounced = 0
        """Triggers that were ignored since the start."""

    def shorten(self, deadline: float) -> None:
        """Sets the deadline to a shorter one; 0, which is none, changes nothing."""
        if deadline and (not self.deadline or deadline < self.deadline):
            self.deadline = deadline

    def software(self, part: str, key: str | None = None, unjoined_id: uuid.UUID | None = None) -> Trigger:
        """Takes a trigger from outside; see `Trigger`.

        Raises:
            ConflictError: the source has another trigger, or another one came just before.
            UnavailableError: too many wait already.
        """
        if self.kind != SOFTWARE:
            raise ConflictError(f"this source has the trigger {self.kind}; set trigger to software")
        trigger = Trigger(part, key, unjoined_id)
        with self._lock:
            if trigger.time - self._last < self._debounce:
                self.bounced += 1
                raise ConflictError(
                    f"this trigger came {trigger.time - self._last:.3f} s after the one before, within "
                    f"debounce = {self._debounce:g} s; it is ignored"
                )
            if len(self._waiting) >= MOST:
                raise UnavailableError(f"{MOST} triggers wait for frames already; trigger more slowly")
            self._last = trigger.time
            self._waiting.append(trigger)
        return trigger

    def of_clock(self, now: float) -> None:
        """Adds the trigger of the interval, if its time has come."""
        if self.kind == INTERVAL and now >= self._next:
            # In step with the clock, unless the camera was away.
            self._next = max(self._next + self._interval, now + self._interval / 2)
            with self._lock:
                self._waiting.append(Trigger(time=now))

    def of_frame(self, now: float) -> Trigger | None:
        """Returns the trigger that a frame makes by itself; None within debounce of the one before."""
        if self.kind != FRAMES or now - self._last < self._debounce:
            return None
        self._last = now
        return Trigger(time=now)

    def to_fire(self, now: float) -> list[Trigger]:
        """Returns triggers whose delay is over and whose frames have not been asked for."""
        with self._lock:
            due = [one for one in self._waiting if not one.fired and now >= one.time + self._delay]
        for one in due:
            one.fired = True
        return due

    def take(self, time: float) -> Trigger | None:
        """Returns the oldest trigger whose frame one of this time is."""
        with self._lock:
            if self._waiting and self._waiting[0].time + self._delay <= time:
                return self._waiting.popleft()
        return None

    def overdue(self, now: float) -> list[Trigger]:
        """Returns and forgets the triggers whose deadline passed before a frame came."""
        found = []
        with self._lock:
            while self.deadline and self._waiting and now > self._waiting[0].time + self.deadline:
                found.append(self._waiting.popleft())
        return found

    def all(self) -> list[Trigger]:
        """Returns and forgets all that wait."""
        with self._lock:
            found = list(self._waiting)
            self._waiting.clear()
        return found
