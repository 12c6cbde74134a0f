"""This module says whether there are enough images of good parts for a false-alarm rate."""

from __future__ import annotations

import math
from collections.abc import Sequence

from patchebm.errors import DataError
from patchebm.images.findings import Finding
from patchebm.images.folds import outer_folds, parts_of
from patchebm.runtime.threshold import parts_needed, rate_shown_by


def parts_shown(groups: Sequence[str | None]) -> int:
    """Returns how many physical parts images show, by their groups; None is a part of its own."""
    return len(set(parts_of(groups, consecutive=False)))


def rate_finding(groups: Sequence[str | None], rate: float) -> Finding:
    """Returns what the images support, by the rule of the threshold: one part in 1 / rate may lie above it.

    Args:
        groups: of images no two of which are copies, at least one.
        rate: that is asked for, in (0, 1).
    """
    parts, count = parts_shown(groups), len(groups)
    images = "1 image" if count == 1 else f"{count} images"
    shown = f"{images} of {parts} parts" if parts != count else images
    best = f"{shown} can show a false-alarm rate of {rate_text(rate_shown_by(parts))} at best"
    needed = parts_needed(rate)
    if parts >= needed:
        return Finding("rate", "note", f"{best}, which is enough for the {rate_text(rate)} asked for")
    shown_rate = _rounded_up(rate_shown_by(parts))
    return Finding(
        "rate",
        "warning",
        f"{best}, and {rate_text(rate)} is asked for: the threshold would rest on a fitted tail",
        f"give at least {needed} good parts, or ask for --false-alarm-rate {shown_rate:g}",
    )


def folds_finding(groups: Sequence[str | None], folds: int, seed: int, *, takes_few: bool) -> Finding | None:
    """Returns why images cannot be split as training splits them, or None if they can."""
    try:
        outer_folds(parts_of(groups, consecutive=False), folds, seed, takes_few=takes_few)
    except DataError as error:
        return Finding("too few parts", "error", str(error))
    return None


def rate_text(rate: float) -> str:
    """Returns a rate as a percentage of two digits."""
    return f"{100 * rate:.2g} %"


def _rounded_up(rate: float) -> float:
    """Returns a rate with two digits, not below it, and below 1."""
    step = 10.0 ** (math.floor(math.log10(rate)) - 1)
    return min(math.ceil(rate / step - 1e-9) * step, 0.99)
