"""The report in a real Chromium: nothing is asked for, nothing is complained of, nothing sticks out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from patchebm.check.result import check_set
from patchebm.config.presets import load_preset
from patchebm.evaluation.comparison import compare_runs
from patchebm.images.decoding import STANDARD
from patchebm.images.folders import open_image_set
from patchebm.report.check_page import write_check_page
from patchebm.report.compare_page import write_compare_page
from patchebm.report.evaluation_page import write_evaluation_page
from patchebm.report.gallery import Gallery
from tests.browser import Page, open_browser, screenshots
from tests.simple_predictor import evaluated
from tests.tiny import write_set


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with open_browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def reports(page: Page, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Pages of an evaluation, a comparison and a check; after the browser, without which none is needed."""
    folder = tmp_path_factory.mktemp("reports")
    # A long name without a space is what breaks a narrow page.
    data = write_set(folder / "data").rename(folder / f"flange_{'x' * 60}")
    gallery = Gallery(lambda heat: (0.0, max(0.1, float(heat.max()))))
    results = evaluated(data, observe=gallery.offer)
    files = {which: folder / f"{which}.html" for which in ("report", "compare", "check")}
    write_evaluation_page(files["report"], results, gallery.items(), [])
    by_set = {data.name: {"first": results, "second": evaluated(data, levels=["contrast"])}}
    write_compare_page(files["compare"], by_set, compare_runs(by_set))
    check = check_set(open_image_set(data), load_preset("features"), STANDARD)
    write_check_page(files["check"], check, f"patchebm train {data}")
    return files


@pytest.mark.parametrize("which", ["report", "compare", "check"])
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, False), (390, True)])
def test_the_page_stands_alone_and_fits(
    page: Page, reports: dict[str, Path], tmp_path: Path, which: str, width: int, dark: bool
) -> None:
    file = reports[which]
    page.open(file, width=width, dark=dark, phone=width < 600)
    assert page.requests() == [file.resolve().as_uri()]
    assert page.console() == []
    content, window = page.widths()
    assert window == width
    assert content <= window
    broken = "return [...document.images].filter(i => !i.complete || i.naturalWidth === 0).length"
    assert page.driver.execute_script(broken) == 0
    shot = screenshots(tmp_path) / f"{which}_{width}_{'dark' if dark else 'light'}.png"
    page.screenshot(shot)
    with Image.open(shot) as image:
        assert image.width == width
        # The corner shows the page's own ground.
        assert (max(image.convert("RGB").getpixel((1, 1))) < 80) == dark  # type: ignore[arg-type,type-var]


def test_the_checks_notice_what_they_are_for(page: Page, tmp_path: Path) -> None:
    bad = tmp_path / "bad.html"
    bad.write_text(
        '<meta name="viewport" content="width=device-width"><script>console.error("oh")</script>'
        '<img src="other.png"><div style="width:900px">wide</div>'
    )
    page.open(bad, width=390, phone=True)
    assert any(url.endswith("other.png") for url in page.requests())
    assert any("oh" in line for line in page.console())
    assert page.widths()[0] > 390
