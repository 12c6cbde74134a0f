"""MQTT, against mosquitto from Debian."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from patchebm.errors import ConfigError
from patchebm.station.outputs import open_sender
from tests.station.line.conftest import Serve
from tests.station.running import free_port, wait_for
from tests.station.test_kill import start

MOSQUITTO = shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto")
pytestmark = [
    pytest.mark.line,
    pytest.mark.skipif(MOSQUITTO is None, reason="no mosquitto (apt-get install mosquitto)"),
    pytest.mark.skipif(find_spec("paho") is None, reason="paho-mqtt not installed (extra line)"),
]


class Broker:
    """A mosquitto that keeps its sessions on the disk."""

    def __init__(self, folder: Path, *lines: str) -> None:
        folder.mkdir()
        folder.chmod(0o777)
        self.port = free_port()
        self._config = folder / "mosquitto.conf"
        self._config.write_text(
            "\n".join(
                [f"listener {self.port} 127.0.0.1", "persistence true", f"persistence_location {folder}/",
                 "log_type error", "user root", *(lines or ("allow_anonymous true",))]
            )
        )  # fmt: skip
        self.start()

    def start(self) -> None:
        command = [str(MOSQUITTO), "-c", str(self._config)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def stop(self) -> None:
        """With SIGTERM: it writes what it has taken charge of to the disk."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(10)


class Receiver:
    """A subscriber whose session the broker keeps."""

    def __init__(self, port: int, ca: Path | None = None, name: str = "plc") -> None:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        self.messages: list[tuple[str, Any]] = []
        self.client = Client(CallbackAPIVersion.VERSION2, "receiver", clean_session=False)
        self.subscribed = threading.Event()
        self._name = name
        topics = [(f"patchebm/{name}/{word}", 1) for word in ("results", "state", "errors")]
        self.client.on_connect = lambda *_: self.client.subscribe(topics)
        self.client.on_subscribe = lambda *_: self.subscribed.set()
        self.client.on_message = lambda _, __, m: self.messages.append((m.topic, json.loads(m.payload)))
        self.client.reconnect_delay_set(0.1, 1)
        if ca is not None:
            self.client.tls_set(str(ca))

        def connected() -> bool:
            try:
                self.client.connect("127.0.0.1", port)
            except OSError:
                return False
            return True

        wait_for(connected, 30)
        self.client.loop_start()
        assert self.subscribed.wait(30)

    def of(self, word: str) -> list[Any]:
        return [body for topic, body in list(self.messages) if topic == f"patchebm/{self._name}/{word}"]

    def command(self, word: str, text: str | bytes) -> None:
        self.client.publish(f"patchebm/{self._name}/{word}", text, qos=1)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


def numbers(receiver: Receiver) -> set[int]:
    return {one["number"] for one in receiver.of("results")}


@contextmanager
def broker(folder: Path, *lines: str) -> Iterator[Broker]:
    found = Broker(folder, *lines)
    try:
        yield found
    finally:
        found.stop()


def test_triggers_results_birth_and_last_will(tmp_path: Path, served_line: Serve) -> None:
    with broker(tmp_path / "broker") as found:
        receiver = Receiver(found.port)
        settings = {"host": "127.0.0.1", "port": found.port, "products": ["flange"]}
        with served_line("mqtt", settings) as station:
            wait_for(lambda: receiver.of("state"), 30)
            wait_for(lambda: receiver.of("state")[-1].get("can_inspect"), 30)
            for i in range(3):
                receiver.command("trigger", json.dumps({"part": f"F-{i}"}))
            wait_for(lambda: len(receiver.of("results")) == 3, 60)
            with station.client("engineer") as client:
                stored = client.get("/api/v1/inspections").json()["items"][::-1]
            # What cannot be is said, and the station goes on.
            for text in ("{", b"\xff", '{"product": "gear"}', '["part"]', "x" * 5000):
                receiver.command("trigger", text)
            receiver.command("product", "gear")
            wait_for(lambda: len(receiver.of("errors")) == 6, 60)
            receiver.command("trigger", "")
            wait_for(lambda: len(receiver.of("results")) == 4, 60)
        wait_for(lambda: receiver.of("state")[-1] == {"online": False}, 30)
        receiver.close()
    results = receiver.of("results")
    assert [one["data"] for one in results[:3]] == sorted(stored, key=lambda part: part["part"])
    assert [one["number"] for one in results] == [1, 2, 3, 4]
    assert [part["part"] for part in stored] == ["F-0", "F-1", "F-2"]


def test_results_wait_while_the_broker_is_away(tmp_path: Path, served_line: Serve) -> None:
    with broker(tmp_path / "broker") as found:
        receiver = Receiver(found.port)
        settings = {"host": "127.0.0.1", "port": found.port, "products": ["flange"]}
        with served_line("mqtt", settings) as station:
            wait_for(lambda: receiver.of("state"), 30)
            sent = 0
            for _ in range(3):
                found.stop()
                for _ in range(3):
                    station.station.sources.trigger_product("flange", f"F-{sent}", None).result(60)
                    sent += 1
                with station.client("engineer") as client:
                    wait_for(lambda: client.get("/api/v1/outputs").json()[0]["failure"], 30)
                found.start()
                # Under load while it comes back.
                station.station.sources.trigger_product("flange", f"F-{sent}", None).result(60)
                sent += 1
                wait_for(lambda: numbers(receiver) == set(range(1, sent + 1)), 60)  # noqa: B023
        receiver.close()
    results = {one["number"]: one for one in receiver.of("results")}
    # At least once: a number that comes again is the same message.
    assert all(results[one["number"]] == one for one in receiver.of("results"))
    assert list(results) == list(range(1, sent + 1))
    assert [one["data"]["part"] for one in results.values()] == [f"F-{i}" for i in range(sent)]


def test_a_flood_of_triggers_is_said_and_survived(tmp_path: Path, served_line: Serve) -> None:
    with broker(tmp_path / "broker") as found:
        receiver = Receiver(found.port)
        settings = {"host": "127.0.0.1", "port": found.port, "products": ["flange"]}
        with served_line("mqtt", settings):
            wait_for(lambda: receiver.of("state"), 30)
            for i in range(500):
                receiver.command("trigger", json.dumps({"part": f"F-{i}"}))
            answered = lambda: len(receiver.of("results")) + len(receiver.of("errors"))  # noqa: E731
            wait_for(lambda: answered() == 500, 120)
            receiver.command("trigger", json.dumps({"part": "last"}))
            wait_for(lambda: receiver.of("results")[-1]["data"]["part"] == "last", 60)
            parts = [one["data"]["part"] for one in receiver.of("results")]
        receiver.close()
    # In order, each once.
    assert parts[-1] == "last"
    assert [int(part[2:]) for part in parts[:-1]] == sorted({int(part[2:]) for part in parts[:-1]})
    assert receiver.of("errors")


def test_a_new_password_is_taken_in_and_what_waits_is_sent(tmp_path: Path, served_line: Serve) -> None:
    passwords = tmp_path / "passwords"
    tool = shutil.which("mosquitto_passwd")
    if tool is None:
        pytest.skip("no mosquitto_passwd")
    subprocess.run([tool, "-b", "-c", str(passwords), "station", "new"], check=True, capture_output=True)
    lines = ("allow_anonymous false", f"password_file {passwords}")
    with broker(tmp_path / "broker", *lines) as found:
        place = {"host": "127.0.0.1", "port": found.port, "username": "station", "password": "old"}
        with served_line("mqtt", place) as station, station.client("admin") as client:

            def facts() -> dict[str, Any]:
                output: dict[str, Any] = client.get("/api/v1/outputs").json()[0]
                return output

            station.station.sources.trigger_product("flange", "F-0", None).result(60)
            wait_for(lambda: "refuses" in facts()["failure"], 30)
            assert facts()["pending"] == 1
            # All other settings stay.
            answer = client.patch("/api/v1/outputs/plc", json={"settings": {"password": "new"}})
            assert answer.status_code == 200, answer.text
            wait_for(lambda: (facts()["failure"], facts()["pending"]) == ("", 0), 30)
            assert facts()["settings"]["username"] == "station"
            written = client.get("/api/v1/audit", params={"action": "output.change"}).json()["items"]
            assert [one["details"]["changed"] for one in written] == [["password"]]
            assert "new" not in json.dumps(written[0]["details"])


def test_a_trigger_that_comes_again_under_its_key_is_the_same_part(
    tmp_path: Path, served_line: Serve
) -> None:
    with broker(tmp_path / "broker") as found:
        receiver = Receiver(found.port)
        settings = {"host": "127.0.0.1", "port": found.port, "products": ["flange"]}
        with served_line("mqtt", settings) as station:
            wait_for(lambda: receiver.of("state"), 30)
            first = json.dumps({"part": "F-1", "key": "one"})
            # As a broker brings it that has lost the confirmation: while the part is inspected, and later.
            receiver.command("trigger", first)
            receiver.command("trigger", first)
            wait_for(lambda: receiver.of("results"), 60)
            receiver.command("trigger", first)
            for refused in ({"part": "F-2", "key": "one"}, {"part": "F-3", "key": ""}, {"key": 3}):
                receiver.command("trigger", json.dumps(refused))
            wait_for(lambda: len(receiver.of("errors")) == 3, 60)
            receiver.command("trigger", json.dumps({"part": "F-4", "key": "four"}))
            wait_for(lambda: receiver.of("results")[-1]["data"]["part"] == "F-4", 60)
            with station.client("engineer") as client:
                stored = client.get("/api/v1/inspections").json()["items"][::-1]
        receiver.close()
    assert [(one["part"], one["idempotency_key"]) for one in stored] == [("F-1", "one"), ("F-4", "four")]
    assert [one["data"] for one in receiver.of("results")] == stored
    assert "another part came under the Idempotency-Key 'one'" in json.dumps(receiver.of("errors"))


def test_the_product_of_later_triggers_is_changed_by_topic(tmp_path: Path, served_line: Serve) -> None:
    elsewhere = {"url": "http://127.0.0.1:9/"}
    with broker(tmp_path / "broker") as found:
        receiver = Receiver(found.port, name="line")
        with served_line("webhook", elsewhere) as station, station.client() as client:
            # There is no model of a gear, and no camera.
            assert client.post("/api/v1/products", json={"name": "gear"}).status_code == 201
            settings = {"host": "127.0.0.1", "port": found.port, "products": ["flange", "gear"]}
            body = {"name": "line", "kind": "mqtt", "settings": settings}
            assert client.post("/api/v1/outputs", json=body).status_code == 201

            def state() -> tuple[str, bool]:
                last = (receiver.of("state") or [{}])[-1]
                return last.get("product", ""), last.get("can_inspect", False)

            wait_for(lambda: state() == ("flange", True), 30)
            receiver.command("product", "gear")
            wait_for(lambda: state() == ("gear", False), 30)
            receiver.command("trigger", json.dumps({"part": "G-1"}))
            wait_for(lambda: [one["part"] for one in receiver.of("errors")] == ["G-1"], 30)
            # A trigger that names a product changes nothing for those that name none.
            receiver.command("trigger", json.dumps({"part": "F-1", "product": "flange"}))
            wait_for(lambda: len(receiver.of("results")) == 1, 60)
            assert state() == ("gear", False)
            receiver.command("product", "flange")
            wait_for(lambda: state() == ("flange", True), 30)
            receiver.command("trigger", json.dumps({"part": "F-2"}))
            wait_for(lambda: len(receiver.of("results")) == 2, 60)
        receiver.close()
    found_parts = [(one["data"]["part"], one["data"]["product"]) for one in receiver.of("results")]
    assert found_parts == [("F-1", "flange"), ("F-2", "flange")]


def test_the_broker_tells_the_last_will_of_a_station_that_is_killed(
    tmp_path: Path, served_line: Serve
) -> None:
    with broker(tmp_path / "broker") as found:
        settings = {"host": "127.0.0.1", "port": found.port, "products": ["flange"]}
        with served_line("mqtt", settings):
            pass
        receiver = Receiver(found.port)
        process = start(tmp_path / "station", free_port())
        try:
            wait_for(lambda: (receiver.of("state") or [{}])[-1].get("online"), 60)
        finally:
            process.kill()
            process.wait(30)
        # The kernel closes its connection, and the broker does what the station cannot do any more.
        wait_for(lambda: receiver.of("state")[-1] == {"online": False}, 30)
        receiver.close()


def test_results_go_by_tls_to_a_broker_that_is_trusted_alone(tmp_path: Path, served_line: Serve) -> None:
    ca, certificate, key = certificates(tmp_path / "right")
    stranger, _, _ = certificates(tmp_path / "stranger")
    lines = ("allow_anonymous true", f"certfile {certificate}", f"keyfile {key}")
    with broker(tmp_path / "broker", *lines) as found:
        place = {"host": "127.0.0.1", "port": found.port, "tls": True}
        receiver = Receiver(found.port, ca)
        with served_line("mqtt", place | {"ca": str(ca), "products": ["flange"]}):
            wait_for(lambda: (receiver.of("state") or [{}])[-1].get("can_inspect"), 30)
            receiver.command("trigger", json.dumps({"part": "F-1"}))
            wait_for(lambda: receiver.of("results"), 60)
        receiver.close()
        assert receiver.of("results")[0]["data"]["part"] == "F-1"
        assert open_sender("mqtt", place | {"ca": str(ca)}).check() is None
        untrusted = open_sender("mqtt", place | {"ca": str(stranger)}).check()
        assert untrusted is not None
        assert "certificate verify failed" in untrusted
        missing = open_sender("mqtt", place | {"ca": str(tmp_path / "none.pem")}).check()
        assert missing is not None
        assert "cannot use the files none.pem" in missing


def certificates(folder: Path) -> tuple[Path, Path, Path]:
    """Files of an authority, and of the certificate and the key of localhost that it has signed."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl (apt-get install openssl)")
    folder.mkdir()
    ca, ca_key, certificate, key, names = (folder / n for n in ("ca", "ca-key", "cert", "key", "names"))
    names.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1")
    fresh = ["-newkey", "rsa:2048", "-nodes"]
    for command in (
        ["req", "-x509", *fresh, "-keyout", ca_key, "-out", ca, "-subj", f"/CN={folder.name}", "-days", "2"],
        ["req", *fresh, "-keyout", key, "-out", folder / "request", "-subj", "/CN=localhost"],
        ["x509", "-req", "-in", folder / "request", "-CA", ca, "-CAkey", ca_key, "-CAcreateserial",
         "-out", certificate, "-days", "2", "-extfile", names],
    ):  # fmt: skip
        subprocess.run(["openssl", *command], check=True, capture_output=True)
    return ca, certificate, key


def test_passwords_are_asked_for_and_never_shown(tmp_path: Path) -> None:
    passwords = tmp_path / "passwords"
    tool = shutil.which("mosquitto_passwd")
    if tool is None:
        pytest.skip("no mosquitto_passwd")
    subprocess.run([tool, "-b", "-c", str(passwords), "station", "right"], check=True, capture_output=True)
    with broker(tmp_path / "broker", "allow_anonymous false", f"password_file {passwords}") as found:
        place = {"host": "127.0.0.1", "port": found.port, "username": "station"}
        right = open_sender("mqtt", place | {"password": "right"})
        wait_for(lambda: right.check() is None, 30)
        wrong = open_sender("mqtt", place | {"password": "wrong"}).check()
        assert wrong is not None
        assert "refuses" in wrong
        assert "right" not in json.dumps(right.shown)
    gone = right.check()
    assert gone is not None
    assert "cannot be reached" in gone


@pytest.mark.parametrize(
    "settings",
    [{}, {"host": "a b"}, {"host": "h", "port": 0}, {"host": "h", "base": "a/#"}, {"host": "h", "ca": "/x"},
     {"host": "h", "password": "x"}, {"host": "h", "products": []}, {"host": "h", "hots": 1}],
)  # fmt: skip
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        open_sender("mqtt", settings)
