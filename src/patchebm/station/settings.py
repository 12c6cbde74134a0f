"""This module reads what a station's process needs before it can open its database: `station.toml`."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from sqlalchemy import URL

from patchebm.config.nearest import nearest
from patchebm.errors import ConfigError
from patchebm.files import replacing
from patchebm.station.database.engine import database_url

FILE = "station.toml"
# Where a password of the database may stand instead of in the file.
DATABASE_VARIABLE = "PATCHEBM_STATION_DATABASE"

_TEXT = """# Settings of a patchebm station, read when `patchebm station serve` starts.
# `database` is left out for SQLite in this folder; the variable {variable} goes before it.
{database}
# Largest image and largest bundle that are taken, in MB; largest image in millions of pixels.
upload_mb = {upload_mb}
bundle_mb = {bundle_mb}
megapixels = {megapixels}
# Parts that wait to be inspected at most; those beyond are refused with 503 and listed as missed.
queue = {queue}
# Threads that inspect; 0 is one for each core.
workers = {workers}
# Hours after which a browser signs in again, and without use.
session_hours = {session_hours}
idle_hours = {idle_hours}
# Failed logins of a name, or an address, in a quarter of an hour, before both wait.
login_attempts = {login_attempts}
# Requests of one address or token in a second, over some seconds.
requests_per_second = {requests_per_second}
"""


@dataclass(frozen=True)
class Settings:
    """This class holds what `station.toml` says.

    Attributes:
        folder: of the station.
        database: address, or None for SQLite in the folder.
        upload_mb: largest image.
        bundle_mb: largest bundle.
        megapixels: largest image in millions of pixels: what a small file may unpack to.
        queue: parts that wait to be inspected, at most.
        workers: threads that inspect; 0 is one for each core.
        session_hours: a login's life.
        idle_hours: a login's life without use.
        login_attempts: failed logins of a name or an address in a quarter of an hour.
        requests_per_second: of one address or token.
    """

    folder: Path
    database: str | None = field(default=None, repr=False)
    upload_mb: float = 64
    bundle_mb: float = 1024
    megapixels: float = 64
    queue: int = 64
    workers: int = 0
    session_hours: float = 12
    idle_hours: float = 2
    login_attempts: int = 10
    requests_per_second: float = 500

    @property
    def url(self) -> URL:
        """Returns where the database is. Raises ConfigError if it is no address of PostgreSQL."""
        return database_url(self.database, self.folder)

    def write(self) -> None:
        """Writes `station.toml`, readable by its owner alone: it may hold a password."""
        values = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "folder"}
        # Basic strings of TOML and of JSON are the same for what an address is made of.
        database = "" if self.database is None else f"database = {json.dumps(self.database)}"
        text = _TEXT.format(**(values | {"database": database, "variable": DATABASE_VARIABLE}))
        with replacing(self.folder / FILE) as temporary:
            temporary.write_text(text, encoding="utf-8")
        (self.folder / FILE).chmod(0o600)


def read_settings(folder: str | Path) -> Settings:
    """Returns the settings of the station in a folder.

    Raises:
        ConfigError: there is no station, or a key or a value cannot be used; names it.
    """
    # Python 3.11; the base install also runs on 3.10.
    import tomllib

    path = Path(folder) / FILE
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{folder} holds no station; run `patchebm station init {folder}`") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read ({error}); correct it") from error
    known = {one.name: one for one in fields(Settings) if one.name != "folder"}
    for key, value in values.items():
        if key not in known:
            raise ConfigError(f"{path}: unknown key '{key}'{nearest(key, known)}")
        _check(path, key, value)
    if text := os.environ.get(DATABASE_VARIABLE):
        values["database"] = text
    return Settings(folder=Path(folder), **values)


def _check(path: Path, key: str, value: Any) -> None:
    if key == "database":
        if not isinstance(value, str):
            raise ConfigError(f"{path}: database must be text, such as postgresql://user@host/name")
        return
    whole = key in ("queue", "workers", "login_attempts")
    right = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    if not right or not math.isfinite(value) or value < (0 if key == "workers" else 1 if whole else 1e-3):
        kind = "a whole number" if whole else "a number"
        raise ConfigError(f"{path}: {key} is {value!r}; it must be {kind} above 0")
