"""Outputs to a line without the libraries of the extra `line`: they are refused, or listed as failing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from patchebm.station.database.base import now
from patchebm.station.database.tables import Output
from patchebm.station.outputs import LIBRARIES
from tests.station.running import Running, png, running, wait_for

SETTINGS: dict[str, dict[str, Any]] = {
    "mqtt": {"host": "127.0.0.1"},
    "modbus-server": {"products": ["flange"]},
    "modbus-client": {"host": "127.0.0.1", "products": ["flange"]},
    "s7": {"host": "127.0.0.1", "products": ["flange"]},
    "opcua": {"products": ["flange"]},
}


@pytest.fixture(autouse=True)
def _without_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python finds none of the libraries, whether or not they are installed and imported."""
    for name in [*LIBRARIES.values(), *sys.modules]:
        if name.split(".")[0] in LIBRARIES.values():
            monkeypatch.setitem(sys.modules, name, None)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", SETTINGS)
def test_an_output_whose_library_is_missing_is_refused_in_one_sentence(served: Running, kind: str) -> None:
    with served.client() as client:
        body = {"name": "plc", "kind": kind, "settings": SETTINGS[kind]}
        answer = client.post("/api/v1/outputs", json=body)
        assert answer.status_code == 422, answer.text
        assert LIBRARIES[kind] in answer.json()["detail"]
        assert "pip install 'patchebm[line]'" in answer.json()["detail"]
        assert client.get("/api/v1/outputs").json() == []


def test_a_station_starts_without_the_libraries_of_its_outputs_and_says_so(
    tmp_path: Path, bundle_file: Path
) -> None:
    with (
        running(tmp_path / "station", bundle_file) as station,
        station.station.session(write=True) as session,
    ):
        for kind, settings in SETTINGS.items():
            session.add(Output(name=kind, kind=kind, settings=settings, enabled=True, created=now()))
    with running(tmp_path / "station", bundle_file) as station, station.client() as client:
        wait_for(lambda: client.get("/readyz").status_code == 200)
        outputs = client.get("/api/v1/outputs").json()
        assert {one["name"] for one in outputs} == set(SETTINGS)
        assert all("pip install 'patchebm[line]'" in one["failure"] for one in outputs)
        assert all(one["settings"] for one in outputs)
        # Parts are inspected all the same.
        assert station.push(png()).status_code == 201
