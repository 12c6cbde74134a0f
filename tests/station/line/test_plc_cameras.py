"""A PLC triggers cameras: real streams at one end of the station, a real Modbus client at the other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from patchebm.errors import PatchebmError
from patchebm.station.plc import simulator
from tests.station.line.counterparts import modbus_server
from tests.station.running import Running, noise_png, png, wait_for
from tests.station.streams import Stream, http_stream

pytestmark = pytest.mark.line


@pytest.fixture
def streams(tmp_path: Path) -> Iterator[tuple[Stream, Stream]]:
    """What a camera sees of a good part, and of one that is like no other."""
    pytest.importorskip("cv2", reason="opencv-python-headless not installed (extra camera)")
    pytest.importorskip("pymodbus", reason="pymodbus not installed (extra line)")
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    good.write_bytes(png())
    bad.write_bytes(noise_png())
    with http_stream(good, lossless=True) as left, http_stream(bad, lossless=True) as right:
        yield left, right


def add(station: Running, kind: str, settings: dict[str, Any]) -> simulator.PlcProgram:
    """Adds a camera and an output for a PLC, and returns the program of the PLC."""
    output, place, wire = modbus_server()
    with station.client("admin") as client:
        source = {"name": "cam", "product": "flange", "kind": kind, "settings": settings}
        added = client.post("/api/v1/sources", json=source)
        assert added.status_code == 201, added.text
        wait_for(lambda: station.station.sources.states()["cam"] == "", 30)
        place |= {"products": ["flange"]}
        added = client.post("/api/v1/outputs", json={"name": "plc", "kind": output, "settings": place})
        assert added.status_code == 201, added.text
    return simulator.PlcProgram(wire)


def is_ready(plc: simulator.PlcProgram) -> bool:
    try:
        plc.wait_ready(0.2)
    except PatchebmError:
        return False
    return True


def view(stream: Stream) -> dict[str, Any]:
    return {"kind": "opencv", "url": stream.url, "frozen_after": 0}


def test_a_plc_gets_one_verdict_of_several_views(served: Running, streams: tuple[Stream, Stream]) -> None:
    left, right = streams
    plc = add(served, "views", {"views": {"left": view(left), "right": view(right)}})
    for number in (1, 2, 3):
        tags = plc.part()
        assert (tags["part_counter"], tags["result_trigger"]) == (number, number)
        assert (tags["ok"], tags["ng"]) == (False, True)
    # While a camera is away, the PLC is told that the station is not ready.
    plc.wait_ready(30)
    left.kill()
    wait_for(lambda: not is_ready(plc), 30)
    plc.close()
    with served.client() as client:
        views = client.get("/api/v1/inspections", params={"part": "1"}).json()["items"]
        assert sorted(one["source"] for one in views) == ["cam/left", "cam/right"]
        assert sorted(one["verdict"] for one in views) == ["NG", "OK"]
        # The score on the wire is that of the worst view.
        worst = next(one for one in views if one["verdict"] == "NG")
        assert tags["score"] == pytest.approx(worst["score"], rel=1e-6)
        assert client.get("/line/flange").text.count('id="count-ng">3<') == 1
