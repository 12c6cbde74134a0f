"""What Modbus TCP has beyond the handshake: coils, a limit of connections, and a heartbeat that stops."""

from __future__ import annotations

import socket
from concurrent.futures import Future
from typing import Any

import pytest

from patchebm.station.errors import UnavailableError
from patchebm.station.plc import simulator
from patchebm.station.plc.tags import PLC_START, PLC_TAGS, STATION_TAGS, Errors, pack
from tests.station.line.conftest import Serve
from tests.station.line.counterparts import modbus_server
from tests.station.running import wait_for

pytestmark = pytest.mark.line
pytest.importorskip("pymodbus", reason="pymodbus not installed (extra line)")

COILS = {tag.name: int(tag.coil or 0) for tag in (*STATION_TAGS, *PLC_TAGS) if tag.kind == "bool"}
# The whole request for one holding register, from address 0: function 3.
QUESTION = bytes.fromhex("0001 0000 0006 01 03 0000 0001")


def test_a_part_is_triggered_by_a_coil(served_line: Serve) -> None:
    from pymodbus.client import ModbusTcpClient

    kind, settings, wire = modbus_server()
    with served_line(kind, settings | {"products": ["flange"]}):
        plc = simulator.PlcProgram(wire)
        plc.wait_ready(60)
        plc.close()
        client = ModbusTcpClient("127.0.0.1", port=settings["port"])
        assert client.connect()

        def bit(name: str) -> bool:
            return bool(client.read_discrete_inputs(COILS[name], count=1).bits[0])

        # The number of the part as registers, and then the trigger as function 5.
        client.write_registers(PLC_START, pack(PLC_TAGS, {"trigger_number": 7}))
        assert not client.write_coil(COILS["trigger"], True).isError()
        wait_for(lambda: bit("done"), 60)
        assert bit("ok") != bit("ng")
        end = wire()
        shown = end.read()
        assert (shown["result_trigger"], shown["part_counter"]) == (7, 1)
        # The coil has left the registers beside it as they are.
        assert not client.write_coil(COILS["trigger"], False).isError()
        client.write_registers(PLC_START, pack(PLC_TAGS, {"trigger_number": 7, "acknowledged": 1}))
        wait_for(lambda: bit("ready"), 30)
        # The station's own coils can only be read.
        assert client.write_coil(COILS["done"], True).isError()
        assert not bit("done")
        end.close()
        client.close()


def test_beyond_the_limit_of_connections_the_oldest_is_closed(served_line: Serve) -> None:
    kind, settings, wire = modbus_server()
    place = ("127.0.0.1", settings["port"])
    with served_line(kind, settings | {"products": ["flange"], "connections": 2}):
        plc = simulator.PlcProgram(wire)
        plc.wait_ready(60)
        plc.close()
        with socket.create_connection(place, 30) as oldest, socket.create_connection(place, 30) as younger:
            for connection in (oldest, younger):
                connection.sendall(QUESTION)
                assert connection.recv(100)
            with socket.create_connection(place, 30) as youngest:
                youngest.sendall(QUESTION)
                assert youngest.recv(100)
                assert oldest.recv(100) == b""
                younger.sendall(QUESTION)
                assert younger.recv(100)


def test_the_heartbeat_stops_while_a_part_takes_longer_than_the_deadline(
    served_line: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, settings, wire = modbus_server()
    with (
        served_line(kind, settings | {"products": ["flange"], "deadline": 0.1}) as station,
        station.client("admin") as client,
    ):
        plc = simulator.PlcProgram(wire)
        plc.wait_ready(60)
        plc.close()
        frame: Future[Any] = Future()
        monkeypatch.setattr(station.station.sources, "trigger_product", lambda *_: frame)
        end = wire()
        end.write({"trigger": True, "trigger_number": 1})

        def failure() -> str:
            return str(client.get("/api/v1/outputs").json()[0]["failure"])

        wait_for(lambda: "a part is inspected for more than 0.1 s" in failure(), 30)
        beat = end.read()["heartbeat"]
        # What does not beat while it is watched for as long as four beats take, stands.
        with pytest.raises(AssertionError, match="waited too long"):
            wait_for(lambda: end.read()["heartbeat"] != beat, 2.0)
        assert end.read()["busy"]
        frame.set_exception(UnavailableError("the camera is away"))
        wait_for(lambda: end.read()["heartbeat"] != beat, 30)
        shown = end.read()
        assert (shown["busy"], shown["error_code"]) == (False, Errors.UNAVAILABLE)
        end.close()
