"""The page that shows how sources and outputs do: what it says, and how an open page follows the states."""

from __future__ import annotations

import html
import os
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from patchebm.station.outputs import dispatcher
from tests.browser import open_browser, screenshots
from tests.station.running import Running, png, running, wait_for
from tests.station.test_access import csrf_of, sign_in
from tests.station.test_outbox import Receiver, add_webhook, listening
from tests.station.test_station_browser import WIDTHS, Person, violations


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher, "FIRST_PAUSE", 0.05)
    monkeypatch.setattr(dispatcher, "LONGEST_PAUSE", 0.1)


@pytest.fixture
def person(station: Running) -> Iterator[httpx.Client]:
    """An admin who has signed in."""
    with station.client(None, headers={"Accept": "text/html"}) as client:
        assert sign_in(client, "admin").status_code == 303
        yield client


def add_simulator(station: Running, folder: Path, name: str = "cam") -> None:
    folder.mkdir(exist_ok=True)
    body = {"name": name, "product": "flange", "kind": "simulator", "settings": {"folder": str(folder)}}
    with station.client() as client:
        assert client.post("/api/v1/sources", json=body).status_code == 201


def shown(client: httpx.Client) -> dict[str, str]:
    """What the page says in the cells that its script keeps up to date, by their ids."""
    answer = client.get("/connections")
    assert answer.status_code == 200
    cells = re.findall(r'<span id="([^"]+)" data-live[^>]*>(.*?)</span></td>', answer.text, re.S)
    return {name: html.unescape(re.sub(r"<[^>]+>", "", text)) for name, text in cells}


def test_the_page_says_of_each_connection_how_it_does(
    station: Running, person: httpx.Client, tmp_path: Path
) -> None:
    with listening(Receiver()) as away:
        pass
    add_simulator(station, tmp_path / "camera")
    add_webhook(station, away)
    station.push(png(0))
    wait_for(lambda: shown(person)["outputs.mes.state"].startswith(f"fault: 127.0.0.1:{away}"))
    assert shown(person)["outputs.mes.pending"] == "1"
    receiver = Receiver()
    # Refused until it is set aside.
    receiver.answers = [500] * dispatcher.ATTEMPTS
    with listening(receiver, away):
        wait_for(lambda: shown(person)["outputs.mes.refused"] == "1")
        station.push(png(1))
        wait_for(lambda: shown(person)["outputs.mes.pending"] == "0")
        wait_for(lambda: shown(person)["outputs.mes.state"] == "works")
    text = person.get("/connections").text
    assert "<code>webhook</code>" in text
    assert "<code>simulator</code>" in text
    assert '<a href="/products/flange">Flange</a>' in text
    # The simulator's folder has no image.
    assert "no image" in shown(person)["sources.cam.state"]


def test_sources_and_outputs_are_switched_off_and_on(
    station: Running, person: httpx.Client, tmp_path: Path
) -> None:
    receiver = Receiver()
    add_simulator(station, tmp_path / "camera")
    (tmp_path / "camera" / "0.png").write_bytes(png(0))

    def switch(what: str, enabled: str) -> None:
        form = {"csrf_token": csrf_of(person), "enabled": enabled}
        answer = person.post(f"/connections/{what}", data=form)
        assert (answer.status_code, answer.headers["location"]) == (303, "/connections")

    with listening(receiver) as port, station.client() as client:
        add_webhook(station, port)
        for what in ("sources/cam", "outputs/mes"):
            switch(what, "false")
        states = shown(person)
        assert states["sources.cam.state"] == states["outputs.mes.state"] == "switched off"
        station.push(png(1))
        assert client.post("/api/v1/sources/cam/trigger").status_code == 404
        for what in ("sources/cam", "outputs/mes"):
            switch(what, "true")
        assert client.post("/api/v1/sources/cam/trigger").status_code == 201
        wait_for(lambda: len(receiver.got) == 1)
        wait_for(lambda: shown(person)["outputs.mes.state"] == "works")
        entries = client.get("/api/v1/audit", params={"action": "output.enable"}).json()["items"]
    assert [(one["actor"], one["details"]) for one in entries] == [
        ("user:admin", {"enabled": True}),
        ("user:admin", {"enabled": False}),
    ]
    assert person.post("/connections/outputs/mes", data={"enabled": "false"}).status_code == 403


@pytest.mark.parametrize(
    ("name", "linked", "switches"),
    [("operator", False, False), ("engineer", True, False), ("admin", True, True)],
)
def test_who_sees_the_page_and_who_switches(served: Running, name: str, linked: bool, switches: bool) -> None:
    with served.client() as client:
        if not client.get("/api/v1/outputs").json():
            add_webhook(served, 9)
    with served.client(None, headers={"Accept": "text/html"}) as client:
        sign_in(client, name)
        assert ('href="/connections"' in client.get("/").text) == linked
        answer = client.get("/connections")
        assert answer.status_code == (200 if linked else 403)
        assert ("Switch off: mes" in answer.text) == switches


@pytest.mark.station
def test_a_page_that_is_open_follows_the_states(bundle_file: Path, tmp_path: Path) -> None:
    with running(tmp_path / "station", bundle_file) as station, open_browser(tmp_path / "profile") as browser:
        axe, shots = os.environ.get("PATCHEBM_AXE"), screenshots(tmp_path)
        receiver = Receiver()
        person = Person(browser, station)
        person.resize(1024)
        person.sign_in()
        with listening(receiver) as port:
            add_webhook(station, port)
            person.follow("a[href='/connections']")
            assert person.text("[id='outputs.mes.state']") == "works"
            wait_for(lambda: person.find("body").get_attribute("data-live") == "yes", 30)
        station.push(png(0))
        wait_for(lambda: person.text("[id='outputs.mes.state']").startswith("fault: 127.0.0.1"), 30)
        wait_for(lambda: person.text("[id='outputs.mes.pending']") == "1", 30)
        for width in WIDTHS:
            person.resize(width)
            content, window = browser.widths()
            assert content <= window, f"it scrolls sideways at {width} px"
            browser.screenshot(shots / f"station-connections-fault-{width}.png")
        if axe:
            assert violations(person, Path(axe)) == []
        with listening(receiver, port):
            wait_for(lambda: person.text("[id='outputs.mes.state']") == "works", 30)
            person.follow("[id='outputs.mes.switch'] button")
            assert person.text("[id='outputs.mes.state']") == "switched off"
            # A connection that is new appears by itself.
            add_simulator(station, tmp_path / "camera")
            wait_for(lambda: person.driver.find_elements("css selector", "[id='sources.cam.state']"), 30)
        person.check_quiet()
