"""Parts that come close together share a transaction, and one that comes alone waits for nobody."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from patchebm.station import writer
from patchebm.station.arrival import Missed
from patchebm.station.database.history import MissedPart
from patchebm.station.roles import COMMAND_LINE
from patchebm.station.services import products
from patchebm.station.setup import make_station
from patchebm.station.station import Station
from patchebm.station.writer import Writer
from tests.station.running import wait_for


def test_parts_share_a_transaction_while_others_wait_to_be_inspected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nothing that is waited for in vain would end within the test.
    monkeypatch.setattr(writer, "DELAY", 3600.0)
    station = Station(make_station(tmp_path / "station", None))
    with station.session(write=True) as session:
        product_id = products.add(session, COMMAND_LINE, "flange").id
    stored: list[int] = []

    @contextmanager
    def opened() -> Iterator[Session]:
        with station.session(write=True) as session:
            yield session
            stored.append(len(session.new))

    # Asked once for each part: the second and the third are waited with.
    others_come = iter([False, True, True, False, True])
    one = Writer(opened, station.storage, lambda _: None, lambda: next(others_come))
    one.start()
    put = iter(range(100))

    def miss() -> None:
        one.put(Missed(product_id, "push:camera", f"P-{next(put)}", None, "failed", "no"))

    miss()
    wait_for(lambda: stored == [1])
    for _ in range(3):
        miss()
    wait_for(lambda: stored == [1, 3])
    miss()
    # What was handed over is stored before it ends, whatever else might come.
    one.stop()
    assert stored == [1, 3, 1]
    with station.session() as session:
        names = session.scalars(select(MissedPart.part).order_by(MissedPart.id)).all()
    assert names == [f"P-{i}" for i in range(5)]
    station.engine.dispose()
