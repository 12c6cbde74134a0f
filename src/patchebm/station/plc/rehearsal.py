"""This module lets an integrator rehearse: a simulated PLC that triggers parts and prints what it takes."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from patchebm.errors import ConfigError
from patchebm.station.plc.simulator import (
    ModbusClientWire,
    ModbusServerWire,
    OpcUaWire,
    PlcProgram,
    S7Wire,
    Wire,
)
from patchebm.station.plc.tags import ERRORS


def wire_of(kind: str, host: str, port: int, user: str, password: str, folder: Path) -> Callable[[], Wire]:
    """Returns what opens the PLC's end of an output.

    Args:
        kind: of the station's output.
        host: of the station, where it is the server.
        port: of the station, or of the PLC, which listens on 127.0.0.1.
        user: of the station, for opcua.
        password: of that user.
        folder: for the PLC's certificate.

    Raises:
        ConfigError: the kind has no such PLC.
    """
    wires: dict[str, Callable[[], Wire]] = {
        "modbus-server": lambda: ModbusClientWire(host, port),
        "modbus-client": lambda: ModbusServerWire(port),
        "s7": lambda: S7Wire(port),
        "opcua": lambda: OpcUaWire(host, port, user, password, folder),
    }
    if kind not in wires:
        raise ConfigError(f"kind '{kind:.20}' is none of {', '.join(wires)}")
    return wires[kind]


def rehearse(
    kind: str,
    host: str,
    port: int,
    *,
    user: str = "",
    password: str = "",
    parts: int = 10,
    every: float = 1.0,
    product: int = 0,
) -> None:
    """Triggers parts, and prints a line for each.

    Args:
        kind: of the station's output.
        host: of the station, where it is the server.
        port: of the station, or of the PLC, which listens on 127.0.0.1.
        user: of the station, for opcua.
        password: of that user.
        parts: how many; 0 goes on for ever.
        every: seconds between two parts.
        product: number of the product; 0 leaves it as it is.

    Raises:
        ConfigError: the kind has no such PLC.
        PatchebmError: a part was not answered for 30 s.
    """
    with tempfile.TemporaryDirectory(prefix="patchebm-plc-") as folder:
        program = PlcProgram(wire_of(kind, host, port, user, password, Path(folder)))
        try:
            while parts == 0 or program.number < parts:
                began = time.monotonic()
                tags = program.part(product)
                took = 1000 * (time.monotonic() - began)
                if tags["error"]:
                    code = int(tags["error_code"])
                    print(f"part {program.number}: error {code}: {ERRORS[code]}", flush=True)
                else:
                    verdict = "OK" if tags["ok"] else "NG"
                    print(
                        f"part {program.number}: {verdict}, score {tags['score']:.4g}, result "
                        f"{tags['part_counter']}, {took:.0f} ms",
                        flush=True,
                    )
                time.sleep(every)
        finally:
            program.close()
