"""This module hands out the history as files."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from typing import IO, Any, Literal

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from patchebm.station.services import export
from patchebm.station.web.api import PROBLEMS
from patchebm.station.web.api.inspections import TheFilters
from patchebm.station.web.dependencies import DatabaseSession, Engineer, TheStation

router = APIRouter(tags=["exports"], responses=PROBLEMS)

_MEDIA = {
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
    "mvtec": "application/zip",
}
_NAMES = {"csv": "inspections.csv", "parquet": "inspections.parquet", "mvtec": "images.zip"}
# Bytes that stay in memory; more go to a file without a name.
_IN_MEMORY = 4_000_000
_CHUNK = 256 * 1024
_BINARY = {"schema": {"type": "string", "format": "binary"}}


@router.get(
    "/exports/{form}",
    response_class=StreamingResponse,
    responses={200: {"content": {media.split(";")[0]: _BINARY for media in _MEDIA.values()}}},
)
def export_history(
    session: DatabaseSession,
    station: TheStation,
    actor: Engineer,
    filters: TheFilters,
    form: Literal["csv", "parquet", "mvtec"],
) -> StreamingResponse:
    """Returns parts as CSV, as Parquet, or the images of reviewed parts in the layout of MVTec AD."""
    writers: dict[str, Callable[[IO[bytes]], Any]] = {
        "csv": lambda file: export.write_csv(session, filters, file),
        "parquet": lambda file: export.write_parquet(session, filters, file),
        "mvtec": lambda file: export.write_image_set(session, filters, station.storage, file),
    }
    # Whole before the first byte goes out: else an error could not be told any more.
    spool = tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=str(station.settings.folder))  # noqa: SIM115
    try:
        writers[form](spool)
        size = spool.tell()
        spool.seek(0)
    except BaseException:
        spool.close()
        raise
    headers = {
        "Content-Disposition": f'attachment; filename="{_NAMES[form]}"',
        "Content-Length": str(size),
    }
    return StreamingResponse(_chunks(spool), media_type=_MEDIA[form], headers=headers)


def _chunks(spool: IO[bytes]) -> Iterator[bytes]:
    with spool:
        while chunk := spool.read(_CHUNK):
            yield chunk
