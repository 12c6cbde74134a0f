"""What a user may have meant by a misspelt word."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> str:
    """Returns ` (did you mean '...'?)`, or nothing if no known word is near."""
    found = nearest_word(word, known)
    return f" (did you mean '{found}'?)" if found else ""


def nearest_word(word: str, known: Iterable[str]) -> str | None:
    """Returns the known word nearest to `word`, or None."""
    known = list(known)
    found = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    if not found:
        # A key may be right and stand in the wrong section, so its last part is compared as well.
        tails = {name.rsplit(".", 1)[-1]: name for name in reversed(known)}
        near = difflib.get_close_matches(word.rsplit(".", 1)[-1], tails, n=1, cutoff=0.6)
        found = [tails[n] for n in near]
    return found[0] if found else None
