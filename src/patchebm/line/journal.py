"""This module keeps results that survive power cuts: a file of JSON Lines, and a CSV table of it.

`results.jsonl` is the truth. A batch of records is on the disk before it counts; a line that a power cut or
SIGKILL tore is cut off at the next start, and its image is scored again. `results.csv` follows it and is
written again at every start.
"""

from __future__ import annotations

import csv
import fcntl
import io
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

from patchebm.errors import DataError, PatchebmError
from patchebm.files import replacing
from patchebm.line.watch import FileState

Record = dict[str, Any]
"""One image's line: `id`, `time`, `image`, `size`, `mtime_ns`, `ctime_ns`, `sha256`, `model`, and either
`error` or what `Prediction.record` holds."""

# Columns of the table before and behind those of the levels, `score_patch` for instance.
FIRST_COLUMNS = ("time", "image", "anomalous", "score", "threshold", "tail_probability", "extrapolated")
LAST_COLUMNS = ("region_count", "overlay", "error", "model", "id")


class _Recorded(NamedTuple):
    """This class is the last recorded version of a name; `sha256` is empty if its bytes could not be read."""

    state: FileState
    sha256: bytes


class Journal:
    """This class holds the results of one watcher; as a context manager it holds the folder's lock.

    Memory is some 400 bytes for each name, not for each record.

    Args:
        folder: made if it does not exist; `results.jsonl`, `results.csv` and the lock lie in it.

    Attributes:
        path: `results.jsonl`.
        end: its bytes that are safely on the disk: whole lines.
        cut: bytes of a torn line that were cut off at the start.

    Raises:
        DataError: another watcher writes there, or `results.jsonl` is not what a watcher wrote.
        PatchebmError: the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "results.jsonl"
        self._table = folder / "results.csv"
        self._recorded: dict[str, _Recorded] = {}
        # The names of the levels that records hold, in the order in which they came; a dict for its order.
        self._levels: dict[str, None] = {}
        self._lock = _lock(folder)
        try:
            self.end = self._read()
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            self.cut = os.fstat(self._file).st_size - self.end
            if self.cut:
                os.ftruncate(self._file, self.end)
            os.fsync(self._file)
            _sync_folder(folder)
        except OSError as error:
            os.close(self._lock)
            raise PatchebmError(
                f"cannot write {self.path}: {error.strerror}; check its permissions or choose another --out"
            ) from error
        except PatchebmError:
            os.close(self._lock)
            raise
        self._table_file: IO[bytes] | None = None

    def __enter__(self) -> Journal:
        try:
            self._write_table()
        except PatchebmError:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the files and lets the lock go."""
        if self._table_file is not None:
            self._table_file.close()
        os.close(self._file)
        os.close(self._lock)

    def __len__(self) -> int:
        """Returns the number of names that are recorded."""
        return len(self._recorded)

    def knows(self, name: str, state: FileState) -> bool:
        """Says whether a file is recorded in this state."""
        recorded = self._recorded.get(name)
        return recorded is not None and state.is_recorded_as(recorded.state)

    def is_same(self, name: str, state: FileState, sha256: str) -> bool:
        """Says whether a file that has another state than the recorded one holds the same bytes.

        If so, the new state is remembered: a file that was touched or copied again is no new image.
        """
        recorded = self._recorded.get(name)
        if recorded is None or recorded.sha256 != bytes.fromhex(sha256):
            return False
        self._recorded[name] = recorded._replace(state=state)
        return True

    def check(self) -> None:
        """Raises DataError if `results.jsonl` was moved or deleted: what is appended would be lost."""
        try:
            there = os.path.samestat(os.stat(self.path), os.fstat(self._file))
        except OSError:
            there = False
        if not there:
            raise DataError(f"{self.path} was moved or deleted while it was written; start watch again")

    def append(self, records: Sequence[Record]) -> None:
        """Writes records and waits until they are on the disk.

        Raises:
            PatchebmError: there is no room, or the disk fails. No part of the records counts then, and
                `append` may be called with them again.
        """
        data = b"".join(json.dumps(record, allow_nan=False).encode() + b"\n" for record in records)
        try:
            # What a failed attempt left behind.
            os.ftruncate(self._file, self.end)
            written = 0
            while written < len(data):
                written += os.write(self._file, data[written:])
            os.fsync(self._file)
        except OSError as error:
            raise PatchebmError(f"cannot write {self.path}: {error.strerror}; free some space") from error
        self.end += len(data)
        self._recorded.update(map(_recorded, records))
        try:
            self._follow(records)
        except (OSError, PatchebmError):
            # The results are safe; the table is made again with the next batch, or at the next start.
            if self._table_file is not None:
                self._table_file.close()
            self._table_file = None

    def lines(self, start: int) -> Iterator[tuple[int, bytes]]:
        """Yields the lines that are safely on the disk from an offset on, each with the offset behind it."""
        with self.path.open("rb") as file:
            file.seek(start)
            while start < self.end:
                line = file.readline()
                start += len(line)
                yield start, line

    def _follow(self, records: Sequence[Record]) -> None:
        """Brings `results.csv` up to date."""
        known = len(self._levels)
        for record in records:
            self._levels.update(_levels_of(record))
        if self._table_file is None or len(self._levels) > known:
            self._write_table()
            return
        rows = _rows(records, self._levels)
        if self._table_file.write(rows) < len(rows):
            raise OSError("there is no room for the table")

    def _read(self) -> int:
        """Takes in what is recorded, and returns the number of bytes of whole lines."""
        end = 0
        if not self.path.exists():
            return end
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    if not line.endswith(b"\n"):
                        break
                    record = json.loads(line)
                    name, recorded = _recorded(record)
                    self._levels.update(_levels_of(record))
                    # What could not be opened before this start may be opened now.
                    if recorded.sha256:
                        self._recorded[name] = recorded
                except (ValueError, KeyError, TypeError) as error:
                    # Only the last line can be torn. Others are not ours to throw away.
                    if file.read(1):
                        raise DataError(
                            f"{self.path} line {number} is no record of a watcher; correct or remove it, or "
                            "choose another --out"
                        ) from error
                    break
                end += len(line)
        return end

    def _write_table(self) -> None:
        """Makes `results.csv` from `results.jsonl`."""
        with replacing(self._table) as temporary, temporary.open("wb") as file:
            file.write(_rows([], self._levels, header=True))
            for _, line in self.lines(0):
                file.write(_rows([json.loads(line)], self._levels))
        if self._table_file is not None:
            self._table_file.close()
        # Unbuffered: a row is there for its readers at once.
        self._table_file = self._table.open("ab", buffering=0)


def _recorded(record: Record) -> tuple[str, _Recorded]:
    """Returns the name of a record's image, and which version of it is recorded."""
    sha256 = bytes.fromhex(record["sha256"] or "")
    ctime_ns = record.get("ctime_ns")
    state = FileState(
        int(record["size"]), int(record["mtime_ns"]), None if ctime_ns is None else int(ctime_ns)
    )
    return str(record["image"]), _Recorded(state, sha256)


def _levels_of(record: Record) -> dict[str, None]:
    """Returns the names of the levels that a record holds scores of, in their order."""
    return dict.fromkeys(dict(record.get("levels", {})))


def _rows(records: Sequence[Record], levels: Iterable[str], *, header: bool = False) -> bytes:
    """Returns records as lines of the table; names that are no Unicode get backslashes."""
    text = io.StringIO()
    columns = [*FIRST_COLUMNS, *(f"score_{name}" for name in levels), *LAST_COLUMNS]
    writer = csv.DictWriter(text, columns, extrasaction="ignore")
    if header:
        writer.writeheader()
    for record in records:
        scores = {f"score_{name}": score for name, score in record.get("levels", {}).items()}
        writer.writerow(record | scores)
    return text.getvalue().encode("utf-8", "backslashreplace")


def _lock(folder: Path) -> int:
    """Locks a folder for this process. The kernel lets the lock go with the process, however that ends."""
    path = folder / ".watch.lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise PatchebmError(f"cannot write {path}: {error.strerror}; choose another --out") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.read(file, 20).decode(errors="replace").strip()
        os.close(file)
        if not isinstance(error, BlockingIOError):
            raise PatchebmError(
                f"cannot lock {path}: {error.strerror}; choose an --out on a local disk"
            ) from error
        raise DataError(
            f"another watcher (process {holder}) writes to {folder}; stop it or choose another --out"
        ) from error
    # Only for that message: a full disk is no reason not to start.
    with suppress(OSError):
        os.ftruncate(file, 0)
        os.write(file, f"{os.getpid()}\n".encode())
    return file


def _sync_folder(folder: Path) -> None:
    """Puts the names in a folder on the disk: a new file could be gone after a power cut otherwise."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
