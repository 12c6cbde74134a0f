"""This module offers the tags to PLCs as a server of Modbus TCP; extra `line` (pymodbus).

The words of `plc.tags` are registers, holding and input registers alike; their bits are coils and discrete
inputs. Modbus knows no passwords: whoever reaches the port may trigger.
"""

from __future__ import annotations

import asyncio
import errno
from typing import Any

from patchebm.station.outputs.base import Line
from patchebm.station.plc.handshake import Handshake
from patchebm.station.plc.served import ServedSender
from patchebm.station.plc.tags import (
    PLC_START,
    PLC_TAGS,
    STATION_START,
    STATION_TAGS,
    WORDS,
    length,
    pack,
    unpack,
)

# Function codes that write single bits, and those that write registers.
_WRITE_BITS, _WRITE_REGISTERS = (5, 15), (6, 16)


class ModbusServerSender(ServedSender):
    """This class is a server of Modbus TCP.

    Args:
        settings: `connections` (how many at once), and see `ServedSender`.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__("modbus-server", settings, ("connections",), 502)
        self._most = self._options.whole("connections", 16, 1, 1000)

    async def _serve(self, handshake: Handshake, line: Line) -> None:
        from pymodbus.constants import ExcCodes
        from pymodbus.server import ModbusTcpServer
        from pymodbus.simulator import DataType, SimData, SimDevice

        start, count = PLC_START, length(PLC_TAGS)
        written = [0] * count

        async def exchange(
            function: int,
            _: int,
            address: int,
            __: int,
            registers: list[int],
            values: list[int] | list[bool] | None,
        ) -> Any:
            if function in _WRITE_BITS or function in _WRITE_REGISTERS:
                size = 16 if function in _WRITE_BITS else 1
                given = [int(value) for value in values or ()]
                if address < start * size or address + len(given) > (start + count) * size:
                    return ExcCodes.ILLEGAL_ADDRESS
                for i, value in enumerate(given, address - start * size):
                    if size == 1:
                        written[i] = value
                    else:
                        written[i // 16] = written[i // 16] & ~(1 << i % 16) | value << i % 16
                handshake.take(unpack(PLC_TAGS, written))
            shown = pack(STATION_TAGS, handshake.tags())
            registers[STATION_START : STATION_START + len(shown)] = shown
            return None

        device = SimDevice(
            0,
            simdata=[SimData(0, count=WORDS, values=0, datatype=DataType.REGISTERS)],
            use_bit_addressing=True,
            action=exchange,
        )
        server = ModbusTcpServer(device, address=(self._host, self._port))
        server.callback_new_connection = self._limited(server, server.callback_new_connection)
        try:
            # It does not raise the error itself, but logs it.
            if not await server.listen():
                raise OSError(errno.EADDRINUSE, "the address is taken, or not of this machine")
            self._listening()
            await asyncio.Event().wait()
        finally:
            await server.shutdown()

    def _limited(self, server: Any, accept: Any) -> Any:
        """Returns what accepts connections, and closes the oldest one where there are too many."""

        def connect() -> Any:
            open_ones = list(server.active_connections.values())
            if len(open_ones) >= self._most:
                open_ones[0].close()
            return accept()

        return connect
