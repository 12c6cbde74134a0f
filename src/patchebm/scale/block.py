"""This module scores a block of images and writes its part of the results, in a worker of any engine."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from patchebm._version import __version__
from patchebm.errors import ImageError, PatchebmError
from patchebm.files import as_unicode
from patchebm.images.photo import Photo
from patchebm.runtime.bundle_predictor import BundlePredictor
from patchebm.runtime.notices import Notices
from patchebm.runtime.overlay import prediction_sheet
from patchebm.runtime.prediction import Prediction
from patchebm.scale.columns import level_column, schema
from patchebm.scale.plan import Block, part_name
from patchebm.scale.source import Row
from patchebm.scale.storage import NoRightsError, StorageError, Store, is_uri, read_image_bytes

PARTS, MAPS = "parts", "maps"
"""Folders of the results."""

RUN = "run.json"
"""The file that says what results are made of."""

METADATA = b"patchebm"
"""The key of what a part says of itself, as JSON."""

# So many images are fetched from a store while one is scored: a store answers late, but to many at once.
_FETCHED_AHEAD = 16


@dataclass(frozen=True)
class Done:
    """This class says what a worker did.

    Attributes:
        number: of the block.
        images: how many there are in it.
        errors: how many of them could not be scored.
        stop: why the block was given up. In a fleet, its product cannot be gone on with.
    """

    number: int
    images: int
    errors: int
    stop: str | None = None


@dataclass(frozen=True)
class Task:
    """This class is all that a worker needs beside the images; it can be pickled.

    Attributes:
        predictor: scores them.
        store: gets the results.
        run: what the parts belong to, as `ScoreFolder` keeps it.
        maps: whether the anomaly maps of anomalous images are drawn.
        version: of the patchebm that made the task.
    """

    predictor: BundlePredictor
    store: Store
    run: dict[str, Any]
    maps: bool
    version: str = __version__

    def check_worker(self, where: str) -> None:
        """Raises PatchebmError if a worker has another version, or does not find the results' folder.

        Args:
            where: what messages call the worker.
        """
        check_worker(where, self.version, self.store, RUN)

    def score(self, block: Block) -> Done:
        """Scores a block and writes its part, whole or not at all.

        Raises:
            StorageError: the store does not answer, or none of the images may be read.
            PatchebmError: the part cannot be written, or there is too little memory.
        """
        notices = Notices(lambda sentence: None)
        # The notices of a part are those of its own images, whichever worker scores it.
        self.predictor.notices = notices
        photos = _photos(block.rows)
        try:
            outcomes = self.predictor.outcomes(photos, heat_maps=False)
            records = [
                self._record(block.first + i, row, outcome)
                for i, (row, outcome) in enumerate(zip(block.rows, outcomes, strict=True))
            ]
        except MemoryError as error:
            raise PatchebmError(
                f"a worker ran out of memory at part {block.number}; start again with fewer --workers"
            ) from error
        errors = [record["error"] for record in records if record["error"] is not None]
        if len(errors) == len(records) and all(record.pop("no_rights") for record in records):
            raise StorageError(errors[0])
        self._write(block, records, notices.said)
        return Done(block.number, len(records), len(errors))

    def _record(self, index: int, row: Row, outcome: Prediction | ImageError) -> dict[str, Any]:
        record: dict[str, Any] = {"index": index, "image": as_unicode(row.image), "no_rights": False}
        if isinstance(outcome, ImageError):
            # A photo calls its file by a path, in which the slashes of a URI are merged.
            sentence = str(outcome).replace(str(Path(row.location)), row.location)
            return record | {"error": as_unicode(sentence), "no_rights": isinstance(outcome, NoRightsError)}
        return record | {
            "score": outcome.score,
            "anomalous": outcome.anomalous,
            "tail_probability": outcome.tail_probability,
            "extrapolated": outcome.extrapolated,
            **{level_column(name): score for name, score in outcome.levels.items()},
            "error": None,
            "map": self._draw(index, row) if self.maps and outcome.anomalous else None,
        }

    def _draw(self, index: int, row: Row) -> str:
        """Writes the anomaly map of an image that is called anomalous; returns where."""
        photo = _Fetched(row)
        prediction = self.predictor.predict([photo])[0]
        name = f"{MAPS}/{index:09d}.png"
        stream = io.BytesIO()
        prediction_sheet(self.predictor, photo.pixels, prediction).save(stream, format="PNG")
        self.store.write(name, stream.getvalue())
        return name

    def _write(self, block: Block, records: list[dict[str, Any]], notices: list[str]) -> None:
        columns = schema(self.predictor.calibration_.level_names, block.carried)
        carried = list(zip(*(row.carried for row in block.rows), strict=True))
        arrays = [
            pa.array([record.get(field.name) for record in records], field.type)
            for field in list(columns)[: len(columns) - len(block.carried)]
        ]
        arrays += [pa.array(cells, field.type) for cells, field in zip(carried, block.carried, strict=True)]
        facts = {"run": self.run, "notices": [as_unicode(sentence) for sentence in notices]}
        table = pa.Table.from_arrays(
            arrays, schema=columns.with_metadata({METADATA: json.dumps(facts, sort_keys=True)})
        )
        stream = io.BytesIO()
        pq.write_table(table, stream)
        self.store.write(f"{PARTS}/{part_name(block.number)}", stream.getvalue())


def check_worker(where: str, version: str, store: Store, file: str) -> None:
    """Raises PatchebmError if a worker has another version, or does not find the results' folder.

    Args:
        where: what messages call the worker.
        version: of the driver.
        store: gets the results.
        file: that the driver wrote there.
    """
    check_version(where, version)
    if file not in store.names():
        raise PatchebmError(
            f"{where} does not find {store.place}; give an --out that all machines share, such as a URI"
        )


def check_version(where: str, version: str) -> None:
    """Raises PatchebmError if a worker, which messages call `where`, has another version than the driver."""
    if version != __version__:
        raise PatchebmError(
            f"{where} has patchebm {__version__} and the driver {version}; install the same version"
        )


class _Fetched(Photo):
    """This class is an image of a source: its file, or what a store holds under its URI.

    Args:
        row: of the source.
        coming: gives the content, if it is being fetched.
    """

    def __init__(self, row: Row, coming: Future[bytes] | None = None) -> None:
        super().__init__(row.location)
        self._row = row
        self._coming = coming

    @cached_property
    def content(self) -> bytes:
        """Returns the bytes. Raises ImageError if they cannot be had; StorageError if nothing can."""
        if not self._row.location:
            raise ImageError("the manifest names no image in this row; name one or leave the row out")
        coming, self._coming = self._coming, None
        return read_image_bytes(self._row.location) if coming is None else coming.result()

    def release(self) -> None:
        """Lets go of the content, also of one that is still coming."""
        self._coming = None
        super().release()


def _photos(rows: tuple[Row, ...]) -> Iterator[Photo]:
    """Yields the images of a block; those of stores are fetched ahead."""
    if not any(is_uri(row.location) for row in rows):
        yield from map(_Fetched, rows)
        return
    with ThreadPoolExecutor(_FETCHED_AHEAD) as threads:
        waiting: list[_Fetched] = []
        for row in chain(rows, [None] * _FETCHED_AHEAD):
            if row is not None:
                waiting.append(_Fetched(row, threads.submit(read_image_bytes, row.location)))
            if waiting and (row is None or len(waiting) > _FETCHED_AHEAD):
                yield waiting.pop(0)
