"""This module exchanges the tags with a PLC that is the server: it reads and writes them in cycles."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Protocol

from patchebm.station.outputs.base import Line
from patchebm.station.plc.handshake import Handshake
from patchebm.station.plc.sender import PlcSender
from patchebm.station.plc.tags import PLC_TAGS, STATION_TAGS, pack, unpack

_log = logging.getLogger(__name__)

# Seconds between two attempts to connect.
RETRY = 0.5
# Cycles between two exchanges while a part is inspected: a PLC has little to say then, and the model needs
# the processor.
BUSY_CYCLES = 5
# Seconds after which the block is written though nothing has changed: a PLC may have lost it.
REWRITE = 0.1


class Connection(Protocol):
    """This class is a connection to a PLC. Its methods raise OSError where that cannot be reached."""

    def open(self) -> None:
        """Connects."""
        ...

    def read(self) -> Sequence[int]:
        """Returns the words of the PLC's block."""
        ...

    def write(self, words: Sequence[int]) -> None:
        """Writes the words of the station's block."""
        ...

    def close(self) -> None:
        """Lets go of it, also if it was never open."""
        ...


class CyclicSender(PlcSender):
    """This class is an output that is a client of the PLC.

    Args:
        kind: see `PlcSender`.
        settings: `host`, `port`, `cycle` (seconds between two exchanges while a trigger may come; a result
            is written at once), and see `PlcSender`.
        keys: further settings of the subclass.
        port: that is taken where none is given.
    """

    def __init__(self, kind: str, settings: dict[str, Any], keys: Sequence[str], port: int) -> None:
        super().__init__(kind, settings, ("host", "port", "cycle", *keys))
        self._host = self._options.host()
        self._port = self._options.whole("port", port, 1, 65535)
        self._cycle = self._options.seconds("cycle", 0.002, 0.001, 10.0)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def check(self) -> str | None:
        """Reads the PLC's block once. Returns what is wrong, or None; see `Sender.check`."""
        connection = self._connection()
        try:
            connection.open()
            unpack(PLC_TAGS, connection.read())
        except OSError as error:
            return f"{self._host}:{self._port} cannot be reached ({error})"
        finally:
            connection.close()
        return None

    def _connection(self) -> Connection:
        raise NotImplementedError

    def _place(self) -> dict[str, Any]:
        return {"host": self._host, "port": self._port}

    def _begin(self, handshake: Handshake, line: Line, name: str) -> None:
        # A daemon: a library that hangs does not keep the process from ending.
        self._thread = threading.Thread(
            target=self._run, args=(handshake, name), name=f"plc-{name}", daemon=True
        )
        self._thread.start()

    def _end(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self, handshake: Handshake, name: str) -> None:
        while not self._stop.is_set():
            connection: Connection | None = None
            try:
                connection = self._connection()
                connection.open()
                if self._away:
                    _log.info("output %s: the PLC at %s:%d is there", name, self._host, self._port)
                self._away = ""
                known, news, written, written_at = 0, 0, None, 0.0
                while not self._stop.is_set():
                    # A result is written before the PLC is asked what is new.
                    if news == known:
                        handshake.take(unpack(PLC_TAGS, connection.read()))
                    known = news
                    tags = handshake.tags()
                    words = pack(STATION_TAGS, tags)
                    if words != written or time.monotonic() - written_at > REWRITE:
                        connection.write(words)
                        written, written_at = words, time.monotonic()
                    pause = BUSY_CYCLES * self._cycle if tags["busy"] else self._cycle
                    news = handshake.wait_for_news(known, pause)
                # The last word: it is not ready any more.
                connection.write(pack(STATION_TAGS, handshake.tags()))
            except OSError as error:
                away = f"the PLC at {self._host}:{self._port} cannot be reached ({error})"
                if not self._away:
                    _log.warning("output %s: %s; trying again", name, away)
                self._away = away
            # A library fails in ways of its own; the next attempt may work.
            except Exception as error:
                _log.exception("output %s failed", name)
                self._away = f"talking to {self._host}:{self._port} failed ({type(error).__name__})"
            finally:
                # A library that fails while it lets go must not end the thread.
                with suppress(Exception):
                    if connection is not None:
                        connection.close()
            self._stop.wait(RETRY)
