"""This module is what the outputs have in common that offer the tags of a PLC."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from patchebm.station.outputs.base import Failure, Line, Message
from patchebm.station.outputs.options import Options
from patchebm.station.plc.handshake import Handshake

# Settings of all of them.
KEYS = ("products", "deadline")


class PlcSender:
    """This class gives results to a PLC by the handshake; its subclasses carry the tags.

    Args:
        kind: name of the output, such as `modbus-server`.
        settings: `products`, which a PLC knows by their places from 1, `deadline`, the seconds after which a
            part that is still inspected stops the heartbeat, and those in `keys`.
        keys: settings of the subclass.

    Raises:
        ConfigError: a setting is missing, unknown or cannot be.
    """

    # `send` waits by itself.
    longest_pause = 0.05

    def __init__(self, kind: str, settings: dict[str, Any], keys: Sequence[str]) -> None:
        self._options = Options(kind, settings, (*KEYS, *keys))
        self._products = self._options.products()
        self._deadline = self._options.seconds("deadline", 10.0, 0.1, 600.0)
        self._handshake: Handshake | None = None
        self._away = ""

    def start(self, line: Line, name: str) -> None:
        """Begins to work; see `Sender.start`."""
        handshake = Handshake(name, self._products, line, self._deadline)
        handshake.start()
        self._handshake = handshake
        self._begin(handshake, line, name)

    def send(self, message: Message) -> Failure | None:
        """Shows a result until the PLC has acknowledged it; see `Sender.send`."""
        assert self._handshake is not None, "start comes first"
        failure = self._handshake.send(message)
        if failure is not None and self._away:
            return Failure(self._away, False)
        return failure

    def close(self) -> None:
        """Lets go of what it holds."""
        if self._handshake is not None:
            self._handshake.stop()
            self._end()

    @property
    def state(self) -> str:
        """Returns what is wrong now; "" if all is well."""
        return self._away or ("" if self._handshake is None else self._handshake.trouble)

    @property
    def shown(self) -> dict[str, Any]:
        """Returns its settings without secrets."""
        return {"products": self._products, **self._place()}

    def _begin(self, handshake: Handshake, line: Line, name: str) -> None:
        raise NotImplementedError

    def _end(self) -> None:
        raise NotImplementedError

    def _place(self) -> dict[str, Any]:
        raise NotImplementedError
