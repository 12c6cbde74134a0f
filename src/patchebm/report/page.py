"""This module writes pages: one HTML file with everything in it, readable offline and on a phone."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from PIL import Image

from patchebm import __version__
from patchebm.evaluation.summary import markdown_cell
from patchebm.files import write_text
from patchebm.images.folders import GOOD
from patchebm.report.table import cell, number, percent

if TYPE_CHECKING:
    # The base install draws pages, but no charts.
    from matplotlib.figure import Figure as Chart

PAGE = "report.html"
"""What the page of an evaluation or of a demo is called in its folder."""

# An image in the gallery is at most this wide (pixels) and takes at most so many bytes: sixty of them and
# the charts must fit in one file of 15 MB, and base64 adds a third.
_GALLERY_WIDTH = 1024
_GALLERY_BYTES = 150_000
_JPEG_QUALITY = 85


@dataclass(frozen=True)
class Embedded:
    """This class is an image as a data URI, with the size at which it is shown.

    `is_chart` tells a drawing, whose lightness may be turned round on a dark page, from a photograph.
    """

    uri: str
    width: int
    height: int
    is_chart: bool = False


def render(template: str, **values: Any) -> str:
    """Returns the text that a template of `report/templates` makes of values; in HTML they are escaped."""
    # StrictUndefined: a value that a template asks for and that is not there is an error, not a gap.
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "percent": percent, "cell": cell}
    environment.filters |= {"embedded": embedded, "photo": embedded_photo, "bar": markdown_cell}
    environment.globals |= {"version": __version__, "GOOD": GOOD}
    return environment.get_template(template).render(values)


def write_page(path: str | Path, template: str, **values: Any) -> None:
    """Writes one self-contained HTML file: no scripts, no network, images as data URIs, light and dark.

    Args:
        path: file to write, atomically.
        template: its name in `report/templates`.
        values: what the template shows.

    Raises:
        PatchebmError: the file cannot be written; names it.
    """
    write_text(path, render(template, **values))


def embedded(image: Chart | Image.Image) -> Embedded:
    """Embeds a chart or an image as PNG."""
    stream = io.BytesIO()
    if not isinstance(image, Image.Image):
        # Drawn at twice the size at which it is shown, for sharp text on dense screens.
        image.savefig(stream, format="png", dpi=200, facecolor="white")
        with Image.open(stream) as drawn:
            width, height = drawn.width // 2, drawn.height // 2
        # A chart that holds images must keep their colours on a dark page.
        is_chart = not any(axes.images for axes in image.axes)
        return Embedded(_data_uri("png", stream), width, height, is_chart)
    image.save(stream, format="png")
    return Embedded(_data_uri("png", stream), image.width, image.height)


def embedded_photo(image: Image.Image) -> Embedded:
    """Embeds an image as JPEG of bounded width and size: noise takes many bytes."""
    rgb = image.convert("RGB")
    width = min(rgb.width, _GALLERY_WIDTH)
    while True:
        small = rgb
        if width < rgb.width:
            height = max(1, round(rgb.height * width / rgb.width))
            small = rgb.resize((width, height), Image.Resampling.LANCZOS)
        stream = io.BytesIO()
        small.save(stream, format="jpeg", quality=_JPEG_QUALITY)
        if stream.tell() <= _GALLERY_BYTES or width <= 64:
            return Embedded(_data_uri("jpeg", stream), small.width, small.height)
        width = width * 3 // 4


def _data_uri(kind: str, stream: io.BytesIO) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"
