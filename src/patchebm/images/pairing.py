"""This module finds the masks of test images: which file marks the defects of which image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from patchebm.errors import DataError
from patchebm.images.image_file import ImageFile
from patchebm.images.listing import LeftOutTally, folders_in, images_below, images_in
from patchebm.images.names import means_masks

# What masks have behind the name of their image.
_ENDINGS = ("_mask", "_masks", "_gt", "_label", "_seg", "-mask", "-gt")


def mask_folder(folder: Path) -> Path | None:
    """Returns the folder of masks in a folder, whatever it is called, or None.

    Raises:
        DataError: there are two.
    """
    found = [inner for inner in folders_in(folder) if means_masks(inner.name)]
    if len(found) > 1:
        raise DataError(f"{found[0]} and {found[1]} both hold masks; join them or rename one")
    return found[0] if found else None


def with_masks(
    defects: Sequence[tuple[Path, list[ImageFile]]], masks: Path | None, tally: LeftOutTally
) -> list[ImageFile]:
    """Returns the images of all defects, each with its masks; every mask must find an image.

    Masks lie in `masks/<name of the defect's folder>`, in a folder of masks inside that of the defect, or
    directly in `masks`. Below these, `<image>.png` and `<image>_mask.png` belong to `<image>`, and so does
    all that lies in a folder `<image>`.

    Args:
        defects: each folder of test images, with its images.
        masks: the folder of masks, if there is one.
        tally: gets what else lies among the masks.

    Raises:
        DataError: a mask has no image, two masks fit one image, two images fit one mask, or an image has no
            mask while others of its defect have.
    """
    by_name = {folder.name: folder for folder, _ in defects}
    of_folder: dict[Path, list[tuple[Path, Path]]] = {folder: [] for folder, _ in defects}
    stray: list[Path] = []
    flat: list[Path] = []
    if masks is not None:
        flat = images_in(masks, tally)
        for inner in folders_in(masks):
            files = images_below(inner, tally)
            target = by_name.get(inner.name) or _same_name(inner.name, by_name)
            if target is None:
                stray += files
            else:
                of_folder[target] += [(file, file.relative_to(inner)) for file in files]
    for folder, _ in defects:
        own = mask_folder(folder)
        if own is not None:
            of_folder[folder] += [(file, file.relative_to(own)) for file in images_below(own, tally)]
    for mask in flat:
        owners = [folder for folder, images in defects if _Images(folder, images).find(Path(mask.name))]
        if len(owners) == 1:
            of_folder[owners[0]].append((mask, Path(mask.name)))
        else:
            stray.append(mask)
    if stray:
        raise DataError(f"mask {stray[0]} has no image; {_fix(stray[0])}")
    return [image for folder, images in defects for image in _pair(folder, images, of_folder[folder])]


def _same_name(name: str, by_name: dict[str, Path]) -> Path | None:
    found = [folder for other, folder in by_name.items() if other.casefold() == name.casefold()]
    return found[0] if len(found) == 1 else None


class _Images:
    """This class finds images of one folder by the path of a mask.

    Args:
        folder: of the images.
        images: in it and below.
    """

    def __init__(self, folder: Path, images: Sequence[ImageFile]) -> None:
        self._by_key: dict[str, list[Path]] = {}
        for image in images:
            key = image.path.relative_to(folder).with_suffix("")
            for name in {key.as_posix(), key.name}:
                self._by_key.setdefault(name, []).append(image.path)

    def find(self, mask: Path) -> tuple[Path, bool] | None:
        """Returns the image of a mask, given below its folder, and whether it may be one of several.

        Raises:
            DataError: several images fit.
        """
        key = mask.with_suffix("")
        # The exact name first: an image may itself be called <something>_mask.
        for names, several in (
            ((key.as_posix(), _bare(key.as_posix())), False),
            ((key.parent.as_posix(),), True),
            ((key.name, _bare(key.name)), False),
            ((key.parent.name,), True),
        ):
            for name in names:
                found = self._by_key.get(name, [])
                if len(found) > 1:
                    raise DataError(f"{found[0]} and {found[1]} fit the same mask; rename one")
                if found:
                    return found[0], several
        return None


def _pair(folder: Path, images: list[ImageFile], masks: list[tuple[Path, Path]]) -> list[ImageFile]:
    if not masks:
        return images
    known = _Images(folder, images)
    masks_of: dict[Path, list[Path]] = {}
    alone: set[Path] = set()
    for mask, name in masks:
        found = known.find(name)
        if found is None:
            raise DataError(f"mask {mask} has no image; {_fix(mask)}")
        path, several = found
        others = masks_of.setdefault(path, [])
        if others and (path in alone or not several):
            raise DataError(
                f"{others[0]} and {mask} are both masks of {path}; remove one, or put all of them into a "
                f"folder {mask.parent / path.stem}"
            )
        others.append(mask)
        if not several:
            alone.add(path)
    for image in images:
        if image.path not in masks_of:
            raise DataError(
                f"{image.path} has no mask while {len(masks_of)} other images of '{image.defect}' have; "
                f"add {masks[0][0].parent / (image.path.stem + '_mask.png')} or remove those of this defect"
            )
    return [replace(image, masks=tuple(masks_of[image.path])) for image in images]


def _bare(name: str) -> str:
    """Returns the name of the image that a mask of this name belongs to."""
    for ending in _ENDINGS:
        name = name.removesuffix(ending)
    return name


def _fix(mask: Path) -> str:
    return f"add the image {_bare(mask.stem)} to the test folder of its defect or remove the mask"
