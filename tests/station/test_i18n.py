"""The pages' languages: every text is translated, and no page holds a text that is not in the catalogues."""

from __future__ import annotations

import io
import re
import string
from pathlib import Path

import pytest

from patchebm.station.i18n import DOMAIN, LANGUAGES, LOCALES, negotiated, translations

babel = pytest.importorskip("babel", reason="babel is not installed (extra dev)")
TEMPLATES = LOCALES.parent / "web" / "templates"
OTHERS = [language for language in LANGUAGES if language != "en"]
# Words that are the same everywhere: verdicts, units, keys, names of identifiers.
NOT_WORDS = {"OK", "NG", "ms", "MB", "SHA-256", "B", "G", "D", "U", "N", "R", "S", "n", "patchebm", "F"}


def extracted() -> set[str]:
    """Every text that the source marks for translation, first forms alone."""
    from babel.messages.extract import extract_from_dir

    methods = [("web/templates/**.html", "jinja2"), ("**.py", "python")]
    options = {"web/templates/**.html": {"newstyle_gettext": "true", "trimmed": "true", "silent": "false"}}
    keywords = {"_": None, "gettext": None, "ngettext": (1, 2), "noop": None}
    found = extract_from_dir(LOCALES.parent, methods, options, keywords)
    return {message if isinstance(message, str) else message[0] for _, _, message, *_ in found}


def catalogue(language: str):
    from babel.messages.pofile import read_po

    with (LOCALES / language / "LC_MESSAGES" / f"{DOMAIN}.po").open("rb") as file:
        return read_po(file)


@pytest.mark.parametrize("language", OTHERS)
def test_every_text_is_translated_with_the_same_fields(language: str) -> None:
    messages = {m.id if isinstance(m.id, str) else m.id[0]: m for m in catalogue(language) if m.id}
    assert set(messages) == extracted()
    assert len(messages) > 200
    for text, message in messages.items():
        forms = [message.string] if isinstance(message.string, str) else list(message.string)
        for form in forms:
            assert form.strip(), text
            assert sorted(re.findall(r"%\(\w+\)s|%%", form)) == sorted(re.findall(r"%\(\w+\)s|%%", text)), (
                text
            )


@pytest.mark.parametrize("language", OTHERS)
def test_what_is_installed_is_what_was_translated(language: str) -> None:
    from babel.messages.mofile import write_mo

    packed = io.BytesIO()
    write_mo(packed, catalogue(language))
    stored = (LOCALES / language / "LC_MESSAGES" / f"{DOMAIN}.mo").read_bytes()
    assert stored == packed.getvalue(), "run `make locales`"


@pytest.mark.parametrize("template", sorted(TEMPLATES.glob("*.html")), ids=lambda path: path.name)
def test_no_template_holds_a_text_that_is_not_translated(template: Path) -> None:
    source = template.read_text(encoding="utf-8")
    # What stands between these tags is a class of the style sheet.
    source = re.sub(r"{% block body_class %}.*?{% endblock %}", "", source)
    plain = re.sub(r"{#.*?#}|{%.*?%}|{{.*?}}", " ", source, flags=re.S)
    labels = re.findall(r'(?:aria-label|alt|title)="([^"]*)"', plain)
    shown = re.sub(r"<!doctype html>|<[^>]*>", " ", plain)
    words = {word.strip(string.punctuation + "·→–−+…✓~") for word in re.split(r"\s+", shown) + labels}
    assert {word for word in words if re.search(r"[^\W\d_]", word)} <= NOT_WORDS


def test_a_browser_gets_the_first_language_that_it_asks_for() -> None:
    assert negotiated("fr-FR,fr;q=0.9,de-CH;q=0.8,en;q=0.7") == "de"
    assert negotiated("en;q=0.3, ko;q=0.5") == "ko"
    assert negotiated("fr, *;q=x") is None
    assert translations("de").gettext("History") == "Verlauf"
    assert translations("en").gettext("History") == "History"
