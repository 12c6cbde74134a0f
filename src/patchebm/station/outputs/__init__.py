"""This folder holds where results go: each kind is one class in a file of its own, named in `KINDS`."""

from __future__ import annotations

from collections.abc import Callable
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


def open_sender(kind: str, settings: dict[str, Any]) -> Sender:
    """Returns what sends an output's messages. Raises ConfigError for an unknown kind or wrong settings."""
    if kind not in KINDS:
        raise ConfigError(f"output kind '{kind:.20}' is none of {', '.join(KINDS)}")
    return KINDS[kind](settings)
