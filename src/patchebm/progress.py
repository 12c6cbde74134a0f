"""This module makes progress bars that suit a terminal as well as a log file."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm


def progress_bar(total: int, label: str, unit: str, **settings: Any) -> tqdm[Any]:
    """Returns a bar on standard error; one inside another goes when it is full.

    Args:
        total: steps or images.
        label: in front of the bar.
        unit: what is counted.
        settings: further ones of tqdm.
    """
    # In a log file a line every five seconds is enough.
    interval = 0.2 if sys.stderr.isatty() else 5.0
    return tqdm(
        total=total,
        desc=label,
        unit=unit,
        mininterval=interval,
        dynamic_ncols=True,
        file=sys.stderr,
        **({"leave": None} | settings),
    )
