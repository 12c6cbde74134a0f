"""Finished runs in a file that only grows, so that a kill at any moment loses none of them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from patchebm.errors import DataError, PatchebmError


class RunLog:
    """Runs as they are finished, one line of JSON each.

    A line counts once its line break is on the disk. What a kill in the middle of writing left behind has
    none: it is ignored, and removed by the next `keep`.

    Args:
        file: the log; it and its folder are made if they do not exist.

    Attributes:
        file: the same.
        rows: all runs so far, those of earlier calls included, in the order in which they were finished.

    Raises:
        DataError: a line is no JSON object, or the file cannot be read; names the line and the mend.
        PatchebmError: the file cannot be written; said now rather than after the first run.
    """

    def __init__(self, file: str | Path) -> None:
        self.file = Path(file)
        self.rows: list[dict[str, Any]] = []
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self.file.open("ab+") as stream:
                stream.seek(0)
                content = stream.read()
        except OSError as error:
            raise PatchebmError(
                f"cannot write {self.file}: {error.strerror}; choose another folder"
            ) from error
        self._end = content.rfind(b"\n") + 1
        for number, line in enumerate(content[: self._end].split(b"\n")[:-1], 1):
            self.rows.append(self._read(line, number))

    def _read(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"{self.file} line {number} is no JSON ({error}); remove that line") from error
        if not isinstance(row, dict):
            raise DataError(f"{self.file} line {number} is no run; remove that line")
        return row

    def keep(self, row: dict[str, Any]) -> None:
        """Append a run; when this returns, the line is on the disk.

        Raises:
            PatchebmError: the file cannot be written or the disk is full; names it.
        """
        line = json.dumps(row, allow_nan=False).encode() + b"\n"
        try:
            with self.file.open("rb+") as stream:
                stream.truncate(self._end)
                stream.seek(self._end)
                stream.write(line)
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise PatchebmError(
                f"cannot write {self.file}: {error.strerror}; free some space and run the same command again"
            ) from error
        self._end += len(line)
        self.rows.append(row)
