"""The station in a real browser, as people use it: from the first start to a roll-back and a drift alarm.

Set $PATCHEBM_AXE to `axe.min.js` of the npm package axe-core for the check of accessibility (`.ci/run` does).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.browser import Page, open_browser, screenshots
from tests.station.running import PASSWORD, Running, png, running, wait_for
from tests.station.test_insights import light
from tests.station.test_roi import ROI, framed

pytestmark = pytest.mark.station

WIDTHS = (390, 1024, 1400)


class Person:
    """Someone who uses the station's pages."""

    def __init__(self, page: Page, station: Running) -> None:
        self.page, self.driver, self.station = page, page.driver, station

    def resize(self, width: int) -> None:
        metrics = {"width": width, "height": 768, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def go(self, path: str) -> None:
        self.driver.get(self.station.url + path)

    def find(self, selector: str) -> Any:
        return self.driver.find_element("css selector", selector)

    def text(self, selector: str = "main") -> str:
        return str(self.find(selector).text)

    def fill(self, selector: str, value: str) -> None:
        field = self.find(selector)
        field.clear()
        field.send_keys(value)

    def press(self, key: str) -> None:
        self.find("body").send_keys(key)

    def follow(self, selector: str) -> None:
        """Clicks what leads to another page, and waits until that page is there.

        A click alone returns before a slow station has answered: what is read then is still the page before.
        """
        self.driver.execute_script("window.pageBefore = true")
        self.find(selector).click()
        self.wait_for_page()

    def wait_for_page(self) -> None:
        """Waits until a page without the mark of the one before is complete."""
        from selenium.common.exceptions import WebDriverException

        arrived = "return !window.pageBefore && document.readyState === 'complete'"

        def there() -> bool:
            # Between two pages there is none to ask.
            with suppress(WebDriverException):
                return bool(self.driver.execute_script(arrived))
            return False

        wait_for(there, 60)

    def sign_in(self, name: str = "admin") -> None:
        self.go("/login")
        self.fill("[name=name]", name)
        self.fill("[name=password]", PASSWORD)
        self.follow("main button")

    def path(self) -> str:
        return str(self.driver.current_url).removeprefix(self.station.url)

    def check_quiet(self) -> None:
        """No error in the console, and nothing asked for elsewhere."""
        assert self.page.console() == []
        foreign = [url for url in self.page.requests() if not url.startswith((self.station.url, "blob:"))]
        assert foreign == []


@pytest.fixture
def person(tmp_path: Path) -> Iterator[Person]:
    with running(tmp_path / "station", None) as station, open_browser(tmp_path / "profile") as page:
        person = Person(page, station)
        person.resize(1024)
        yield person


def test_from_the_first_start_to_a_roll_back(
    person: Person, bundle_file: Path, openvino_file: Path, tmp_path: Path
) -> None:
    station, shots = person.station, screenshots(tmp_path)
    # First start: nobody is signed in, and there is no product.
    person.go("/history")
    assert person.path().startswith("/login")
    person.sign_in()
    assert "There is no product yet." in person.text()
    person.fill("[name=name]", "flange")
    person.fill("[name=title]", "Flange 40 mm")
    person.follow("main form button")
    assert person.path() == "/products/flange"

    # A model is uploaded, verified, and activated.
    person.find("input[type=file]").send_keys(str(bundle_file))
    person.follow("form[enctype] button")
    assert "Version 1" in person.text(".versions")
    person.follow("button[name=version]")
    assert "inspects now" in person.text(".versions")

    # The line shows each part as it comes.
    person.go("/line/flange")
    assert "Waiting for the first part" in person.text("#verdict")
    wait_for(lambda: person.find("#line").get_attribute("data-live") == "yes")
    first = station.push(png(0), part="F-001").json()
    wait_for(lambda: person.text("#part") == "F-001")
    bad = station.push(png(1, "missing", "test/missing"), part="F-002").json()
    wait_for(lambda: person.text("#part") == "F-002")
    # Word and shape, not colour alone.
    assert bad["verdict"] in person.text("#verdict")
    assert person.find(f"#verdict .sign.{bad['verdict'].lower()}").is_displayed()
    assert int(person.text("#count-ok")) + int(person.text("#count-ng")) == 2
    assert len(person.driver.find_elements("css selector", "#parts li")) == 2
    for i in range(2, 26):
        station.push(png(i), part=f"F-{i + 1:03d}")
    wait_for(lambda: person.text("#part") == "F-026", 30)
    assert len(person.driver.find_elements("css selector", "#parts li")) == 12

    # Review with the keyboard, from the line; nearly all parts are picked by chance.
    with station.client() as client:
        assert client.patch("/api/v1/options", json={"review_share": 0.999}).status_code == 200
    person.press("r")
    wait_for(lambda: person.path().startswith("/review"))
    person.wait_for_page()
    shown = person.find("main h2 a").get_attribute("href").rpartition("/")[2]
    person.press("m")
    assert person.find("#opacity").get_attribute("value") == "0"
    person.press("g")
    wait_for(lambda: shown not in person.driver.page_source)
    with station.client() as client:
        assert client.get(f"/api/v1/inspections/{shown}").json()["review"] == "good"

    # A part's page, with zoom.
    person.go(f"/parts/{first['id']}")
    person.find("[data-zoom='1.5']").click()
    assert "scale(1.5)" in person.find(".viewer .overlay").get_attribute("style")

    # The threshold is moved: the preview counts at once, and the station then uses it.
    person.go("/products/flange/calibration")
    wait_for(lambda: person.find("#preview").get_attribute("data-live") == "yes")
    person.fill("#value", "-100")
    assert person.text("#p-after") == "26"
    assert person.find("#histogram-threshold").get_attribute("x1") == "48"
    person.fill("#value", "1000")
    assert person.text("#p-after") == "0"
    person.fill("[name=note]", "seen in the trial")
    person.follow("main form[method=post] button:not([name])")
    assert "seen in the trial" in person.text("table")
    assert station.push(png(1, "missing", "test/missing"), part="F-100").json()["verdict"] == "OK"

    # Another version is compared, activated and rolled back.
    person.go("/products/flange")
    person.find("input[type=file]").send_keys(str(openvino_file))
    person.follow("form[enctype] button")
    person.follow("a[href$='/compare/2']")
    assert "27" in person.text(".facts")
    person.go("/products/flange")
    person.follow("button[name=version]")
    assert "Version 2 inspects now" in person.text(".active h3")
    person.follow("button[name=version]")
    assert "Version 1 inspects now" in person.text(".active h3")
    person.check_quiet()
    for width in WIDTHS:
        person.resize(width)
        person.go("/line/flange")
        person.page.screenshot(shots / f"station-line-{width}.png")


def test_a_drift_alarm_is_seen_and_every_page_fits_and_is_accessible(
    bundle_file: Path, tmp_path: Path
) -> None:
    shots = screenshots(tmp_path)
    with running(tmp_path / "station", bundle_file) as station, open_browser(tmp_path / "profile") as page:
        person = Person(page, station)
        person.resize(1024)
        for i in range(60):
            station.push(png(i) if i < 25 else light(png(i), 0.8), part=f"F-{i:03d}")
        person.sign_in()
        assert "Camera, light or product have changed." in person.text()
        part = station.client().get("/api/v1/inspections?limit=1").json()["items"][0]["id"]
        paths = {
            "home": "/", "line": "/line/flange", "history": "/history", "table": "/history?view=table",
            "part": f"/parts/{part}", "review": "/review", "rates": "/rates", "product": "/products/flange",
            "calibration": "/products/flange/calibration", "drift": "/products/flange/drift",
            "users": "/users", "account": "/account", "audit": "/audit", "connections": "/connections",
        }  # fmt: skip
        axe = os.environ.get("PATCHEBM_AXE")
        found: dict[str, list[str]] = {}
        for name, path in paths.items():
            for width in WIDTHS:
                person.resize(width)
                person.go(path)
                content, window = page.widths()
                assert content <= window, f"{name} scrolls sideways at {width} px"
                page.screenshot(shots / f"station-{name}-{width}.png")
            if axe:
                found[name] = violations(person, Path(axe))
        person.check_quiet()
        assert found == {name: [] for name in found}
        if not axe:
            pytest.skip("accessibility not checked: no axe-core ($PATCHEBM_AXE)")


def test_a_region_of_interest_is_drawn_and_shown(bundle_file: Path, tmp_path: Path) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    shots = screenshots(tmp_path)
    with running(tmp_path / "station", bundle_file) as station, open_browser(tmp_path / "profile") as page:
        person = Person(page, station)
        person.resize(1024)
        station.push(framed())
        person.sign_in()
        person.go("/products/flange")
        assert "The whole image is inspected." in person.text("#roi")
        image = person.find("#draw")
        # From x 40, y 16 to x 104, y 80 of 128 x 96 pixels; Selenium counts from the middle.
        across, down = image.size["width"] / 128, image.size["height"] / 96
        drawing = ActionChains(person.driver).move_to_element_with_offset(
            image, round((40 - 64) * across), round((16 - 48) * down)
        )
        drawing.click_and_hold().move_by_offset(round(64 * across), round(64 * down)).release().perform()
        drawn = {key: int(person.find(f"#roi-form [name={key}]").get_attribute("value")) for key in ROI}
        assert all(abs(drawn[key] - ROI[key]) <= 1 for key in ROI), drawn
        for key, value in ROI.items():
            person.fill(f"#roi-form [name={key}]", str(value))
            assert person.find("#roi-box").get_attribute(key) == str(value)
        person.follow("#roi-form button")
        assert "64 × 64 pixels from x 40, y 16 on." in person.text("#roi")
        part = station.push(framed(), part="F-001").json()
        assert part["roi"] == ROI
        for name, path in (("roi-product", "/products/flange"), ("roi-part", f"/parts/{part['id']}")):
            for width in WIDTHS:
                person.resize(width)
                person.go(path)
                content, window = page.widths()
                assert content <= window, f"{name} scrolls sideways at {width} px"
                page.screenshot(shots / f"station-{name}-{width}.png")
        assert person.find(".roi rect").get_attribute("width") == "64"
        # Taken away again.
        person.go("/products/flange")
        person.follow("[name=whole]")
        assert "The whole image is inspected." in person.text("#roi")
        person.check_quiet()


def violations(person: Person, axe: Path) -> list[str]:
    """What axe-core finds of WCAG 2.1 A and AA."""
    # By the developer tools: a script of the page itself would be refused by the pages' policy.
    person.driver.execute_script(axe.read_text(encoding="utf-8"))
    script = """
        const done = arguments[arguments.length - 1];
        axe.run({runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}).then((r) => done(r.violations));
    """
    found = person.driver.execute_async_script(script)
    return [f"{one['id']}: {node['html'][:120]}" for one in found for node in one["nodes"]]
