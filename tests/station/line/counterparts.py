"""The PLC's end of each protocol, as real counterparts on loopback."""

from __future__ import annotations

import atexit
import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from patchebm.station.plc import simulator
from patchebm.station.plc.tags import Value, Values
from tests.station.running import PASSWORD, free_port

Counterpart = tuple[str, dict[str, Any], Callable[[], simulator.Wire]]
LIBRARIES = {"modbus-server": "pymodbus", "modbus-client": "pymodbus", "s7": "snap7", "opcua": "asyncua"}


def modbus_server() -> Counterpart:
    port = free_port()
    return "modbus-server", {"port": port}, lambda: simulator.ModbusClientWire("127.0.0.1", port)


def modbus_client() -> Counterpart:
    port = free_port()
    return "modbus-client", {"host": "127.0.0.1", "port": port}, lambda: simulator.ModbusServerWire(port)


def s7() -> Counterpart:
    port = free_port()
    return "s7", {"host": "127.0.0.1", "port": port}, lambda: simulator.S7Wire(port)


def opcua() -> Counterpart:
    port = free_port()
    folder = Path(tempfile.mkdtemp(prefix="patchebm-plc-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    wire = lambda: simulator.OpcUaWire("127.0.0.1", port, "operator", PASSWORD, folder)  # noqa: E731
    return "opcua", {"port": port}, wire


class Unreliable:
    """A counterpart that is killed at random moments, before or after what it was to do."""

    def __init__(self, wire: simulator.Wire, chooser: random.Random, share: float) -> None:
        self._wire = wire
        self._random = chooser
        self._share = share
        self._dead = False

    def read(self) -> dict[str, Value]:
        found = self._wire.read()
        self._perhaps_die()
        return found

    def write(self, values: Values) -> None:
        self._wire.write(values)
        self._perhaps_die()

    def close(self) -> None:
        if not self._dead:
            self._wire.close()

    def _perhaps_die(self) -> None:
        if self._random.random() < self._share:
            self._wire.close()
            self._dead = True
            raise OSError("killed")
