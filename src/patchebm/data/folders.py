"""Finding the pictures, labels, masks and groups of an image set in a folder, and checking them.

Nothing here looks at pixels except `check_pictures`. Folders are listed in sorted order, so that the same
files give the same set on every machine; hidden files and files that are not pictures are left out.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from patchebm.data.groups import read_csv, read_groups
from patchebm.data.images import IMAGE_SUFFIXES, read_image, read_mask
from patchebm.errors import DataError, ImageError

GOOD = "good"
"""Folder name and label of normal pictures."""

MASKS = "ground_truth"
"""Name of the folder of masks."""


@dataclass(frozen=True)
class Picture:
    """One picture file and what is known of it.

    Attributes:
        path: the file.
        defect: 'good', the name of a defect, or '' if nobody said.
        mask: file of the defect mask, if there is one.
        group: name of the physical object shown; pictures of one group belong on one side of a split.
    """

    path: Path
    defect: str = ""
    mask: Path | None = None
    group: str | None = None

    @property
    def anomalous(self) -> bool | None:
        """False for 'good', None for unknown, else True."""
        return None if self.defect == "" else self.defect != GOOD


@dataclass(frozen=True)
class ImageSet:
    """The pictures of one product.

    Attributes:
        name: name of the root folder.
        root: the root folder.
        train: good pictures to fit on, sorted by path; never empty.
        test: pictures to evaluate on, sorted by defect and file name; may be empty.
        kinds: 'local' or 'global' for each defect that kinds.csv lists, with pictures of it or not.
    """

    name: str
    root: Path
    train: tuple[Picture, ...]
    test: tuple[Picture, ...] = ()
    kinds: Mapping[str, str] = field(default_factory=dict)

    @property
    def has_masks(self) -> bool:
        """Whether any test picture has a mask."""
        return any(picture.mask is not None for picture in self.test)

    @property
    def defects(self) -> tuple[str, ...]:
        """Names of the defects among the test pictures, sorted, without 'good'."""
        return tuple(sorted({picture.defect for picture in self.test if picture.anomalous}))


def open_image_set(root: str | Path, test: str | Path | None = None, groups: str | None = None) -> ImageSet:
    """List an image set; the pictures themselves are not opened (see `check_pictures`).

    The good pictures to train on lie in `train/good` (the layout of MVTec AD), else in `good`, else directly
    in `root`; the first of these that exists counts. The test pictures lie in `test`, in one folder for each
    defect and `good` for normal ones; pictures directly in the test folder are unlabelled (''). Without a
    test folder, the neighbours of `root/good` that hold pictures are taken as defects.

    Masks are optional, for each defect too: `ground_truth/<defect>/<stem>_mask.png` or `<stem>.png` beside a
    folder named `test` (any picture ending will do), or `ground_truth` inside a test folder of another name.
    Optional files in `root`: `groups.csv` with the columns file,group (paths as seen from `root`, with
    forward slashes) and `kinds.csv` with the columns defect,kind (kind is local or global).

    Args:
        root: folder of the set.
        test: folder of test pictures to use instead of `root/test`.
        groups: a file like groups.csv elsewhere, or a pattern; see `patchebm.data.groups`.

    Raises:
        DataError: a folder is missing or is a file; there are no pictures to train on; a test folder holds
            no pictures; a mask has no picture, two masks fit one picture, or a picture has no mask while
            others of its defect have; a csv file is malformed; groups.csv names a file that does not exist.
    """
    root = Path(root)
    _require_folder(root)
    train_folder = _train_folder(root)
    train = [Picture(path, GOOD) for path in _pictures_in(train_folder)]
    if not train:
        raise DataError(f"{train_folder} holds no pictures; put the pictures of good parts there")

    if test is not None:
        pictures = _test_pictures(Path(test))
    elif (root / "test").is_dir():
        pictures = _test_pictures(root / "test")
    elif train_folder == root / GOOD:
        others = [folder for folder in _folders_in(root) if folder.name not in (GOOD, MASKS)]
        pictures = _with_masks([_labelled(folder) for folder in others], root / MASKS)
    else:
        pictures = []

    parts = read_groups([p.path for p in train], root, groups)

    def grouped(own: Iterable[Picture]) -> tuple[Picture, ...]:
        return tuple(replace(picture, group=parts.get(picture.path)) for picture in own)

    return ImageSet(
        name=root.resolve().name,
        root=root,
        train=grouped(train),
        test=grouped(pictures),
        kinds=_read_kinds(root),
    )


def find_images(paths: str | Path | Iterable[str | Path]) -> list[Path]:
    """Expand files and folders to picture files, sorted by path, each once.

    Folders are searched through all their sub-folders (hidden ones and links to folders left out) for
    files with an ending in `IMAGE_SUFFIXES`. A file that is named itself is taken whatever its ending.

    Raises:
        DataError: a path does not exist, a folder holds no pictures or cannot be read, `paths` is empty.
    """
    found: set[Path] = set()
    named = [paths] if isinstance(paths, str | Path) else list(paths)
    if not named:
        raise DataError("no pictures were named; name picture files or folders of pictures")
    for path in map(Path, named):
        if not os.path.isdir(path):
            if not os.path.exists(path):
                raise DataError(f"{path} does not exist; name a picture or a folder of pictures")
            found.add(path)
            continue
        inside: list[Path] = []
        for folder, subfolders, _ in os.walk(path, onerror=_refuse_walk):
            subfolders[:] = [name for name in subfolders if not name.startswith(".")]
            inside += _pictures_in(Path(folder))
        if not inside:
            raise DataError(f"{path} holds no {_endings()} files; name a folder of pictures")
        found.update(inside)
    return sorted(found)


def check_pictures(
    pictures: Sequence[Picture], *, skip_bad: bool = False
) -> tuple[list[Picture], list[tuple[Picture, str]]]:
    """Read every picture and its mask to the end, so that a bad file is found before hours of training.

    Args:
        pictures: what to check.
        skip_bad: return the bad pictures instead of raising.

    Returns:
        The good pictures, in their order, and the bad ones, each with the sentence that says why.

    Raises:
        ImageError: without `skip_bad`, if any picture or mask is bad; names the first, counts the others.
        DataError: with `skip_bad`, if there are pictures and not one of them is good.
    """
    good: list[Picture] = []
    bad: list[tuple[Picture, str]] = []
    for picture in pictures:
        try:
            height, width, _ = read_image(picture.path).shape
            if picture.mask is not None:
                read_mask(picture.mask, (height, width))
        except ImageError as error:
            bad.append((picture, str(error)))
        else:
            good.append(picture)
    if not bad:
        return good, bad
    first, others = bad[0][1], len(bad) - 1
    more = f" ({others} more of {len(pictures)} pictures cannot be used either)" if others else ""
    if not skip_bad:
        raise ImageError(f"{first}{more}")
    if not good:
        raise DataError(f"no picture is left after skipping the bad ones: {first}{more}")
    return good, bad


def _train_folder(root: Path) -> Path:
    if (root / "train").is_dir():
        folder = root / "train" / GOOD
        if not folder.is_dir():
            raise DataError(f"{root / 'train'} has no folder 'good'; put the pictures of good parts there")
        return folder
    if (root / GOOD).is_dir():
        return root / GOOD
    if _pictures_in(root):
        return root
    sets = [folder for folder in _folders_in(root) if (folder / "train" / GOOD).is_dir()]
    if sets:
        raise DataError(f"{root} is a folder of {len(sets)} image sets; name one of them, such as {sets[0]}")
    raise DataError(
        f"{root} holds no pictures of good parts; put {_endings()} files there or in its train/good"
    )


def _test_pictures(folder: Path) -> list[Picture]:
    _require_folder(folder)
    # Beside `test` as in MVTec AD. Beside a folder of any other name a ground_truth may belong to others.
    masks = folder / MASKS
    if folder.name == "test" and not masks.is_dir():
        masks = folder.parent / MASKS
    defects = [_labelled(sub) for sub in _folders_in(folder) if sub.name != MASKS]
    loose = [Picture(path) for path in _pictures_in(folder)]
    if not loose and not any(defects):
        raise DataError(
            f"{folder} holds no test pictures; put {_endings()} files there or in a folder for each defect, "
            "or remove the empty folder"
        )
    return loose + _with_masks(defects, masks)


def _labelled(folder: Path) -> list[Picture]:
    return [Picture(path, folder.name) for path in _pictures_in(folder)]


def _with_masks(defects: Sequence[list[Picture]], masks: Path) -> list[Picture]:
    """The pictures of all defects in one list, each with its mask; every mask must find a picture."""
    by_defect = {pictures[0].defect: pictures for pictures in defects if pictures}
    if masks.is_dir():
        stray = _pictures_in(masks)
        for folder in _folders_in(masks):
            files = _pictures_in(folder)
            if files and folder.name in by_defect:
                by_defect[folder.name] = _pair(by_defect[folder.name], files)
            else:
                stray += files
        if stray:
            raise DataError(f"mask {stray[0]} has no picture; {_mend_mask(stray[0])}")
    return [picture for pictures in by_defect.values() for picture in pictures]


def _pair(pictures: list[Picture], masks: list[Path]) -> list[Picture]:
    by_stem: dict[str, Path] = {}
    for picture in pictures:
        if picture.path.stem in by_stem:
            raise DataError(f"{by_stem[picture.path.stem]} and {picture.path} fit the same mask; rename one")
        by_stem[picture.path.stem] = picture.path
    mask_of: dict[Path, Path] = {}
    for mask in masks:
        # The exact stem first: a picture may itself be called <something>_mask.
        path = by_stem.get(mask.stem) or by_stem.get(mask.stem.removesuffix("_mask"))
        if path is None:
            raise DataError(f"mask {mask} has no picture; {_mend_mask(mask)}")
        if path in mask_of:
            raise DataError(f"{mask_of[path]} and {mask} are both masks of {path}; remove one")
        mask_of[path] = mask
    for picture in pictures:
        if picture.path not in mask_of:
            raise DataError(
                f"{picture.path} has no mask while {len(mask_of)} other pictures of '{picture.defect}' have; "
                f"add {masks[0].parent / (picture.path.stem + '_mask.png')} or remove those of this defect"
            )
    return [replace(picture, mask=mask_of[picture.path]) for picture in pictures]


def _mend_mask(mask: Path) -> str:
    stem = mask.stem.removesuffix("_mask")
    return f"add the picture {stem} to the test folder of its defect or remove the mask"


def _read_kinds(root: Path) -> dict[str, str]:
    kinds: dict[str, str] = {}

    def add(where: str, defect: str, kind: str) -> None:
        if kind not in ("local", "global"):
            raise DataError(f"{where}: kind '{kind}' is neither 'local' nor 'global'; correct it")
        if kinds.setdefault(defect, kind) != kind:
            raise DataError(f"{where}: '{defect}' already has another kind; remove one of the lines")

    read_csv(root / "kinds.csv", ("defect", "kind"), add)
    return kinds


def _require_folder(path: Path) -> None:
    # os.path does not raise for a name that is too long or a parent that may not be entered.
    if os.path.isdir(path):
        return
    if os.path.exists(path):
        raise DataError(f"{path} is a file, not a folder; name the folder that holds the pictures")
    raise DataError(f"folder {path} does not exist; check the path")


def _pictures_in(folder: Path) -> list[Path]:
    # A dangling link counts as a picture, so that it is reported when it is read and not silently left out.
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
