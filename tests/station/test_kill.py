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
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select

from patchebm.station.database.history import Inspection, JoinedPart, OutboxMessage
from patchebm.station.setup import opened
from tests.station.running import free_port, noise_png, png, running, wait_for
from tests.station.test_outbox import Receiver, add_webhook, listening
from tests.station.test_views import add_views

ROUNDS = 20


def start(folder: Path, port: int, before: str = "") -> subprocess.Popen[bytes]:
    """A station in a process of its own, which runs some Python first."""
    program = f"{before}\nfrom patchebm.cli.main import main\nraise SystemExit(main())"
    command = [sys.executable, "-c", program, "station", "serve", str(folder), "--port", str(port)]
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

    address = "products/flange/inspections"

    def __init__(self, port: int, token: str) -> None:
        self._url = f"http://127.0.0.1:{port}/api/v1/{self.address}"
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

    def _sent(self, mine: int, headers: dict[str, str]) -> httpx.Response:
        return httpx.post(self._url, content=self.images[mine % 4], headers=headers, timeout=10)

    def _answered(self, mine: int) -> bool:
        key = f"part-{mine}"
        headers = {"Authorization": f"Bearer {self._token}", "Idempotency-Key": key}
        try:
            answer = self._sent(mine, headers)
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


class Cells(Cameras):
    """The same, with two views of each part."""

    address = "sources/cell/parts"

    def _sent(self, mine: int, headers: dict[str, str]) -> httpx.Response:
        files = {"left": self.images[mine % 4], "right": self.images[(mine + 1) % 4]}
        return httpx.post(self._url, files=files, headers=headers, timeout=10)


# The process dies when all views are stored and before they are joined ...
BEFORE_JOINING = """
import os, signal
from patchebm.station.sources.joiner import Joiner
Joiner._join = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
"""
# ... or when the left one is stored and the right one is being inspected.
BETWEEN_VIEWS = """
import os, signal, threading
from patchebm.station.active_models import ActiveModel
from patchebm.station.sources.joiner import Joiner
inspect = ActiveModel.inspect
def inspect_left(self, arrival):
    if arrival.source.endswith("right"):
        threading.Event().wait()
    return inspect(self, arrival)
ActiveModel.inspect = inspect_left
Joiner._one_done = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
"""


def killed_cell(
    folder: Path, bundle: Path, database: str | None, before: str, left: bytes
) -> tuple[int, httpx.Client]:
    """Sends a part to a station that is killed meanwhile. Returns its port, and a client."""
    with running(folder, bundle, database) as station:
        add_views(station)
        with station.client() as client:
            output = {"name": "mes", "kind": "webhook", "settings": {"url": "http://127.0.0.1:9/"}}
            assert client.post("/api/v1/outputs", json=output).status_code == 201
        token = station.tokens["admin"]
    port = free_port()
    process = start(folder, port, before)
    url, headers = f"http://127.0.0.1:{port}/api/v1", {"Authorization": f"Bearer {token}"}
    try:
        first = httpx.Client(base_url=url, headers=headers, timeout=60)
        with first, pytest.raises(httpx.TransportError):
            send(first, left)
        assert process.wait(60) == -signal.SIGKILL
    finally:
        process.kill()
    return port, httpx.Client(base_url=url, headers=headers, timeout=60)


def send(client: httpx.Client, left: bytes) -> httpx.Response:
    files = {"left": left, "right": png(1)}
    return client.post(
        "/sources/cell/parts", params={"part": "P-1"}, files=files, headers={"Idempotency-Key": "one"}
    )


@contextmanager
def again(folder: Path, port: int) -> Iterator[None]:
    """The station, started again and stopped gracefully."""
    process = start(folder, port)
    try:
        yield
        process.send_signal(signal.SIGTERM)
        # uvicorn stops gracefully, and then ends by the signal that it got.
        assert process.wait(60) == -signal.SIGTERM
    finally:
        process.kill()


def messages_of_parts(folder: Path) -> list[str]:
    with opened(folder) as (station, _), station.session() as session:
        assert not session.scalars(select(Inspection).where(Inspection.unjoined_id.is_not(None))).all()
        return [one.body["id"] for one in session.scalars(select(OutboxMessage)) if one.kind == "part"]


@pytest.mark.station
@pytest.mark.timeout(300)
def test_views_that_were_stored_and_not_joined_are_joined_at_the_next_start(
    database: str | None, bundle_file: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "station"
    port, client = killed_cell(folder, bundle_file, database, BEFORE_JOINING, png(0))
    with client, again(folder, port):
        (joined,) = client.get("/joined-parts").json()["items"]
        assert (joined["part"], joined["idempotency_key"], joined["verdict"]) == ("P-1", "one", "OK")
        assert all(joined["views"].values())
        # Its sender, who never had an answer, gets this one.
        answer = send(client, png(0))
        assert (answer.status_code, answer.json()) == (200, joined)
        assert client.get("/missed").json()["items"] == []
    assert messages_of_parts(folder) == [joined["id"]]


@pytest.mark.station
@pytest.mark.timeout(300)
@pytest.mark.parametrize("decided", [True, False])
def test_a_part_without_all_its_views_is_decided_or_listed_as_missed_at_the_next_start(
    bundle_file: Path, tmp_path: Path, decided: bool
) -> None:
    folder = tmp_path / "station"
    left = noise_png() if decided else png(0)
    port, client = killed_cell(folder, bundle_file, None, BETWEEN_VIEWS, left)
    with client, again(folder, port):
        found = client.get("/joined-parts").json()["items"]
        missed = client.get("/missed").json()["items"]
        assert [(one["verdict"], one["views"]["right"]) for one in found] == [("NG", None)] * decided
        assert [(one["source"], one["part"], one["reason"]) for one in missed] == (
            [] if decided else [("cell", "P-1", "stopped")]
        )
        answer = send(client, left)
        assert answer.status_code == (200 if decided else 201)
        if not decided:
            # The left view is the one that was stored; the part is not missed any more.
            assert len(client.get("/inspections").json()["items"]) == 2
            assert client.get("/missed").json()["items"][0]["inspection"] is not None
    # What is joined stays so.
    with again(folder, port):
        pass
    assert messages_of_parts(folder) == [answer.json()["id"]]


@pytest.mark.station
@pytest.mark.timeout(600)
def test_sigkill_at_random_moments_leaves_no_part_without_its_joined_verdict(
    bundle_file: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "station"
    with running(folder, bundle_file) as station:
        add_views(station)
        token = station.tokens["line"]
    port = free_port()
    chance = random.Random(1)
    process = start(folder, port)
    try:
        with Cells(port, token) as cells:
            for _ in range(6):
                count = len(cells.answered)
                wait_for(lambda count=count: len(cells.answered) > count, 60)
                time.sleep(chance.uniform(0.05, 0.5))
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
                process = start(folder, port)
            assert not {one for one in cells.refusals if not one.startswith("503 ")}
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    except BaseException:
        process.kill()
        raise
    messages_of_parts(folder)
    with opened(folder) as (station, _), station.session() as session:
        parts = {one.idempotency_key: one for one in session.scalars(select(JoinedPart))}
        assert {key: str(one.id) for key, one in parts.items()} == cells.answered
        views = set(session.scalars(select(Inspection.id)))
    assert {uuid.UUID(view) for one in parts.values() for view in one.views.values()} == views


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
