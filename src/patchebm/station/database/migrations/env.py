"""Alembic runs this file; `patchebm.station.database.upgrade` hands the connection over."""

from alembic import context

from patchebm.station.database.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
)
context.run_migrations()
