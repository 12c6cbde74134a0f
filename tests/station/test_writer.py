"""Parts that come close together share a transaction; a part is stored once its files are on the disk."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, func, select
from sqlalchemy.orm import Session

from patchebm.errors import PatchebmError
from patchebm.station import writer
from patchebm.station.arrival import Missed
from patchebm.station.database.history import Inspection, MissedPart
from patchebm.station.roles import COMMAND_LINE
from patchebm.station.services import products
from patchebm.station.setup import make_station
from patchebm.station.station import Station
from patchebm.station.writer import Writer
from tests.station.running import Running, png, wait_for


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


def test_a_part_is_stored_once_its_files_are_on_the_disk(
    station: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, put_new = station.station.storage, station.station.storage.put_new
    may_write, inserted = threading.Event(), threading.Event()

    def slow(path: Path, content: bytes) -> None:
        assert may_write.wait(60)
        put_new(path, content)

    monkeypatch.setattr(storage, "put_new", slow)
    with ThreadPoolExecutor(1) as pool, watched(station, inserted.set):
        answer = pool.submit(station.push, png(0))
        # The database need not wait for the disk to prepare the row.
        assert inserted.wait(60)
        with pytest.raises(TimeoutError):
            answer.result(0.3)
        assert count(station) == 0
        may_write.set()
        part = answer.result(60).json()
    assert count(station) == 1
    assert storage.image(uuid.UUID(part["id"]), "PNG").read_bytes() == png(0)


def test_a_part_whose_map_cannot_be_written_fails_alone(
    station: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, put_new = station.station.storage, station.station.storage.put_new
    arrived, may_write = [], threading.Event()

    def sometimes(path: Path, content: bytes) -> None:
        arrived.append(path)
        assert may_write.wait(60)
        if content == png(1):
            raise PatchebmError("there is no room")
        put_new(path, content)

    monkeypatch.setattr(storage, "put_new", sometimes)
    with ThreadPoolExecutor(4) as pool:
        # While the first waits for the disk, the others gather: they share a transaction.
        answers = [pool.submit(station.push, png(0))]
        wait_for(lambda: len(arrived) == 2)
        answers += [pool.submit(station.push, png(i)) for i in (1, 2, 3)]
        wait_for(lambda: station.station.inspector.waiting == 0)
        may_write.set()
        codes = [answer.result(60).status_code for answer in answers]
    assert codes == [201, 503, 201, 201]
    assert count(station) == 3
    kept = {path for path in arrived if path.exists()}
    assert len(arrived) == 8
    assert len(kept) == 6


@contextmanager
def watched(station: Running, prepared: Callable[[], None]) -> Iterator[None]:
    """Tells when rows of inspections have been given to the database, before they are committed."""

    def executed(_: Any, __: Any, statement: str, *rest: Any) -> None:
        if statement.startswith("INSERT INTO inspections"):
            prepared()

    event.listen(station.station.engine, "after_cursor_execute", executed)
    yield
    event.remove(station.station.engine, "after_cursor_execute", executed)


def count(station: Running) -> int:
    """Returns how many parts are stored."""
    with station.station.session() as session:
        return session.scalar(select(func.count()).select_from(Inspection)) or 0
