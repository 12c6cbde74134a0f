"""This module opens the database: SQLite in WAL mode, or PostgreSQL by psycopg 3."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.orm import Session, sessionmaker

from patchebm.errors import ConfigError

SQLITE_FILE = "station.sqlite3"
# Seconds that a writer waits for another, such as `patchebm station user add` beside a running station.
BUSY_TIMEOUT = 10.0

Sessions = sessionmaker[Session]


def database_url(text: str | None, folder: Path) -> URL:
    """Returns where the database is.

    Args:
        text: `postgresql://user:password@host/name`; None for SQLite in `folder`.
        folder: of the station.

    Raises:
        ConfigError: it is no address of PostgreSQL.
    """
    if text is None:
        return URL.create("sqlite", database=str(folder.resolve() / SQLITE_FILE))
    try:
        url = make_url(text)
    except ArgumentError as error:
        raise ConfigError(
            "--database is no address of a database; use for instance postgresql://user:password@host/name"
        ) from error
    if url.get_backend_name() != "postgresql":
        raise ConfigError(
            f"--database names {url.get_backend_name()}, and the station knows PostgreSQL and its own "
            "SQLite; use postgresql://user:password@host/name, or leave --database out"
        )
    return url.set(drivername="postgresql+psycopg")


def open_engine(url: URL) -> Engine:
    """Returns an engine whose transactions are durable once they are committed."""
    if url.get_backend_name() == "sqlite":
        engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT, "check_same_thread": False})
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    return create_engine(
        url, pool_pre_ping=True, pool_size=10, max_overflow=20, connect_args={"connect_timeout": 5}
    )


def open_sessions(engine: Engine) -> Sessions:
    """Returns what makes sessions; objects stay readable after a commit."""
    return sessionmaker(engine, expire_on_commit=False)


def _prepare_sqlite(connection: Any, _: Any) -> None:
    # The driver would begin transactions late and by itself; see `_begin_sqlite`.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    # In WAL mode only FULL waits for the disk at each commit: what was answered survives a power cut.
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin_sqlite(connection: Any) -> None:
    # A transaction that reads first and writes later would fail, not wait, if another wrote in between.
    immediate = connection.get_execution_options().get("write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")
