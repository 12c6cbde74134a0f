"""SIGKILL under load, and a full disk: no part is lost or doubled, and what was answered is stored."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select

from patchebm.station.database.history import Inspection, OutboxMessage
from patchebm.station.setup import opened
from tests.station.running import free_port, png, running, wait_for
from tests.station.test_outbox import Receiver, add_webhook, listening

ROUNDS = 20


def start(folder: Path, port: int) -> subprocess.Popen[bytes]:
    command = [
        sys.executable,
        "-m",
        "patchebm.cli.main",
        "station",
        "serve",
        str(folder),
        "--port",
        str(port),
    ]
    with (folder.parent / "serve.log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    deadline = time.monotonic() + 60
    while True:
        assert process.poll() is None, (folder.parent / "serve.log").read_text()[-2000:]
        assert time.monotonic() < deadline
        try:
            if httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200:
                return process
        except httpx.TransportError:
            time.sleep(0.1)


class Cameras:
    """Four controllers of a line; each sends every part until it is answered."""

    def __init__(self, port: int, token: str) -> None:
        self._url = f"http://127.0.0.1:{port}/api/v1/products/flange/inspections"
        self._token = token
        self._number = iter(range(10**9))
        self._lock = threading.Lock()
        self._done, self._given_up = threading.Event(), threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(4)]
        self.images = [png(i) for i in range(4)]
        self.answered: dict[str, str] = {}
        self.refusals: set[str] = set()

    def __enter__(self) -> Cameras:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self._given_up.set()
        self._done.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while not self._done.is_set():
            with self._lock:
                mine = next(self._number)
            while not self._given_up.is_set() and not self._answered(mine):
                time.sleep(0.05)

    def _answered(self, mine: int) -> bool:
        key = f"part-{mine}"
        headers = {"Authorization": f"Bearer {self._token}", "Idempotency-Key": key}
        try:
            answer = httpx.post(self._url, content=self.images[mine % 4], headers=headers, timeout=10)
        except httpx.TransportError:
            return False
        with self._lock:
            if answer.status_code in (200, 201):
                self.answered[key] = answer.json()["id"]
                return True
            self.refusals.add(f"{answer.status_code} {answer.json()['detail']}")
        return False


def check(folder: Path, cameras: Cameras, *, outputs: bool = True, full_disk: bool = False) -> list[str]:
    """Every part is there once, as it was answered, with its image and map, and outputs are told of it once.

    Returns the keys of the outbox in the order in which they are to be sent.
    """
    with opened(folder) as (station, _), station.session() as session:
        rows = session.scalars(select(Inspection)).all()
        messages = list(session.scalars(select(OutboxMessage.key).order_by(OutboxMessage.id)))
        # Retention takes images of good parts where the disk is full, and says so in their rows.
        there = [row for row in rows if row.image_deleted is None]
        kept = [station.storage.image(row.id, row.image_format).read_bytes() for row in there]
        assert all(station.storage.map(row.id).stat().st_size for row in there)
        assert len(there) == len(rows) or full_disk
    stored = {row.idempotency_key: str(row.id) for row in rows}
    assert len(rows) == len(stored)
    assert stored == cameras.answered
    told = cameras.answered.values() if outputs else ()
    assert sorted(messages) == sorted(f"inspection-{one}" for one in told)
    assert set(kept) <= set(cameras.images)
    return messages


@pytest.mark.station
@pytest.mark.timeout(900)
def test_sigkill_at_random_moments_loses_and_doubles_nothing(
    request: pytest.FixtureRequest, database: str | None, bundle_file: Path, tmp_path: Path
) -> None:
    """The database's server and the webhook's receiver are killed in between."""
    folder = tmp_path / "station"
    postgres = None if database is None else request.getfixturevalue("postgresql")
    receiver = Receiver()
    with running(folder, bundle_file, database) as station, listening(receiver) as receiver_port:
        add_webhook(station, receiver_port)
        token = station.tokens["line"]
    port = free_port()
    chance = random.Random(0)
    process = start(folder, port)
    try:
        with Cameras(port, token) as cameras, ExitStack() as stack:
            stack.enter_context(listening(receiver, receiver_port))
            for number in range(ROUNDS):
                # Most often under load, however slow the machine is; every fourth time while it warms up.
                if number % 4:
                    count = len(cameras.answered)
                    wait_for(lambda count=count: len(cameras.answered) > count, 60)
                time.sleep(chance.uniform(0.05, 1.0))
                if postgres is not None and number % 5 == 2:
                    postgres.kill()
                    time.sleep(chance.uniform(0.05, 0.5))
                    postgres.start()
                    time.sleep(chance.uniform(0.05, 1.0))
                if number % 5 == 3:
                    stack.close()
                if number % 5 == 4:
                    stack.enter_context(listening(receiver, receiver_port))
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
                process = start(folder, port)
            assert not {one for one in cameras.refusals if not one.startswith("503 ")}
    except BaseException:
        process.kill()
        raise
    # A last time gracefully, the receiver there: what waits goes out.
    with listening(receiver, receiver_port):
        deadline = time.monotonic() + 120
        while len(set(receiver.keys)) < len(cameras.answered):
            assert time.monotonic() < deadline, (len(set(receiver.keys)), len(cameras.answered))
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    assert len(cameras.answered) > ROUNDS
    # At least once, and in order.
    assert list(dict.fromkeys(receiver.keys)) == check(folder, cameras)


@pytest.mark.station
def test_a_full_disk_is_said_and_loses_nothing_that_was_answered(bundle_file: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=128m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a small disk cannot be mounted here (it takes root)")
    try:
        with running(disk / "station", bundle_file) as station:
            with Cameras(int(station.url.rpartition(":")[2]), station.tokens["line"]) as cameras:
                wait_for(lambda: len(cameras.answered) > 5, 60)
                # All but some kB: parts fill the rest.
                with suppress(OSError):
                    (disk / "filler").write_bytes(bytes(shutil.disk_usage(disk).free - 300_000))
                wait_for(lambda: any("disk is full" in one for one in cameras.refusals), 60)
                with station.client() as client:
                    assert "the disk is full" in client.get("/readyz").json()["problems"]
                    # What is there can be read; what is no image is refused at once.
                    before = client.get("/api/v1/inspections").json()["items"]
                    image = client.get(before[0]["image"])
                    # Retention may have made room with it.
                    assert image.status_code == 200 or "no longer kept" in image.json()["detail"]
                    assert station.push(b"no image").status_code == 422
                count = len(cameras.answered)
                (disk / "filler").unlink()
                wait_for(lambda: len(cameras.answered) > count + 5, 60)
            with station.client() as client:
                # Listed once there is room.
                wait_for(lambda: client.get("/api/v1/missed").json()["open"].get("unreadable") == 1)
            assert not {one for one in cameras.refusals if not one.startswith("503 ")}
        check(disk / "station", cameras, outputs=False, full_disk=True)
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)
