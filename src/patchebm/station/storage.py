"""This module keeps images, maps and bundles as files; no name from outside becomes part of a path."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import BinaryIO

from patchebm.errors import PatchebmError
from patchebm.files import replacing
from patchebm.station.errors import NotFoundError
from patchebm.station.images import SUFFIXES

_KINDS = _IMAGES, _MAPS = "images", "maps"


class Storage:
    """This class keeps the files of a station.

    Args:
        folder: of the station.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def image(self, part: uuid.UUID, image_format: str) -> Path:
        """Returns where the image of a part lies."""
        return self._day(_IMAGES, part) / f"{part}{SUFFIXES[image_format]}"

    def map(self, part: uuid.UUID) -> Path:
        """Returns where the map of a part lies."""
        return self._day(_MAPS, part) / f"{part}.png"

    def model(self, sha256: str) -> Path:
        """Returns where a bundle lies. The hash is one that the station computed."""
        return self._folder / "models" / f"{sha256}.patchebm"

    def trainings(self) -> Path:
        """Returns where the run folders of trainings lie."""
        return self._folder / "trainings"

    def uploads(self) -> Path:
        """Returns where files lie that are being uploaded."""
        return self._folder / "uploads"

    def put(self, path: Path, content: bytes) -> None:
        """Writes a file, and waits until it is on the disk. Raises PatchebmError if there is no room."""
        with replacing(path) as temporary:
            temporary.write_bytes(content)

    def put_new(self, path: Path, content: bytes) -> None:
        """Writes the image or the map of a new part, and waits until it is on the disk.

        Nobody looks for the file before its part is stored, so that it needs no other name meanwhile.

        Raises:
            PatchebmError: it could not be written, for instance because there is no room; nothing is left.
        """
        try:
            with _created(path) as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            with suppress(OSError):
                path.unlink()
            raise PatchebmError(f"cannot write {path}: {error.strerror or error}") from error

    def get(self, path: Path) -> bytes:
        """Returns the content of a file. Raises NotFoundError if it was deleted."""
        try:
            return path.read_bytes()
        except FileNotFoundError as error:
            raise NotFoundError("this image is no longer kept") from error

    def delete(self, part: uuid.UUID, image_format: str) -> int:
        """Deletes the image and the map of a part. Returns the bytes that it freed."""
        freed = 0
        for path in (self.image(part, image_format), self.map(part)):
            with suppress(FileNotFoundError):
                freed += path.stat().st_size
                path.unlink()
        return freed

    def newest(self, days: int) -> Iterator[tuple[uuid.UUID, Path]]:
        """Yields images and maps of the newest days that there are, each with the id of its part."""
        for kind in _KINDS:
            for folder in sorted((self._folder / kind).glob("*/*/*"))[-days:]:
                for path in folder.iterdir():
                    with suppress(ValueError):
                        yield uuid.UUID(path.stem), path

    def used_share(self) -> float:
        """Returns the share of the disk that is used, by whatever."""
        usage = shutil.disk_usage(self._folder)
        return usage.used / (usage.used + usage.free)

    def free_bytes(self) -> int:
        """Returns the bytes that are free."""
        return shutil.disk_usage(self._folder).free

    def _day(self, kind: str, part: uuid.UUID) -> Path:
        # The first 48 bits of an id are its time in milliseconds.
        day = datetime.fromtimestamp((part.int >> 80) / 1000, timezone.utc)
        return self._folder / kind / f"{day:%Y}" / f"{day:%m}" / f"{day:%d}"


def _created(path: Path) -> BinaryIO:
    try:
        return path.open("xb")
    except FileNotFoundError:
        # The first of its day.
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("xb")
