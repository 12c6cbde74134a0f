"""The report: one HTML file with everything in it, readable without a network and on a phone."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template

import numpy as np
from matplotlib.figure import Figure as Chart
from PIL import Image

from patchebm import __version__
from patchebm.files import write_text

__all__ = ["Figure", "GalleryItem", "ReportSection", "Table", "Tile", "number", "write_report"]

# An image in the gallery is at most this wide (pixels) and takes at most so many bytes: sixty of them and
# the charts must fit in one file of 15 MB, and base64 adds a third.
_GALLERY_WIDTH = 1024
_GALLERY_BYTES = 150_000
_JPEG_QUALITY = 85


@dataclass(frozen=True)
class Table:
    """Rows under a header; the first column names the row.

    Cells are str, bool, int, float or None. Numbers are formatted and set flush right; None and values that
    are not finite show as a dash. Every row must be as long as the header.
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[object]]


@dataclass(frozen=True)
class Figure:
    """An image or a chart. `alt` says in words what it shows; the caption stands in where it is empty."""

    caption: str
    image: Image.Image | Chart
    alt: str = ""

    @property
    def is_chart(self) -> bool:
        """Whether it was drawn, and is not an image."""
        return isinstance(self.image, Chart)


@dataclass(frozen=True)
class Tile:
    """One figure, to be seen at a glance: what it is, its value as text, and what is to be said of it."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class GalleryItem:
    """One test image with its score and verdict.

    `truth` is "good", the name of the defect, or "" where it is unknown; where it contradicts the verdict the
    item is marked as a false alarm or as missed.
    """

    name: str
    score: float
    anomalous: bool
    truth: str
    image: Image.Image
    note: str = ""


@dataclass(frozen=True)
class ReportSection:
    """A heading, what it says in one sentence, and what supports it, in the order of the fields."""

    name: str
    sentence: str
    notes: Sequence[str] = ()
    tiles: Sequence[Tile] = ()
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    gallery: Sequence[GalleryItem] = ()


def write_report(path: str | Path, *, title: str, sections: Sequence[ReportSection]) -> None:
    """Write one self-contained HTML file: no scripts, no network, images as data URIs, light and dark.

    Args:
        path: file to write, atomically.
        title: heading of the report, plain text as all other texts are.
        sections: what it says, in this order.

    Raises:
        ValueError: a table has a row that is not as long as its header.
        PatchebmError: the file cannot be written; names it.
    """
    template = Template(Path(__file__).with_name("report.html").read_text(encoding="utf-8"))
    links = [f'<li><a href="#section-{i}">{escape(s.name)}</a></li>' for i, s in enumerate(sections, start=1)]
    contents = f'<nav aria-label="Contents"><ul>{"".join(links)}</ul></nav>' if len(links) > 1 else ""
    page = template.substitute(
        title=escape(title),
        contents=contents,
        sections="\n".join(_section(f"section-{i}", s) for i, s in enumerate(sections, start=1)),
        version=escape(__version__),
    )
    # A file name that is not valid UTF-8 reaches Python as lone surrogates, which cannot be written.
    write_text(path, page.encode("utf-8", "replace").decode("utf-8"))


def _section(anchor: str, section: ReportSection) -> str:
    """One section as HTML."""
    parts = [f"<h2>{escape(section.name)}</h2>", f'<p class="sentence">{escape(section.sentence)}</p>']
    if section.notes:
        parts.append(
            f'<ul class="notes">{"".join(f"<li>{escape(note)}</li>" for note in section.notes)}</ul>'
        )
    if section.tiles:
        parts.append(f'<dl class="tiles">{"".join(_tile(tile) for tile in section.tiles)}</dl>')
    parts += [_table(table) for table in section.tables]
    if section.figures:
        parts.append(f'<div class="figures">{"".join(_figure(figure) for figure in section.figures)}</div>')
    if section.gallery:
        items = "".join(_gallery_item(item) for item in section.gallery)
        parts.append(f'<ul class="gallery">{items}</ul>')
    return f'<section id="{anchor}">\n' + "\n".join(parts) + "\n</section>"


def _tile(tile: Tile) -> str:
    """A figure in large print."""
    note = f'<dd class="quiet">{escape(tile.note)}</dd>' if tile.note else ""
    return f'<div><dt>{escape(tile.label)}</dt><dd class="value">{escape(tile.value)}</dd>{note}</div>'


def _table(table: Table) -> str:
    """A table that scrolls by itself where the screen is narrow."""
    for row in table.rows:
        if len(row) != len(table.header):
            raise ValueError(f"table {table.caption!r}: {len(row)} cells under {len(table.header)} headings")
    columns = [[row[i] for row in table.rows if row[i] is not None] for i in range(len(table.header))]
    numeric = [bool(column) and all(map(_is_number, column)) for column in columns]
    marks = [' class="number"' if flag else "" for flag in numeric]
    headings = zip(table.header, marks, strict=True)
    head = "".join(f'<th scope="col"{mark}>{escape(text)}</th>' for text, mark in headings)
    body = []
    for row in table.rows:
        cells = [escape(_cell(value)) for value in row]
        first = f'<th scope="row"{marks[0]}>{cells[0]}</th>' if cells else ""
        rest = "".join(f"<td{mark}>{cell}</td>" for cell, mark in zip(cells[1:], marks[1:], strict=True))
        body.append(f"<tr>{first}{rest}</tr>")
    caption = escape(table.caption)
    # tabindex: what scrolls must be reachable with the keyboard.
    return (
        f'<div class="scroll" role="region" aria-label="{caption}" tabindex="0"><table>'
        f"<caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def _figure(figure: Figure) -> str:
    """A figure with its caption."""
    stream = io.BytesIO()
    if isinstance(figure.image, Chart):
        # Charts are turned dark on a dark page; one that holds images must keep their colours.
        kind = "photo" if any(axes.images for axes in figure.image.axes) else "chart"
        figure.image.savefig(stream, format="png", dpi=200, facecolor="white")
        with Image.open(stream) as drawn:
            # Drawn at twice the size it is shown at, for sharp text on dense screens.
            size = f'width="{drawn.width // 2}" height="{drawn.height // 2}"'
    else:
        kind = "photo"
        figure.image.save(stream, format="png")
        size = f'width="{figure.image.width}" height="{figure.image.height}"'
    alt = escape(figure.alt or figure.caption)
    image = f'<img class="{kind}" src="{_data_uri("image/png", stream)}" {size} alt="{alt}">'
    return f"<figure>{image}<figcaption>{escape(figure.caption)}</figcaption></figure>"


def _gallery_item(item: GalleryItem) -> str:
    """An image of the gallery with its score, verdict and truth."""
    image, stream = _jpeg(item.image.convert("RGB"))
    verdict = "anomalous" if item.anomalous else "good"
    truth = f"truth: {escape(item.truth)}" if item.truth else "truth unknown"
    if item.truth and item.anomalous != (item.truth != "good"):
        truth += f' <span class="wrong">({"false alarm" if item.anomalous else "missed"})</span>'
    note = f'<p class="quiet">{escape(item.note)}</p>' if item.note else ""
    alt = f"{item.name}: verdict {verdict}, score {number(item.score)}"
    size = f'width="{image.width}" height="{image.height}"'
    return (
        f'<li class="item"><img src="{_data_uri("image/jpeg", stream)}" {size} alt="{escape(alt)}">'
        f'<div class="about"><p class="name">{escape(item.name)}</p>'
        f'<p><span class="verdict {verdict}">{verdict}</span> score {number(item.score)}</p>'
        f'<p class="quiet">{truth}</p>{note}</div></li>'
    )


def _jpeg(image: Image.Image) -> tuple[Image.Image, io.BytesIO]:
    """An image no wider than the gallery, and its JPEG of bounded size: noise takes many bytes."""
    width = min(image.width, _GALLERY_WIDTH)
    while True:
        small = image
        if width < image.width:
            height = max(1, round(image.height * width / image.width))
            small = image.resize((width, height), Image.Resampling.LANCZOS)
        stream = io.BytesIO()
        small.save(stream, format="jpeg", quality=_JPEG_QUALITY)
        if stream.tell() <= _GALLERY_BYTES or width <= 64:
            return small, stream
        width = width * 3 // 4


def _data_uri(kind: str, stream: io.BytesIO) -> str:
    """The content of `stream` as a data URI."""
    return f"data:{kind};base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"


def _is_number(value: object) -> bool:
    """Whether a cell is set as a number; a bool is a yes or a no."""
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def _cell(value: object) -> str:
    """Text of a cell."""
    if value is None:
        return "–"
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (int, np.integer)):
        return f"{value:,}"
    if isinstance(value, (float, np.floating)):
        return number(float(value))
    return str(value)


def number(value: float) -> str:
    """Three decimals, or as many significant digits where that would show nothing or too much."""
    if not np.isfinite(value):
        return "–"
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}"
    if size >= 10:
        return f"{value:.1f}"
    if 0 < size < 0.001:
        return f"{value:.1e}"
    return f"{value:.3f}"
