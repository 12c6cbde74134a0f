"""What lasts: migrations, backups, retention, folders that are watched, and stations that stop and start."""

from __future__ import annotations

import subprocess
import sys
import time
import uuid
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import select, text

from patchebm.errors import ConfigError, DataError, PatchebmError
from patchebm.station.arrival import FileMark, Missed
from patchebm.station.backup import backup, restore
from patchebm.station.database.base import first_id, now, time_id
from patchebm.station.database.engine import database_url, open_engine
from patchebm.station.database.tables import Base, Product, Source, SourceFile
from patchebm.station.database.upgrade import current_revision, newest_revision, upgrade
from patchebm.station.serve import locked
from patchebm.station.services import orphans, retention, sources
from patchebm.station.settings import read_settings
from patchebm.station.setup import make_station
from tests.station.running import Running, png, running, wait_for


def test_migrations_from_the_first_schema_on_give_the_tables_of_the_program(
    database: str | None, tmp_path: Path
) -> None:
    engine = open_engine(database_url(database, tmp_path))
    upgrade(engine, "0001")
    assert current_revision(engine) == "0001"
    upgrade(engine)
    assert current_revision(engine) == newest_revision()
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    # Again does nothing.
    upgrade(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(PatchebmError, match="newer patchebm"):
        upgrade(engine)
    engine.dispose()


def test_a_backup_of_a_running_station_is_a_whole_station(bundle_file: Path, tmp_path: Path) -> None:
    with running(tmp_path / "station", bundle_file) as station:
        part = station.push(png(0), key="k").json()
        backup(station.settings, tmp_path / "copy.tar", images=True)
        station.push(png(1))
    restore(tmp_path / "copy.tar", tmp_path / "restored")
    (tmp_path / "restored" / "tokens.txt").write_text((tmp_path / "station" / "tokens.txt").read_text())
    with running(tmp_path / "restored", None) as station, station.client("operator") as client:
        assert [one["id"] for one in client.get("/api/v1/inspections").json()["items"]] == [part["id"]]
        assert client.get(part["image"]).content == png(0)
        assert station.push(png(0), key="k").json()["id"] == part["id"]
        assert station.push(png(1)).status_code == 201
    with pytest.raises(DataError, match="not empty"):
        restore(tmp_path / "copy.tar", tmp_path / "restored")


def test_images_of_good_parts_go_first_unreviewed_ng_never_and_rows_never(station: Running) -> None:
    with station.client("admin") as client:
        ok = station.push(png(0)).json()
        limit = {"threshold": ok["score"] - 5}
        client.post("/api/v1/products/flange/calibrations", json=limit)
        unreviewed, defective, good = (station.push(png(i)).json() for i in range(3))
        assert {one["verdict"] for one in (unreviewed, defective, good)} == {"NG"}
        for part, verdict in ((defective, "defective"), (good, "good")):
            client.post(f"/api/v1/inspections/{part['id']}/reviews", json={"verdict": verdict})

        def kept() -> set[str]:
            items = client.get("/api/v1/inspections").json()["items"]
            assert len(items) == 4
            for item in items:
                found = client.get(f"/api/v1/inspections/{item['id']}/image").status_code
                assert found == (200 if item["image"] else 404)
            return {item["id"] for item in items if item["image"]}

        def after(days: float) -> set[str]:
            running_station = station.station
            retention.apply(
                running_station.session, running_station.storage, time=now() + timedelta(days=days)
            )
            return kept()

        # A disk that is always full would make this a test of the machine.
        client.patch("/api/v1/options", json={"disk_share": 0.999999})
        everything = {one["id"] for one in (ok, unreviewed, defective, good)}
        assert after(29) == everything
        assert after(31) == {unreviewed["id"], defective["id"]}
        assert after(364) == {unreviewed["id"], defective["id"]}
        assert after(10_000) == {unreviewed["id"]}
        client.patch("/api/v1/options", json={"disk_share": 1e-9})
        assert after(0) == {unreviewed["id"]}


def test_a_full_disk_takes_good_parts_before_bad_ones(
    station: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    with station.client("admin") as client:
        first = station.push(png(0)).json()
        client.post("/api/v1/products/flange/calibrations", json={"threshold": first["score"] - 5})
        defective = station.push(png(1)).json()
        client.post(f"/api/v1/inspections/{defective['id']}/reviews", json={"verdict": "defective"})
        storage = station.station.storage
        # The disk is full until one image has gone.
        monkeypatch.setattr(
            storage, "used_share", lambda: 0.9 if storage.image(_id(first), "PNG").exists() else 0.5
        )
        # The station's own keeper may come first.
        retention.apply(station.station.session, storage)
        assert client.get(first["image"]).status_code == 404
        assert client.get(defective["image"]).status_code == 200


def test_files_that_a_killed_process_left_are_deleted_at_the_next_start(
    bundle_file: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "station"
    with running(folder, bundle_file) as station:
        stored = _id(station.push(png(0)).json())
        storage = station.station.storage
    earlier, later = (time_id(now() + timedelta(seconds=seconds)) for seconds in (-60, 600))
    left = [storage.image(earlier, "PNG"), storage.map(earlier)]
    # As if it came while the station looks; and what is no part.
    kept = [storage.image(stored, "PNG"), storage.map(stored), storage.image(later, "PNG")]
    kept.append(storage.map(stored).with_name("note.txt"))
    for file in {*left, *kept} - {*kept[:2]}:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"left")
    with running(folder, None):
        wait_for(lambda: not any(file.exists() for file in left))
        assert all(file.exists() for file in kept)


def test_more_files_than_a_killed_process_leaves_are_not_deleted(
    station: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(orphans, "MOST", 1)
    storage = station.station.storage
    left = time_id(now() - timedelta(seconds=1))
    for file in (storage.image(left, "PNG"), storage.map(left)):
        storage.put_new(file, b"left")
    assert orphans.sweep(station.station.session, storage) == 0
    assert storage.map(left).exists()
    assert "Check that this is the database" in caplog.text
    monkeypatch.undo()
    assert orphans.sweep(station.station.session, storage) == 2
    assert not storage.map(left).exists()


def test_files_of_a_folder_are_inspected_once_across_restarts(bundle_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "camera"
    (folder / "lot").mkdir(parents=True)
    for i in range(3):
        (folder / "lot" / f"{i}.png").write_bytes(png(i))
    settings = {"folder": str(folder), "settle": 0.1, "poll": 0.05}
    body = {"name": "cam", "product": "flange", "kind": "folder", "settings": settings}

    def parts(station: Running) -> list[str]:
        with station.client("operator") as client:
            items = client.get("/api/v1/inspections", params={"source": "cam"}).json()["items"]
        return sorted(item["part"] for item in items)

    with running(tmp_path / "station", bundle_file) as station, station.client("admin") as client:
        assert client.post("/api/v1/sources", json=body).status_code == 201
        wait_for(lambda: len(parts(station)) == 3)
        assert parts(station) == ["lot/0.png", "lot/1.png", "lot/2.png"]
    (folder / "lot" / "3.png").write_bytes(png(3))
    # Touched, not changed.
    (folder / "lot" / "0.png").touch()
    (folder / "broken.png").write_bytes(b"no image")
    with running(tmp_path / "station", None) as station, station.client("operator") as client:
        wait_for(lambda: len(parts(station)) == 4)
        wait_for(lambda: client.get("/api/v1/missed").json()["open"] == {"unreadable": 1})
        time.sleep(0.5)
        assert len(parts(station)) == 4
        assert client.get("/api/v1/missed").json()["open"] == {"unreadable": 1}


def test_a_deleted_folder_leaves_its_parts_and_its_name(
    station: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So that its files are forgotten in several transactions.
    monkeypatch.setattr(sources, "AT_ONCE", 2)
    folder = tmp_path / "camera"
    folder.mkdir()
    for i in range(3):
        (folder / f"{i}.png").write_bytes(png(i))
    settings = {"folder": str(folder), "settle": 0.1, "poll": 0.05}
    body = {"name": "cam", "product": "flange", "kind": "folder", "settings": settings}
    with station.client("admin") as client:

        def parts() -> list[str]:
            items = client.get("/api/v1/inspections", params={"source": "cam"}).json()["items"]
            return sorted(item["part"] for item in items)

        assert client.post("/api/v1/sources", json=body).status_code == 201
        wait_for(lambda: len(parts()) == 3)
        with station.station.session() as session:
            source_id = session.scalar(select(Source.id))
        assert source_id is not None
        assert client.delete("/api/v1/sources/cam").status_code == 204
        assert client.get("/api/v1/sources").json() == []
        assert parts() == ["0.png", "1.png", "2.png"]
        # What it handed over and what it gave up are stored also after it is gone.
        late = FileMark(source_id, "late.png", bytes(16))
        inspector = station.station.inspector
        assert inspector.receive("flange", "cam", png(3), part="late", file=late).result(30)["part"] == "late"
        with station.station.session() as session:
            product_id = session.scalars(select(Product.id)).one()
        inspector.miss(Missed(product_id, "cam", "broken", None, "unreadable", "no image", file=late))
        wait_for(lambda: client.get("/api/v1/missed").json()["open"] == {"unreadable": 1})
        with station.station.session() as session:
            assert session.scalars(select(SourceFile)).all() == []
        # Another source under the name knows no file.
        assert client.post("/api/v1/sources", json=body).status_code == 201
        wait_for(lambda: len(parts()) == 7)


def test_one_process_serves_a_station(tmp_path: Path) -> None:
    settings = make_station(tmp_path / "station", None)
    command = [sys.executable, "-m", "patchebm.cli.main", "station", "serve", str(settings.folder)]
    with locked(settings):
        done = subprocess.run(
            [*command, "--port", "0"], capture_output=True, text=True, timeout=60, check=False
        )
    assert done.returncode != 0
    assert "already" in done.stderr


def test_answers_do_not_wait_for_the_acknowledgement_of_their_headers(tmp_path: Path) -> None:
    """A receiver delays that by 40 ms where an answer is sent in two pieces."""
    settings = make_station(tmp_path / "station", None)
    command = [sys.executable, "-m", "patchebm.cli.main", "station", "serve", str(settings.folder)]
    process = subprocess.Popen([*command, "--port", "0"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().split()[1]
        took = []
        transport = httpx.HTTPTransport(retries=20)
        with httpx.Client(base_url=url, transport=transport, timeout=30) as client:
            for _ in range(40):
                began = time.monotonic()
                client.get("/healthz").raise_for_status()
                took.append(time.monotonic() - began)
        assert sorted(took)[10] < 0.03
    finally:
        process.terminate()
        process.wait(60)


def test_settings_name_what_is_wrong_with_them(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="station init"):
        read_settings(tmp_path)
    settings = make_station(tmp_path / "station", None)
    assert read_settings(settings.folder) == settings
    file = settings.folder / "station.toml"
    assert file.stat().st_mode & 0o077 == 0
    for line, message in [
        ("quue = 3", "did you mean 'queue'"),
        ("queue = 0", "above 0"),
        ("=", "cannot be read"),
    ]:
        file.write_text(line)
        with pytest.raises(ConfigError, match=message):
            read_settings(settings.folder)


def _id(part: dict[str, str]) -> uuid.UUID:
    return uuid.UUID(part["id"])


def test_ids_sort_as_their_times_do_within_a_millisecond() -> None:
    begin = now().replace(microsecond=123_000)
    times = [begin + timedelta(microseconds=one) for one in range(2000)]
    ids = [time_id(one) for one in times]
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)
    assert all(one.version == 7 and one >= first_id(begin) for one in ids)
    assert ids[1000] >= first_id(times[1000]) > ids[999]
