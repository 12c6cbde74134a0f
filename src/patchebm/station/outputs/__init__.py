"""This folder holds where results go: each kind is one class in a file of its own, named in `KINDS`."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from patchebm.errors import ConfigError
from patchebm.station.outputs.base import Sender
from patchebm.station.outputs.modbus_client import ModbusClientSender
from patchebm.station.outputs.modbus_server import ModbusServerSender
from patchebm.station.outputs.mqtt import MqttSender
from patchebm.station.outputs.opcua import OpcUaSender
from patchebm.station.outputs.s7 import S7Sender
from patchebm.station.outputs.webhook import WebhookSender

KINDS: dict[str, Callable[[dict[str, Any]], Sender]] = {
    "webhook": WebhookSender,
    "mqtt": MqttSender,
    "modbus-server": ModbusServerSender,
    "modbus-client": ModbusClientSender,
    "s7": S7Sender,
    "opcua": OpcUaSender,
}
# The library of the extra `line` that a kind imports when it begins to work.
LIBRARIES = {
    "mqtt": "paho",
    "modbus-server": "pymodbus",
    "modbus-client": "pymodbus",
    "s7": "snap7",
    "opcua": "asyncua",
}


def open_sender(kind: str, settings: dict[str, Any]) -> Sender:
    """Returns what sends an output's messages.

    Raises:
        ConfigError: the kind is unknown, a setting is wrong, or the library that the kind needs is missing.
    """
    sender = _made(kind, settings)
    library = LIBRARIES.get(kind)
    if library is not None and find_spec(library) is None:
        raise ConfigError(
            f"an output of the kind {kind} needs {library}, which is not installed; install it with: "
            "pip install 'patchebm[line]'"
        )
    return sender


def shown_settings(kind: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Returns an output's settings without secrets, also where its library is missing.

    Raises:
        ConfigError: the kind is unknown, or a setting is wrong.
    """
    return _made(kind, settings).shown


def _made(kind: str, settings: dict[str, Any]) -> Sender:
    if kind not in KINDS:
        raise ConfigError(f"output kind '{kind:.20}' is none of {', '.join(KINDS)}")
    return KINDS[kind](settings)
