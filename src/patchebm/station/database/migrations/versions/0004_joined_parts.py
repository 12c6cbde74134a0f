"""Joined verdicts of parts of which several views are inspected."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the table."""
    op.create_table(
        "joined_parts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("product_id", sa.Integer(), nullable=False),
        sa.Column("source", sa.String(length=80), nullable=False),
        sa.Column("part", sa.String(length=128), nullable=False),
        sa.Column("anomalous", sa.Boolean(), nullable=False),
        sa.Column("worst_view_id", sa.Uuid(), nullable=False),
        sa.Column("views", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["product_id"], ["products.id"], name="fk_joined_parts_product_id_products"),
        sa.ForeignKeyConstraint(
            ["worst_view_id"], ["inspections.id"], name="fk_joined_parts_worst_view_id_inspections"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_joined_parts"),
    )
    op.create_index("ix_joined_parts_product_id_id", "joined_parts", ["product_id", "id"], unique=False)
