"""Addresses, lists and digests of people."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0015"


def upgrade() -> None:
    """Add them, empty."""
    op.create_table(
        "user_addresses",
        sa.Column("address", sa.String, primary_key=True),
        sa.Column("user", sa.String, nullable=False, index=True),
        sa.Column("at", sa.Float, nullable=False),
    )
    op.create_table(
        "own_entries",
        sa.Column("user", sa.String, primary_key=True),
        sa.Column("entry", sa.String, primary_key=True),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
    )
    op.create_table(
        "own_preferences",
        sa.Column("user", sa.String, primary_key=True),
        sa.Column("digest", sa.String, nullable=False),
        sa.Column("at", sa.Integer, nullable=False),
        sa.Column("weekday", sa.Integer, nullable=False),
        sa.Column("language", sa.String, nullable=False),
    )
    op.create_table(
        "digest_marks",
        sa.Column("who", sa.String, primary_key=True),
        sa.Column("until", sa.Float, nullable=False, index=True),
    )
