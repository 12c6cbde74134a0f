"""A station with a simulated camera and one output to a PLC, in a process of its own."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from sqlalchemy import select

from benchmarks.station.__main__ import served
from patchebm.station import demo_part
from patchebm.station.database.history import Inspection
from patchebm.station.roles import COMMAND_LINE
from patchebm.station.services import outputs, sources, users
from patchebm.station.setup import add_product, make_station, opened
from patchebm.station.station import Station

PRODUCT, OUTPUT = "flange", "plc"
USER, PASSWORD = "plc", "the password of the PLC"
# Pixels of the camera's images, width and height, and how many it repeats.
SIZE, IMAGES = (640, 480), 12


@contextmanager
def station(folder: Path, model: Path, kind: str, settings: dict[str, Any]) -> Iterator[Path]:
    """Serves a new station with an output. Yields its folder."""
    pictures, place = folder / "pictures", folder / "station"
    pictures.mkdir()
    for i, content in enumerate(demo_part.images("line", IMAGES)):
        Image.open(io.BytesIO(content)).resize(SIZE).save(pictures / f"{i:02d}.jpg", quality=90)
    made = Station(make_station(place, None))
    add_product(made, COMMAND_LINE, PRODUCT, "Flange", str(model))
    camera = {"folder": str(pictures)}
    with made.session(write=True) as session:
        users.add(session, COMMAND_LINE, USER, PASSWORD, "operator")
        sources.add(session, COMMAND_LINE, made.session, "camera", PRODUCT, "simulator", camera)
        wanted = {"host": "127.0.0.1", "products": [PRODUCT], **settings}
        outputs.add(session, COMMAND_LINE, OUTPUT, kind, wanted)
    made.engine.dispose()
    with served(place):
        yield place


def stored(place: Path) -> dict[str, float]:
    """Returns the parts of a station, and the milliseconds from image to verdict that it noted for each."""
    with opened(place) as (station, _), station.session() as session:
        rows = session.execute(select(Inspection.part, Inspection.latency_ms).order_by(Inspection.id)).all()
    parts = dict(rows)
    assert len(parts) == len(rows), "a part is stored twice"
    return parts
