"""This module keeps finished runs in a file that only grows: a kill at any moment loses none of them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from patchebm.errors import PatchebmError


class RunLog:
    """This class is a log of runs, one line of JSON each, in the order in which they are finished.

    A kill in the middle of writing leaves half a line, and what is half does not count. Nothing is ever taken
    back or moved, so that two processes may share a log.

    Args:
        file: the log; it and its folder are made if they do not exist.

    Attributes:
        file: the same.
        rows: all runs so far, those of earlier calls included, in the order in which they were finished.
        unreadable: how many lines were left out because they are no whole JSON object.

    Raises:
        PatchebmError: the file cannot be written; said now rather than after the first run.
    """

    def __init__(self, file: str | Path) -> None:
        self.file = Path(file)
        self.rows: list[dict[str, Any]] = []
        self.unreadable = 0
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self.file.open("ab+") as stream:
                stream.seek(0)
                lines = stream.read().split(b"\n")
        except OSError as error:
            raise PatchebmError(
                f"cannot write {self.file}: {error.strerror}; choose another folder"
            ) from error
        for line in filter(None, lines):
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            if isinstance(row, dict):
                self.rows.append(row)
            else:
                self.unreadable += 1

    def keep(self, row: dict[str, Any]) -> None:
        """Keeps a run at the end of the log; when this returns, the line is on the disk.

        Raises:
            PatchebmError: the file cannot be written or the disk is full; names it.
        """
        line = json.dumps(row, allow_nan=False).encode() + b"\n"
        try:
            # Unbuffered: one call writes the whole line, so that lines of two processes do not mix.
            with self.file.open("ab+", buffering=0) as stream:
                if stream.seek(0, os.SEEK_END):
                    stream.seek(-1, os.SEEK_END)
                    # Half a line must not become the start of this one.
                    line = line if stream.read(1) == b"\n" else b"\n" + line
                stream.write(line)
                os.fsync(stream.fileno())
        except OSError as error:
            raise PatchebmError(
                f"cannot write {self.file}: {error.strerror}; free some space and run the same command again"
            ) from error
        self.rows.append(row)
