"""`patchebm station io-test` and `plc-sim`, as an integrator types them."""

from __future__ import annotations

from pathlib import Path

import pytest

from patchebm.cli.main import main
from patchebm.station.serve import locked
from tests.failing import failure
from tests.station.line.conftest import Serve
from tests.station.line.counterparts import modbus_client, modbus_server
from tests.station.running import free_port

pytestmark = pytest.mark.line
pytest.importorskip("pymodbus", reason="pymodbus not installed (extra line)")


def test_a_simulated_plc_prints_what_it_takes(served_line: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    kind, settings, _ = modbus_server()
    with served_line(kind, settings | {"products": ["flange"]}):
        command = [
            "station",
            "plc-sim",
            kind,
            "--port",
            str(settings["port"]),
            "--parts",
            "3",
            "--every",
            "0",
        ]
        assert main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["part 1", "part 2", "part 3"]
    assert all("score" in line and line.split()[2] in ("OK,", "NG,") for line in lines)


def test_a_kind_without_a_plc_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    said = failure(capsys, "station", "plc-sim", "mqtt", "--port", "1883")
    assert "is none of modbus-server, modbus-client, s7, opcua" in said


def test_what_does_not_work_is_said_of_each(
    served_line: Serve, tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kind, settings, wire = modbus_client()
    with served_line(kind, settings | {"products": ["flange"]}):
        pass
    capsys.readouterr()
    command = ["station", "io-test", str(tmp_path / "station")]
    assert main([*command]) == 2
    first = capsys.readouterr()
    assert "source cam (simulator): works" in first.out
    assert "output plc (modbus-client): " in first.out
    assert "1 of 2 do not work" in first.err
    plc = wire()
    assert main([*command]) == 0
    plc.close()
    assert "output plc (modbus-client): works" in capsys.readouterr().out
    for picture in pictures.iterdir():
        picture.unlink()
    assert main([*command]) == 2
    assert "holds no images" in capsys.readouterr().out


def test_what_a_station_that_runs_uses_is_not_tried(
    served_line: Serve, tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kind, settings, _ = modbus_server()
    command = ["station", "io-test", str(tmp_path / "station")]
    with served_line(kind, settings | {"products": ["flange"]}) as station, locked(station.settings):
        with station.client("admin") as client:
            camera = {"name": "usb", "product": "flange", "kind": "opencv", "settings": {"device": 98}}
            has_opencv = client.post("/api/v1/sources", json=camera).status_code == 201
        capsys.readouterr()
        assert main([*command]) == 0
        said = capsys.readouterr().out
        assert said.count("the station runs; stop it") == 1
        assert "source cam (simulator): works" in said
        assert "output plc (modbus-server): not tried, because the station runs and uses it" in said
        assert ("source usb (opencv): not tried" in said) == has_opencv
        # What can be tried is tried all the same.
        with station.client("admin") as client:
            broker = {
                "name": "mes",
                "kind": "webhook",
                "settings": {"url": f"http://127.0.0.1:{free_port()}/"},
            }
            assert client.post("/api/v1/outputs", json=broker).status_code == 201
        assert main([*command]) == 2
        tried = capsys.readouterr()
        assert "output plc (modbus-server): not tried" in tried.out
        assert "1 of " in tried.err
