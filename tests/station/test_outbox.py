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

import httpx
import pytest
from sqlalchemy import select

from patchebm.station.database.history import OutboxMessage
from patchebm.station.outputs import dispatcher
from patchebm.station.services import messages
from tests.station.running import Running, png, running, wait_for


class Receiver:
    """What a receiver got, in order; `answers` are the statuses that it gives first."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[int] = []
        # Set where it answers at once.
        self.answering = threading.Event()
        self.answering.set()
        self.asked = threading.Event()

    @property
    def keys(self) -> list[str]:
        return [headers["webhook-id"] for headers, _ in self.got]


@contextmanager
def listening(receiver: Receiver, port: int = 0) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.asked.set()
            receiver.answering.wait(60)
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
        assert headers["webhook-signature"] == signed(secret, headers, body)
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


def signed(secret: str, headers: dict[str, str], body: bytes) -> str:
    """The signature as https://www.standardwebhooks.com says, computed here again."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    text = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode()


def change(station: Running, body: dict[str, Any], name: str = "mes") -> httpx.Response:
    with station.client("admin") as client:
        return client.patch(f"/api/v1/outputs/{name}", json=body)


def shown(station: Running) -> list[dict[str, Any]]:
    with station.client("engineer") as client:
        found: list[dict[str, Any]] = client.get("/api/v1/outputs").json()
    return found


def audited(station: Running, action: str) -> list[tuple[str, dict[str, Any]]]:
    with station.client("admin") as client:
        found = client.get("/api/v1/audit", params={"action": action}).json()["items"]
    return [(one["subject"], one["details"]) for one in found]


def outbox(station: Running) -> list[OutboxMessage]:
    with station.station.session() as session:
        return list(session.scalars(select(OutboxMessage).order_by(OutboxMessage.id)))


def test_a_new_address_gets_what_waits_and_secret_and_numbers_go_on(station: Running) -> None:
    with listening(Receiver()) as gone:
        pass
    receiver = Receiver()
    secret = add_webhook(station, gone)
    ids = [station.push(png(i)).json()["id"] for i in range(2)]
    wait_for(lambda: shown(station)[0]["failure"])
    with listening(receiver) as port:
        answer = change(station, {"settings": {"url": f"http://127.0.0.1:{port}/y"}})
        assert answer.status_code == 200, answer.text
        assert answer.json()["secret"] is None
        ids.append(station.push(png(2)).json()["id"])
        wait_for(lambda: len(receiver.got) == 3)
        wait_for(lambda: shown(station)[0]["pending"] == 0)
    assert receiver.keys == [f"inspection-{one}" for one in ids]
    assert all(
        headers["webhook-signature"] == signed(secret, headers, body) for headers, body in receiver.got
    )
    assert [one.number for one in outbox(station)] == [1, 2, 3]
    assert shown(station)[0]["failure"] == ""
    assert audited(station, "output.change") == [
        ("output:mes", {"changed": ["url"], "host": f"127.0.0.1:{port}"})
    ]


def test_a_setting_that_is_null_goes_and_a_webhook_gets_another_secret(station: Running) -> None:
    receiver = Receiver()
    with listening(receiver) as port:
        before = add_webhook(station, port)
        answer = change(station, {"settings": {"secret": None, "timeout": None}}).json()
        assert answer["secret"].startswith("whsec_")
        assert answer["secret"] != before
        station.push(png(0))
        wait_for(lambda: len(receiver.got) == 1)
        headers, body = receiver.got[0]
        assert headers["webhook-signature"] == signed(answer["secret"], headers, body)
        # One of the admin's own is not shown again.
        assert change(station, {"settings": {"secret": before}}).json()["secret"] is None
        station.push(png(1))
        wait_for(lambda: len(receiver.got) == 2)
        headers, body = receiver.got[1]
        assert headers["webhook-signature"] == signed(before, headers, body)
    entries = audited(station, "output.")
    assert [details.get("changed") for _, details in entries] == [["secret"], ["secret", "timeout"], None]
    assert before not in json.dumps(entries)
    assert answer["secret"] not in json.dumps(entries)


def test_what_cannot_be_changed_is_refused_and_changes_nothing(station: Running) -> None:
    receiver = Receiver()
    with listening(receiver) as port:
        add_webhook(station, port)
        with station.client("admin") as client:
            plc = {"name": "plc", "kind": "modbus-client", "product": "flange"}
            settings = {"host": "127.0.0.1", "port": 9, "products": ["flange"]}
            answer = client.post("/api/v1/outputs", json=plc | {"settings": settings})
            assert answer.status_code == 201, answer.text
            client.patch("/api/v1/outputs/plc", json={"enabled": False})
            client.post("/api/v1/products", json={"name": "gear"})
        before = shown(station)
        for name, body, status in (
            ("mes", {"settings": {"url": "ftp://host"}}, 422),
            ("mes", {"settings": {"url": None}}, 422),
            ("mes", {"settings": {"urll": "http://host"}}, 422),
            ("mes", {"kind": "mqtt"}, 422),
            ("plc", {"settings": {"products": ["flange", "gear"]}}, 422),
            ("plc", {"settings": {"products": ["none"]}}, 404),
            ("plc", {"settings": {"port": 0}, "enabled": True}, 422),
            ("none", {"settings": {}}, 404),
            ("none", {"enabled": True}, 404),
            ("mes", {}, 200),
        ):
            assert change(station, body, name).status_code == status, (name, body)
        assert shown(station) == before
        assert audited(station, "output.change") == []
        station.push(png(0))
        wait_for(lambda: len(receiver.got) == 1)


def test_a_deleted_output_takes_its_messages_along_and_leaves_the_parts(
    station: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So that they go in several transactions.
    monkeypatch.setattr(messages, "AT_ONCE", 2)
    receiver, other = Receiver(), Receiver()
    with listening(receiver) as port:
        add_webhook(station, port)
        ids = [station.push(png(0)).json()["id"]]
        wait_for(lambda: shown(station)[0]["pending"] == 0 and receiver.got)
    ids += [station.push(png(i)).json()["id"] for i in range(1, 5)]
    with listening(other) as port, station.client("admin") as client:
        add_webhook(station, port, "other")
        answer = client.delete("/api/v1/outputs/mes")
        assert (answer.status_code, answer.json()) == (200, {"unsent": 4})
        assert client.delete("/api/v1/outputs/mes").status_code == 404
        assert [one["name"] for one in shown(station)] == ["other"]
        assert audited(station, "output.delete") == [("output:mes", {"kind": "webhook", "unsent": 4})]
        items = client.get("/api/v1/inspections").json()["items"]
        assert [one["id"] for one in items] == ids[::-1]
        # The name is free again, and begins anew.
        add_webhook(station, port)
        last = station.push(png(5)).json()["id"]
        wait_for(lambda: other.keys == [f"inspection-{last}"] * 2)
    assert [(one.key, one.number) for one in outbox(station)] == [(f"inspection-{last}", 1)] * 2


def test_a_receiver_that_answers_after_its_output_was_deleted_does_no_harm(station: Running) -> None:
    slow, receiver = Receiver(), Receiver()
    slow.answering.clear()
    with listening(receiver) as away:
        pass
    try:
        with listening(slow) as port:
            body = {"url": f"http://127.0.0.1:{port}/", "timeout": 60}
            with station.client("admin") as client:
                added = {"name": "slow", "kind": "webhook", "settings": body}
                assert client.post("/api/v1/outputs", json=added).status_code == 201
                station.push(png(0))
                assert slow.asked.wait(10)
                assert client.delete("/api/v1/outputs/slow").json() == {"unsent": 1}
            # Where ids are given again, this message has that of the one that is still on its way.
            add_webhook(station, away)
            part = station.push(png(1)).json()["id"]
            slow.answering.set()
            wait_for(lambda: "output-slow" not in {one.name for one in threading.enumerate()}, 30)
            assert [one.state for one in outbox(station)] == ["pending"]
    finally:
        slow.answering.set()
    with listening(receiver, away):
        wait_for(lambda: receiver.keys == [f"inspection-{part}"])
