"""Who was seen most, by the hour and by the day."""

import sqlalchemy as sa
from alembic import op

revision = "0012b"
down_revision = "0012"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "talkers",
        sa.Column("step", sa.Integer, primary_key=True),
        sa.Column("kind", sa.String, primary_key=True),
        sa.Column("at", sa.Integer, primary_key=True),
        sa.Column("data", sa.String, nullable=False),
        sqlite_with_rowid=False,
    )
