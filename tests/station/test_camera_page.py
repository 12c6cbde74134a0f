"""The page on which a camera is set up, in a real browser with a real stream."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser import open_browser, screenshots
from tests.station.running import noise_png, png, running, wait_for
from tests.station.streams import http_stream
from tests.station.test_station_browser import Person

pytestmark = pytest.mark.station

WIDTHS = (390, 1024)


def test_a_camera_is_set_up_with_a_live_picture(tmp_path: Path) -> None:
    pytest.importorskip("cv2", reason="opencv-python-headless not installed (extra camera)")
    shots = screenshots(tmp_path)
    with (
        running(tmp_path / "station", None) as station,
        http_stream("testsrc2=size=640x480:rate=10") as stream,
        open_browser(tmp_path / "profile") as browser,
    ):
        with station.client() as client:
            client.post("/api/v1/products", json={"name": "flange", "title": "Flange 40 mm"})
            body = {"name": "top", "product": "flange", "kind": "opencv", "settings": {"url": stream.url}}
            assert client.post("/api/v1/sources", json=body).status_code == 201
        person = Person(browser, station)
        person.resize(1024)
        person.sign_in("engineer")
        person.go("/products/flange")
        assert "Take and inspect an image" in person.text()
        person.follow("a[href$='/sources/top']")
        wait_for(lambda: person.find("#camera").get_attribute("data-live") == "yes", 30)
        wait_for(lambda: person.text(".size") == "640 × 480", 30)
        width = "return document.querySelector('.live').naturalWidth"
        wait_for(lambda: person.driver.execute_script(width) == 640, 20)
        assert float(person.text(".sharpness-value")) > 0
        assert not person.find("#state").is_displayed()
        for size in WIDTHS:
            person.resize(size)
            wide = person.driver.execute_script("return document.documentElement.scrollWidth")
            assert wide <= size
            person.page.screenshot(shots / f"camera-{size}.png")
        # What is stored opens the camera again, and wrong numbers are said.
        person.fill("[name=debounce]", "0.5")
        person.fill("[name=deadline]", "2")
        person.follow("#settings button")
        assert person.find("[name=debounce]").get_attribute("value") == "0.5"
        with station.client() as client:
            kept = client.get("/api/v1/sources").json()[0]["settings"]
        assert kept == {"url": stream.url, "debounce": 0.5, "deadline": 2, "trigger": "software"}
        # A camera that goes away is shown as away.
        wait_for(lambda: person.find("#camera").get_attribute("data-live") == "yes", 30)
        stream.kill()
        wait_for(lambda: person.find("#state").is_displayed(), 30)
        assert "127.0.0.1" in person.text("#state")
        person.page.screenshot(shots / "camera-away.png")
        person.check_quiet()


def test_the_line_shows_the_joined_verdict_as_it_comes(tmp_path: Path, bundle_file: Path) -> None:
    pytest.importorskip("cv2", reason="opencv-python-headless not installed (extra camera)")
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    good.write_bytes(png())
    bad.write_bytes(noise_png())
    with (
        running(tmp_path / "station", bundle_file) as station,
        http_stream(good, lossless=True) as left,
        http_stream(bad, lossless=True) as right,
        open_browser(tmp_path / "profile") as browser,
        station.client() as client,
    ):
        views = {
            view: {"kind": "opencv", "url": one.url, "frozen_after": 0}
            for view, one in (("left", left), ("right", right))
        }
        body = {"name": "sides", "product": "flange", "kind": "views"}
        body["settings"] = {"views": views, "ng_views": 2}
        assert client.post("/api/v1/sources", json=body).status_code == 201
        wait_for(lambda: station.station.sources.states()["sides"] == "", 30)
        person = Person(browser, station)
        person.sign_in("operator")
        person.go("/line/flange")
        wait_for(lambda: person.find("#line").get_attribute("data-live") == "yes", 30)
        joined = client.post("/api/v1/sources/sides/trigger", params={"part": "S-1"}).json()
        assert (joined["verdict"], joined["ng_views"]) == ("OK", 1)
        wait_for(lambda: person.text("#part") == "S-1", 20)
        assert person.find("#verdict").get_attribute("class") == "verdict ok"
        assert (person.text("#count-ok"), person.text("#count-ng")) == ("1", "0")
        # Each view stands in the strip, and has a page of its own.
        strip = person.driver.find_elements("css selector", "#parts a")
        assert sorted(one.get_attribute("class") for one in strip) == ["ng", "ok"]
        assert person.find("#image").get_attribute("src").endswith(joined["views"]["right"]["image"])
        person.check_quiet()
