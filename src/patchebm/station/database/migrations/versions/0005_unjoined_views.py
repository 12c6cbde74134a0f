"""Views that are not joined yet, and the keys of joined parts."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the columns; what is stored already counts as joined, and has no key."""
    op.add_column("inspections", sa.Column("unjoined_id", sa.Uuid(), nullable=True))
    op.create_index(
        "ix_inspections_unjoined_id",
        "inspections",
        ["unjoined_id"],
        unique=False,
        sqlite_where=sa.text("unjoined_id IS NOT NULL"),
        postgresql_where=sa.text("unjoined_id IS NOT NULL"),
    )
    op.add_column("joined_parts", sa.Column("idempotency_key", sa.String(length=128), nullable=True))
    op.create_index(
        "uq_joined_parts_product_id_idempotency_key",
        "joined_parts",
        ["product_id", "idempotency_key"],
        unique=True,
    )
