"""The PLC's end of a protocol, with a clock: when a part was triggered, and when its result was read."""

from __future__ import annotations

import time

from patchebm.station.plc.simulator import Wire
from patchebm.station.plc.tags import Value, Values


class Clock:
    """When each part was triggered, and when its result was seen first, by its number."""

    def __init__(self) -> None:
        self.sent: dict[str, float] = {}
        self.taken: dict[str, float] = {}


class TimedWire:
    """A wire that tells a clock what goes over it."""

    def __init__(self, wire: Wire, clock: Clock) -> None:
        self._wire = wire
        self._clock = clock

    def read(self) -> dict[str, Value]:
        tags = self._wire.read()
        if tags["done"]:
            self._clock.taken.setdefault(str(tags["result_trigger"]), time.monotonic())
        return tags

    def write(self, values: Values) -> None:
        if values["trigger"]:
            self._clock.sent.setdefault(str(values["trigger_number"]), time.monotonic())
        self._wire.write(values)

    def close(self) -> None:
        self._wire.close()
