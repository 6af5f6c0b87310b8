"""Mail that was tried once, and what is wanted to become of it from then on."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014c"


def upgrade() -> None:
    """Add them."""
    op.create_table(
        "cases",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("author", sa.String, nullable=False),
        sa.Column("created", sa.Float, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("arrival", sa.String, nullable=False),
        sa.Column("octets", sa.LargeBinary, nullable=False),
        sa.Column("outcome", sa.String, nullable=False),
        sa.Column("action", sa.String, nullable=False),
        sa.Column("decided_by", sa.String, nullable=False),
    )
