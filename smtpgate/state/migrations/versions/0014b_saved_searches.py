"""Searches that somebody keeps under a name."""

import sqlalchemy as sa
from alembic import op

revision = "0014b"
down_revision = "0014"


def upgrade() -> None:
    """Add their table."""
    op.create_table(
        "saved_searches",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("owner", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("query", sa.String, nullable=False),
        sa.Column("created", sa.Float, nullable=False),
    )
    op.create_index("ix_saved_searches_owner", "saved_searches", ["owner"])
