"""What OPC UA has beyond the handshake: methods, states, who may connect, limits, and odd values."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from patchebm.station.errors import UnavailableError
from patchebm.station.plc import simulator
from patchebm.station.plc.tags import OPCUA_TYPES, PLC_TAGS, Errors
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
        """Connects: encrypted where there is a folder for a certificate, signed in where there is a user."""
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


def test_jobs_recipes_states_and_the_result(
    served_line: Serve, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, settings, _ = opcua()
    with served_line("webhook", {"url": "http://127.0.0.1:9/"}) as station, station.client("admin") as admin:
        # There is no model of a gear.
        assert admin.post("/api/v1/products", json={"name": "gear"}).status_code == 201
        body = {"name": "line", "kind": kind, "settings": settings | {"products": ["flange", "gear"]}}
        assert admin.post("/api/v1/outputs", json=body).status_code == 201
        wait_for(lambda: listens(settings["port"]), 60)
        with connected(settings["port"], certificate, "operator", PASSWORD) as client:

            def vision() -> str:
                return str(client.read("VisionStateMachine", "CurrentState"))

            def automatic() -> str:
                return str(client.read("AutomaticModeStateMachine", "CurrentState"))

            wait_for(lambda: (vision(), automatic()) == ("Operational", "Ready"), 30)
            assert client.call("AutomaticModeStateMachine", "StartSingleJob", "P-1") == Errors.NONE
            wait_for(lambda: client.read("Tags", "done"), 60)
            shown = json.loads(client.read("ResultManagement", "Result"))
            stored = admin.get("/api/v1/inspections").json()["items"]
            assert [shown] == stored
            assert shown["part"] == "P-1"
            assert automatic() == "Initialized"
            client.write("acknowledged", client.read("Tags", "part_counter"))
            wait_for(lambda: automatic() == "Ready", 30)
            # A recipe is a product.
            assert client.call("RecipeManagement", "PrepareRecipe", "bolt") == Errors.PRODUCT
            assert client.call("RecipeManagement", "PrepareRecipe", "gear") == Errors.NONE
            wait_for(lambda: client.read("RecipeManagement", "ActiveRecipe") == "gear", 30)
            wait_for(lambda: (vision(), automatic()) == ("Error", "Initialized"), 30)
            assert client.call("RecipeManagement", "PrepareRecipe", "flange") == Errors.NONE
            wait_for(lambda: (vision(), automatic()) == ("Operational", "Ready"), 30)
            # A part whose camera takes its time.
            frame: Future[Any] = Future()
            monkeypatch.setattr(station.station.sources, "trigger_product", lambda *_: frame)
            assert client.call("AutomaticModeStateMachine", "StartSingleJob", "P-2") == Errors.NONE
            wait_for(lambda: automatic() == "SingleExecution", 30)
            assert client.call("AutomaticModeStateMachine", "StartSingleJob", "P-3") == Errors.EARLY
            assert client.call("RecipeManagement", "PrepareRecipe", "gear") == Errors.EARLY
            frame.set_exception(UnavailableError("the camera is away"))
            wait_for(lambda: automatic() == "Ready", 30)
            assert client.read("Tags", "error_code") == Errors.UNAVAILABLE


def test_who_is_not_signed_in_or_not_encrypted_is_refused(served_line: Serve, certificate: Path) -> None:
    from asyncua.ua import UaError

    kind, settings, _ = opcua()
    port = settings["port"]
    with served_line(kind, settings | {"products": ["flange"]}) as station:
        wait_for(lambda: listens(port), 60)
        with pytest.raises(UaError), connected(port, None, "operator", PASSWORD):
            pass
        with pytest.raises(UaError), connected(port, certificate):
            pass
        with pytest.raises(UaError), connected(port, certificate, "operator", "wrong"):
            pass
        with station.client("admin") as client:
            entries = client.get("/api/v1/audit", params={"action": "login.failed"}).json()["items"]
        assert [(one["actor"], one["remote"]) for one in entries] == [("user:operator", "line")]
        with connected(port, certificate, "operator", PASSWORD) as signed_in:
            assert signed_in.read("Tags", "active_product") == 1


def test_who_may_read_without_a_password_neither_writes_nor_calls(served_line: Serve) -> None:
    from asyncua.ua import UaError

    kind, settings, _ = opcua()
    asked = {"products": ["flange"], "anonymous": True, "unencrypted": True}
    with served_line(kind, settings | asked) as station:
        wait_for(lambda: listens(settings["port"]), 60)
        with connected(settings["port"], None) as client:
            wait_for(lambda: client.read("Tags", "ready"), 30)
            with pytest.raises(UaError):
                client.write("trigger", True)
            with pytest.raises(UaError):
                client.call("AutomaticModeStateMachine", "StartSingleJob", "P-1")
        with station.client("admin") as admin:
            assert admin.get("/api/v1/inspections").json()["items"] == []


def test_beyond_the_limits_new_clients_and_subscriptions_are_refused_and_the_others_go_on(
    served_line: Serve, certificate: Path
) -> None:
    from asyncua.ua.uaerrors import BadTooManySubscriptions

    kind, settings, wire = opcua()
    limits = {"products": ["flange"], "sessions": 2, "subscriptions": 4}
    with served_line(kind, settings | limits):
        plc = simulator.PlcProgram(wire)
        assert plc.part(seconds=60)["result_trigger"] == 1
        with connected(settings["port"], certificate, "operator", PASSWORD) as client:
            assert not admitted(settings["port"], certificate)
            refused = 0
            for _ in range(40):
                try:
                    client.ask(client.client.create_subscription(100.0))
                except BadTooManySubscriptions:
                    refused += 1
            assert refused == 36
            # The PLC, on its connection from before, and the station go on.
            assert plc.part(seconds=60)["result_trigger"] == 2
            assert client.read("Tags", "part_counter") == 2
        # The place of a client that has gone is free, and so are its subscriptions.
        wait_for(lambda: admitted(settings["port"], certificate), 60)
        plc.close()


def admitted(port: int, folder: Path) -> bool:
    """Whether a client is taken in, and may subscribe."""
    try:
        with connected(port, folder, "operator", PASSWORD) as client:
            client.ask(client.client.create_subscription(100.0))
    # The library raises errors of many kinds where a connection is closed.
    except Exception:
        return False
    return True


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
