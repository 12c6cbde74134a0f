"""This module runs an output that is a server, in a thread with an event loop of its own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
from collections.abc import Sequence
from typing import Any

from patchebm.station.outputs.base import Line
from patchebm.station.plc.handshake import Handshake
from patchebm.station.plc.sender import PlcSender

_log = logging.getLogger(__name__)

# Seconds between two attempts to listen.
RETRY = 0.5


class ServedSender(PlcSender):
    """This class is an output that PLCs connect to.

    Args:
        kind: see `PlcSender`.
        settings: `host`, `port`, and see `PlcSender`.
        keys: further settings of the subclass.
        port: that is taken where none is given.
    """

    def __init__(self, kind: str, settings: dict[str, Any], keys: Sequence[str], port: int) -> None:
        super().__init__(kind, settings, ("host", "port", *keys))
        # Every address of this machine has to be asked for.
        self._host = self._options.host("host", "127.0.0.1")
        self._port = self._options.whole("port", port, 1, 65535)
        self._stop = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._serving: asyncio.Task[None] | None = None
        self._thread: threading.Thread | None = None

    def check(self) -> str | None:
        """Listens for a moment. Returns what is wrong, or None; see `Sender.check`."""
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        with socket.socket(family) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((self._host, self._port))
            except OSError as error:
                return f"cannot listen on {self._host}, port {self._port}: {error.strerror or error}"
        return None

    async def _serve(self, handshake: Handshake, line: Line) -> None:
        """Serves until it is cancelled. Raises OSError if it cannot listen."""
        raise NotImplementedError

    def _place(self) -> dict[str, Any]:
        return {"host": self._host, "port": self._port}

    def _begin(self, handshake: Handshake, line: Line, name: str) -> None:
        # A daemon: a library that hangs does not keep the process from ending.
        self._thread = threading.Thread(
            target=self._run, args=(handshake, line, name), name=f"plc-{name}", daemon=True
        )
        self._thread.start()

    def _end(self) -> None:
        self._stop.set()
        loop, serving = self._loop, self._serving
        if loop is not None and serving is not None:
            # The loop may have ended by itself.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(serving.cancel)
        if self._thread is not None:
            self._thread.join()

    def _run(self, handshake: Handshake, line: Line, name: str) -> None:
        while not self._stop.is_set():
            try:
                asyncio.run(self._once(handshake, line))
            except asyncio.CancelledError:
                continue
            except OSError as error:
                away = f"cannot listen on {self._host}, port {self._port}: {error.strerror or error}"
                if away != self._away:
                    _log.error("output %s: %s; trying again", name, away)
                self._away = away
            # A library fails in ways of its own; a new server may work.
            except Exception as error:
                _log.exception("output %s failed", name)
                self._away = f"the server failed ({type(error).__name__})"
            self._stop.wait(RETRY)

    async def _once(self, handshake: Handshake, line: Line) -> None:
        self._loop = asyncio.get_running_loop()
        self._serving = asyncio.create_task(self._serve(handshake, line))
        if self._stop.is_set():
            self._serving.cancel()
        await self._serving

    def _listening(self) -> None:
        """Notes that it listens; called by `_serve`."""
        self._away = ""
