"""This module copies a station while it runs: one file with the database, the models and the settings."""

from __future__ import annotations

import io
import json
import sqlite3
import tarfile
import tempfile
from contextlib import closing
from pathlib import Path

from patchebm._version import __version__
from patchebm.errors import ConfigError, DataError
from patchebm.files import replacing
from patchebm.station.database.base import now
from patchebm.station.database.engine import SQLITE_FILE
from patchebm.station.settings import FILE, Settings

_NOTE = "backup.json"
# What the database refers to. Images are left out unless they are asked for: they are most of the bytes.
_MODELS, _IMAGES = ("models",), ("images", "maps")


def backup(settings: Settings, target: Path, *, images: bool) -> int:
    """Writes a backup of a station that may be running.

    Args:
        settings: of the station.
        target: file to write, a tar archive.
        images: whether images and maps go in.

    Returns:
        The size of the file in bytes.

    Raises:
        ConfigError: the database is PostgreSQL, which has tools of its own.
        PatchebmError: the file cannot be written.
    """
    if settings.url.get_backend_name() != "sqlite":
        raise ConfigError(
            "the database of this station is PostgreSQL; back it up with pg_dump, and copy the folder's "
            "models, images and maps after that"
        )
    with replacing(target) as temporary, tarfile.open(temporary, "w") as archive:
        # The database first: images and models that come later are too many, and none is missing.
        with tempfile.TemporaryDirectory(dir=settings.folder, prefix=".backup-") as folder:
            copy = Path(folder) / SQLITE_FILE
            copy_database(settings.folder / SQLITE_FILE, copy)
            archive.add(copy, SQLITE_FILE)
        archive.add(settings.folder / FILE, FILE)
        for kind in _MODELS + (_IMAGES if images else ()):
            for path in sorted((settings.folder / kind).rglob("*")):
                if path.is_file() and not path.name.startswith("."):
                    _add(archive, path, str(path.relative_to(settings.folder)))
        note = json.dumps({"patchebm": __version__, "time": now().isoformat(), "images": images}).encode()
        member = tarfile.TarInfo(_NOTE)
        member.size = len(note)
        archive.addfile(member, io.BytesIO(note))
    target.chmod(0o600)
    return target.stat().st_size


def restore(source: Path, folder: Path) -> None:
    """Makes a station's folder from a backup.

    Args:
        source: file that `backup` wrote.
        folder: must not exist, or be empty.

    Raises:
        DataError: the folder holds something, or the file is no backup.
    """
    if folder.exists() and any(folder.iterdir()):
        raise DataError(f"{folder} is not empty; name a new folder")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        with tarfile.open(source) as archive:
            if _NOTE not in archive.getnames():
                raise DataError(f"{source} is no backup of a station")
            # `data` refuses links, devices and paths that lead out of the folder.
            archive.extractall(folder, filter="data")
    except (OSError, tarfile.TarError) as error:
        raise DataError(
            f"{source} cannot be read ({error}); give a file of `patchebm station backup`"
        ) from error
    (folder / _NOTE).unlink()


def copy_database(source: Path, target: Path) -> None:
    """Copies an SQLite database that may be written meanwhile, as it is at one moment."""
    with closing(sqlite3.connect(source)) as original, closing(sqlite3.connect(target)) as copy:
        original.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")


def _add(archive: tarfile.TarFile, path: Path, name: str) -> None:
    try:
        archive.add(path, name)
    except FileNotFoundError:
        # Retention took it in between.
        return
