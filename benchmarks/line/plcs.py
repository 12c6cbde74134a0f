"""The PLCs of the benchmark: one with the handshake of the station, and one behind a broker."""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.line.broker import Broker, MqttPlc, broker
from benchmarks.line.stations import PASSWORD, USER, station
from benchmarks.line.timed import Clock, TimedWire
from benchmarks.waiting import wait
from patchebm.station.demo_line import free_port
from patchebm.station.plc.rehearsal import wire_of
from patchebm.station.plc.simulator import PlcProgram

# Seconds that a counterpart is away, and seconds between triggers for a broker that has just come back.
AWAY, AGAIN = 3.0, 0.05
PATIENCE = 120.0


class HandshakePlc:
    """A PLC with the handshake of `patchebm.station.plc`."""

    def __init__(self, program: PlcProgram, clock: Clock) -> None:
        self._program = program
        self.sent, self.taken = clock.sent, clock.taken

    def part(self) -> None:
        """Has a part inspected."""
        tags = self._program.part(seconds=PATIENCE)
        assert not tags["error"], tags

    def go_and_return(self) -> float:
        """Is away for a while. Returns the seconds from its return to its first verdict."""
        self._program.close()
        time.sleep(AWAY)
        began = time.monotonic()
        self.part()
        return self.taken[str(self._program.number)] - began

    def at_rate(self, count: int, rate: float) -> dict[str, int]:
        """Triggers parts at a rate, or more slowly if the station does not keep up."""
        first = len(self._program.taken)
        refused = 0
        for _ in _ticks(count, rate):
            refused += bool(self._program.part(seconds=PATIENCE)["error"])
        counters = [int(tags["part_counter"]) for tags in self._program.taken[first:]]
        parts = [str(tags["result_trigger"]) for tags in self._program.taken[first:]]
        return {"refused": refused, "repeated": len(parts) - len(set(counters)), "disorder": _disorder(parts)}


class BrokerPlc:
    """A PLC that triggers through a broker, which is away when the PLC is said to be."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._client = MqttPlc(broker.port)
        self._number = 0
        self._client.wait_ready()
        self.sent, self.taken = self._client.sent, self._client.taken

    def part(self) -> None:
        """Has a part inspected."""
        self._number += 1
        part = str(self._number)
        self._client.trigger(part)
        wait(lambda: part in self.taken)

    def go_and_return(self) -> float:
        """Stops the broker for a while. Returns the seconds from its return to the first verdict."""
        self._client.close()
        self._broker.stop()
        time.sleep(AWAY)
        self._broker.start()
        began = time.monotonic()
        self._client = MqttPlc(self._broker.port)
        while not self._client.taken:
            self._number += 1
            self._client.trigger(str(self._number))
            time.sleep(AGAIN)
        return min(self._client.taken.values()) - began

    def at_rate(self, count: int, rate: float) -> dict[str, int]:
        """Triggers parts at a rate, whether or not the station keeps up."""
        first = len(self._client.results)
        for _ in _ticks(count, rate):
            self._number += 1
            self._client.trigger(str(self._number))
        wait(lambda: len(set(self._client.results[first:])) + len(self._client.errors) >= count, PATIENCE)
        parts = list(dict.fromkeys(self._client.results[first:]))
        repeated = len(self._client.results) - first - len(parts)
        return {"refused": len(self._client.errors), "repeated": repeated, "disorder": _disorder(parts)}

    def close(self) -> None:
        """Disconnects."""
        self._client.close()


@dataclass
class Line:
    """A station that is served, and its PLC."""

    plc: HandshakePlc | BrokerPlc
    place: Path


@contextmanager
def line(kind: str, model: Path) -> Iterator[Line]:
    """Yields a new station and its PLC."""
    with tempfile.TemporaryDirectory(prefix="patchebm-line-") as temporary:
        folder, port = Path(temporary), free_port()
        if kind == "mqtt":
            with broker(folder, port) as found, station(folder, model, kind, {"port": port}) as place:
                plc = BrokerPlc(found)
                yield Line(plc, place)
                plc.close()
            return
        clock = Clock()
        opened = wire_of(kind, "127.0.0.1", port, USER, PASSWORD, folder)
        program = PlcProgram(lambda: TimedWire(opened(), clock))
        with station(folder, model, kind, {"port": port}) as place:
            yield Line(HandshakePlc(program, clock), place)
            program.close()


def _ticks(count: int, rate: float) -> Iterator[int]:
    """Yields numbers at a rate; those that are late come at once."""
    began = time.monotonic()
    for number in range(count):
        time.sleep(max(0.0, began + number / rate - time.monotonic()))
        yield number


def _disorder(parts: Sequence[str]) -> int:
    """Returns how many parts come before one that was triggered earlier."""
    numbers = [int(part) for part in parts]
    return sum(a > b for a, b in itertools.pairwise(numbers))
