"""This module brings a database to the newest schema, by Alembic."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Engine, inspect, text

from patchebm.errors import PatchebmError

_MIGRATIONS = Path(__file__).parent / "migrations"
# Where Alembic writes which schema a database has.
_TABLE = "alembic_version"


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Runs the migrations that a database lacks, in one transaction.

    Args:
        engine: of the database.
        revision: the schema to reach.

    Raises:
        PatchebmError: the database was written by a newer patchebm.
    """
    before = require_known(engine)
    if revision == "head" and before == newest_revision():
        return
    # Only for the work itself: it takes 10 MB of memory, which a station that serves has better uses for.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    with engine.connect().execution_options(write=True) as connection, connection.begin():
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def current_revision(engine: Engine) -> str | None:
    """Returns the schema that a database has; None for an empty one."""
    with engine.connect() as connection:
        if not inspect(connection).has_table(_TABLE):
            return None
        found: str | None = connection.scalar(text(f"SELECT version_num FROM {_TABLE}"))
        return found


def newest_revision() -> str:
    """Returns the schema that this patchebm works with."""
    return max(_revisions())


def require_known(engine: Engine) -> str | None:
    """Returns the schema of a database. Raises PatchebmError if this patchebm does not know it."""
    revision = current_revision(engine)
    if revision is not None and revision not in _revisions():
        raise PatchebmError(
            f"the station's database has schema {revision}, which a newer patchebm wrote; update patchebm, "
            "or restore a backup of this version"
        )
    return revision


def _revisions() -> set[str]:
    # Files of migrations are called by their number, which is their revision.
    return {file.name.partition("_")[0] for file in (_MIGRATIONS / "versions").glob("[0-9]*.py")}
