"""The regions of the anomaly map are kept."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the columns; parts of before have none."""
    op.add_column("inspections", sa.Column("region_count", sa.Integer(), nullable=True))
    op.add_column("inspections", sa.Column("regions", sa.JSON(), nullable=True))
