"""This module keeps what engineers and admins change while the station runs."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from patchebm.config.nearest import nearest
from patchebm.errors import ConfigError
from patchebm.station.database.people import Setting
from patchebm.station.roles import Actor
from patchebm.station.services import audit


@dataclass(frozen=True)
class Options:
    """This class holds the options.

    Attributes:
        four_eyes: whether a second person must approve a calibration.
        good_days: days for which images of parts that were OK are kept; 0 for ever.
        ng_days: the same for parts that were NG, once they were reviewed.
        disk_share: share of the disk from which images of good parts go, oldest first.
        outbox_days: days for which sent messages are kept.
        drift_alarm_rate: probability of a drift alarm, ever, while nothing changes.
        review_share: share of parts that were OK which the review queue shows by chance, so that misses are
            found.
        shifts: start of each shift, `HH:MM` in local time.
        language: of pages, unless a user or the browser says another.
        sound: whether the operator's page sounds at NG.
    """

    four_eyes: bool = False
    good_days: float = 30
    ng_days: float = 365
    disk_share: float = 0.85
    outbox_days: float = 30
    drift_alarm_rate: float = 0.01
    review_share: float = 0.02
    shifts: str = "06:00 14:00 22:00"
    language: str = "en"
    sound: bool = False


def read(session: Session) -> Options:
    """Returns the options; what was never set is as in `Options`."""
    rows = session.execute(select(Setting.key, Setting.value)).all()
    known = {one.name for one in fields(Options)}
    return Options(**{row.key: json.loads(row.value) for row in rows if row.key in known})


def change(session: Session, actor: Actor, changes: dict[str, Any]) -> Options:
    """Changes some options.

    Raises:
        ConfigError: an option is unknown, or its value cannot be; names it.
    """
    before = read(session)
    known = {one.name: getattr(before, one.name) for one in fields(Options)}
    for key, value in changes.items():
        if key not in known:
            raise ConfigError(f"there is no option '{key:.40}'{nearest(key, known)}")
        _check(key, value, known[key])
    after = replace(before, **changes)
    for key in changes:
        session.merge(Setting(key=key, value=json.dumps(getattr(after, key))))
    session.flush()
    details = {
        key: [asdict(before)[key], asdict(after)[key]]
        for key in changes
        if getattr(before, key) != getattr(after, key)
    }
    audit.record(session, actor, "options.change", "", details)
    return after


def shift_starts(text: str) -> list[tuple[int, int]]:
    """Returns hour and minute of each shift's start. Raises ConfigError if the text holds none."""
    starts = []
    for word in text.split():
        hour, _, minute = word.partition(":")
        if not (hour.isdecimal() and minute.isdecimal() and int(hour) < 24 and int(minute) < 60):
            raise ConfigError(f"shifts: '{word:.20}' is no time of day; use for instance 06:00 14:00 22:00")
        starts.append((int(hour), int(minute)))
    if not starts:
        raise ConfigError("shifts is empty; use for instance 06:00 14:00 22:00")
    return sorted(starts)


def _check(key: str, value: Any, before: Any) -> None:
    if isinstance(before, bool) or isinstance(value, bool):
        right = isinstance(before, bool) and isinstance(value, bool)
    elif isinstance(before, float | int):
        right = isinstance(value, float | int) and math.isfinite(value) and value >= 0
        if key in ("disk_share", "drift_alarm_rate", "review_share"):
            right = right and 0 < value < 1
    else:
        right = isinstance(value, str) and len(value) <= 200
    if not right:
        raise ConfigError(f"option {key} cannot be {value!r:.40}")
    if key == "shifts":
        shift_starts(value)
    if key == "language" and value not in ("en", "ko", "de"):
        raise ConfigError(f"language {value!r:.10} is none of en, ko, de")
