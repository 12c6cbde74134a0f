"""This module renders templates."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from patchebm.station.i18n import LANGUAGES, negotiated, translations
from patchebm.station.roles import Actor, Role

_WEB = Path(__file__).parents[1]
STATIC = _WEB / "static"


@cache
def environment(language: str) -> Environment:
    """Returns the templates in a language; everything in them is escaped, and an unknown name is an error."""
    found = Environment(
        loader=FileSystemLoader(_WEB / "templates"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    found.install_gettext_translations(translations(language), newstyle=True)  # type: ignore[attr-defined]
    found.filters.update(local=local_time, figure=figure, percent=percent)
    found.globals.update(Role=Role, languages=LANGUAGES, language=language)
    return found


def language_of(request: Request, actor: Actor | None) -> str:
    """Returns the language for a reader: the user's own, else the browser's, else English."""
    if actor is not None and actor.language in LANGUAGES:
        return str(actor.language)
    return negotiated(request.headers.get("accept-language", "")) or "en"


def translator(request: Request, actor: Actor | None) -> Callable[[str], str]:
    """Returns the function that translates for a reader; call it `_`, so that its texts are found."""
    return translations(language_of(request, actor)).gettext


def page(
    request: Request,
    template: str,
    actor: Actor | None,
    *,
    status: int = HTTPStatus.OK,
    headers: dict[str, str] | None = None,
    **context: Any,
) -> HTMLResponse:
    """Returns a page.

    Args:
        request: what is answered.
        template: name in `templates`.
        actor: who asks; None for those who have not signed in.
        status: of HTTP.
        headers: of the answer.
        **context: what the template shows; it also gets `request`, `actor` and `csrf_token`.
    """
    token = actor.csrf_token if actor is not None else ""
    found = environment(language_of(request, actor)).get_template(template)
    text = found.render(request=request, actor=actor, csrf_token=token, **context)
    return HTMLResponse(text, status, headers)


def error_page(request: Request, status: int, detail: str, headers: dict[str, str]) -> HTMLResponse:
    """Returns a page that says what is wrong."""
    title = HTTPStatus(status).phrase
    return page(request, "error.html", None, status=status, headers=headers, title=title, detail=detail)


def local_time(time: datetime | str) -> str:
    """Returns a time in the station's own zone, to a second."""
    moment = datetime.fromisoformat(time) if isinstance(time, str) else time
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def figure(value: float | None, digits: int = 3) -> str:
    """Returns a figure with some significant digits, and a dash for none."""
    # Rounded first: the format alone would write 170 as 1.7e+02.
    return "–" if value is None else f"{float(f'{value:.{digits}g}'):g}"


def percent(share: float | None) -> str:
    """Returns a share in percent, and a dash for none."""
    return "–" if share is None else f"{100 * share:.2g} %" if share < 0.1 else f"{100 * share:.0f} %"
