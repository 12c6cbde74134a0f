"""This module makes stations and opens them for the command line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy.exc import OperationalError

from patchebm.errors import ConfigError, DataError, ModelFileError
from patchebm.station.database.engine import open_engine
from patchebm.station.database.upgrade import upgrade
from patchebm.station.roles import Actor
from patchebm.station.services import models, products
from patchebm.station.settings import FILE, Settings, read_settings
from patchebm.station.station import Station


def make_station(folder: Path, database: str | None) -> Settings:
    """Makes a station.

    Args:
        folder: made if it does not exist; else it must be empty.
        database: address of PostgreSQL, or None for SQLite.

    Returns:
        Its settings.

    Raises:
        DataError: the folder holds something.
        ConfigError: the database cannot be reached.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        what = "holds a station already" if (folder / FILE).exists() else "is not empty"
        raise DataError(f"{folder} {what}; name a new folder")
    settings = Settings(folder, database)
    # Wrong addresses are found before anything is written.
    _ = settings.url
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise DataError(f"cannot make {folder}: {error.strerror}; choose another folder") from error
    _upgrade(settings)
    settings.write()
    return settings


def open_settings(folder: Path) -> Settings:
    """Returns the settings of a station, whose database is brought to the newest schema.

    Raises:
        ConfigError: there is no station, or its settings or its database cannot be used.
    """
    settings = read_settings(folder)
    _upgrade(settings)
    return settings


@contextmanager
def opened(folder: Path) -> Iterator[tuple[Station, Settings]]:
    """Yields a station that does not work, beside one that may: for changes by the command line."""
    settings = open_settings(folder)
    station = Station(settings)
    try:
        yield station, settings
    finally:
        station.engine.dispose()


def add_product(
    station: Station,
    actor: Actor,
    name: str,
    title: str,
    model: str | None,
    roi: dict[str, Any] | None = None,
) -> str:
    """Adds a product, and a model that inspects at once. Returns what was done, as a sentence.

    Args:
        station: which gets it.
        actor: who adds it.
        name: of the product.
        title: what pages show; the name if empty.
        model: file of its bundle, or None.
        roi: region of interest, or None for the whole image.

    Raises:
        PatchebmError: the name is taken or cannot be used, or the model cannot be read; then nothing is
            added.
    """
    content, checked = None, None
    if model is not None:
        try:
            content = Path(model).read_bytes()
        except OSError as error:
            raise ModelFileError(
                f"--model {model} cannot be read ({error.strerror}); check the path"
            ) from error
        checked = models.verify(content)
    with station.session(write=True) as session:
        products.add(session, actor, name, title=title, roi=roi)
        if content is None:
            return f"product: {name}, without a model yet"
        version = models.add(
            session, actor, station.storage, name, content, note=Path(str(model)).name, checked=checked
        )
        models.activate(session, actor, name, version.number)
        return f"product: {name}, inspected by version {version.number} ({version.size / 1e6:.1f} MB)"


def _upgrade(settings: Settings) -> None:
    engine = open_engine(settings.url)
    try:
        upgrade(engine)
    except OperationalError as error:
        # What follows the first line is how SQLAlchemy came there.
        reason = str(error.orig).splitlines()[0]
        raise ConfigError(f"the station's database cannot be opened ({reason}); check it") from error
    finally:
        engine.dispose()
