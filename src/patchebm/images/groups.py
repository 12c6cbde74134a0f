"""This module finds which images show the same physical part: from a csv file, or from their names."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from patchebm.errors import DataError


def read_groups(paths: Sequence[Path], root: Path, groups: str | None = None) -> Mapping[Path, str]:
    """Returns the part that each image shows, where it is known.

    Args:
        paths: images.
        root: folder that names in a csv file start at.
        groups: a csv file with the columns file,group (paths below `root`, with forward slashes), or a
            regular expression with one pair of round brackets, such as `part(\\d+)_`, that is searched in
            each image's name: what the brackets match is the part. None takes `root/groups.csv` if there
            is one.

    Raises:
        DataError: a malformed csv file, one that names a file that does not exist, a pattern that is none, or
            one that does not fit the name of an image.
    """
    if groups is None:
        return _from_csv(root / "groups.csv", paths, root)
    if groups.lower().endswith(".csv"):
        if not Path(groups).is_file():
            raise DataError(
                f"groups file {groups} does not exist; give a csv file with the columns file,group"
            )
        return _from_csv(Path(groups), paths, root)
    return _from_names(groups, paths)


def _from_names(pattern: str, paths: Sequence[Path]) -> dict[Path, str]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise DataError(
            f"groups pattern '{pattern}' is no regular expression ({error}); use for instance 'part(\\d+)_'"
        ) from error
    if compiled.groups != 1:
        raise DataError(
            f"groups pattern '{pattern}' has {compiled.groups} pairs of round brackets; put one around what "
            "names the part, for instance 'part(\\d+)_'"
        )
    found = {}
    for path in paths:
        match = compiled.search(path.name)
        if match is None or match[1] is None:
            raise DataError(
                f"groups pattern '{pattern}' does not fit the name of {path}; correct the pattern or give a "
                "csv file with the columns file,group"
            )
        found[path] = match[1]
    return found


def _from_csv(file: Path, paths: Sequence[Path], root: Path) -> dict[Path, str]:
    known = set(paths)
    found: dict[Path, str] = {}

    def add(line: str, name: str, group: str) -> None:
        path = root / name
        # Images of root/test stay listed while another test folder is used instead.
        if path not in known and not path.is_file():
            raise DataError(f"{line}: '{name}' is not an image of this set; correct or remove the line")
        if found.setdefault(path, group) != group:
            raise DataError(f"{line}: '{name}' already has another group; remove one of the lines")

    read_csv(file, ("file", "group"), add)
    return found


def read_csv(path: Path, columns: tuple[str, str], add: Callable[[str, str, str], None]) -> None:
    """Hands each row of an optional csv file to `add`: as 'path line n' and the values of two columns.

    Raises:
        DataError: the file is malformed or cannot be read.
    """
    if not path.exists():
        return
    needed = f"the columns {','.join(columns)} with commas between"
    try:
        # Excel writes a byte order mark, which plain utf-8 would make part of the first column's name.
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = csv.DictReader(stream, strict=True)
            if not set(columns) <= set(rows.fieldnames or ()):
                raise DataError(f"{path} must start with a line naming {needed}; add it")
            for row in rows:
                line = f"{path} line {rows.line_num}"
                first, second = ((row[column] or "").strip() for column in columns)
                if None in row or not first or not second:
                    raise DataError(f"{line} does not fill {needed}; correct or remove the line")
                add(line, first, second)
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not a csv file in UTF-8 ({error}); write {needed}") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}; check its permissions") from error
