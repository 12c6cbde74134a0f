"""A real headless Chromium for tests of pages; skips where it or its driver is not installed."""

from __future__ import annotations

import base64
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

# Chromium asks its maker's hosts for updates at every start, unless told not to.
OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--hide-scrollbars", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--disable-dev-shm-usage",
)  # fmt: skip


class Page:
    """A page that is open, and what its browser noted."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, file: Path, *, width: int, dark: bool = False, phone: bool = False) -> None:
        """Open a file in a window of a width in CSS pixels."""
        metrics = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": phone}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.driver.get(file.resolve().as_uri())

    def requests(self) -> list[str]:
        """Addresses asked for since the last call, data URIs left out."""
        found = []
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                url = message["params"]["request"]["url"]
                if not url.startswith("data:"):
                    found.append(url)
        return found

    def console(self) -> list[str]:
        """What the console said since the last call."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def widths(self) -> tuple[int, int]:
        """Of the content and of the window; the first is larger where the page scrolls sideways."""
        script = "const e = document.documentElement; return [e.scrollWidth, e.clientWidth]"
        content, window = self.driver.execute_script(script)
        return int(content), int(window)

    def screenshot(self, file: Path) -> None:
        """Save the whole page, not just the window, as a PNG."""
        size = self.driver.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 16000), "scale": 1}
        shot = self.driver.execute_cdp_cmd(
            "Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip}
        )
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def open_browser(profile: Path) -> Iterator[Page]:
    """A browser with an empty profile in a folder."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed (extra dev)")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    chromedriver = shutil.which("chromedriver")
    if not chromium or not chromedriver:
        pytest.skip("no chromium with chromedriver (apt-get install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for option in (*OPTIONS, f"--user-data-dir={profile}"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(executable_path=chromedriver)
    driver = webdriver.Chrome(options=options, service=service)
    try:
        page = Page(driver)
        # The browser's own start page is none of ours.
        driver.get("about:blank")
        page.requests()
        yield page
    finally:
        driver.quit()


def screenshots(tmp_path: Path) -> Path:
    """Where screenshots are kept: $PATCHEBM_SCREENSHOTS, else a folder of the test."""
    return Path(os.environ.get("PATCHEBM_SCREENSHOTS", tmp_path / "screenshots"))
