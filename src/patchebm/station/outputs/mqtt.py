"""This module publishes results by MQTT 3.1.1, and takes triggers by topic; extra `line` (paho-mqtt 2).

Below the topic `base/NAME`, where NAME is that of the output:

- `results`: each inspection and review, QoS 1: `{"key", "type", "number", "data"}`.
- `state`: retained: `{"online", "can_inspect", "trouble", "product"}`; by the last will the broker says
  `online: false`.
- `errors`: triggers that gave no verdict: `{"error", "part"}`.
- `trigger`: taken: empty, or `{"part", "product", "key"}`, each optional. A trigger that comes again under
  its key is the same part, as it is with the `Idempotency-Key` of REST.
- `product`: taken: the product that later triggers are inspected as.
"""

from __future__ import annotations

import contextlib
import json
import logging
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from patchebm.errors import ConfigError, PatchebmError
from patchebm.station.arrival import Outcome
from patchebm.station.outputs.base import Failure, Line, Message
from patchebm.station.outputs.options import Options

_log = logging.getLogger(__name__)

_KEYS = (
    "host", "port", "base", "products", "username", "password", "tls", "ca", "certificate", "key", "timeout",
    "keep_alive",
)  # fmt: skip
# Triggers that wait, at most; beyond, they are left out and said.
WAITING = 32
# Bytes of a command, at most.
LARGEST = 4096
# Seconds between two looks at the state.
STATE_EVERY = 0.5
# Seconds between two lines of the log on what is left out.
QUIET = 10.0


class MqttSender:
    """This class publishes messages and takes triggers.

    Args:
        settings: `host`, `port`, `base` (topic, `patchebm`), `products` that may be triggered (the first one
            at first), `username` and `password`, `tls`, `ca`, `certificate` and `key` (files), `timeout` in
            seconds for an answer of the broker, `keep_alive` in seconds.

    Raises:
        ConfigError: a setting is missing, unknown or cannot be.
    """

    longest_pause = 1.0

    def __init__(self, settings: dict[str, Any]) -> None:
        options = Options("mqtt", settings, _KEYS)
        self._host = options.host()
        self._tls = options.flag("tls", False)
        self._port = options.whole("port", 8883 if self._tls else 1883, 1, 65535)
        self._base = options.text("base", "patchebm")
        if not self._base or any(c in "+#$" for c in self._base):
            raise ConfigError("base of mqtt must be a topic without + # $, such as patchebm")
        self._products = options.products() if "products" in settings else []
        self._username, self._password = options.text("username", ""), options.text("password", "")
        self._files = {key: options.text(key, "") for key in ("ca", "certificate", "key")}
        if not self._tls and any(self._files.values()):
            raise ConfigError("ca, certificate and key of mqtt need tls: true")
        if self._password and not self._username:
            raise ConfigError("mqtt has a password without a username; give both")
        self._timeout = options.seconds("timeout", 1.0, 0.1, 1.5)
        self._keep_alive = options.whole("keep_alive", 10, 1, 3600)
        self._client: Any = None
        self._line: Line | None = None
        self._name = "check"
        self._away = "the broker has not answered yet"
        self._product = self._products[0] if self._products else ""
        self._pending: tuple[str, Any] | None = None
        self._orders: queue.Queue[tuple[str, str, str | None] | None] = queue.Queue(WAITING)
        self._said: dict[str, float] = {}
        self._shown: dict[str, Any] | None = None
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, line: Line, name: str) -> None:
        """Connects, and again whenever the connection is lost; see `Sender.start`."""
        self._line, self._name = line, name
        self._client = client = self._made(f"patchebm-{name}")
        client.on_connect, client.on_disconnect = self._connected, self._disconnected
        client.on_message = self._received
        client.will_set(self._topic("state"), json.dumps({"online": False}), qos=1, retain=True)
        client.reconnect_delay_set(0.2, 1)
        self._threads = [
            threading.Thread(target=run, name=f"{word}-{name}", daemon=True)
            for word, run in (
                ("mqtt-state", self._tell),
                ("mqtt-trigger", self._trigger),
                ("mqtt", self._run),
            )
        ]
        for thread in self._threads:
            thread.start()

    def send(self, message: Message) -> Failure | None:
        """Publishes a message. Returns None once the broker has it; see `Sender.send`."""
        if self._away:
            return Failure(self._away, False)
        # What was published before its connection broke is sent again by the client itself.
        if self._pending is None or self._pending[0] != message.key:
            body = {"key": message.key, "type": message.kind, "number": message.number, "data": message.body}
            info = self._client.publish(self._topic("results"), json.dumps(body, allow_nan=False), qos=1)
            self._pending = message.key, info
        info = self._pending[1]
        try:
            info.wait_for_publish(self._timeout)
        except (RuntimeError, ValueError) as error:
            self._pending = None
            return Failure(f"{self._host} takes no message ({error})", False)
        if not info.is_published():
            return Failure(self._away or f"{self._host} has not confirmed a message yet", False)
        self._pending = None
        return None

    def close(self) -> None:
        """Says that the station goes, and disconnects."""
        self._stop.set()
        with contextlib.suppress(queue.Full):
            self._orders.put_nowait(None)
        if self._client is None:
            return
        if not self._away:
            info = self._client.publish(self._topic("state"), json.dumps({"online": False}), 1, True)
            with contextlib.suppress(RuntimeError, ValueError):
                info.wait_for_publish(self._timeout)
        self._client.disconnect()

    def check(self) -> str | None:
        """Connects once. Returns what is wrong, or None; see `Sender.check`."""
        answered = threading.Event()
        reasons: list[Any] = []

        def connected(_: Any, __: Any, ___: Any, reason: Any, ____: Any) -> None:
            reasons.append(reason)
            answered.set()

        place = f"the broker {self._host}:{self._port}"
        try:
            client = self._made("")
            client.on_connect = connected
            client.connect(self._host, self._port, self._keep_alive)
        except PatchebmError as error:
            return str(error)
        except (OSError, ValueError) as error:
            return f"{place} cannot be reached ({error})"
        client.loop_start()
        try:
            if not answered.wait(5.0):
                return f"{place} does not answer as MQTT does"
        finally:
            client.disconnect()
            client.loop_stop()
        return f"{place} refuses the connection ({reasons[0]})" if reasons[0].is_failure else None

    @property
    def state(self) -> str:
        """Returns what is wrong now; "" if all is well."""
        return self._away

    @property
    def shown(self) -> dict[str, Any]:
        """Returns its settings without secrets."""
        return {
            "host": self._host,
            "port": self._port,
            "base": self._base,
            "tls": self._tls,
            "username": self._username,
            "products": self._products,
        }

    def _topic(self, word: str) -> str:
        return f"{self._base}/{self._name}/{word}"

    def _made(self, client_id: str) -> Any:
        """Returns a client. Raises ConfigError if a file of TLS cannot be used."""
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        client = Client(CallbackAPIVersion.VERSION2, client_id)
        client.on_socket_open = _send_at_once
        if self._username:
            client.username_pw_set(self._username, self._password)
        if self._tls:
            try:
                context = ssl.create_default_context(cafile=self._files["ca"] or None)
                if self._files["certificate"]:
                    context.load_cert_chain(self._files["certificate"], self._files["key"] or None)
            except (OSError, ssl.SSLError) as error:
                names = ", ".join(Path(file).name for file in self._files.values() if file)
                raise ConfigError(f"mqtt cannot use the files {names} ({error}); check them") from error
            client.tls_set_context(context)
        return client

    def _run(self) -> None:
        """Keeps the connection until it is told to stop."""
        while not self._stop.is_set():
            try:
                # With a timeout of its own: a machine that is switched off does not refuse.
                self._client.connect_timeout = 2.0
                self._client.connect(self._host, self._port, self._keep_alive)
                self._client.loop_forever(retry_first_connection=False)
            except (OSError, ValueError) as error:
                self._gone(f"the broker {self._host}:{self._port} cannot be reached ({error})")
            # A library fails in ways of its own; the next connection may work.
            except Exception as error:
                _log.exception("output %s failed", self._name)
                self._gone(f"talking to {self._host} failed ({type(error).__name__})")
            self._stop.wait(0.5)

    def _gone(self, sentence: str) -> None:
        if not self._stop.is_set():
            self._say("away", f"{sentence}; trying again")
        self._away = sentence
        self._shown = None

    def _connected(self, client: Any, _: Any, __: Any, reason: Any, ___: Any) -> None:
        if reason.is_failure:
            self._gone(f"the broker {self._host} refuses the connection ({reason})")
            return
        _log.info("output %s: connected to %s", self._name, self._host)
        if self._products:
            client.subscribe([(self._topic("trigger"), 2), (self._topic("product"), 2)])
        self._shown = None
        self._away = ""

    def _disconnected(self, _: Any, __: Any, ___: Any, reason: Any, ____: Any) -> None:
        if not self._stop.is_set() and not self._away:
            self._gone(f"the connection to {self._host} broke ({reason})")

    def _received(self, _: Any, __: Any, message: Any) -> None:
        try:
            if message.retain:
                raise ConfigError("a command was retained by the broker; publish it without retain")
            if len(message.payload) > LARGEST:
                raise ConfigError(
                    f"a command has {len(message.payload)} bytes; {LARGEST} are too many already"
                )
            text = message.payload.decode("utf-8")
            if message.topic == self._topic("product"):
                self._product = self._known(text)
                self._shown = None
            else:
                self._orders.put_nowait(self._order(text))
        except queue.Full:
            self._refuse(f"{WAITING} triggers wait already; the station cannot inspect so many", "")
        except (ConfigError, UnicodeDecodeError, ValueError) as error:
            self._refuse(str(error)[:200], "")

    def _order(self, text: str) -> tuple[str, str, str | None]:
        """Returns product, part and key of a trigger."""
        facts = json.loads(text) if text.strip() else {}
        if not isinstance(facts, dict) or not set(facts) <= {"part", "product", "key"}:
            raise ConfigError(
                'a trigger must be empty or JSON such as {"part": "0815", "product": "flange", "key": "17"}'
            )
        part, product = facts.get("part", ""), facts.get("product", self._product)
        key = facts.get("key")
        if not isinstance(part, str) or not isinstance(product, str) or not isinstance(key, str | None):
            raise ConfigError("part, product and key of a trigger must be text")
        return self._known(product), part, key

    def _known(self, product: str) -> str:
        if product not in self._products:
            raise ConfigError(f"product '{product:.40}' is none of {', '.join(self._products)}")
        return product

    def _trigger(self) -> None:
        assert self._line is not None
        while (order := self._orders.get()) is not None and not self._stop.is_set():
            product, part, key = order
            try:
                future = self._line.trigger(product, part, key)
            except PatchebmError as error:
                self._refuse(str(error), part)
            # A camera fails in ways of its own; the next trigger must find this thread.
            except Exception as error:
                _log.exception("output %s: triggering failed", self._name)
                self._refuse(f"the station failed ({type(error).__name__})", part)
            else:
                future.add_done_callback(self._teller(part))

    def _teller(self, part: str) -> Callable[[Future[Outcome]], None]:
        def tell(future: Future[Outcome]) -> None:
            error = future.exception()
            if error is not None:
                self._refuse(str(error), part)

        return tell

    def _refuse(self, sentence: str, part: str) -> None:
        """Says that a trigger gives no verdict, to the log now and then and to the broker each time."""
        self._say("refused", sentence)
        if not self._away:
            self._client.publish(self._topic("errors"), json.dumps({"error": sentence, "part": part}), qos=0)

    def _say(self, what: str, sentence: str) -> None:
        if time.monotonic() - self._said.get(what, -QUIET) >= QUIET:
            self._said[what] = time.monotonic()
            _log.warning("output %s: %s", self._name, sentence)

    def _tell(self) -> None:
        """Publishes the state when it has changed."""
        while not self._stop.wait(0.05 if self._shown is None else STATE_EVERY):
            if self._away:
                continue
            state = self._now()
            if state != self._shown:
                self._shown = state
                self._client.publish(self._topic("state"), json.dumps(state), qos=1, retain=True)

    def _now(self) -> dict[str, Any]:
        assert self._line is not None
        facts: dict[str, Any] = {"online": True}
        if self._products:
            trouble = self._line.trouble(self._product) or self._line.camera_trouble(self._product)
            facts |= {"can_inspect": not trouble, "trouble": trouble, "product": self._product}
        return facts


def _send_at_once(_: Any, __: Any, connection: socket.socket) -> None:
    """Has a result not wait for what was sent before it: the other side confirms that up to 40 ms later."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
