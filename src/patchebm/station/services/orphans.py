"""This module deletes images and maps of parts that were never stored.

A part's files lie on the disk before its row is committed. A process that is killed in between leaves files
that no row names: nobody finds them, and retention, which goes by rows, would never delete them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from patchebm.station.database.base import first_id, now
from patchebm.station.database.history import Inspection
from patchebm.station.storage import Storage

_log = logging.getLogger(__name__)

# Days whose folders are looked through: a process that was killed around midnight wrote into two.
DAYS = 2
# Parts that are asked for in one query.
BATCH = 500
# Files that are deleted, at most. What a killed process leaves are the parts that it had in hand; more are
# rather those of another database, of which somebody gave the wrong address.
MOST = 1000


def sweep(open_session: Callable[[], AbstractContextManager[Session]], storage: Storage) -> int:
    """Deletes files of parts without a row, in the folders of the newest days.

    Parts that come while it runs are left alone.

    Args:
        open_session: opens the database.
        storage: holds the files.

    Returns:
        The number of files that were deleted.
    """
    begin = first_id(now())
    files = ((part, path) for part, path in storage.newest(DAYS) if part < begin)
    orphans: list[Path] = []
    while some := list(islice(files, BATCH)):
        query = select(Inspection.id).where(Inspection.id.in_({part for part, _ in some}))
        with open_session() as session:
            stored = set(session.scalars(query))
        orphans += [path for part, path in some if part not in stored]
    if len(orphans) > MOST:
        _log.error(
            "%d images and maps of the last days have no row in the database, which is more than a process "
            "that was killed leaves; none is deleted. Check that this is the database of this station",
            len(orphans),
        )
        return 0
    for path in orphans:
        path.unlink(missing_ok=True)
    return len(orphans)
