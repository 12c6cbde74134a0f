"""The report is one well-formed file that needs nothing else and lets no name act as markup."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure as Chart
from PIL import Image

from patchebm.errors import PatchebmError
from patchebm.report.charts import roc_figure, score_figure
from patchebm.report.page import Figure, GalleryItem, ReportSection, Table, write_report

NASTY = "<script>alert('x')</script> \"&amp; $title ${sections} $\\frac{ é 中"
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


def image(width: int = 40, height: int = 20) -> Image.Image:
    return Image.effect_noise((width, height), 60).convert("RGB")


def item(**changes: object) -> GalleryItem:
    fields: dict[str, object] = {
        "name": "a.png",
        "score": 1.5,
        "anomalous": False,
        "truth": "",
        "image": image(),
    }
    return GalleryItem(**(fields | changes))  # type: ignore[arg-type]


def parse(path: Path) -> tuple[str, Checker]:
    page = path.read_text(encoding="utf-8")
    checker = Checker()
    checker.feed(page)
    checker.close()
    assert checker.open == []
    return page, checker


def write(tmp_path: Path, *sections: ReportSection, title: str = "bottle") -> tuple[str, Checker]:
    path = tmp_path / "report.html"
    write_report(path, title=title, sections=sections)
    return parse(path)


def full_section(name: str = "levels") -> ReportSection:
    scores = {"good": [0.1, 0.4, 0.2], name: [0.5, 1.5], "empty": []}
    curves = {name: ([False, False, True], [0.1, 0.6, 0.5]), "one class": ([True], [1.0])}
    return ReportSection(
        name=name,
        sentence=name,
        tables=[Table(name, ["set", name], [[name, 1.0], ["b", 0.5]])],
        figures=[
            Figure(name, score_figure(scores, threshold=0.45)),
            Figure("roc", roc_figure(curves), alt=name),
            Figure("chains", image()),
        ],
        gallery=[item(name=name, truth=name, note=name), item(image=image().convert("L"))],
    )


def test_nasty_names_stay_text(tmp_path: Path) -> None:
    page, checker = write(tmp_path, full_section(NASTY), full_section(NASTY), title=NASTY)
    assert checker.all("script") == []
    assert "<script" not in page
    # Title twice, in the head and on the page; per section the contents' link, heading, sentence, caption,
    # column and row of the table, caption of a figure, name, truth and note of an image.
    assert checker.text.count(NASTY) == 2 + 2 * 10
    alts = [attrs["alt"] or "" for attrs in checker.all("img")]
    assert sum(NASTY in alt for alt in alts) == 2 * 3
    # Nothing got out of an attribute: these are the only ones there are.
    known = {"class", "src", "width", "height", "alt"}
    assert all(set(attrs) == known or set(attrs) == known - {"class"} for attrs in checker.all("img"))


def test_the_file_needs_no_network_and_no_script(tmp_path: Path) -> None:
    page, checker = write(tmp_path, full_section("first"), full_section("second"))
    for _, attrs in checker.tags:
        assert "src" not in attrs or (attrs["src"] or "").startswith("data:image/")
        assert (attrs.get("href") or "#").startswith("#")
        assert not {"srcset", "style", "action", "background"} & set(attrs)
        assert not [name for name in attrs if name.startswith("on")]
    without_images = re.sub(r"data:image/[a-z]+;base64,[A-Za-z0-9+/=]+", "", page)
    for reference in ("http", "//", "url(", "@import", "<script", "<link", "<iframe"):
        assert reference not in without_images


def test_images_decode_and_have_their_size(tmp_path: Path) -> None:
    _, checker = write(tmp_path, full_section())
    images = checker.all("img")
    assert len(images) == 5
    for attrs in images:
        kind, data = (attrs["src"] or "").removeprefix("data:").split(";base64,")
        with Image.open(io.BytesIO(base64.b64decode(data, validate=True))) as image:
            image.load()
        assert Image.MIME[image.format or ""] == kind
        shown = (int(attrs["width"] or 0), int(attrs["height"] or 0))
        scale = 2 if attrs.get("class") == "chart" else 1
        assert shown == (image.width // scale, image.height // scale)
        assert attrs["alt"]


def test_contents_lead_to_the_sections(tmp_path: Path) -> None:
    _, checker = write(tmp_path, full_section("a"), full_section("b"))
    anchors = [attrs["id"] for attrs in checker.all("section")]
    assert [attrs["href"] for attrs in checker.all("a")] == [f"#{anchor}" for anchor in anchors]
    assert len(set(anchors)) == 2


def test_large_gallery_images_are_made_smaller(tmp_path: Path) -> None:
    _, checker = write(tmp_path, ReportSection("s", "t", gallery=[item(image=image(2400, 800))]))
    (attrs,) = checker.all("img")
    width, height = int(attrs["width"] or 0), int(attrs["height"] or 0)
    assert width <= 1024
    assert height == pytest.approx(width / 3, abs=1)
    # Sixty of them stay under 15 MB, even of noise, which hardly any other image is as hard to pack as.
    assert len(attrs["src"] or "") * 60 < 13e6


def test_numbers_are_formatted_and_set_right(tmp_path: Path) -> None:
    rows = [
        ["a", 0.98765, np.float32(12.34), 1234567, None, True, "1.5"],
        ["b", float("nan"), 0.00012, np.int64(3), 2.0, np.bool_(False), 2],
        ["c", 1e9, -0.5, 0, None, False, None],
    ]
    header = ["set", "f", "g", "n", "gap", "yes", "mixed"]
    page, _ = write(tmp_path, ReportSection("s", "t", tables=[Table("c", header, rows)]))
    cells = re.findall(r"<td( class=\"number\")?>([^<]*)</td>", page)
    assert [text for _, text in cells] == [
        *("0.988", "12.3", "1,234,567", "–", "yes", "1.5"),
        *("–", "1.2e-04", "3", "2.000", "no", "2"),
        *("1,000,000,000", "-0.500", "0", "–", "no", "–"),
    ]
    assert [bool(mark) for mark, _ in cells[:6]] == [True, True, True, True, False, False]
    assert page.count('<th scope="row">') == 3
    assert page.count('<th scope="col"') == 7


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
def test_wrong_verdicts_are_marked(tmp_path: Path, anomalous: bool, truth: str, mark: str | None) -> None:
    _, checker = write(tmp_path, ReportSection("s", "t", gallery=[item(anomalous=anomalous, truth=truth)]))
    marks = [word for word in ("(false alarm)", "(missed)") if word in checker.text]
    assert marks == ([mark] if mark else [])
    assert ("anomalous" if anomalous else "good") in [
        (attrs.get("class") or "").removeprefix("verdict ") for attrs in checker.all("span")
    ]


def test_a_row_of_another_length_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="1 cells under 2 headings"):
        write(tmp_path, ReportSection("s", "t", tables=[Table("c", ["a", "b"], [["x"]])]))
    assert not (tmp_path / "report.html").exists()


def test_names_that_are_no_unicode_can_be_written(tmp_path: Path) -> None:
    name = b"teil-\xe9.png".decode("utf-8", "surrogateescape")
    _, checker = write(tmp_path, ReportSection("s", "t", gallery=[item(name=name)]))
    assert "teil-?.png" in checker.text


def test_a_report_that_cannot_be_written_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(PatchebmError, match=r"report\.html"):
        write_report(tmp_path / "file" / "report.html", title="t", sections=[])


def test_charts_with_images_keep_their_colours(tmp_path: Path) -> None:
    chains = Chart()
    chains.add_subplot().imshow(np.zeros((2, 2)))
    figures = [Figure("chains", chains), Figure("scores", score_figure({"good": [1.0]}, 2.0))]
    _, checker = write(tmp_path, ReportSection("s", "t", figures=figures))
    assert [attrs["class"] for attrs in checker.all("img")] == ["photo", "chart"]


def test_score_figure_shows_every_score_and_the_threshold() -> None:
    chart = score_figure({"good": [0.0, 1.0, 1.0], "crack": [2.0, 5.0], "none": []}, threshold=1.5)
    (axes,) = chart.axes
    points = np.concatenate([np.asarray(marks.get_offsets()) for marks in axes.collections])
    assert sorted(points[:, 0]) == [0.0, 1.0, 1.0, 2.0, 5.0]
    # Rows 0 and 1, and equal scores do not lie on each other.
    assert sorted(np.rint(points[:, 1])) == [0, 0, 0, 1, 1]
    assert len({tuple(point) for point in points.tolist()}) == 5
    assert list(axes.lines[0].get_xdata()) == [1.5, 1.5]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["good (3)", "crack (2)"]


def test_roc_figure_names_the_auroc() -> None:
    chart = roc_figure({"patch": ([False, False, True], [0.1, 0.6, 0.5]), "x": ([True, True], [0.0, 1.0])})
    legend = chart.axes[0].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["chance", "patch: AUROC 0.500"]


@pytest.mark.parametrize("name", ["$\\frac{$", "$x$"])
def test_names_are_no_formulas(name: str) -> None:
    """Between two dollar signs matplotlib reads TeX, and raises where it cannot."""
    scores, rates = score_figure({name: [1.0]}, 0.0), roc_figure({name: ([False, True], [0.0, 1.0])})
    for chart in (scores, rates):
        chart.savefig(io.BytesIO(), format="png")
    texts = [*scores.axes[0].get_yticklabels(), rates.axes[0].get_legend().get_texts()[1]]  # type: ignore[union-attr]
    assert [text.get_parse_math() for text in texts] == [False, False]
