"""This module translates what pages say: gettext catalogues in `locales`, else English."""

from __future__ import annotations

import gettext
from functools import cache
from pathlib import Path

# Each with its own name for itself.
LANGUAGES = {"en": "English", "ko": "한국어", "de": "Deutsch"}
LOCALES = Path(__file__).parent / "locales"
DOMAIN = "station"


@cache
def translations(language: str) -> gettext.NullTranslations:
    """Returns the catalogue of a language; English needs none."""
    if language == "en":
        return gettext.NullTranslations()
    return gettext.translation(DOMAIN, LOCALES, [language])


def negotiated(accepted: str) -> str | None:
    """Returns the first language that a browser accepts and the station speaks; None if there is none.

    Args:
        accepted: the header `Accept-Language` (RFC 9110), such as `de-CH,de;q=0.9,en;q=0.8`.
    """
    wishes: list[tuple[float, str]] = []
    for wish in accepted[:200].split(","):
        name, _, quality = wish.strip().partition(";q=")
        try:
            wishes.append((-float(quality or 1), name.partition("-")[0].lower()))
        except ValueError:
            continue
    return next((name for _, name in sorted(wishes, key=lambda w: w[0]) if name in LANGUAGES), None)


def noop(text: str) -> str:
    """Returns a text as it is; marks it for the catalogues where it is translated later."""
    return text
