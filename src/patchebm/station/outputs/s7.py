"""This module gives results to a Siemens S7 PLC by one data block; extra `line` (python-snap7).

The block must not be optimised, and PUT/GET must be permitted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from patchebm.station.plc.cyclic import Connection, CyclicSender
from patchebm.station.plc.tags import PLC_START, PLC_TAGS, STATION_START, from_s7, length, to_s7


class S7Sender(CyclicSender):
    """This class reads and writes a data block of a PLC.

    Args:
        settings: `block` (its number), `rack`, `slot`, and those of `CyclicSender`.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__("s7", settings, ("block", "rack", "slot"), 102)
        self._block = self._options.whole("block", 1, 1, 65535)
        self._rack = self._options.whole("rack", 0, 0, 7)
        self._slot = self._options.whole("slot", 1, 0, 31)

    def _connection(self) -> Connection:
        return _Block(self._host, self._port, self._block, self._rack, self._slot)


class _Block:
    """This class is a connection to a data block."""

    def __init__(self, host: str, port: int, block: int, rack: int, slot: int) -> None:
        from snap7.client import Client
        from snap7.error import S7Error

        self._failed = S7Error
        self._client = Client()
        self._place = (host, rack, slot, port)
        self._block = block

    def open(self) -> None:
        try:
            self._client.connect(*self._place)
        # It raises errors that are RuntimeErrors, and its own.
        except (self._failed, RuntimeError) as error:
            raise OSError(_line(error)) from error

    def read(self) -> Sequence[int]:
        try:
            return from_s7(self._client.db_read(self._block, 2 * PLC_START, 2 * length(PLC_TAGS)))
        except (self._failed, RuntimeError, ValueError) as error:
            raise OSError(f"block DB{self._block}: {_line(error)}") from error

    def write(self, words: Sequence[int]) -> None:
        try:
            self._client.db_write(self._block, 2 * STATION_START, to_s7(words))
        except (self._failed, RuntimeError, ValueError) as error:
            raise OSError(f"block DB{self._block}: {_line(error)}") from error

    def close(self) -> None:
        self._client.disconnect()


def _line(error: Exception) -> str:
    """Returns the first line of what a library says."""
    return (str(error).splitlines() or [type(error).__name__])[0][:120]
