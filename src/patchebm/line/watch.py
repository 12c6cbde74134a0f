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

from patchebm.images.formats import has_image_suffix
from patchebm.images.listing import endings
from patchebm.images.names import means_masks

# An image that cannot be read is tried again until it has not changed for this many times `settle`.
PATIENCE = 10
# An image that is replaced again and again is read as it is after this many times `settle`.
RESTLESS = 3
# Parts of names between dots that programs give to files they have not finished. `part` is not among them: on
# a line it is the name of the thing itself, and `x.png.part` has no ending of an image anyway.
_UNFINISHED = frozenset({"tmp", "temp", "partial", "filepart", "crdownload"})


class FileState(NamedTuple):
    """This class tells one version of a file from the next.

    Attributes:
        size: in bytes.
        mtime_ns: when it was written, in nanoseconds. Cameras and copying programs set it to what they like.
        ctime_ns: when the file system last changed anything about it, which nobody can set; None where that
            was not recorded.
        inode: which file it is; another one under the same name has replaced it. It is not recorded.
    """

    size: int
    mtime_ns: int
    ctime_ns: int | None = None
    inode: int | None = None

    @classmethod
    def of(cls, path: str | Path) -> FileState:
        """Returns the state of a file now. Raises OSError if it is gone."""
        return cls.from_facts(os.stat(path))

    @classmethod
    def from_facts(cls, facts: os.stat_result) -> FileState:
        """Returns the state of a file from what the operating system says of it."""
        return cls(facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino)

    def is_recorded_as(self, recorded: FileState) -> bool:
        """Says whether this is the state that was recorded, as far as that is known."""
        if recorded.ctime_ns is not None and recorded.ctime_ns != self.ctime_ns:
            return False
        return (self.size, self.mtime_ns) == (recorded.size, recorded.mtime_ns)

    def replaces(self, before: FileState) -> bool:
        """Says whether the file was replaced since; a file that only grows was not."""
        return self.inode != before.inode or self.size < before.size


@dataclass(frozen=True)
class Arrival:
    """This class is an image that has stopped changing.

    Attributes:
        name: its path below the folder, with slashes.
        path: where to read it.
        state: the state in which it was found; if it has another one when it is read, it is not complete.
        restless: whether it did not settle, because it is replaced again and again: what can be read of it
            is a whole image all the same.
    """

    name: str
    path: Path
    state: FileState
    restless: bool = False


@dataclass
class _Waiting:
    """This class is an image that is not recorded.

    Attributes:
        state: of the file.
        since: when it was first seen in this state.
        try_at: at what age it is tried.
        first: when it was first seen in any state since the last record.
        replaced: whether it was replaced since then, and did not only grow.
    """

    state: FileState
    since: float
    try_at: float
    first: float
    replaced: bool = False


class FolderWatch:
    """This class finds images below a folder that have settled.

    Args:
        folder: scanned with its sub-folders, linked ones too; hidden and unfinished names and folders of
            masks are left out.
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
        self._left_out: set[str] = set()

    @property
    def waiting(self) -> frozenset[str]:
        """Returns the names of the images that the last scan found and that were not recorded."""
        return frozenset(self._waiting)

    def never_settles(self, name: str) -> bool:
        """Says whether a waiting image has been changing for too long to wait for it."""
        waiting = self._waiting[name]
        # What was seen once has not changed yet, however short the time is in which it may not.
        return waiting.since > waiting.first and waiting.since - waiting.first >= PATIENCE * self._settle

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
            if waiting is None:
                waiting = _Waiting(state, since=now, try_at=self._settle, first=now)
            elif waiting.state != state:
                replaced = waiting.replaced or state.replaces(waiting.state)
                waiting = _Waiting(state, now, self._settle, waiting.first, replaced)
            self._waiting[name] = waiting
            if now - waiting.since >= waiting.try_at:
                ready.append(Arrival(name, self.folder / name, state))
            elif waiting.replaced and now - waiting.first >= RESTLESS * self._settle:
                ready.append(Arrival(name, self.folder / name, state, restless=True))
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
        # Linked folders that were entered: a link may lead back up.
        seen = {Path(os.path.realpath(self.folder))}
        while folders:
            prefix = folders.pop()
            try:
                with os.scandir(self.folder / prefix) as entries:
                    for entry in entries:
                        if _unfinished(entry.name):
                            continue
                        if _is_folder(entry):
                            if self._is_entered(entry, prefix, seen):
                                folders.append(f"{prefix}{entry.name}/")
                        elif has_image_suffix(entry.name):
                            state = _state(entry)
                            if state is not None:
                                yield prefix + entry.name, state
                        else:
                            ending = os.path.splitext(entry.name)[1].lower()
                            what = f"files ending in '{ending}', not {endings()},"
                            self._note_left_out(what, prefix + entry.name)
            except OSError as error:
                self._note_unreadable(prefix, error)
            else:
                self._note_readable(prefix)

    def _is_entered(self, entry: os.DirEntry[str], prefix: str, seen: set[Path]) -> bool:
        """Says whether a folder is searched."""
        if self._is_skipped(entry):
            return False
        if means_masks(entry.name):
            self._note_left_out("folders of masks", prefix + entry.name)
            return False
        if entry.is_symlink():
            target = Path(os.path.realpath(entry.path))
            if any(target.is_relative_to(other) or other.is_relative_to(target) for other in seen):
                self._note_left_out("links to what is watched without them", prefix + entry.name)
                return False
            seen.add(target)
        return True

    def _note_left_out(self, what: str, name: str) -> None:
        """Says once of each kind of file that it is left out."""
        if what not in self._left_out:
            self._left_out.add(what)
            self._say(f"{what} are left out (such as {self.folder / name})")

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
    return FileState.from_facts(facts)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False
