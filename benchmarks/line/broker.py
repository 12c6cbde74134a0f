"""A broker from Debian, and a PLC that triggers and takes results through it."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from benchmarks.line.stations import OUTPUT
from benchmarks.waiting import PATIENCE, wait


class Broker:
    """A mosquitto on loopback, without encryption."""

    def __init__(self, folder: Path, port: int) -> None:
        self.port = port
        self._config = folder / "mosquitto.conf"
        self._config.write_text(
            f"listener {port} 127.0.0.1\nallow_anonymous true\nlog_type error\nset_tcp_nodelay true\n"
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it, and waits until it accepts connections."""
        program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
        command = [program, "-c", str(self._config)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + PATIENCE
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            assert time.monotonic() < deadline, "mosquitto does not start"
            time.sleep(0.005)

    def stop(self) -> None:
        """Ends it."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(PATIENCE)


class MqttPlc:
    """A client of the broker.

    Attributes:
        sent: when each part was triggered.
        taken: when the first result of each part came.
        results: the parts of all results, as they came.
        errors: what the station said of triggers without a verdict.
    """

    def __init__(self, port: int) -> None:
        self.sent: dict[str, float] = {}
        self.taken: dict[str, float] = {}
        self.results: list[str] = []
        self.errors: list[str] = []
        self._ready = False
        self._client = Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = self._received
        self._client.on_socket_open = _send_at_once
        self._client.connect("127.0.0.1", port)
        self._client.subscribe([(self._topic(word), 1) for word in ("results", "errors", "state")])
        self._client.loop_start()

    def wait_ready(self) -> None:
        """Waits until the station says that it can inspect."""
        wait(lambda: self._ready)

    def trigger(self, part: str) -> None:
        """Has a part inspected."""
        self.sent[part] = time.monotonic()
        self._client.publish(self._topic("trigger"), json.dumps({"part": part}), qos=1)

    def close(self) -> None:
        """Disconnects."""
        self._client.disconnect()
        self._client.loop_stop()

    def _topic(self, word: str) -> str:
        return f"patchebm/{OUTPUT}/{word}"

    def _received(self, _: Any, __: Any, message: Any) -> None:
        now, body = time.monotonic(), json.loads(message.payload)
        if message.topic == self._topic("results"):
            part = body["data"]["part"]
            self.results.append(part)
            self.taken.setdefault(part, now)
        elif message.topic == self._topic("errors"):
            self.errors.append(body["error"])
        else:
            self._ready = bool(body.get("can_inspect"))


def _send_at_once(_: Any, __: Any, connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


@contextmanager
def broker(folder: Path, port: int) -> Iterator[Broker]:
    """Yields a broker that runs."""
    found = Broker(folder, port)
    found.start()
    try:
        yield found
    finally:
        found.stop()
