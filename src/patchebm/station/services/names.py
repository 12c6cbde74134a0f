"""This module says which names the station takes, for products, users, tokens and all else that has one."""

from __future__ import annotations

import re
import unicodedata

from patchebm.errors import ConfigError

MAX_KEY = 128
"""Characters of an `Idempotency-Key`."""

_SLUG = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}\Z")
_PERSON = re.compile(r"[\w][\w.@+-]{0,63}\Z")


def slug(name: str, what: str) -> str:
    """Returns a name that stands in addresses and file names.

    Raises:
        ConfigError: it has other characters than lower-case letters, digits, `-` and `_`, or more than 64.
    """
    if not _SLUG.match(name):
        raise ConfigError(
            f"{what} '{name:.40}' cannot be used as a name; use up to 64 lower-case letters, "
            "digits, '-' and '_'"
        )
    return name


def person(name: str) -> str:
    """Returns a user's name, its letters composed the one way that is compared.

    Raises:
        ConfigError: it has characters other than letters, digits and `.@+-_`, or more than 64.
    """
    name = unicodedata.normalize("NFC", name)
    if not _PERSON.match(name):
        raise ConfigError(
            f"user '{name:.40}' cannot be used as a name; use up to 64 letters, digits and '.@+-_'"
        )
    return name


def line(text: str, what: str, most: int) -> str:
    """Returns text of one line without characters that are not shown.

    Raises:
        ConfigError: it is longer than `most` characters, or has such characters.
    """
    text = unicodedata.normalize("NFC", text.strip())
    if len(text) > most:
        raise ConfigError(f"{what} has {len(text)} characters; use {most} at most")
    if not text.isprintable():
        raise ConfigError(f"{what} has characters that cannot be shown; leave them out")
    return text


def key(text: str, most: int = MAX_KEY) -> str:
    """Returns an `Idempotency-Key`. Raises ConfigError if it is empty, too long, or no ASCII."""
    if not (0 < len(text) <= most and text.isascii() and text.isprintable()):
        raise ConfigError(f"Idempotency-Key must have 1 to {most} characters of ASCII")
    return text
