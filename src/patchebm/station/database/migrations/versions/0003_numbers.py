"""Numbers of the inspections that each output gets: 1, 2, ... without gaps."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the counter of each output, and the number of each message; what waits already is not numbered."""
    whole = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.add_column("outputs", sa.Column("numbered", whole, nullable=False, server_default="0"))
    op.add_column("outbox", sa.Column("number", whole, nullable=False, server_default="0"))
