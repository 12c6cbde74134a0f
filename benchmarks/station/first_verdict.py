"""From `pip install` to the first verdict in a browser, as a new user does it by docs/station/engineer.md."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx

from benchmarks.waiting import wait

ROOT = Path(__file__).resolve().parents[2]
PASSWORD = "a password for the trial"
SECONDS = 60.0


class Browser:
    """A browser whose clicks are counted; what is typed, and addresses that the terminal shows, are not."""

    def __init__(self, profile: Path) -> None:
        from selenium import webdriver

        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium") or shutil.which("google-chrome") or ""
        for option in (
            "--headless=new",
            "--no-sandbox",
            "--disable-dev-shm-usage",
            f"--user-data-dir={profile}",
        ):
            options.add_argument(option)
        service = webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
        self.driver = webdriver.Chrome(options=options, service=service)
        self.clicks = 0

    def fill(self, selector: str, value: str) -> None:
        """Types into a field, or chooses a file, which is a click more."""
        field = self.driver.find_element("css selector", selector)
        self.clicks += field.get_attribute("type") == "file"
        field.send_keys(value)

    def click(self, selector: str, arrived: str) -> None:
        """Clicks, and waits for what the next page shows."""
        self.driver.find_element("css selector", selector).click()
        self.clicks += 1
        wait(lambda: bool(self.driver.find_elements("css selector", arrived)), SECONDS)


def measure(model: Path, image: bytes) -> dict[str, Any]:
    """Returns the seconds and clicks until a part's verdict stands in the browser, and what was installed.

    Args:
        model: a bundle, which is uploaded in the browser.
        image: of the part, which is pushed as a controller pushes it.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
        program, place = folder / "venv" / "bin" / "patchebm", str(folder / "station")
        (folder / "password").write_text(PASSWORD)
        began = time.monotonic()
        pip = [
            str(folder / "venv" / "bin" / "pip"),
            "install",
            "--quiet",
            "-c",
            str(ROOT / "constraints.txt"),
        ]
        subprocess.run([*pip, f"{ROOT}[station]"], check=True)
        installed = time.monotonic() - began

        def station(*words: str) -> str:
            command = [str(program), "station", *words]
            return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

        station("init", place)
        station("user", "add", place, "anna", "--role", "admin", "--password-file", str(folder / "password"))
        token = station("token", "add", place, "camera", "--role", "operator")
        command = [str(program), "station", "serve", place, "--port", "0"]
        served = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        stack.callback(_end, served)
        assert served.stdout is not None
        url = served.stdout.readline().split()[1]
        browser = Browser(folder / "profile")
        stack.callback(browser.driver.quit)
        browser.driver.get(url)
        browser.fill("[name=name]", "anna")
        browser.fill("[name=password]", PASSWORD)
        browser.click("main button", "[name=title]")
        browser.fill("[name=name]", "part")
        browser.click("main form button", "input[type=file]")
        browser.fill("input[type=file]", str(model))
        browser.click("form[enctype] button", "button[name=version]")
        browser.click("button[name=version]", ".active")
        browser.click("a[href='/line/part']", "#line[data-live=yes]")
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "image/jpeg"}
        httpx.post(
            f"{url}/api/v1/products/part/inspections", content=image, headers=headers
        ).raise_for_status()
        wait(lambda: bool(browser.driver.find_elements("css selector", "#verdict.ok, #verdict.ng")))
        return {
            "seconds": round(time.monotonic() - began),
            "of_these_pip": round(installed),
            "clicks": browser.clicks,
        }


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    process.wait(SECONDS)


def row(found: dict[str, Any]) -> tuple[str, str, str]:
    """The row of the table."""
    return (
        "from `pip install` to the first verdict in the browser, with a bundle at hand",
        f"{found['seconds']} s, of which pip {found['of_these_pip']} s, and {found['clicks']} clicks",
        "2 minutes and 6 clicks or less",
    )
