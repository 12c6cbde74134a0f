"""This module finds the images to calibrate on, by the rules of training, and refuses what would spoil it.

A threshold from images that the model was trained on is far too low, one from defects or masks far too
high, and no score shows it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from patchebm.errors import DataError
from patchebm.images.fingerprints import Fingerprints, find_duplicates
from patchebm.images.folders import open_image_set
from patchebm.images.groups import read_groups
from patchebm.images.image_file import ImageFile
from patchebm.images.listing import LeftOut, folders_in
from patchebm.images.names import GOOD, MASKS, means_defective, means_good, means_masks
from patchebm.images.photo import Photo


def find_calibration_images(
    paths: Sequence[str | Path], groups: str | None = None, *, good: Collection[str] = ()
) -> tuple[list[ImageFile], list[LeftOut]]:
    """Returns the images of good parts that files and folders name, and what is left out of the folders.

    Of a folder those are taken that `train` would take: `train/good`, else `good`, else the images directly
    in it.

    Args:
        paths: files and folders.
        groups, good: as for `open_image_set`.

    Raises:
        DataError: as `open_image_set`; or a path leads to defects or masks by its name.
    """
    found: dict[Path, ImageFile] = {}
    left_out: list[LeftOut] = []
    for path in map(Path, paths):
        _refuse_by_name(path, good)
        if path.is_dir():
            image_set = open_image_set(path, groups=groups, good=good)
            images: Sequence[ImageFile] = image_set.train
            left_out += image_set.left_out
        elif path.exists():
            known = read_groups([path], path.parent, groups)
            images = [ImageFile(path, GOOD, group=known.get(path))]
        else:
            raise DataError(f"{path} does not exist; name an image or a folder of images")
        for image in images:
            found.setdefault(image.path.resolve(), image)
    return sorted(found.values(), key=lambda image: image.path), left_out


def refuse_trained(run: str | Path, trained: Fingerprints, images: Fingerprints) -> None:
    """Raises DataError if images are among those that a run was trained on; says how many, and names one."""
    copies = find_duplicates(trained, images)
    if not copies:
        return
    first = copies[0]
    what = "is" if first.exact else "is nearly"
    raise DataError(
        f"{len(copies)} of {len(images.names)} images are among those that {run} was trained on, or nearly "
        f"({first.test} {what} {first.train}), and a model scores these too low; give images of good parts "
        "that it has not seen"
    )


def refuse_masks(photos: int, masks: Sequence[Path]) -> None:
    """Raises DataError if most images look like masks, which hold two values alone.

    Args:
        photos: how many images there are.
        masks: those for which `resembles_mask` is true.
    """
    if 2 * len(masks) > photos:
        raise DataError(
            f"{len(masks)} of {photos} images, such as {masks[0]}, are black and white without anything "
            "between, as masks are; give photographs of good parts"
        )


def resembles_mask(photo: Photo) -> bool:
    """Says whether an image holds black and one other value alone. Raises ImageError if it cannot be read."""
    pixels = photo.pixels
    # Most photographs are told by a few rows.
    for rows in (pixels[:: max(1, len(pixels) // 8)], pixels):
        values = np.unique(rows)
        if len(values) > 2:
            return False
    return bool(values[0] == 0)


def _refuse_by_name(path: Path, good: Collection[str]) -> None:
    """Raises DataError for masks, defects by the name of their folder, and defects in a test folder."""
    folder = path.resolve() if path.is_dir() else path.resolve().parent
    is_good, above = means_good(folder.name, good), folder.parent
    if MASKS in folder.parts or (not is_good and (means_masks(folder.name) or means_masks(above.name))):
        raise DataError(f"{path} belongs to masks ({MASKS}); give images of good parts")
    is_bad, in_test = means_defective(folder.name), above.name.casefold() == "test"
    if is_good or not (is_bad or in_test):
        return
    beside = [inner for inner in folders_in(above) if means_good(inner.name, good)]
    if is_bad or beside:
        such = f", such as {beside[0]}" if beside else ""
        raise DataError(
            f"{path} belongs to the defect '{folder.name}' of {above}; give images of good parts{such}"
        )
