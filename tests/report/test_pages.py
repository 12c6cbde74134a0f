"""A page is one well-formed file that needs nothing else and lets no name act as markup."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure as Chart
from PIL import Image

from patchebm.check.result import check_set
from patchebm.config.presets import load_preset
from patchebm.errors import PatchebmError
from patchebm.evaluation.comparison import compare_runs
from patchebm.evaluation.metrics import MAIN
from patchebm.images.decoding import STANDARD
from patchebm.images.folders import open_image_set
from patchebm.report.charts import score_figure
from patchebm.report.check_page import write_check_page
from patchebm.report.compare_page import write_compare_page
from patchebm.report.evaluation_page import summary, write_evaluation_page
from patchebm.report.gallery import GalleryItem
from patchebm.report.page import embedded, embedded_photo, write_page
from patchebm.report.table import Table
from patchebm.report.training_log import TrainingFigure
from patchebm.runtime.prediction import Prediction
from tests.simple_predictor import VALUES, evaluated
from tests.tiny import write_good

NASTY = "<script>alert('x')</script> \"&amp; {{ 7 * 7 }} {% raw %} $\\frac{ é 中"
VOID = {"meta", "img", "br", "link", "input"}


class Checker(HTMLParser):
    """Checks that tags are balanced and collects what a test asks about."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


def parse(path: Path) -> tuple[str, Checker]:
    page = path.read_text(encoding="utf-8")
    checker = Checker()
    checker.feed(page)
    checker.close()
    assert checker.open == []
    return page, checker


def noise(width: int = 40, height: int = 20) -> Image.Image:
    return Image.effect_noise((width, height), 60).convert("RGB")


def item(name: str = "a.png", truth: str = "", anomalous: bool = False, **levels: float) -> GalleryItem:
    prediction = Prediction(name, 1.5, anomalous, 1.0, 0.1, False, levels or {"level": 1.5})
    return GalleryItem(name, truth, prediction, noise(), "clearest" if truth else "")


@pytest.fixture(scope="module")
def results(data: Path) -> dict[str, Any]:
    return evaluated(data)


def renamed(results: dict[str, Any], **names: str) -> dict[str, Any]:
    """Results in which a defect and a level are called otherwise, wherever they occur."""
    text = json.dumps(results)
    for old, new in names.items():
        text = text.replace(f'"{old}"', json.dumps(new))
    found: dict[str, Any] = json.loads(text)
    return found


def evaluation(folder: Path, results: dict[str, Any], name: str = "a.png") -> tuple[str, Checker]:
    training = [
        TrainingFigure(name, "loss", score_figure({"good": [1.0]}, 2.0)),
        TrainingFigure(name, "negatives", noise()),
    ]
    gallery = [item(name, name, **{name: 1.5}), item()]
    write_evaluation_page(folder / "report.html", results, gallery, training)
    return parse(folder / "report.html")


def comparison(folder: Path, by_set: dict[str, dict[str, dict[str, Any]]]) -> tuple[str, Checker]:
    write_compare_page(folder / "compare.html", by_set, compare_runs(by_set))
    return parse(folder / "compare.html")


def demo(folder: Path, results: dict[str, Any], name: str) -> tuple[str, Checker]:
    product = {"name": name, "gallery": [item(name)], "training": [], **summary(results)}
    overview = Table(name, ["product", name], [[name, 1.0]])
    products = [product, product]
    write_page(folder / "demo.html", "demo.html", title=name, overview=overview, products=products, MAIN=MAIN)
    return parse(folder / "demo.html")


def checked(folder: Path, name: str) -> tuple[str, Checker]:
    """The page of a check of seven good parts, one of which is there twice."""
    # A name of a file holds no slash.
    data = write_good(folder / name.replace("/", "|"), 7)
    shutil.copy(data / "001.png", data / "003.png")
    check = check_set(open_image_set(data), load_preset("features"), STANDARD)
    write_check_page(folder / "check.html", check, f"patchebm train {name}")
    return parse(folder / "check.html")


def test_nasty_names_stay_text_on_every_page(results: dict[str, Any], tmp_path: Path) -> None:
    nasty = renamed(results, crack=NASTY, contrast=NASTY, flange=NASTY)
    nasty["warnings"] = [NASTY]
    nasty["made_by"]["command"] = ["patchebm", "evaluate", NASTY]
    # Title twice; verdicts, tables, captions, the gallery and the facts of the run.
    pages = {
        "evaluation": (evaluation(tmp_path, nasty, NASTY), 12),
        "comparison": (comparison(tmp_path, {NASTY: {NASTY: nasty, "other": nasty}}), 4),
        "demo": (demo(tmp_path, nasty, NASTY), 12),
        # The command alone keeps the slash of the name.
        "check": (checked(tmp_path, NASTY), 1),
    }
    for page, ((content, checker), count) in pages.items():
        assert checker.all("script") == [], page
        assert "<script" not in content, page
        assert checker.text.count(NASTY) >= count, page
        assert not re.findall(r"\b49\b", checker.text), page
        # Nothing got out of an attribute: these are the only ones there are.
        known = {"class", "src", "width", "height", "alt"}
        assert all(set(attrs) == known for attrs in checker.all("img")), page
        assert any(NASTY in (attrs["alt"] or "") for attrs in checker.all("img")) or page == "check"


def test_the_file_needs_no_network_and_no_script(results: dict[str, Any], tmp_path: Path) -> None:
    by_set = {"part": {"first": results, "second": results}}
    for page, checker in (
        evaluation(tmp_path, results),
        comparison(tmp_path, by_set),
        demo(tmp_path, results, "part"),
        checked(tmp_path, "part"),
    ):
        for _, attrs in checker.tags:
            assert "src" not in attrs or (attrs["src"] or "").startswith("data:image/")
            assert (attrs.get("href") or "#").startswith("#")
            assert not {"srcset", "style", "action", "background"} & set(attrs)
            assert not [name for name in attrs if name.startswith("on")]
        without_images = re.sub(r"data:image/[a-z]+;base64,[A-Za-z0-9+/=]+", "", page)
        for reference in ("http", "url(", "@import", "<script", "<link", "<iframe"):
            assert reference not in without_images


def test_contents_lead_to_the_sections(results: dict[str, Any], tmp_path: Path) -> None:
    several = {name: {"first": results, "second": results} for name in ("one", "two")}
    for _, checker in (
        evaluation(tmp_path, results),
        comparison(tmp_path, several),
        demo(tmp_path, results, "part"),
        checked(tmp_path, "part"),
    ):
        anchors = [attrs["id"] for attrs in checker.all("section")]
        assert [attrs["href"] for attrs in checker.all("a")] == [f"#{anchor}" for anchor in anchors]
        assert len(set(anchors)) == len(anchors) >= 2
    _, alone = comparison(tmp_path, {"one": several["one"]})
    assert alone.all("nav") == []


def test_images_decode_and_have_their_size(results: dict[str, Any], tmp_path: Path) -> None:
    _, checker = evaluation(tmp_path, results)
    images = checker.all("img")
    # Scores, ROC, two of the gallery, tail probabilities, two of training.
    assert len(images) == 7
    for attrs in images:
        kind, data = (attrs["src"] or "").removeprefix("data:").split(";base64,")
        with Image.open(io.BytesIO(base64.b64decode(data, validate=True))) as image:
            image.load()
        assert Image.MIME[image.format or ""] == kind
        shown = (int(attrs["width"] or 0), int(attrs["height"] or 0))
        scale = 2 if attrs["class"] == "chart" else 1
        assert shown == (image.width // scale, image.height // scale)
        assert attrs["alt"]


def test_what_the_page_of_an_evaluation_says(results: dict[str, Any], tmp_path: Path) -> None:
    _, checker = evaluation(tmp_path, results)
    words = " ".join(checker.text.split())
    bad, good = results["anomalous_count"], results["good_count"]
    assert f"{bad - results['miss_count']} of {bad} defective parts were found and" in words
    assert f"{results['false_alarm_count']} of {good} good ones were called anomalous" in words
    assert "false-alarm rate 0.2" in words
    assert f"The image AUROC is {results['image_auroc']:.3f}" in words
    hardest = min(results["per_defect"].values(), key=lambda facts: facts["image_auroc"])["image_auroc"]
    assert f"an image AUROC of {hardest:.3f}" in words or "scores above every good one" in words
    for name in VALUES:
        assert name in words
    assert "clearest case; as odd as 1 in 10 good parts" in words
    assert results["made_by"]["data_sha256"] in words
    assert "patchebm evaluate 'a run'" in words


@pytest.mark.parametrize("missing", ["good", "defects"])
def test_a_page_of_one_class_says_what_is_missing(
    results: dict[str, Any], tmp_path: Path, missing: str
) -> None:
    reason = "no good test images" if missing == "good" else "no anomalous test images"
    kept = [r for r in results["predictions"] if (r["defect"] == "good") == (missing == "defects")]
    changes: dict[str, Any] = {"predictions": kept, "not_computed": {"image_auroc": reason}}
    changes |= {"good_count": 0} if missing == "good" else {"anomalous_count": 0, "per_defect": {}}
    partial = {k: v for k, v in results.items() if k != "image_auroc"} | changes
    _, checker = evaluation(tmp_path, partial)
    words = " ".join(checker.text.split())
    assert f"There is no image AUROC: {reason}." in words
    assert f"not computed: image AUROC ({reason})" in words
    assert ("defective parts were found, at the threshold" in words) == (missing == "good")
    assert ("good parts were called anomalous, at the threshold" in words) == (missing == "defects")
    assert ("Tail probabilities" in words) == (missing == "defects")


@pytest.mark.parametrize(
    ("anomalous", "truth", "mark"),
    [
        (True, "good", "(false alarm)"),
        (False, "scratch", "(missed)"),
        (True, "scratch", None),
        (False, "good", None),
        (True, "", None),
        (False, "", None),
    ],
)
def test_wrong_verdicts_are_marked(
    results: dict[str, Any], tmp_path: Path, anomalous: bool, truth: str, mark: str | None
) -> None:
    write_evaluation_page(tmp_path / "p.html", results, [item("a", truth, anomalous)], [])
    _, checker = parse(tmp_path / "p.html")
    marks = [word for word in ("(false alarm)", "(missed)") if word in checker.text]
    assert marks == ([mark] if mark else [])
    assert next(attrs["class"] for attrs in checker.all("span")) == (
        f"verdict {'anomalous' if anomalous else 'good'}"
    )


def test_runs_are_compared_on_a_page(results: dict[str, Any], tmp_path: Path) -> None:
    other = json.loads(json.dumps(results))
    other["made_by"]["data_sha256"] = "another"
    _, checker = comparison(tmp_path, {"part": {"first": results, "second": results, "third": other}})
    words = " ".join(checker.text.split())
    assert "first less second +0.000" in words
    assert "first and third were not compared: they were evaluated on different images" in words
    assert "0 of 1 differences" in words


def test_large_images_are_made_smaller() -> None:
    shown = embedded_photo(noise(2400, 800))
    assert shown.width <= 1024
    assert shown.height == pytest.approx(shown.width / 3, abs=1)
    # Sixty of them stay under 15 MB, even of noise, which hardly any other image is as hard to pack as.
    assert len(shown.uri) * 60 < 13e6


def test_charts_with_images_keep_their_colours() -> None:
    chart = Chart()
    chart.add_subplot().imshow(np.zeros((2, 2)))
    assert not embedded(chart).is_chart
    assert embedded(score_figure({"good": [1.0]}, 2.0)).is_chart


def test_names_that_are_no_unicode_can_be_written(results: dict[str, Any], tmp_path: Path) -> None:
    name = b"teil-\xe9.png".decode("utf-8", "surrogateescape")
    write_evaluation_page(tmp_path / "p.html", results, [item(name)], [])
    assert "teil-\\udce9.png" in parse(tmp_path / "p.html")[1].text


def test_a_page_that_cannot_be_written_names_the_file(results: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(PatchebmError, match=r"report\.html"):
        write_evaluation_page(tmp_path / "file" / "report.html", results, [], [])
