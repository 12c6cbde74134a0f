"""This module collects the good images that a training learns from."""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image
from sqlalchemy import select
from sqlalchemy.orm import Session

from patchebm.errors import DataError, ImageError, PatchebmError
from patchebm.images.decoders import decode
from patchebm.station.database.history import Inspection
from patchebm.station.database.products import Product
from patchebm.station.images import SUFFIXES, checked_header
from patchebm.station.roi import Roi
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
    uploads: Sequence[tuple[str, Path]], confirmed: Sequence[Path], megapixels: float, roi: Roi | None
) -> Callable[[Path], int]:
    """Returns a function that puts images into a folder and returns how many.

    With a region of interest the model learns from what lies inside: the images are cut, without any loss.
    One image at a time is held in memory.

    Args:
        uploads: name and file of each image, which is moved; of the name, letters and digits are kept.
        confirmed: images of parts that were confirmed good, which are copied.
        megapixels: that an image may have, at most.
        roi: region of interest of the product; None for whole images.

    Raises:
        ImageError: what was uploaded is no image; names it. The function raises it for an image that the
            region does not fit.
        DataError: there is no image at all.
    """
    kinds = [checked_header(path.read_bytes(), megapixels, name).kind for name, path in uploads]
    if not uploads and not confirmed:
        raise DataError("there is no good image to learn from; choose files, or confirm parts in the review")

    def write(folder: Path) -> int:
        try:
            for number, ((name, path), kind) in enumerate(zip(uploads, kinds, strict=True)):
                target = folder / f"{number:05d}{_recognisable(name)}{SUFFIXES[kind]}"
                if roi is None:
                    shutil.move(path, target)
                else:
                    _write_inside(path, target, name, roi)
            count = len(uploads)
            for number, path in enumerate(confirmed):
                # Retention may have taken one since it was found.
                if path.exists():
                    target = folder / f"part-{number:05d}{path.suffix}"
                    if roi is None:
                        shutil.copyfile(path, target)
                    else:
                        _write_inside(path, target, path.name, roi)
                    count += 1
        except OSError as error:
            raise PatchebmError(
                f"the images could not be written ({error.strerror or error}); free some space"
            ) from error
        return count

    return write


def _write_inside(path: Path, target: Path, name: str, roi: Roi) -> None:
    """Writes what of an image lies in a region: the same numbers, as PNG or .npy."""
    inside = roi.cut(decode(path.read_bytes(), Path(name)), name)
    values, white = inside.values, inside.white
    if inside.inverted and white is not None:
        values = (white - values).astype(values.dtype)
    if values.dtype == np.uint8:
        if inside.alpha is not None:
            if values.shape[2] == 1:
                values = np.repeat(values, 3, axis=2)
            values = np.dstack([values, inside.alpha])
        packed = io.BytesIO()
        Image.fromarray(np.squeeze(values, axis=2) if values.shape[2] == 1 else values).save(packed, "PNG")
        target.with_suffix(".png").write_bytes(packed.getvalue())
        return
    if inside.alpha is not None:
        raise ImageError(
            f"{name} has more than 8 bits and is transparent in places, which cannot be cut to the region of "
            "interest; save it without transparency"
        )
    np.save(target.with_suffix(".npy"), values)


def _recognisable(name: str) -> str:
    """Returns what of a name can stand in one that the station chooses, so that people know it again."""
    stem = PurePosixPath(name.replace("\\", "/")).stem
    kept = re.sub(r"[^A-Za-z0-9]+", "-", stem).strip("-")[:40]
    return f"-{kept}" if kept else ""
