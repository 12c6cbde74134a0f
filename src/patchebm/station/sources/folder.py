"""This module brings the images of a folder that a camera writes to; `patchebm.line.watch` finds them.

Nothing is lost and nothing is inspected twice: a file is done with once its row is committed, and the folder
is looked through again after each start. Files are left where they are.
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
import time
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from patchebm.config.nearest import nearest
from patchebm.errors import ConfigError, ImageError, PatchebmError
from patchebm.images.photo import Photo
from patchebm.line.watch import Arrival, FileState, FolderWatch
from patchebm.station.arrival import FileMark, Missed
from patchebm.station.database.history import SourceFile
from patchebm.station.sources.base import Context

_log = logging.getLogger(__name__)

# Files that are handed over before their verdicts are waited for.
BATCH = 16
# A scan may take this share of the time, however many images lie in the folder.
SCAN_SHARE = 0.1
_KEYS = ("folder", "settle", "poll")


class FolderSource:
    """This class brings the images of a folder.

    Args:
        context: of the station.
        settings: `folder`; `settle`, the seconds for which a file must not change before it is read;
            `poll`, the seconds between two scans.

    Raises:
        ConfigError: a setting is missing, unknown or cannot be.
    """

    def __init__(self, context: Context, settings: dict[str, Any]) -> None:
        for key in settings:
            if key not in _KEYS:
                raise ConfigError(f"a folder source has no setting '{key:.40}'{nearest(key, _KEYS)}")
        folder = settings.get("folder")
        if not isinstance(folder, str) or not Path(folder).is_absolute():
            raise ConfigError("a folder source needs folder, an absolute path")
        settle, self._poll = (
            _seconds(settings, key, default) for key, default in (("settle", 1.0), ("poll", 0.5))
        )
        self._context = context
        self._folder = folder
        self._done: set[bytes] = set()
        self._state = ""
        self._watch = FolderWatch(Path(folder), settle=settle, known=self._knows, say=self._say)

    def check(self) -> str | None:
        """Lists the folder. Returns what is wrong as a sentence, or None."""
        try:
            with os.scandir(self._folder) as entries:
                next(entries, None)
        except OSError as error:
            return f"the folder {self._folder} cannot be read ({error.strerror})"
        return None

    @property
    def state(self) -> str:
        """Returns one sentence on how it goes; "" if all is well."""
        return self._state

    def run(self) -> None:
        """Brings images until it is told to stop."""
        loaded = False
        while not self._context.stop.is_set():
            began = time.monotonic()
            took = 0.0
            try:
                if not loaded:
                    self._load()
                    loaded = True
                self._seen: set[bytes] = set()
                ready = self._watch.scan()
                took = time.monotonic() - began
                if not self._watch.gone:
                    # Memory follows the folder, not the history.
                    self._done &= self._seen
                for first in range(0, len(ready), BATCH):
                    if self._context.stop.is_set():
                        return
                    self._bring(ready[first : first + BATCH])
            except DBAPIError as error:
                self._say(f"the database failed ({error.orig})")
            spent = time.monotonic() - began
            self._context.stop.wait(max(self._poll, took / SCAN_SHARE) - spent)

    def _load(self) -> None:
        """Takes in which files are done with."""
        query = select(SourceFile.state).where(SourceFile.source_id == self._context.source_id)
        with self._context.open_session() as session:
            self._done = set(session.scalars(query))

    def _knows(self, name: str, state: FileState) -> bool:
        mark = _mark(name, state)
        self._seen.add(mark)
        return mark in self._done

    def _bring(self, arrivals: list[Arrival]) -> None:
        waiting = []
        for arrival in arrivals:
            mark = self._mark(arrival, arrival.state)
            try:
                # What is replaced before it settles is a whole image all the same: inspected as it is found.
                before = FileState.of(arrival.path) if arrival.restless else arrival.state
                mark = self._mark(arrival, before)
                content = Photo(arrival.path).content
                if FileState.of(arrival.path) != before:
                    continue
                if self._is_known_content(mark, content):
                    self._done.add(mark.state)
                    continue
                future = self._context.receive(
                    self._context.product,
                    self._context.name,
                    content,
                    part=_part(arrival.name),
                    key=None,
                    file=mark,
                    wait=True,
                )
            except FileNotFoundError:
                self._say(f"{arrival.name} was removed before it was inspected")
            except (ImageError, OSError) as error:
                self._unreadable(arrival, mark, error)
            except PatchebmError as error:
                self._say(str(error))
                # Others would fare no better: no model, or the station stops.
                return
            else:
                waiting.append((arrival, mark, future))
        for arrival, mark, future in waiting:
            try:
                future.result()
            except ImageError as error:
                self._unreadable(arrival, mark, error)
            except PatchebmError as error:
                self._say(f"{arrival.name}: {error}")
            else:
                self._done.add(mark.state)
                self._state = ""

    def _mark(self, arrival: Arrival, state: FileState) -> FileMark:
        return FileMark(self._context.source_id, _shown(arrival.name), _mark(arrival.name, state))

    def _is_known_content(self, mark: FileMark, content: bytes) -> bool:
        """Says whether a file was touched or copied again, with the bytes that were inspected before."""
        sha256 = hashlib.sha256(content).hexdigest()
        query = select(SourceFile.state).where(
            SourceFile.source_id == mark.source_id, SourceFile.name == mark.name, SourceFile.sha256 == sha256
        )
        with self._context.open_session() as session:
            if session.scalar(query.limit(1)) is None:
                return False
        with self._context.open_session(write=True) as session:
            session.merge(
                SourceFile(source_id=mark.source_id, state=mark.state, name=mark.name, sha256=sha256)
            )
        return True

    def _unreadable(self, arrival: Arrival, mark: FileMark, error: Exception) -> None:
        if not arrival.path.exists():
            self._say(f"{arrival.name} was removed before it was inspected")
        elif not arrival.restless and self._watch.give_up(arrival):
            self._context.miss(
                Missed(
                    self._context.product_id,
                    self._context.name,
                    _part(arrival.name),
                    None,
                    "unreadable",
                    str(error),
                    file=mark,
                )
            )
            self._done.add(mark.state)

    def _say(self, sentence: str) -> None:
        if sentence != self._state:
            _log.warning("source %s: %s", self._context.name, sentence)
        self._state = sentence


def _mark(name: str, state: FileState) -> bytes:
    """Returns 16 bytes that stand for a version of a file."""
    text = f"{state.size}\0{state.mtime_ns}\0{state.ctime_ns}\0{name}".encode("utf-8", "surrogateescape")
    return hashlib.blake2b(text, digest_size=16).digest()


def _part(name: str) -> str:
    """Returns what the part of a file is called: its path, shown as text; the end of a long one."""
    return _shown(name)[-128:].strip()


def _shown(name: str) -> str:
    """Returns a name with backslashes for what cannot be shown or stored."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name)


def _seconds(settings: dict[str, Any], key: str, default: float) -> float:
    value = settings.get(key, default)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < math.inf:
        raise ConfigError(f"{key} of a folder source must be seconds, such as {default:g}")
    return max(float(value), 0.01)
