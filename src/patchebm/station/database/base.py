"""This module holds what all tables share: the declarative base, times in UTC, ids that sort by time."""

from __future__ import annotations

import secrets
import uuid
from datetime import datetime, timedelta, timezone
from typing import Any, ClassVar

from sqlalchemy import DateTime, Dialect, MetaData, Table
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import JSON, TypeDecorator

# Names of constraints, so that migrations can name them on every database.
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class UtcDateTime(TypeDecorator[datetime]):
    """This class is a time with its zone, stored in UTC; SQLite, which has no zones, gets it without."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Returns what is stored. Raises ValueError for a time without a zone."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"time {value} has no zone")
        value = value.astimezone(timezone.utc)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Returns the time in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=timezone.utc) if value.tzinfo is None else value.astimezone(timezone.utc)


class Base(DeclarativeBase):
    """This is the base of all tables."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: UtcDateTime,
        dict[str, Any]: JSON(none_as_null=True),
        list[Any]: JSON(none_as_null=True),
    }


def table_of(kind: type[Base]) -> Table:
    """Returns the table of a class, for queries whose rows are to become no objects."""
    assert isinstance(kind.__table__, Table)
    return kind.__table__


def now() -> datetime:
    """Returns the time in UTC."""
    return datetime.now(timezone.utc)


def iso(time: datetime) -> str:
    """Returns a time as REST, webhooks and files write it: ISO 8601 in UTC, to a millisecond."""
    return time.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def time_id(time: datetime) -> uuid.UUID:
    """Returns a UUID of version 7 for a time: ids sort as their times do, to a microsecond.

    The 12 bits behind the millisecond hold its fraction (RFC 9562, section 6.2, method 3), since a trigger
    can follow another within a millisecond.

    Args:
        time: with its zone.
    """
    fraction = time.microsecond % 1000 * 4096 // 1000
    return uuid.UUID(int=_first_id(time) | fraction << 64 | secrets.randbits(62))


def first_id(time: datetime) -> uuid.UUID:
    """Returns the smallest id that `time_id` gives from a time on: a search by time is one by id."""
    return uuid.UUID(int=_first_id(time))


def _first_id(time: datetime) -> int:
    # In whole numbers: a float of this size rounds to a quarter of a microsecond, now and then downwards.
    milliseconds = max(0, (time - _EPOCH) // timedelta(milliseconds=1)) & (2**48 - 1)
    return milliseconds << 80 | 7 << 76 | 2 << 62
