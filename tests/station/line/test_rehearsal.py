"""`patchebm station io-test` and `plc-sim`, as an integrator types them."""

from __future__ import annotations

from pathlib import Path

import pytest

from patchebm.cli.main import main
from tests.failing import failure
from tests.station.line.conftest import Serve
from tests.station.line.counterparts import modbus_client, modbus_server

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
