"""Stations with a simulated camera, and counterparts on loopback."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.station.running import Running


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Four good parts and two with a defect, in the order good, good, defect, good, good, defect."""
    from tests.station.running import png

    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(6):
        (folder / f"{i}.png").write_bytes(png(i, "crack") if i % 3 == 2 else png(i))
    return folder


Serve = Callable[..., AbstractContextManager["Running"]]


@pytest.fixture
def served_line(tmp_path: Path, pictures: Path, bundle_file: Path) -> Serve:
    """Serves a station with a camera of the product flange, and an output called `plc`."""
    from tests.station.running import running

    @contextmanager
    def serve(kind: str, settings: dict[str, Any]) -> Iterator[Running]:
        with running(tmp_path / "station", bundle_file) as station, station.client("admin") as client:
            if not client.get("/api/v1/outputs").json():
                camera = {"name": "cam", "product": "flange", "kind": "simulator"}
                added = client.post("/api/v1/sources", json=camera | {"settings": {"folder": str(pictures)}})
                assert added.status_code == 201, added.text
                output = {"name": "plc", "kind": kind, "settings": settings}
                added = client.post("/api/v1/outputs", json=output)
                assert added.status_code == 201, added.text
            yield station

    return serve
