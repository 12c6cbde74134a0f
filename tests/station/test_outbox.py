"""Results that go out: to a real receiver on loopback, which fails, goes away and comes back."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from patchebm.station.outputs import dispatcher
from tests.station.running import Running, png, running, wait_for


class Receiver:
    """What a receiver got, in order; `answers` are the statuses that it gives first."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[int] = []

    @property
    def keys(self) -> list[str]:
        return [headers["webhook-id"] for headers, _ in self.got]


@contextmanager
def listening(receiver: Receiver, port: int = 0) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = receiver.answers.pop(0) if receiver.answers else 204
            if status < 300:
                receiver.got.append(({k.lower(): v for k, v in self.headers.items()}, body))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def add_webhook(station: Running, port: int, name: str = "mes") -> str:
    body = {"name": name, "kind": "webhook", "settings": {"url": f"http://127.0.0.1:{port}/x", "timeout": 2}}
    with station.client("admin") as client:
        answer = client.post("/api/v1/outputs", json=body)
    assert answer.status_code == 201, answer.text
    secret: str = answer.json()["secret"]
    return secret


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher, "FIRST_PAUSE", 0.05)
    monkeypatch.setattr(dispatcher, "LONGEST_PAUSE", 0.1)


def test_results_arrive_in_order_signed_and_as_rest_shows_them(station: Running) -> None:
    receiver = Receiver()
    with listening(receiver) as port:
        secret = add_webhook(station, port)
        parts = [station.push(png(i % 4), part=f"p{i}").json() for i in range(6)]
        wait_for(lambda: len(receiver.got) == 6)
    assert [json.loads(body)["data"] for _, body in receiver.got] == parts
    for headers, body in receiver.got:
        # As https://www.standardwebhooks.com says, computed here again.
        key = base64.b64decode(secret.removeprefix("whsec_"))
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        assert headers["webhook-signature"] == f"v1,{expected}"
        assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60
        assert headers["idempotency-key"] == headers["webhook-id"]


def test_a_receiver_that_was_away_gets_everything_in_order_across_restarts(
    bundle_file: Path, tmp_path: Path
) -> None:
    receiver = Receiver()
    with listening(receiver) as port:
        pass
    with running(tmp_path / "station", bundle_file) as station:
        add_webhook(station, port)
        ids = [station.push(png(i)).json()["id"] for i in range(3)]
        with station.client("engineer") as client:
            wait_for(lambda: client.get("/api/v1/outputs").json()[0]["failure"])
            assert client.get("/api/v1/outputs").json()[0]["pending"] == 3
    with running(tmp_path / "station", bundle_file) as station, listening(receiver, port):
        ids.append(station.push(png(3)).json()["id"])
        wait_for(lambda: len(set(receiver.keys)) == 4)
        with station.client("engineer") as client:
            wait_for(lambda: client.get("/api/v1/outputs").json()[0]["pending"] == 0)
    assert list(dict.fromkeys(receiver.keys)) == [f"inspection-{one}" for one in ids]


def test_a_message_that_is_refused_is_set_aside_and_holds_up_no_others(station: Running) -> None:
    receiver = Receiver()
    receiver.answers = [500] * dispatcher.ATTEMPTS
    with listening(receiver) as port:
        add_webhook(station, port)
        first, second = (station.push(png(i)).json()["id"] for i in range(2))
        wait_for(lambda: receiver.keys == [f"inspection-{second}"])
        with station.client("engineer") as client:
            wait_for(lambda: client.get("/api/v1/outputs").json()[0]["set_aside"] == 1)
    assert first != second


def test_reviews_go_out_too(station: Running) -> None:
    receiver = Receiver()
    with listening(receiver) as port:
        add_webhook(station, port)
        part = station.push(png(0)).json()["id"]
        with station.client("operator") as client:
            client.post(f"/api/v1/inspections/{part}/reviews", json={"verdict": "good"})
        wait_for(lambda: len(receiver.got) == 2)
    message = json.loads(receiver.got[1][1])
    assert (message["type"], message["data"]["verdict"]) == ("review", "good")


@pytest.mark.parametrize(
    "settings",
    [{}, {"url": "ftp://host"}, {"url": "http://u:p@host/"}, {"url": "http://host", "secret": "short"},
     {"url": "http://host", "urll": 1}, {"url": "http://host", "timeout": -1}],
)  # fmt: skip
def test_settings_that_cannot_be_are_refused(served: Running, settings: dict[str, Any]) -> None:
    with served.client("admin") as client:
        body = {"name": "bad", "kind": "webhook", "settings": settings}
        assert client.post("/api/v1/outputs", json=body).status_code == 422
