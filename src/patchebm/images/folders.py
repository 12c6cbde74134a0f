"""This module finds the images, labels, masks and groups of an image set in a folder, and checks them.

Only `check_images` and `readable_photos` open images. Folders are listed in sorted order, so that the same
files give the same set on every machine; what is left out is counted.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from patchebm.errors import DataError
from patchebm.files import as_unicode
from patchebm.images.groups import read_csv, read_groups
from patchebm.images.image_file import ImageFile
from patchebm.images.listing import (
    Entered,
    LeftOut,
    LeftOutTally,
    endings,
    entered_folder,
    folders_in,
    images_below,
    images_in,
    left_out_sentence,
    list_images,
)
from patchebm.images.names import (
    GOOD,
    GOOD_NAMES,
    MASKS,
    is_unclear,
    means_defective,
    means_good,
    means_masks,
)
from patchebm.images.pairing import mask_folder, with_masks

__all__ = [
    "GOOD",
    "MASKS",
    "ImageFile",
    "ImageSet",
    "find_images",
    "open_image_set",
    "open_test_set",
]


@dataclass(frozen=True)
class ImageSet:
    """This class lists the images of one product.

    Attributes:
        name: name of the root folder.
        root: the root folder.
        train: good images to fit on, sorted by path; empty only where `open_test_set` found none.
        test: images to evaluate on, sorted by defect and file name; may be empty.
        kinds: 'local' or 'global' for each defect that kinds.csv lists, with images of it or not.
        left_out: what lies in the folders of the set and is not in it, to be said to the user.
    """

    name: str
    root: Path
    train: tuple[ImageFile, ...]
    test: tuple[ImageFile, ...] = ()
    kinds: Mapping[str, str] = field(default_factory=dict)
    left_out: tuple[LeftOut, ...] = field(default=(), compare=False)

    @property
    def has_masks(self) -> bool:
        """Whether any test image has a mask."""
        return any(image.masks for image in self.test)

    @property
    def defects(self) -> tuple[str, ...]:
        """Returns the names of the defects among the test images, sorted, without 'good'."""
        return tuple(sorted({image.defect for image in self.test if image.anomalous}))


def open_image_set(
    root: str | Path,
    test: str | Path | None = None,
    groups: str | None = None,
    *,
    good: Collection[str] = (),
) -> ImageSet:
    """Lists an image set; the images themselves are not opened (see `patchebm.images.checking`).

    The good images to train on lie in `train/good` (the layout of MVTec AD), else in `good`, else directly
    in `root`; the first of these that exists counts. The test images lie in `test`, in one folder for each
    defect and `good` for normal ones; images directly in the test folder are unlabelled (''). Without a
    test folder, the neighbours of `root/good` that hold images are taken as defects. Sub-folders of all of
    these are searched, too, linked ones as well. Any name of `patchebm.images.names.GOOD_NAMES` will do for
    `good`, and any of `MASK_NAMES` for `ground_truth`.

    Masks are optional, for each defect too: `ground_truth/<defect>/<stem>_mask.png` or `<stem>.png`, or
    several in a folder `ground_truth/<defect>/<stem>/`, beside a folder named `test` (any image ending will
    do), or `ground_truth` inside a test folder of another name or inside a defect's folder.
    Optional files in `root`: `groups.csv` with the columns file,group (paths below `root`, with forward
    slashes) and `kinds.csv` with the columns defect,kind (kind is local or global).

    Args:
        root: folder of the set.
        test: folder of test images to use instead of `root/test`.
        groups: a file like groups.csv elsewhere, or a pattern; see `patchebm.images.groups`.
        good: the names of folders that hold good parts beside 'good', in place of `GOOD_NAMES`.

    Raises:
        DataError: a folder is missing or is a file; there are no images to train on; a test folder holds
            no images; it is not clear whether a folder holds good parts; a mask has no image, two masks fit
            one image, or an image has no mask while others of its defect have; a csv file is malformed;
            groups.csv names a file that does not exist.
    """
    root = Path(root)
    _require_folder(root)
    tally = LeftOutTally()
    train, beside_good = _train_images(root, good, tally)
    if test is not None:
        images = _test_images(Path(test), good, tally)
    elif (own := _folder_called(root, "test")) is not None:
        images = _test_images(own, good, tally)
    elif beside_good:
        others = [folder for folder in _labelled_folders(root) if not means_good(folder.name, good)]
        images = _labelled(others, mask_folder(root), good, tally)
    else:
        images = []
    return _image_set(root, train, images, tally, groups)


def open_test_set(root: str | Path, *, good: Collection[str] = ()) -> ImageSet:
    """Lists the test images of a set for a model that was trained elsewhere, perhaps.

    They lie in `root/test`, or, as in a folder of test images, in one folder for each defect and `good`
    directly in `root`. Good images that lie there are in `test` then, and in `train`, too: whether the model
    was trained on these is for the caller to find out.

    Args:
        root: folder of the set, or of its test images.
        good: as for `open_image_set`.

    Raises:
        DataError: as `open_image_set`, but for missing training images.
    """
    root = Path(root)
    _require_folder(root)
    tally = LeftOutTally()
    own = _folder_called(root, "test")
    trained = _folder_called(root, "train")
    if own is not None:
        images = _test_images(own, good, tally)
        train = (
            _train_images(root, good, LeftOutTally())[0]
            if trained is not None or _good_in(root, good)
            else []
        )
    elif (
        trained is not None
        or any(_folder_called(folder, "test") for folder in folders_in(root))
        or not any(images_below(folder, LeftOutTally()) for folder in _labelled_folders(root))
    ):
        raise _no_test(root)
    else:
        images = _test_images(root, good, tally)
        train = [] if _is_test(root) else [replace(p, masks=()) for p in images if p.anomalous is False]
    return _image_set(root, train, images, tally, None)


def _no_test(root: Path) -> DataError:
    sets = [folder for folder in folders_in(root) if _folder_called(folder, "test") is not None]
    if sets:
        return DataError(f"{root} is a folder of {len(sets)} image sets; name one of them, such as {sets[0]}")
    if images_in(root, LeftOutTally()):
        # A folder of one kind of images, such as test/good: what they show stands above.
        above = root.resolve().parent
        return DataError(
            f"{root} has no test images of known truth, but images of one kind alone; name the folder that "
            f"holds it, such as {above}, with folders {GOOD} and <defect>"
        )
    return DataError(
        f"{root} has no test images of known truth; put them in {root / 'test' / GOOD} and "
        f"{root / 'test'}/<defect>, or name a folder that has folders {GOOD} and <defect>"
    )


def _image_set(
    root: Path, train: list[ImageFile], test: list[ImageFile], tally: LeftOutTally, groups: str | None
) -> ImageSet:
    parts = read_groups([p.path for p in train], root, groups)

    def grouped(own: Iterable[ImageFile]) -> tuple[ImageFile, ...]:
        return tuple(replace(image, group=parts.get(image.path)) for image in own)

    return ImageSet(
        name=as_unicode(root.resolve().name),
        root=root,
        train=grouped(train),
        test=grouped(test),
        kinds=_read_kinds(root),
        left_out=tally.found(),
    )


def find_images(paths: str | Path | Iterable[str | Path]) -> list[Path]:
    """Returns the images of `patchebm.images.listing.list_images`, where what is left out does not matter.

    Raises:
        DataError: as `list_images`.
    """
    return list(list_images(paths).images)


def _train_images(root: Path, good: Collection[str], tally: LeftOutTally) -> tuple[list[ImageFile], bool]:
    """Returns the images to train on, and whether they lie in folders beside which those of defects lie."""
    train = _folder_called(root, "train")
    above = root if train is None else train
    folders = _good_in(above, good)
    if not folders and train is not None:
        raise DataError(
            f"{train} has no folder '{GOOD}'; put the images of good parts there"
            f"{_or_good_option(_labelled_folders(train))}"
        )
    if folders:
        entered: Entered = set()
        links_last = sorted(folders, key=lambda folder: folder.is_symlink())
        images = sorted(
            image for folder in links_last for image in images_below(folder, tally, entered=entered)
        )
        if not images:
            raise DataError(f"{folders[0]} holds no images; put the images of good parts there{_but(tally)}")
        if train is not None:
            # These lie where no one would look for them, and are nothing that training can use.
            others = [folder for folder in _labelled_folders(train) if folder not in folders]
            for folder in others:
                tally.add(f"images in {folder.name}, which does not mean good", images_below(folder, tally))
            tally.add(f"images beside {folders[0].name}", images_in(train, tally))
            known = {train, _folder_called(root, "test"), mask_folder(root)}
            for folder in folders_in(root):
                if folder not in known:
                    tally.add(f"images in {folder.name}", images_below(folder, LeftOutTally()))
            tally.add("images beside train", images_in(root, LeftOutTally()))
        else:
            tally.add(f"images beside {folders[0].name}", images_in(root, tally))
        return [ImageFile(path, GOOD) for path in images], train is None
    return [ImageFile(path, GOOD) for path in _loose_images(root, tally)], False


def _loose_images(root: Path, tally: LeftOutTally) -> list[Path]:
    """Returns the images of a folder that holds nothing but good parts."""
    loose = images_in(root, tally)
    test = _folder_called(root, "test")
    # Linked folders come last, so that each image has the path that it has without them.
    inner = [folder for folder in folders_in(root) if folder != test and not means_masks(folder.name)]
    if loose:
        entered = entered_folder(root)
        for folder in inner:
            found = images_below(folder, tally, entered=entered)
            if means_defective(folder.name):
                tally.add(f"images in {folder.name}", found)
            else:
                loose += found
        if test is None and (masks := mask_folder(root)) is not None:
            tally.add("masks", images_below(masks, LeftOutTally()))
        return sorted(loose)
    sets = [folder for folder in folders_in(root) if (_folder_called(folder, "train") or folder) != folder]
    if sets:
        raise DataError(f"{root} is a folder of {len(sets)} image sets; name one of them, such as {sets[0]}")
    unclear = [folder for folder in inner if images_below(folder, LeftOutTally())]
    raise DataError(
        f"{root} holds no images of good parts; put {endings()} files there or in its train/good"
        f"{_or_good_option(unclear)}{_but(tally)}"
    )


def _test_images(folder: Path, good: Collection[str], tally: LeftOutTally) -> list[ImageFile]:
    _require_folder(folder)
    # Beside `test` as in MVTec AD. Beside a folder of any other name a ground_truth may belong to others.
    masks = mask_folder(folder)
    if masks is None and _is_test(folder):
        masks = mask_folder(folder.parent)
    loose = [ImageFile(path) for path in images_in(folder, tally)]
    labelled = _labelled(_labelled_folders(folder), masks, good, tally)
    if not loose and not labelled:
        raise DataError(
            f"{folder} holds no test images; put {endings()} files there or in a folder for each defect, "
            f"or remove the empty folder{_but(tally)}"
        )
    return loose + labelled


def _labelled(
    folders: Sequence[Path], masks: Path | None, good: Collection[str], tally: LeftOutTally
) -> list[ImageFile]:
    """Returns the images of folders that are called like a defect or like good parts, with their masks."""
    found = []
    for folder in folders:
        defect = GOOD if means_good(folder.name, good) else as_unicode(folder.name)
        images = [ImageFile(path, defect) for path in images_below(folder, tally, masks_count=False)]
        if not images:
            continue
        if defect != GOOD and not good and is_unclear(folder.name):
            known = [other.name for other in folders if means_good(other.name)] or [GOOD]
            raise DataError(
                f"{folder} may hold good parts or a defect; say --good {' '.join([*known, folder.name])} "
                f"if they are good, or --good {' '.join(known)} if they are not"
            )
        found.append((folder, images))
    return with_masks(found, masks, tally)


def _labelled_folders(folder: Path) -> list[Path]:
    """Returns the folders in a folder, without those of masks."""
    return [inner for inner in sorted(folders_in(folder)) if not means_masks(inner.name)]


def _good_in(folder: Path, good: Collection[str]) -> list[Path]:
    return [inner for inner in _labelled_folders(folder) if means_good(inner.name, good)]


def _folder_called(root: Path, name: str) -> Path | None:
    """Returns the folder of a name in a folder, whatever its case."""
    if (root / name).is_dir():
        return root / name
    return next((inner for inner in folders_in(root) if inner.name.casefold() == name), None)


def _is_test(folder: Path) -> bool:
    return folder.resolve().name.casefold() == "test"


def _or_good_option(folders: Sequence[Path]) -> str:
    """Returns how to say that folders of other names hold good parts."""
    if not folders:
        return ""
    clear = ", ".join(GOOD_NAMES[:5])
    return f", or say --good {folders[0].name} if {folders[0]} holds them (clear names are {clear}, ...)"


def _but(tally: LeftOutTally) -> str:
    """Returns what was left out, in brackets: it may explain why there is nothing else."""
    sentence = left_out_sentence(tally.found())
    return f" ({sentence})" if sentence else ""


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
