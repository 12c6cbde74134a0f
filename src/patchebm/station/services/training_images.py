"""This module collects the good images that a training learns from."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from sqlalchemy import select
from sqlalchemy.orm import Session

from patchebm.errors import DataError, PatchebmError
from patchebm.station.database.history import Inspection
from patchebm.station.database.products import Product
from patchebm.station.images import SUFFIXES, checked_header
from patchebm.station.storage import Storage

# Confirmed-good parts that are taken at most, the newest ones.
MOST_CONFIRMED = 1000


def confirmed_good(session: Session, storage: Storage, product: Product) -> list[Path]:
    """Returns where the images of the newest confirmed-good parts lie, as far as they are kept."""
    query = (
        select(Inspection.id, Inspection.image_format)
        .where(
            Inspection.product_id == product.id,
            Inspection.review == "good",
            Inspection.image_deleted.is_(None),
        )
        .order_by(Inspection.id.desc())
        .limit(MOST_CONFIRMED)
    )
    return [storage.image(row.id, row.image_format) for row in session.execute(query)]


def writer_of(
    uploads: Sequence[tuple[str, bytes]], confirmed: Sequence[Path], megapixels: float
) -> Callable[[Path], int]:
    """Returns a function that writes images into a folder and returns how many.

    Args:
        uploads: name and content of each file; of the name, letters and digits are kept.
        confirmed: images of parts that were confirmed good.
        megapixels: that an image may have, at most.

    Raises:
        ImageError: what was uploaded is no image; names it.
        DataError: there is no image at all.
    """
    kinds = [checked_header(content, megapixels, name).kind for name, content in uploads]
    if not uploads and not confirmed:
        raise DataError("there is no good image to learn from; choose files, or confirm parts in the review")

    def write(folder: Path) -> int:
        try:
            for number, ((name, content), kind) in enumerate(zip(uploads, kinds, strict=True)):
                (folder / f"{number:05d}{_recognisable(name)}{SUFFIXES[kind]}").write_bytes(content)
            count = len(uploads)
            for number, path in enumerate(confirmed):
                # Retention may have taken one since it was found.
                if path.exists():
                    shutil.copyfile(path, folder / f"part-{number:05d}{path.suffix}")
                    count += 1
        except OSError as error:
            raise PatchebmError(
                f"the images could not be written ({error.strerror or error}); free some space"
            ) from error
        return count

    return write


def _recognisable(name: str) -> str:
    """Returns what of a name can stand in one that the station chooses, so that people know it again."""
    stem = PurePosixPath(name.replace("\\", "/")).stem
    kept = re.sub(r"[^A-Za-z0-9]+", "-", stem).strip("-")[:40]
    return f"-{kept}" if kept else ""
