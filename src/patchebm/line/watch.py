"""This module finds the images in a folder that a camera writes to which are complete and not recorded yet.

The folder is scanned again and again (`os.scandir`): change notices of the operating system do not
come from network shares, and get lost when many files arrive at once.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from patchebm.images.reading import IMAGE_SUFFIXES

# An image that cannot be read is tried again until it has not changed for this many times `settle`.
PATIENCE = 10
# Parts of names between dots that programs give to files they have not finished. `part` is not among them: on
# a line it is the name of the thing itself, and `x.png.part` has no ending of an image anyway.
_UNFINISHED = frozenset({"tmp", "temp", "partial", "filepart", "crdownload"})


class FileState(NamedTuple):
    """This class tells one version of a file from the next: its size in bytes, its time in nanoseconds."""

    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: str | Path) -> FileState:
        """Returns the state of a file now. Raises OSError if it is gone."""
        facts = os.stat(path)
        return cls(facts.st_size, facts.st_mtime_ns)


@dataclass(frozen=True)
class Arrival:
    """This class is an image that has stopped changing.

    Attributes:
        name: its path below the folder, with slashes.
        path: where to read it.
        state: the state in which it was found; if it has another one when it is read, it is not complete.
    """

    name: str
    path: Path
    state: FileState


@dataclass
class _Waiting:
    """This class is an image that is not recorded: its state, since when, and at what age it is tried."""

    state: FileState
    since: float
    try_at: float


class FolderWatch:
    """This class finds images below a folder that have settled.

    Args:
        folder: scanned with its sub-folders; hidden and unfinished names are left out, links to folders are
            not followed.
        settle: seconds for which size and time must not change.
        known: says whether a name is recorded in a state; such a file is left alone.
        say: takes messages.
        skip: a folder to leave out, where results lie below `folder`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        settle: float,
        known: Callable[[str, FileState], bool],
        say: Callable[[str], None],
        skip: Path | None = None,
    ) -> None:
        self.folder = folder
        self._settle = settle
        self._known = known
        self._say = say
        self._skip = skip
        self._waiting: dict[str, _Waiting] = {}
        self._unreadable: set[str] = set()

    @property
    def waiting(self) -> int:
        """Returns the number of images that the last scan found and that were not recorded."""
        return len(self._waiting)

    @property
    def gone(self) -> bool:
        """Says whether the folder itself could not be read in the last scan."""
        return "" in self._unreadable

    def scan(self) -> list[Arrival]:
        """Scans the folder once.

        Returns:
            Images to be scored now, in the order in which they were written.
        """
        before, self._waiting = self._waiting, {}
        ready = []
        for name, state in self._files():
            if self._known(name, state):
                continue
            now = time.monotonic()
            waiting = before.get(name)
            if waiting is None or waiting.state != state:
                waiting = _Waiting(state, since=now, try_at=self._settle)
            self._waiting[name] = waiting
            if now - waiting.since >= waiting.try_at:
                ready.append(Arrival(name, self.folder / name, state))
        return sorted(ready, key=lambda arrival: (arrival.state.mtime_ns, arrival.name))

    def give_up(self, arrival: Arrival) -> bool:
        """Says whether an image that could not be read is to be recorded as such.

        If not, it is tried again later, at doubling distances: it may be half-written.
        """
        waiting = self._waiting[arrival.name]
        age = time.monotonic() - waiting.since
        most = PATIENCE * self._settle
        waiting.try_at = min(2 * age, most)
        return age >= most

    def _files(self) -> Iterator[tuple[str, FileState]]:
        """Yields name and state of each image."""
        folders = [""]
        while folders:
            prefix = folders.pop()
            try:
                with os.scandir(self.folder / prefix) as entries:
                    for entry in entries:
                        if _unfinished(entry.name):
                            continue
                        if entry.is_dir(follow_symlinks=False):
                            if not self._is_skipped(entry):
                                folders.append(f"{prefix}{entry.name}/")
                        elif os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES:
                            state = _state(entry)
                            if state is not None:
                                yield prefix + entry.name, state
            except OSError as error:
                self._note_unreadable(prefix, error)
            else:
                self._note_readable(prefix)

    def _is_skipped(self, entry: os.DirEntry[str]) -> bool:
        if self._skip is None or entry.name != self._skip.name:
            return False
        return os.path.realpath(entry.path) == os.path.realpath(self._skip)

    def _note_unreadable(self, prefix: str, error: OSError) -> None:
        # A sub-folder that went between two listings is no news; the folder itself is.
        if prefix in self._unreadable or (prefix and isinstance(error, FileNotFoundError)):
            return
        self._unreadable.add(prefix)
        self._say(f"folder {self.folder / prefix} cannot be read ({error.strerror}); waiting for it")

    def _note_readable(self, prefix: str) -> None:
        if prefix in self._unreadable:
            self._unreadable.remove(prefix)
            self._say(f"folder {self.folder / prefix} can be read again")


def _unfinished(name: str) -> bool:
    """Says whether a name is hidden or that of a file which a program has not finished."""
    if name.startswith((".", "~")):
        return True
    return not _UNFINISHED.isdisjoint(name.lower().split(".")[1:])


def _state(entry: os.DirEntry[str]) -> FileState | None:
    """Returns the state of a regular file; None for a pipe, a link to nowhere, or what is gone by now."""
    try:
        if not entry.is_file():
            return None
        facts = entry.stat()
    except OSError:
        return None
    return FileState(facts.st_size, facts.st_mtime_ns)
