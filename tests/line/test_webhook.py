"""Records sent to a real server on loopback, whatever the server does."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from patchebm.errors import ConfigError, DataError
from patchebm.line import webhook as module
from patchebm.line.journal import Journal
from patchebm.line.poster import check_url
from patchebm.line.webhook import ATTEMPTS, Webhook
from tests.line.test_journal import record


class Receiver(ThreadingHTTPServer):
    """Keeps what it takes, and answers as `answer` says: a status, or None to hang."""

    daemon_threads = True

    def __init__(self, port: int = 0, answer: Callable[[dict[str, Any]], int | None] = lambda r: 200) -> None:
        self.answer = answer
        self.taken: list[dict[str, Any]] = []
        self.tries = 0
        self.release = threading.Event()
        super().__init__(("127.0.0.1", port), Handler)
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/hook?token=secret"

    @property
    def names(self) -> list[str]:
        return [taken["image"] for taken in self.taken]

    def stop(self) -> None:
        self.release.set()
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.headers["Content-Type"] == "application/json"
        assert self.headers["Idempotency-Key"] == body["id"]
        self.server.tries += 1
        status = self.server.answer(body)
        if status is None:
            self.server.release.wait(10)
            return
        if status == 200:
            self.server.taken.append(body)
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/elsewhere")
        self.end_headers()

    def do_GET(self) -> None:
        raise AssertionError("a redirect was followed")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    yield server
    server.stop()


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal(tmp_path) as journal:
        yield journal


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(module, "LONGEST_PAUSE", 0.05)


def start(url: str, journal: Journal, said: list[str] | None = None, timeout: float = 60) -> Webhook:
    webhook = Webhook(url, journal, say=(said if said is not None else []).append, timeout=timeout)
    webhook.start()
    return webhook


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 200
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_records_arrive_in_order_and_once(journal: Journal, receiver: Receiver) -> None:
    said: list[str] = []
    webhook = start(receiver.url, journal, said)
    for i in range(5):
        journal.append([record(f"{i}a.png"), record(f"{i}b.png")])
        webhook.notify()
    webhook.close(patience=200)
    assert receiver.names == [f"{i}{letter}.png" for i in range(5) for letter in "ab"]
    assert receiver.taken[0] == record("0a.png")
    assert said == []
    # After a restart nothing is sent again.
    webhook = start(receiver.url, journal)
    journal.append([record("new.png")])
    webhook.notify()
    webhook.close(patience=200)
    assert receiver.tries == 11


def test_a_receiver_that_is_down_holds_the_queue(journal: Journal, receiver: Receiver) -> None:
    port = receiver.server_address[1]
    receiver.stop()
    said: list[str] = []
    webhook = start(receiver.url, journal, said)
    journal.append([record("a.png")])
    webhook.notify()
    wait_until(lambda: bool(said))
    assert f"127.0.0.1:{port} cannot be reached" in said[0]
    journal.append([record("b.png")])
    webhook.notify()
    time.sleep(0.2)
    back = Receiver(port)
    wait_until(lambda: back.names == ["a.png", "b.png"])
    webhook.close()
    assert len(said) == 2
    assert "takes records again" in said[1]
    assert not any("secret" in sentence for sentence in said)
    back.stop()


def test_what_was_not_sent_is_sent_after_a_restart(journal: Journal, receiver: Receiver) -> None:
    port = receiver.server_address[1]
    receiver.stop()
    said: list[str] = []
    webhook = start(receiver.url, journal, said)
    journal.append([record("a.png"), record("b.png")])
    webhook.notify()
    wait_until(lambda: bool(said))
    began = time.monotonic()
    webhook.close(patience=200)
    assert time.monotonic() - began < 100
    assert "after the next start" in said[-1]
    # While no webhook was asked for, too.
    journal.append([record("c.png")])
    back = Receiver(port)
    webhook = start(back.url, journal)
    wait_until(lambda: back.names == ["a.png", "b.png", "c.png"])
    webhook.close()
    back.stop()


def test_a_killed_sender_sends_again_with_the_same_key(journal: Journal, receiver: Receiver) -> None:
    webhook = start(receiver.url, journal)
    state = (journal.path.parent / "webhook.json").read_text()
    journal.append([record("a.png")])
    webhook.notify()
    webhook.close(patience=200)
    # As if the process had died after the receiver answered and before that was kept.
    (journal.path.parent / "webhook.json").write_text(state)
    start(receiver.url, journal).close(patience=200)
    assert [taken["id"] for taken in receiver.taken] == ["id-a.png", "id-a.png"]


def test_a_first_webhook_starts_with_new_records(journal: Journal, receiver: Receiver) -> None:
    journal.append([record("old.png")])
    webhook = start(receiver.url, journal)
    journal.append([record("new.png")])
    webhook.notify()
    webhook.close(patience=200)
    assert receiver.names == ["new.png"]


@pytest.mark.parametrize("status", [500, 404, 302])
def test_a_record_that_is_refused_does_not_hold_up_the_others(journal: Journal, status: int) -> None:
    receiver = Receiver(answer=lambda body: status if body["image"] == "poison.png" else 200)
    said: list[str] = []
    webhook = start(receiver.url, journal, said)
    journal.append([record(name) for name in ("a.png", "poison.png", "b.png")])
    webhook.notify()
    wait_until(lambda: receiver.names == ["a.png", "b.png"])
    webhook.close()
    # More where an answer came too late on a busy machine and the record was sent again.
    assert receiver.tries >= 2 + ATTEMPTS
    assert str(status) in said[0]
    # It is sent again after a restart, once the receiver is mended.
    receiver.answer = lambda body: 200
    webhook = start(receiver.url, journal)
    wait_until(lambda: receiver.names == ["a.png", "b.png", "poison.png"])
    webhook.close()
    assert json.loads((journal.path.parent / "webhook.json").read_text())["set_aside"] == []
    receiver.stop()


def test_a_receiver_that_hangs_is_given_up_and_tried_again(journal: Journal) -> None:
    hung = threading.Event()

    def answer(body: dict[str, Any]) -> int | None:
        if hung.is_set():
            return 200
        hung.set()
        return None

    receiver = Receiver(answer=answer)
    webhook = start(receiver.url, journal, timeout=0.3)
    journal.append([record("a.png")])
    webhook.notify()
    # On a busy machine the second answer may be late, too: it may arrive more than once.
    wait_until(lambda: "a.png" in receiver.names)
    webhook.close()
    assert receiver.tries >= 2
    receiver.stop()


def test_a_hanging_receiver_does_not_delay_the_end(journal: Journal) -> None:
    receiver = Receiver(answer=lambda body: None)
    webhook = Webhook(receiver.url, journal, say=lambda sentence: None, timeout=60)
    webhook.start()
    journal.append([record("a.png")])
    webhook.notify()
    wait_until(lambda: receiver.tries == 1)
    began = time.monotonic()
    webhook.close(patience=0.3)
    # Well below the 60 s that it would wait for an answer.
    assert time.monotonic() - began < 30
    receiver.stop()


@pytest.mark.parametrize(
    "url",
    ["ftp://host/x", "file:///etc/passwd", "host/path", "http://", "http://host:port/", "http://user:pw@host/",
     "http://host/a b", "http://host/\u00e9", "http://host/\nX: y", ""],
)  # fmt: skip
def test_only_plain_web_addresses_are_taken(url: str) -> None:
    with pytest.raises(ConfigError, match="--webhook"):
        check_url(url, "--webhook")


def test_a_damaged_state_is_named(journal: Journal) -> None:
    file = journal.path.parent / "webhook.json"
    for content in ("{", "[]", '{"sent": 99999, "set_aside": []}', '{"sent": 0, "set_aside": [-1]}', "\xff"):
        file.write_text(content)
        with pytest.raises(DataError, match=r"webhook\.json"):
            Webhook("http://127.0.0.1:9/", journal, say=print)
