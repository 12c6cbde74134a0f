"""This module reads manifests: tables that name an image in each row, as CSV or Parquet, piece by piece."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from patchebm.errors import DataError
from patchebm.scale.columns import RESULTS
from patchebm.scale.storage import attempt, file_system, is_uri, local_path

MANIFESTS = (".csv", ".parquet")
"""What the names of manifests end in."""

IMAGE_COLUMNS = ("path", "uri")
"""How the column is called that says where an image is. Relative paths count from the manifest's folder."""

# Rows of a Parquet file that are in memory together.
_BATCH = 4096


class Manifest:
    """This class is a table of images. Its cells in CSV are text, so that part numbers keep their zeros.

    Args:
        name: path or URI.

    Attributes:
        carried: the names and types of all columns but that of the image.

    Raises:
        DataError: it does not exist, is damaged, or its columns cannot be used; says which.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._is_csv = name.lower().endswith(".csv")
        self._base = _folder_of(name)
        schema = self._schema()
        known = [column for column in schema.names if column in IMAGE_COLUMNS]
        if len(known) != 1:
            has = ", ".join(schema.names) or "none"
            fix = "keep one of them" if known else "name the column of the images so"
            wrong = "both columns path and uri" if known else f"no column path or uri (it has {has})"
            raise DataError(f"{name} has {wrong}; {fix}")
        self._column = known[0]
        twice = [column for column, count in Counter(schema.names).items() if count > 1]
        taken = [column for column in schema.names if column in RESULTS or column.startswith("level_")]
        if twice or taken:
            what = "stands there twice" if twice else "is one that the results have, too"
            raise DataError(f"{name}: column {(twice or taken)[0]!r} {what}; rename it")
        self.carried = pa.schema([field for field in schema if field.name != self._column])

    def rows(self) -> Iterator[tuple[str, str, tuple[Any, ...]]]:
        """Yields of each row the image as it stands there, where it is read, and the other cells.

        Raises:
            DataError: a row has another number of cells than the header, or the file is damaged.
        """
        for image, carried in self._csv_rows() if self._is_csv else self._parquet_rows():
            yield image, self._location(image), carried

    def _location(self, image: str) -> str:
        if not image or is_uri(image) or image.startswith(("file://", "/")) or not self._base:
            return image
        return f"{self._base}/{image}" if is_uri(self._base) else str(local_path(self._base) / image)

    def _schema(self) -> pa.Schema:
        if self._is_csv:
            with self._opened() as file, _text(file) as text:
                header = next(self._cells(text), [])
                return pa.schema([(column, pa.string()) for column in header])
        with self._opened() as file:
            return pq.ParquetFile(file).schema_arrow.remove_metadata()

    def _cells(self, text: io.TextIOWrapper) -> Iterator[list[str]]:
        """Yields the cells of each line, the header first; semicolons count where that has no comma."""
        header = text.readline()
        delimiter = ";" if ";" in header and "," not in header else ","
        yield [cell.strip() for cell in next(csv.reader([header], delimiter=delimiter), [])]
        yield from csv.reader(text, delimiter=delimiter)

    def _csv_rows(self) -> Iterator[tuple[str, tuple[Any, ...]]]:
        with self._opened() as file, _text(file) as text:
            lines = self._cells(text)
            header = next(lines)
            at = header.index(self._column)
            for number, cells in enumerate(lines, 2):
                if not cells:
                    continue
                if len(cells) != len(header):
                    raise DataError(
                        f"{self.name}: line {number} has {len(cells)} cells and the header {len(header)}; "
                        "put cells that hold a comma in quotes"
                    )
                yield cells[at], tuple(cells[:at] + cells[at + 1 :])

    def _parquet_rows(self) -> Iterator[tuple[str, tuple[Any, ...]]]:
        with self._opened() as file:
            for batch in pq.ParquetFile(file).iter_batches(_BATCH):
                images = batch.column(self._column).to_pylist()
                others = [batch.column(name).to_pylist() for name in self.carried.names]
                # zip of no columns at all would be empty.
                carried: Sequence[tuple[Any, ...]] = list(zip(*others, strict=True)) or [()] * len(images)
                for image, cells in zip(images, carried, strict=True):
                    yield "" if image is None else str(image), cells

    @contextmanager
    def _opened(self) -> Iterator[BinaryIO]:
        try:
            if is_uri(self.name):
                system, path = file_system(self.name)
                opened = attempt(self.name, lambda: system.open(path, "rb"))
            else:
                opened = local_path(self.name).open("rb")
            with opened as file:
                yield file
        except FileNotFoundError as error:
            raise DataError(f"{self.name} does not exist; name a manifest, a folder or a glob") from error
        except (OSError, UnicodeDecodeError, csv.Error, pa.ArrowException) as error:
            reason = " ".join(str(error).split())
            raise DataError(f"{self.name} cannot be read ({reason:.200}); write it again as UTF-8") from error


def open_manifest(name: str) -> Manifest:
    """Returns the manifest of a name; raises as `Manifest`."""
    return Manifest(name)


def _text(file: BinaryIO) -> io.TextIOWrapper:
    # utf-8-sig: spreadsheets put a mark at the beginning.
    return io.TextIOWrapper(file, encoding="utf-8-sig", newline="")


def _folder_of(name: str) -> str:
    if is_uri(name):
        return name.rsplit("/", 1)[0]
    parent = PurePosixPath(local_path(name).as_posix()).parent
    return "" if str(parent) == "." else str(parent)
