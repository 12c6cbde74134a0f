"""This module gives results to a PLC that is a server of Modbus TCP; extra `line` (pymodbus)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from patchebm.station.plc.cyclic import Connection, CyclicSender
from patchebm.station.plc.tags import PLC_START, PLC_TAGS, STATION_START, length

# Seconds that an answer of the PLC is waited for.
TIMEOUT = 1.0


class ModbusClientSender(CyclicSender):
    """This class reads and writes holding registers of a PLC.

    Args:
        settings: `unit`, `base` (register in which the station's block begins), and see `CyclicSender`.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__("modbus-client", settings, ("unit", "base"), 502)
        self._unit = self._options.whole("unit", 1, 0, 255)
        self._base = self._options.whole("base", 0, 0, 65000)

    def _connection(self) -> Connection:
        return _Registers(self._host, self._port, self._unit, self._base)


class _Registers:
    """This class is a connection to holding registers."""

    def __init__(self, host: str, port: int, unit: int, base: int) -> None:
        from pymodbus.client import ModbusTcpClient
        from pymodbus.exceptions import ModbusException

        self._failed = ModbusException
        self._client = ModbusTcpClient(host, port=port, timeout=TIMEOUT, retries=0)
        self._unit = unit
        self._base = base

    def open(self) -> None:
        if not self._client.connect():
            raise OSError("no connection")

    def read(self) -> Sequence[int]:
        count = length(PLC_TAGS)
        try:
            answer = self._client.read_holding_registers(
                self._base + PLC_START, count=count, device_id=self._unit
            )
        except self._failed as error:
            raise OSError(str(error)) from error
        if answer.isError() or len(answer.registers) != count:
            raise OSError(f"it refuses to read registers {self._base + PLC_START} and following")
        return list(answer.registers)

    def write(self, words: Sequence[int]) -> None:
        try:
            answer = self._client.write_registers(
                self._base + STATION_START, list(words), device_id=self._unit
            )
        except self._failed as error:
            raise OSError(str(error)) from error
        if answer.isError():
            raise OSError(f"it refuses to write registers {self._base + STATION_START} and following")

    def close(self) -> None:
        self._client.close()
