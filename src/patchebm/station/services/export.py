"""This module writes the history as files: a table as CSV or Parquet, or images in the layout of MVTec AD."""

from __future__ import annotations

import csv
import io
import uuid
import zipfile
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from sqlalchemy import select
from sqlalchemy.orm import Session

from patchebm.station.database.history import Inspection
from patchebm.station.database.products import ModelVersion, Product
from patchebm.station.errors import NotFoundError
from patchebm.station.images import SUFFIXES
from patchebm.station.services import inspections
from patchebm.station.services.inspections import Filters
from patchebm.station.storage import Storage

COLUMNS = (
    "id", "time", "product", "source", "part", "model", "calibration", "verdict", "score", "threshold",
    "tail_probability", "extrapolated", "region_count", "latency_ms", "width", "height", "sha256", "review",
    "defect",
)  # fmt: skip
# What makes a spreadsheet compute instead of showing text (OWASP, CSV injection).
_FORMULAS = ("=", "+", "-", "@", "\t", "\r")
# Parts that are read at once.
BATCH = 1000


class File(Protocol):
    """This class is a file that bytes are written to."""

    def write(self, data: bytes, /) -> Any:
        """Writes bytes."""
        ...


def batches(session: Session, filters: Filters) -> Iterator[Sequence[Inspection]]:
    """Yields parts, oldest first, in bounded memory."""
    after: uuid.UUID | None = None
    while found := inspections.search(session, filters, limit=BATCH, after=after, oldest_first=True):
        yield found
        after = found[-1].id
        session.expunge_all()


def write_csv(session: Session, filters: Filters, file: File) -> None:
    """Writes parts as CSV; a column `score_LEVEL` for each level of any model that inspected."""
    levels = _levels(session, filters)
    text = io.StringIO()
    writer = csv.DictWriter(text, [*COLUMNS, *(f"score_{level}" for level in levels)], extrasaction="ignore")
    writer.writeheader()
    for found in batches(session, filters):
        for one in found:
            row = inspections.as_dict(one)
            scores = {f"score_{level}": score for level, score in row["levels"].items()}
            writer.writerow({key: _harmless(value) for key, value in (row | scores).items()})
        file.write(text.getvalue().encode())
        text.seek(0)
        text.truncate()
    file.write(text.getvalue().encode())


def write_parquet(session: Session, filters: Filters, file: Any) -> None:
    """Writes parts as Parquet, with the columns of `write_csv`; times are text in ISO 8601.

    Args:
        session: open.
        filters: which parts.
        file: open, seekable.
    """
    # An error of a filter would come out of the library as another one.
    inspections.conditions(session, filters)
    from arro3.core import Array, DataType, Field, RecordBatch, RecordBatchReader, Schema
    from arro3.io import write_parquet as write

    levels = _levels(session, filters)
    text, real, whole, truth = DataType.string(), DataType.float64(), DataType.int64(), DataType.bool()
    kinds = dict.fromkeys(COLUMNS, text)
    kinds |= dict.fromkeys(("score", "threshold", "tail_probability", "latency_ms"), real)
    kinds |= dict.fromkeys(("model", "calibration", "region_count", "width", "height"), whole)
    kinds |= {"extrapolated": truth} | {f"score_{level}": real for level in levels}
    schema = Schema([Field(name, kind, nullable=True) for name, kind in kinds.items()])

    def record_batches() -> Iterator[Any]:
        for found in batches(session, filters):
            rows = [inspections.as_dict(one) for one in found]
            rows = [row | {f"score_{level}": row["levels"].get(level) for level in levels} for row in rows]
            columns = [Array([row[name] for row in rows], type=kind) for name, kind in kinds.items()]
            yield RecordBatch.from_arrays(columns, schema=schema)

    write(RecordBatchReader.from_batches(schema, record_batches()), file)


def write_image_set(session: Session, filters: Filters, storage: Storage, file: Any) -> int:
    """Writes images as a zip in the layout of MVTec AD: what was reviewed, by what was said of it.

    Good parts lie in `train/good`, defective ones in `test/KIND` (`test/defective` without a kind). Parts
    without a review, or with `unsure`, are left out, and so are those whose images are no longer kept.

    Args:
        session: open.
        filters: which parts.
        storage: holds the images.
        file: open for writing, seekable.

    Returns:
        The number of images.

    Raises:
        NotFoundError: there is none.
    """
    written = 0
    # Images are compressed already.
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for found in batches(session, filters):
            for one in found:
                folder = _folder(one)
                if folder is None or one.image_deleted is not None:
                    continue
                try:
                    content = storage.get(storage.image(one.id, one.image_format))
                except NotFoundError:
                    continue
                name = f"{one.product.name}/{folder}/{one.id}{SUFFIXES[one.image_format]}"
                archive.writestr(zipfile.ZipInfo(name, one.time.timetuple()[:6]), content)
                written += 1
        if not written:
            raise NotFoundError("no reviewed part with an image fits these filters; review some first")
    return written


def _folder(one: Inspection) -> str | None:
    if one.review == "good":
        return "train/good"
    if one.review != "defective":
        return None
    kind = "".join(c if c.isalnum() or c in "-_" else "_" for c in one.defect.lower()).strip("_")
    # `good` would be read as good parts.
    return f"test/{kind if kind and kind != 'good' else 'defective'}"


def _levels(session: Session, filters: Filters) -> list[str]:
    """Returns the names of the levels that models of these parts have, in their order."""
    query = select(ModelVersion.levels).join(Product, ModelVersion.product_id == Product.id)
    if filters.product:
        query = query.where(Product.name == filters.product)
    return list(dict.fromkeys(name for names in session.scalars(query) for name in names))


def _harmless(value: object) -> object:
    """Returns text that no spreadsheet takes for a formula."""
    if isinstance(value, str) and value.startswith(_FORMULAS):
        return "'" + value
    return value
