"""This module makes progress bars for terminals, and none for log files."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm


def progress_bar(total: int, label: str, unit: str, **settings: Any) -> tqdm[Any]:
    """Returns a bar on standard error, where that is a terminal; one inside another goes when it is full.

    Args:
        total: steps or images.
        label: in front of the bar.
        unit: what is counted.
        settings: further ones of tqdm.
    """
    return tqdm(
        total=total,
        desc=label,
        unit=unit,
        mininterval=0.2,
        # In a log file or a pipe a bar is nothing but noise.
        disable=not sys.stderr.isatty(),
        dynamic_ncols=True,
        file=sys.stderr,
        **({"leave": None} | settings),
    )
