"""This module lists the images below folders, and counts what it leaves out, so that a verb can say so."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from patchebm.errors import DataError
from patchebm.images.formats import SUFFIXES, has_image_suffix
from patchebm.images.names import means_masks

# Files that no one misses: what systems leave behind, and the lists that are read in another way.
_NO_NEWS = frozenset({"thumbs.db", "desktop.ini", "groups.csv", "kinds.csv"})


Entered = set[tuple[int, int]]
"""Folders by device and inode, so that a link to one of them is recognised."""


@dataclass(frozen=True)
class LeftOut:
    """This class says what was left out for one reason.

    Attributes:
        what: of which kind it is, for instance 'masks'.
        count: how many files, or folders.
        example: one of them.
    """

    what: str
    count: int
    example: Path


class LeftOutTally:
    """This class counts what is left out, by reason, and keeps the first example of each."""

    def __init__(self) -> None:
        self._found: dict[str, LeftOut] = {}

    def add(self, what: str, files: Iterable[Path]) -> None:
        """Counts files, or folders, that are left out for one reason."""
        for file in files:
            known = self._found.get(what)
            self._found[what] = LeftOut(
                what, known.count + 1 if known else 1, known.example if known else file
            )

    def found(self) -> tuple[LeftOut, ...]:
        """Returns all reasons, in the order in which they came up."""
        return tuple(self._found.values())


@dataclass(frozen=True)
class Listing:
    """This class is what was found in files and folders that were named.

    Attributes:
        images: the image files, sorted by path, each once.
        left_out: what lies there and is not among them.
    """

    images: tuple[Path, ...]
    left_out: tuple[LeftOut, ...] = ()


def left_out_sentence(left_out: Iterable[LeftOut]) -> str | None:
    """Returns one sentence about all that was left out, or None if that is nothing."""
    parts = [f"{one.count} {one.what} (such as {one.example})" for one in left_out]
    return f"left out: {'; '.join(parts)}" if parts else None


def list_images(paths: str | Path | Iterable[str | Path]) -> Listing:
    """Expands files and folders to image files.

    Folders are searched through all their sub-folders, linked ones too, for files with an ending in
    `SUFFIXES`. Hidden files and folders, and sub-folders that are called like folders of masks
    (`patchebm.images.names.MASK_NAMES`), are left out. What is named itself is taken whatever it is called.

    Raises:
        DataError: a path does not exist, a folder holds no images or cannot be read, `paths` is empty.
    """
    found: set[Path] = set()
    named = [paths] if isinstance(paths, str | Path) else list(paths)
    if not named:
        raise DataError("no images were named; name image files or folders of images")
    tally = LeftOutTally()
    for path in map(Path, named):
        if not os.path.isdir(path):
            if not os.path.exists(path):
                raise DataError(f"{path} does not exist; name an image or a folder of images")
            found.add(path)
            continue
        inside = images_below(path, tally)
        if not inside:
            # What was left out may be all that there is.
            others = left_out_sentence(tally.found())
            but = f" ({others})" if others else ""
            raise DataError(f"{path} holds no {endings()} files; name a folder of images{but}")
        found.update(inside)
    return Listing(tuple(sorted(found)), tally.found())


def images_below(
    folder: Path, tally: LeftOutTally, *, masks_count: bool = True, entered: Entered | None = None
) -> list[Path]:
    """Returns the images in a folder and its sub-folders, sorted by path.

    Args:
        folder: need not exist.
        tally: gets what is left out.
        masks_count: whether masks directly in a sub-folder of it count as left out.
        entered: folders that other calls have entered, so that none is entered twice; gets those of this one.

    Raises:
        DataError: a folder cannot be read.
    """
    return sorted(_walk(folder, tally, entered, masks_count=masks_count))


def entered_folder(folder: Path) -> Entered:
    """Returns the `entered` of `images_below` that holds one folder."""
    facts = folder.stat()
    return {(facts.st_dev, facts.st_ino)}


def images_in(folder: Path, tally: LeftOutTally) -> list[Path]:
    """Returns the images that lie directly in a folder, sorted; the tally gets the other files."""
    # A dangling link counts as an image, so that it is reported when it is read and not silently left out.
    files = [path for path in entries(folder) if not path.is_dir()]
    images = [path for path in files if has_image_suffix(path)]
    shown = [path for path in images if not path.name.startswith(".")]
    tally.add("hidden images", (path for path in images if path.name.startswith(".")))
    others = (path for path in files if not has_image_suffix(path) and not path.name.startswith("."))
    tally.add(
        f"files that do not end in {endings()}", (p for p in others if p.name.casefold() not in _NO_NEWS)
    )
    return shown


def folders_in(folder: Path) -> list[Path]:
    """Returns the folders in a folder, sorted, linked ones behind the others, without hidden ones.

    A folder that is there and linked, too, is thereby met under its own name first.
    """
    found = [path for path in entries(folder) if path.is_dir() and not path.name.startswith(".")]
    return sorted(found, key=lambda path: (path.is_symlink(), path))


def entries(folder: Path) -> list[Path]:
    """Returns all that lies in a folder, sorted. Raises DataError if it cannot be read."""
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"folder {folder} cannot be read: {error.strerror}; check its permissions") from error


def endings() -> str:
    """Returns the endings of images as messages list them."""
    return ", ".join(sorted(SUFFIXES))


def _walk(
    root: Path, tally: LeftOutTally, entered: Entered | None = None, *, masks_count: bool = True
) -> Iterator[Path]:
    """Yields the images below a folder; `entered` are folders that were entered before."""
    entered = set() if entered is None else entered
    # Links wait until all else is done, so that every image has the path that it has without them.
    folders, links = [root], list[Path]()
    while folders or links:
        folder = folders.pop() if folders else links.pop()
        if not folder.is_dir():
            continue
        facts = folder.stat()
        if (facts.st_dev, facts.st_ino) in entered:
            tally.add("folders that are linked again", [folder])
            continue
        entered.add((facts.st_dev, facts.st_ino))
        yield from images_in(folder, tally)
        for inner in entries(folder):
            if not inner.is_dir():
                continue
            if inner.name.startswith("."):
                tally.add("images in hidden folders", _walk(inner, LeftOutTally(), entered))
            elif means_masks(inner.name):
                if masks_count or folder != root:
                    tally.add("masks", _walk(inner, LeftOutTally(), entered))
            else:
                (links if inner.is_symlink() else folders).append(inner)
