"""The handshake over each protocol, with a real counterpart on loopback that is killed, and misbehaves."""

from __future__ import annotations

import importlib.util
import logging
import os
import random
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from patchebm.station.plc import simulator
from patchebm.station.plc.tags import Errors
from tests.station.line.conftest import Serve
from tests.station.line.counterparts import (
    LIBRARIES,
    Counterpart,
    Unreliable,
    modbus_client,
    modbus_server,
    opcua,
    s7,
)
from tests.station.running import Running, free_port, wait_for
from tests.station.test_kill import start

pytestmark = pytest.mark.line


def ready(found: Counterpart, *products: str) -> Counterpart:
    if importlib.util.find_spec(LIBRARIES[found[0]]) is None:
        pytest.skip(f"{LIBRARIES[found[0]]} not installed (extra line)")
    found[1]["products"] = list(products or ("flange",))
    return found


@pytest.fixture(params=[modbus_server, modbus_client, s7, opcua])
def counterpart(request: pytest.FixtureRequest) -> Counterpart:
    return ready(request.param())


def stored(station: Running) -> list[dict[str, Any]]:
    with station.client("engineer") as client:
        items: list[dict[str, Any]] = client.get("/api/v1/inspections?limit=500").json()["items"]
    return items[::-1]


def test_a_plc_takes_every_result_once_and_in_order_though_it_is_killed(
    counterpart: Counterpart, served_line: Serve
) -> None:
    kind, settings, wire = counterpart
    chooser = random.Random(0)
    reliable = simulator.PlcProgram(wire)
    with served_line(kind, settings) as station:
        results = [reliable.part() for _ in range(3)]
        reliable.close()
        # The same PLC, with its retentive memory.
        plc = simulator.PlcProgram(lambda: Unreliable(wire(), chooser, 0.04))
        plc.number, plc.acknowledged = reliable.number, reliable.acknowledged
        # Parts that come otherwise go through, too.
        for i in range(12):
            if i % 4 == 3:
                station.station.sources.trigger_product("flange", "by hand", None)
            plc.part(seconds=60)
        wait_for(lambda: len(plc.taken) == 15 or plc.listen(0.1), 60)
        plc.close()
        parts = {str(part["part"]): part for part in stored(station) if part["part"] != "by hand"}
        by_hand = [part for part in stored(station) if part["part"] == "by hand"]
    results += plc.taken
    assert [one["part_counter"] for one in results] == list(range(1, 19))
    assert [one["result_trigger"] for one in results if one["result_trigger"]] == list(range(1, 16))
    assert [one["ok"] for one in results] == [not one["ng"] for one in results]
    # What the PLC took of each part is what is stored of it.
    assert set(parts) == set(map(str, range(1, 16)))
    triggered = [one for one in results if one["result_trigger"]]
    mine = [parts[str(one["result_trigger"])] for one in triggered]
    assert [one["ok"] for one in triggered] == [part["verdict"] == "OK" for part in mine]
    assert [one["score"] for one in triggered] == pytest.approx([part["score"] for part in mine], rel=1e-6)
    others = sorted(float(one["score"]) for one in results if not one["result_trigger"])
    assert others == pytest.approx(sorted(part["score"] for part in by_hand), rel=1e-6)


@pytest.mark.parametrize("made", [modbus_server, s7])
def test_sigkill_of_the_station_loses_and_doubles_nothing(
    made: type, served_line: Serve, tmp_path: Path
) -> None:
    kind, settings, wire = ready(made())
    with served_line(kind, settings):
        pass
    plc = simulator.PlcProgram(wire)
    folder, chooser = tmp_path / "station", random.Random(1)
    port = free_port()
    process = start(folder, port)
    try:
        for _ in range(2):
            killed = process

            def kill(target: int = killed.pid, after: float = chooser.uniform(0, 0.3)) -> None:
                time.sleep(after)
                os.kill(target, signal.SIGKILL)

            threading.Thread(target=kill).start()
            until = plc.number + 3
            restarted = threading.Thread(target=lambda: killed.wait())  # noqa: B023
            restarted.start()

            def serve_again() -> None:
                nonlocal process
                restarted.join()  # noqa: B023
                process = start(folder, port)

            again = threading.Thread(target=serve_again)
            again.start()
            while plc.number < until:
                plc.part(seconds=120)
            again.join()
    finally:
        process.terminate()
        process.wait(30)
        plc.close()
    count = plc.number
    assert [one["part_counter"] for one in plc.taken] == list(range(1, count + 1))
    assert [one["result_trigger"] for one in plc.taken] == list(range(1, count + 1))
    with served_line(kind, settings) as station:
        assert [part["part"] for part in stored(station)] == [str(i + 1) for i in range(count)]


def test_the_heartbeat_stands_while_the_product_cannot_be_inspected(
    counterpart: Counterpart, served_line: Serve
) -> None:
    kind, settings, wire = counterpart
    settings["products"] = ["flange", "gear"]
    with served_line("webhook", {"url": "http://127.0.0.1:9/"}) as station, station.client("admin") as client:
        # There is no model of a gear.
        assert client.post("/api/v1/products", json={"name": "gear"}).status_code == 201
        body = {"name": "line", "kind": kind, "settings": settings}
        assert client.post("/api/v1/outputs", json=body).status_code == 201
        plc = simulator.PlcProgram(wire)
        assert plc.part(seconds=60)["result_trigger"] == 1
        plc.close()
        end = wire()
        asked = {"trigger": False, "trigger_number": 1, "acknowledged": 1}

        def state() -> str:
            failures = {one["name"]: one["failure"] for one in client.get("/api/v1/outputs").json()}
            return str(failures["line"])

        end.write({**asked, "product_number": 2})
        wait_for(lambda: end.read()["active_product"] == 2, 30)
        wait_for(lambda: "no active model" in state(), 30)
        beat = end.read()["heartbeat"]
        # Four beats.
        time.sleep(2.0)
        assert end.read()["heartbeat"] == beat
        assert not end.read()["ready"]
        end.write({**asked, "product_number": 1})
        wait_for(lambda: end.read()["ready"], 30)
        beat = end.read()["heartbeat"]
        wait_for(lambda: end.read()["heartbeat"] != beat, 30)
        # A product that is none of the list.
        end.write({**asked, "product_number": 9, "trigger": True, "trigger_number": 2})
        wait_for(lambda: end.read()["error_code"] == Errors.PRODUCT, 30)
        end.close()


def test_a_flood_of_triggers_is_said_and_answered_in_order(
    served_line: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    kind, settings, wire = ready(modbus_server())
    with served_line(kind, settings) as station, caplog.at_level(logging.WARNING):
        plc = simulator.PlcProgram(wire)
        plc.part(seconds=60)
        plc.close()
        end = wire()
        for i in range(300):
            # Nobody waits for anything, and each has a number of its own.
            base = {"trigger_number": 2 + i, "acknowledged": 1}
            end.write({**base, "trigger": True})
            end.write({**base, "trigger": False})
        end.close()
        assert "came too early" in caplog.text
        plc.number = 400
        plc.listen(1.0)
        plc.part(seconds=60)
        plc.close()
        parts = stored(station)
    assert [one["part_counter"] for one in plc.taken] == list(range(1, len(parts) + 1))
    assert plc.taken[-1]["result_trigger"] == 401


def test_the_trigger_number_of_the_part_before_is_refused(served_line: Serve) -> None:
    kind, settings, wire = ready(modbus_server())
    with served_line(kind, settings) as station:
        plc = simulator.PlcProgram(wire)
        plc.part(seconds=60)
        plc.number = 0
        assert plc.part(seconds=60)["error_code"] == Errors.REPEATED
        plc.number = 1
        assert plc.part(seconds=60)["result_trigger"] == 2
        plc.close()
        assert len(stored(station)) == 2


@pytest.mark.parametrize("made", [modbus_server, opcua])
def test_malformed_frames_and_strangers_do_no_harm(made: type, served_line: Serve) -> None:
    kind, settings, wire = ready(made())
    chooser = random.Random(2)
    plc = simulator.PlcProgram(wire)
    with served_line(kind, settings):
        plc.part(seconds=60)
        for i in range(40):
            with socket.create_connection(("127.0.0.1", settings["port"]), 5) as stranger:
                frame = chooser.randbytes(chooser.choice([1, 8, 300]))
                if i % 2 and kind == "modbus-server":
                    # A right header with any function, and what it does not expect.
                    frame = b"\x00\x01\x00\x00\x00\x06\x01" + bytes([i]) + chooser.randbytes(4)
                stranger.sendall(frame)
        assert plc.part(seconds=60)["result_trigger"] == 2
        plc.close()


def test_the_camera_is_missed(served_line: Serve, pictures: Path) -> None:
    kind, settings, wire = ready(modbus_server())
    with served_line(kind, settings):
        plc = simulator.PlcProgram(wire)
        plc.part(seconds=60)
        (pictures / "1.png").write_bytes(b"no image")
        assert plc.part(seconds=60)["error_code"] == Errors.UNREADABLE
        # The PLC may try the same part again.
        plc.number -= 1
        assert plc.part(seconds=60)["result_trigger"] == 2
        plc.close()
        assert [one["part_counter"] for one in plc.taken] == [1, 2]
