"""The region of interest of each part, and that of a product in pixels."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the column. Regions of before, in shares of the image, were stored and never used: they go."""
    op.add_column("inspections", sa.Column("roi", sa.JSON(), nullable=True))
    op.execute("UPDATE products SET roi = NULL")
