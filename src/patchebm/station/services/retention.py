"""This module deletes images that are older than they are to be kept, or fill the disk.

Images of good parts go first. Parts that were NG keep theirs until they were reviewed. Rows are never
deleted.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Any, Protocol

from sqlalchemy import and_, or_, select, update
from sqlalchemy.orm import Session

from patchebm.station.database.base import first_id, now
from patchebm.station.database.history import Inspection
from patchebm.station.services import messages, options
from patchebm.station.services.options import Options
from patchebm.station.storage import Storage

# Images that are deleted in one transaction.
BATCH = 200


class OpenSession(Protocol):
    """This class opens a session of one transaction."""

    def __call__(self, *, write: bool = False) -> AbstractContextManager[Session]:
        """Yields the session."""
        ...


def apply(
    open_session: OpenSession,
    storage: Storage,
    *,
    stop: threading.Event | None = None,
    time: datetime | None = None,
) -> int:
    """Deletes what the options say.

    Args:
        open_session: opens the database.
        storage: holds the images.
        stop: ends it early.
        time: that counts as now.

    Returns:
        The bytes that were freed.
    """
    stop, time = stop or threading.Event(), time or now()
    with open_session() as session:
        chosen = options.read(session)
    freed = 0
    for condition in _too_old(chosen, time):
        while not stop.is_set() and (deleted := _delete(open_session, storage, condition)) is not None:
            freed += deleted
    for condition in (_good(), _ng_reviewed()):
        while not stop.is_set() and storage.used_share() > chosen.disk_share:
            deleted = _delete(open_session, storage, condition)
            if deleted is None:
                break
            freed += deleted
    if chosen.outbox_days and not stop.is_set():
        with open_session(write=True) as session:
            messages.forget_sent(session, time - timedelta(days=chosen.outbox_days))
    return freed


def _good() -> Any:
    """Parts that were OK and that nobody called defective, and NG ones that were confirmed good."""
    ok = and_(Inspection.anomalous.is_(False), or_(Inspection.review.is_(None), Inspection.review == "good"))
    return or_(ok, Inspection.review == "good")


def _ng_reviewed() -> Any:
    """All others, once a person has looked at them."""
    return Inspection.review.in_(("defective", "unsure"))


def _too_old(chosen: Options, time: datetime) -> Iterator[Any]:
    for days, condition in ((chosen.good_days, _good()), (chosen.ng_days, _ng_reviewed())):
        if days:
            yield and_(condition, Inspection.id < first_id(time - timedelta(days=days)))


def _delete(open_session: OpenSession, storage: Storage, condition: Any) -> int | None:
    """Deletes the oldest images of a kind. Returns the bytes that it freed, or None if there was none."""
    query = select(Inspection.id, Inspection.image_format).where(
        Inspection.image_deleted.is_(None), condition
    )
    with open_session(write=True) as session:
        rows = session.execute(query.order_by(Inspection.id).limit(BATCH)).all()
        if not rows:
            return None
        ids = [row.id for row in rows]
        session.execute(update(Inspection).where(Inspection.id.in_(ids)).values(image_deleted=now()))
    # Behind the commit: a row that promises an image which is gone would be worse than a file too many.
    return sum(storage.delete(row.id, row.image_format) for row in rows)
