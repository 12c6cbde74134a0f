"""What OPC UA has beyond the handshake: methods, states, who may connect, limits, and values that are none."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from patchebm.station.plc import simulator
from patchebm.station.plc.tags import PLC_TAGS, Errors
from tests.station.line.conftest import Serve
from tests.station.line.counterparts import opcua
from tests.station.running import PASSWORD, wait_for

pytestmark = pytest.mark.line
pytest.importorskip("asyncua", reason="asyncua not installed (extra line)")

SYSTEM = "VisionSystem"


class Client:
    """A client of the station's OPC UA server. Its methods raise what the library raises."""

    def __init__(self, port: int) -> None:
        from asyncua import Client as AsyncClient

        self._loop = asyncio.new_event_loop()
        self.client = AsyncClient(f"opc.tcp://127.0.0.1:{port}/patchebm", timeout=10)

    def ask(self, request: Any) -> Any:
        return self._loop.run_until_complete(asyncio.wait_for(request, 30))

    def connect(self, folder: Path | None, user: str = "", password: str = "") -> None:
        """Connects: encrypted if there is a folder for the client's certificate, signed in if there is a user."""
        if folder is not None:
            self.ask(self._encrypt(folder))
        if user:
            self.client.set_user(user)
            self.client.set_password(password)
        self.ask(self.client.connect())
        self._space = self.ask(self.client.get_namespace_index("urn:patchebm:station"))

    async def _encrypt(self, folder: Path) -> None:
        from asyncua.crypto.cert_gen import setup_self_signed_certificate
        from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256
        from cryptography.x509.oid import ExtendedKeyUsageOID

        uri, key, certificate = "urn:patchebm:test", folder / "key.pem", folder / "certificate.der"
        self.client.application_uri = uri
        usage, subject = [ExtendedKeyUsageOID.CLIENT_AUTH], {"commonName": "test"}
        await setup_self_signed_certificate(key, certificate, uri, "localhost", usage, subject)
        await self.client.set_security(SecurityPolicyBasic256Sha256, str(certificate), str(key))

    def node(self, *path: str) -> Any:
        names = [f"{self._space}:{name}" for name in (SYSTEM, *path)]
        return self.ask(self.client.nodes.objects.get_child(names))

    def read(self, *path: str) -> Any:
        return self.ask(self.node(*path).read_value())

    def write(self, name: str, value: Any) -> None:
        """Writes a tag of the PLC, as its type."""
        from asyncua import ua
        from patchebm.station.plc.tags import OPCUA_TYPES

        kind = next(OPCUA_TYPES[tag.kind] for tag in PLC_TAGS if tag.name == name)
        data = ua.DataValue(ua.Variant(value, ua.VariantType[kind]))
        self.ask(self.node("Tags", name).write_attribute(ua.AttributeIds.Value, data))

    def call(self, holder: str, method: str, text: str) -> int:
        return int(self.ask(self.node(holder).call_method(f"{self._space}:{method}", text)))

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self.ask(self.client.disconnect())
        self._loop.close()


@contextlib.contextmanager
def connected(port: int, folder: Path | None, user: str = "", password: str = "") -> Iterator[Client]:
    client = Client(port)
    try:
        client.connect(folder, user, password)
        yield client
    finally:
        client.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the clients share a certificate: making one takes a second."""
    return tmp_path_factory.mktemp("certificate")


def test_values_that_are_none_are_left_out_and_nobody_is_cut(
    served_line: Serve, certificate: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from asyncua import ua

    kind, settings, wire = opcua()
    with served_line(kind, settings | {"products": ["flange"]}), caplog.at_level(logging.WARNING):
        plc = simulator.PlcProgram(wire)
        assert plc.part(seconds=60)["result_trigger"] == 1
        plc.close()
        with connected(settings["port"], certificate, "operator", PASSWORD) as client:
            number, trigger = client.node("Tags", "trigger_number"), client.node("Tags", "trigger")
            bad = ua.StatusCode(ua.StatusCodes.BadSensorFailure)
            whole, flag = ua.VariantType.UInt32, ua.VariantType.Boolean
            for node, value, before in (
                (number, ua.DataValue(ua.Variant([7, 8], whole)), 1),
                (number, ua.DataValue(ua.Variant(7, whole), bad), 1),
                (trigger, ua.DataValue(ua.Variant([True], flag)), False),
                (trigger, ua.DataValue(ua.Variant(True, flag), bad), False),
            ):
                client.ask(node.write_attribute(ua.AttributeIds.Value, value))
                shown = lambda: client.ask(node.read_data_value(raise_on_bad_status=False))  # noqa: B023, E731
                # The value from before is there again, on the same connection.
                wait_for(lambda: shown().Value.Value == before, 30)  # noqa: B023
            # Nothing was triggered, and the next trigger works.
            assert client.read("Tags", "part_counter") == 1
            client.write("trigger_number", 2)
            client.write("trigger", True)
            wait_for(lambda: client.read("Tags", "part_counter") == 2, 60)
    assert caplog.text.count("it is left out") == 1
