"""This module finds the images, labels, masks and groups of an image set in a folder, and checks them.

Only `check_images` and `readable_photos` open images. Folders are listed in sorted order, so that the same
files give the same set on every machine; hidden files and files that are not images are left out.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from patchebm.errors import DataError, ImageError
from patchebm.images.groups import read_csv, read_groups
from patchebm.images.photo import Photo
from patchebm.images.reading import IMAGE_SUFFIXES, read_mask

GOOD = "good"
"""Folder name and label of normal images."""

MASKS = "ground_truth"
"""Name of the folder of masks."""


@dataclass(frozen=True)
class ImageFile:
    """This class names an image file and what is known of it.

    Attributes:
        path: the file.
        defect: 'good', the name of a defect, or '' if nobody said.
        mask: file of the defect mask, if there is one.
        group: name of the physical object shown; images of one group belong on one side of a split.
    """

    path: Path
    defect: str = ""
    mask: Path | None = None
    group: str | None = None

    @property
    def anomalous(self) -> bool | None:
        """Returns False for 'good', None for unknown, else True."""
        return None if self.defect == "" else self.defect != GOOD


@dataclass(frozen=True)
class ImageSet:
    """This class lists the images of one product.

    Attributes:
        name: name of the root folder.
        root: the root folder.
        train: good images to fit on, sorted by path; never empty.
        test: images to evaluate on, sorted by defect and file name; may be empty.
        kinds: 'local' or 'global' for each defect that kinds.csv lists, with images of it or not.
    """

    name: str
    root: Path
    train: tuple[ImageFile, ...]
    test: tuple[ImageFile, ...] = ()
    kinds: Mapping[str, str] = field(default_factory=dict)

    @property
    def has_masks(self) -> bool:
        """Whether any test image has a mask."""
        return any(image.mask is not None for image in self.test)

    @property
    def defects(self) -> tuple[str, ...]:
        """Returns the names of the defects among the test images, sorted, without 'good'."""
        return tuple(sorted({image.defect for image in self.test if image.anomalous}))


def open_image_set(root: str | Path, test: str | Path | None = None, groups: str | None = None) -> ImageSet:
    """Lists an image set; the images themselves are not opened (`check_images` does).

    The good images to train on lie in `train/good` (the layout of MVTec AD), else in `good`, else directly
    in `root`; the first of these that exists counts. The test images lie in `test`, in one folder for each
    defect and `good` for normal ones; images directly in the test folder are unlabelled (''). Without a
    test folder, the neighbours of `root/good` that hold images are taken as defects.

    Masks are optional, for each defect too: `ground_truth/<defect>/<stem>_mask.png` or `<stem>.png` beside a
    folder named `test` (any image ending will do), or `ground_truth` inside a test folder of another name.
    Optional files in `root`: `groups.csv` with the columns file,group (paths below `root`, with forward
    slashes) and `kinds.csv` with the columns defect,kind (kind is local or global).

    Args:
        root: folder of the set.
        test: folder of test images to use instead of `root/test`.
        groups: a file like groups.csv elsewhere, or a pattern; see `patchebm.images.groups`.

    Raises:
        DataError: a folder is missing or is a file; there are no images to train on; a test folder holds
            no images; a mask has no image, two masks fit one image, or an image has no mask while
            others of its defect have; a csv file is malformed; groups.csv names a file that does not exist.
    """
    root = Path(root)
    _require_folder(root)
    train_folder = _train_folder(root)
    train = [ImageFile(path, GOOD) for path in _images_in(train_folder)]
    if not train:
        raise DataError(f"{train_folder} holds no images; put the images of good parts there")

    if test is not None:
        images = _test_images(Path(test))
    elif (root / "test").is_dir():
        images = _test_images(root / "test")
    elif train_folder == root / GOOD:
        others = [folder for folder in _folders_in(root) if folder.name not in (GOOD, MASKS)]
        images = _with_masks([_labelled(folder) for folder in others], root / MASKS)
    else:
        images = []

    parts = read_groups([p.path for p in train], root, groups)

    def grouped(own: Iterable[ImageFile]) -> tuple[ImageFile, ...]:
        return tuple(replace(image, group=parts.get(image.path)) for image in own)

    return ImageSet(
        name=root.resolve().name,
        root=root,
        train=grouped(train),
        test=grouped(images),
        kinds=_read_kinds(root),
    )


def find_images(paths: str | Path | Iterable[str | Path]) -> list[Path]:
    """Expands files and folders to image files, sorted by path, each once.

    Folders are searched through all their sub-folders (hidden ones and links to folders left out) for
    files with an ending in `IMAGE_SUFFIXES`. A file that is named itself is taken whatever its ending.

    Raises:
        DataError: a path does not exist, a folder holds no images or cannot be read, `paths` is empty.
    """
    found: set[Path] = set()
    named = [paths] if isinstance(paths, str | Path) else list(paths)
    if not named:
        raise DataError("no images were named; name image files or folders of images")
    for path in map(Path, named):
        if not os.path.isdir(path):
            if not os.path.exists(path):
                raise DataError(f"{path} does not exist; name an image or a folder of images")
            found.add(path)
            continue
        inside: list[Path] = []
        for folder, subfolders, _ in os.walk(path, onerror=_refuse_walk):
            subfolders[:] = [name for name in subfolders if not name.startswith(".")]
            inside += _images_in(Path(folder))
        if not inside:
            raise DataError(f"{path} holds no {_endings()} files; name a folder of images")
        found.update(inside)
    return sorted(found)


def check_images(
    images: Iterable[ImageFile], *, skip_bad: bool = False
) -> tuple[list[ImageFile], list[tuple[ImageFile, str]]]:
    """Reads every image and its mask to the end, so that a bad file is found before hours of training.

    Args:
        images: what to check.
        skip_bad: whether bad images are returned; otherwise they are an error.

    Returns:
        The good images, in their order, and the bad ones, each with the sentence that says why.

    Raises:
        ImageError: without `skip_bad`, if any image or mask is bad; names the first, counts the others.
        DataError: with `skip_bad`, if there are images and not one of them is good.
    """
    bad: list[tuple[ImageFile, str]] = []
    good = [image for image, _ in readable_photos(images, bad)]
    refuse_bad(bad, len(good), skip_bad=skip_bad)
    return good, bad


def readable_photos(
    images: Iterable[ImageFile], bad: list[tuple[ImageFile, str]]
) -> Iterator[tuple[ImageFile, Photo]]:
    """Yields each image that can be read, and whose mask can, with its photo, decoded.

    The photo is released when the next one is asked for, so that one image at a time is in memory.

    Args:
        images: in the order in which they are read.
        bad: gets each of the other images with the sentence that says why it cannot be used.
    """
    for image in images:
        photo = Photo(image.path)
        try:
            height, width, _ = photo.pixels.shape
            if image.mask is not None:
                read_mask(image.mask, (height, width))
        except ImageError as error:
            bad.append((image, str(error)))
        else:
            yield image, photo
        photo.release()


def refuse_bad(bad: Sequence[tuple[ImageFile, str]], good: int, *, skip_bad: bool) -> None:
    """Raises an error if images cannot be used and were not to be skipped, or if no other is left.

    Args:
        bad: images that cannot be used, each with the sentence that says why.
        good: the number of the other images.
        skip_bad: whether bad images may be left out.

    Raises:
        ImageError: without `skip_bad`, if any image is bad; names the first, counts the others.
        DataError: with `skip_bad`, if no image is good.
    """
    if not bad:
        return
    first, others = bad[0][1], len(bad) - 1
    more = f" ({others} more of {good + len(bad)} images cannot be used either)" if others else ""
    if not skip_bad:
        raise ImageError(f"{first}{more}")
    if not good:
        raise DataError(f"no image is left after skipping the bad ones: {first}{more}")


def _train_folder(root: Path) -> Path:
    if (root / "train").is_dir():
        folder = root / "train" / GOOD
        if not folder.is_dir():
            raise DataError(f"{root / 'train'} has no folder 'good'; put the images of good parts there")
        return folder
    if (root / GOOD).is_dir():
        return root / GOOD
    if _images_in(root):
        return root
    sets = [folder for folder in _folders_in(root) if (folder / "train" / GOOD).is_dir()]
    if sets:
        raise DataError(f"{root} is a folder of {len(sets)} image sets; name one of them, such as {sets[0]}")
    raise DataError(
        f"{root} holds no images of good parts; put {_endings()} files there or in its train/good"
    )


def _test_images(folder: Path) -> list[ImageFile]:
    _require_folder(folder)
    # Beside `test` as in MVTec AD. Beside a folder of any other name a ground_truth may belong to others.
    masks = folder / MASKS
    if folder.name == "test" and not masks.is_dir():
        masks = folder.parent / MASKS
    defects = [_labelled(sub) for sub in _folders_in(folder) if sub.name != MASKS]
    loose = [ImageFile(path) for path in _images_in(folder)]
    if not loose and not any(defects):
        raise DataError(
            f"{folder} holds no test images; put {_endings()} files there or in a folder for each defect, "
            "or remove the empty folder"
        )
    return loose + _with_masks(defects, masks)


def _labelled(folder: Path) -> list[ImageFile]:
    return [ImageFile(path, folder.name) for path in _images_in(folder)]


def _with_masks(defects: Sequence[list[ImageFile]], masks: Path) -> list[ImageFile]:
    """Returns the images of all defects, each with its mask; every mask must find an image."""
    by_defect = {images[0].defect: images for images in defects if images}
    if masks.is_dir():
        stray = _images_in(masks)
        for folder in _folders_in(masks):
            files = _images_in(folder)
            if files and folder.name in by_defect:
                by_defect[folder.name] = _pair(by_defect[folder.name], files)
            else:
                stray += files
        if stray:
            raise DataError(f"mask {stray[0]} has no image; {_mask_fix(stray[0])}")
    return [image for images in by_defect.values() for image in images]


def _pair(images: list[ImageFile], masks: list[Path]) -> list[ImageFile]:
    by_stem: dict[str, Path] = {}
    for image in images:
        if image.path.stem in by_stem:
            raise DataError(f"{by_stem[image.path.stem]} and {image.path} fit the same mask; rename one")
        by_stem[image.path.stem] = image.path
    mask_of: dict[Path, Path] = {}
    for mask in masks:
        # The exact stem first: an image may itself be called <something>_mask.
        path = by_stem.get(mask.stem) or by_stem.get(mask.stem.removesuffix("_mask"))
        if path is None:
            raise DataError(f"mask {mask} has no image; {_mask_fix(mask)}")
        if path in mask_of:
            raise DataError(f"{mask_of[path]} and {mask} are both masks of {path}; remove one")
        mask_of[path] = mask
    for image in images:
        if image.path not in mask_of:
            raise DataError(
                f"{image.path} has no mask while {len(mask_of)} other images of '{image.defect}' have; "
                f"add {masks[0].parent / (image.path.stem + '_mask.png')} or remove those of this defect"
            )
    return [replace(image, mask=mask_of[image.path]) for image in images]


def _mask_fix(mask: Path) -> str:
    stem = mask.stem.removesuffix("_mask")
    return f"add the image {stem} to the test folder of its defect or remove the mask"


def _read_kinds(root: Path) -> dict[str, str]:
    kinds: dict[str, str] = {}

    def add(line: str, defect: str, kind: str) -> None:
        if kind not in ("local", "global"):
            raise DataError(f"{line}: kind '{kind}' is neither 'local' nor 'global'; correct it")
        if kinds.setdefault(defect, kind) != kind:
            raise DataError(f"{line}: '{defect}' already has another kind; remove one of the lines")

    read_csv(root / "kinds.csv", ("defect", "kind"), add)
    return kinds


def _require_folder(path: Path) -> None:
    # os.path does not raise for a name that is too long or a parent that may not be entered.
    if os.path.isdir(path):
        return
    if os.path.exists(path):
        raise DataError(f"{path} is a file, not a folder; name the folder that holds the images")
    raise DataError(f"folder {path} does not exist; check the path")


def _images_in(folder: Path) -> list[Path]:
    # A dangling link counts as an image, so that it is reported when it is read and not silently left out.
    return [p for p in _entries(folder) if p.suffix.lower() in IMAGE_SUFFIXES and not p.is_dir()]


def _folders_in(folder: Path) -> list[Path]:
    return [path for path in _entries(folder) if path.is_dir()]


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise DataError(f"folder {folder} cannot be read: {error.strerror}; check its permissions") from error


def _refuse_walk(error: OSError) -> None:
    raise DataError(f"folder {error.filename} cannot be read: {error.strerror}; check its permissions")


def _endings() -> str:
    return ", ".join(sorted(IMAGE_SUFFIXES))
