"""This module says which shift it is."""

from __future__ import annotations

from datetime import datetime, timedelta

from patchebm.station.services.options import Options, shift_starts


def start_of(options: Options, time: datetime) -> datetime:
    """Returns when the shift of a time began, in that time's zone.

    Args:
        options: whose `shifts` are starts in local time.
        time: in local time, with its zone.
    """
    starts = [
        time.replace(hour=hour, minute=minute, second=0, microsecond=0) - timedelta(days=days)
        for days in (0, 1)
        for hour, minute in shift_starts(options.shifts)
    ]
    return max(start for start in starts if start <= time)
