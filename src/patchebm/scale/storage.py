"""This module reads and writes files by path or by URI (`file`, `s3`, `gs`, `az`, `http`, ... of fsspec)."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit
from urllib.request import url2pathname

import fsspec

from patchebm.errors import ConfigError, DataError, ImageError, PatchebmError
from patchebm.files import replacing
from patchebm.images.decoders import read_file

T = TypeVar("T")

# A store that fails is asked again after so many seconds; s3fs has asked several times itself by then.
PAUSES = (0.2, 1.0, 3.0)

_NO_CREDENTIALS = ("NoCredentialsError", "PartialCredentialsError")
_NO_RIGHTS_STATUS = (401, 403)


class StorageError(PatchebmError):
    """A store does not answer, or refuses everything: going on would give nothing but errors."""


class NoRightsError(ImageError):
    """A store does not let this user read an image."""


def is_uri(text: str) -> bool:
    """Returns whether text names a file of a store, and not one of a folder here."""
    return "://" in text and not text.startswith("file://")


def local_path(text: str) -> Path:
    """Returns the path that a path, or a URI of the scheme `file`, stands for."""
    return Path(url2pathname(urlsplit(text).path) if text.startswith("file://") else text)


def file_system(uri: str) -> tuple[Any, str]:
    """Returns the file system of fsspec for a URI, and what it calls the file.

    Raises:
        ConfigError: fsspec does not know the scheme, or a package for it is missing; says which.
    """
    try:
        # Without its memory of listings, in which what workers have written since is missing.
        system, path = fsspec.core.url_to_fs(uri, use_listings_cache=False)
    except (ImportError, ValueError) as error:
        raise ConfigError(f"{uri} cannot be opened ({error}); install what fsspec needs for it") from error
    return system, str(path)


def attempt(uri: str, work: Callable[[], T], pauses: tuple[float, ...] = PAUSES) -> T:
    """Returns what `work` returns, and does it again where the store fails.

    Args:
        uri: what messages call the file.
        work: asks the store.
        pauses: seconds before each further attempt.

    Raises:
        FileNotFoundError: there is no such file.
        NoRightsError: this user may not read it.
        StorageError: the store failed at every attempt.
    """
    for pause in (*pauses, None):
        try:
            return work()
        except FileNotFoundError:
            raise
        except Exception as error:
            # Each store has exceptions of its own.
            if _no_rights(error):
                raise NoRightsError(
                    f"{uri} may not be read or written with these credentials; check them and its permissions"
                ) from error
            if pause is None:
                reason = " ".join(str(error).split()) or type(error).__name__
                raise StorageError(
                    f"{uri} cannot be reached ({reason:.200}); check the store and the network"
                ) from error
            time.sleep(pause)
    raise AssertionError("the last attempt returns or raises")


def read_image_bytes(location: str) -> bytes:
    """Returns the content of an image file.

    Raises:
        ImageError: it does not exist, is empty of meaning as a path, or may not be read.
        StorageError: its store cannot be reached.
        ConfigError: the scheme of its URI is not known here.
    """
    if not is_uri(location):
        return read_file(local_path(location))
    system, path = file_system(location)
    try:
        return bytes(attempt(location, lambda: system.cat_file(path)))
    except (FileNotFoundError, IsADirectoryError) as error:
        raise ImageError(f"{location} does not exist; check the URI") from error


class Store:
    """This class is the place that results are written to: a folder, or a URI.

    It can be pickled. A file is there whole or not at all.

    Args:
        place: folder or URI.
    """

    def __init__(self, place: str) -> None:
        self.place = place.rstrip("/") or place
        self._remote = is_uri(place)

    def names(self, folder: str = "") -> set[str]:
        """Returns the names of the files and folders in a folder of the store; none if it does not exist."""
        if not self._remote:
            here = local_path(self.place) / folder
            if here.exists() and not here.is_dir():
                raise DataError(f"{here} is a file; choose a folder for --out")
            files = here.iterdir() if here.exists() else ()
            # What a run that was killed in this very moment left behind does not count.
            return {file.name for file in files if not file.name.endswith(".part")}
        system, path = file_system(self._uri(folder))
        try:
            found = attempt(self._uri(folder), lambda: system.ls(path, detail=False))
        except FileNotFoundError:
            return set()
        # A store lists an empty folder as itself.
        names = {str(name).rstrip("/") for name in found} - {path.rstrip("/")}
        return {name.rsplit("/", 1)[-1] for name in names}

    def sweep(self, folder: str) -> None:
        """Removes what a run that was killed left half-written in a folder; URIs hold no such files."""
        if not self._remote:
            for file in (local_path(self.place) / folder).glob(".*.part"):
                file.unlink(missing_ok=True)

    def read(self, name: str) -> bytes:
        """Returns the content of a file.

        Raises:
            FileNotFoundError: there is no such file.
            PatchebmError: it cannot be read.
        """
        if self._remote:
            system, path = file_system(self._uri(name))
            return bytes(attempt(self._uri(name), lambda: system.cat_file(path)))
        file = local_path(self.place) / name
        try:
            return file.read_bytes()
        except FileNotFoundError:
            raise
        except OSError as error:
            raise DataError(f"{file} cannot be read ({error.strerror}); check its permissions") from error

    def write(self, name: str, content: bytes) -> None:
        """Writes a file whole; its folder is made if it does not exist.

        Raises:
            PatchebmError: it cannot be written; names it.
        """
        if not self._remote:
            with replacing(local_path(self.place) / name) as temporary:
                temporary.write_bytes(content)
            return
        system, path = file_system(self._uri(name))
        try:
            attempt(self._uri(name), lambda: system.pipe_file(path, content))
        except FileNotFoundError as error:
            # That is what stores say of a bucket that is not there.
            raise StorageError(f"{self._uri(name)} cannot be written: there is no such bucket") from error

    def _uri(self, name: str) -> str:
        return f"{self.place}/{name}" if name else self.place


def _no_rights(error: Exception) -> bool:
    if isinstance(error, PermissionError) or type(error).__name__ in _NO_CREDENTIALS:
        return True
    return getattr(error, "status", None) in _NO_RIGHTS_STATUS
