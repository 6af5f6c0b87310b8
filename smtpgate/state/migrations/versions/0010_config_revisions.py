"""Revisions of the configuration, drafts, and which one rules."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Add them."""
    op.create_table(
        "config_revisions",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("digest", sa.String, nullable=False),
        sa.Column("text", sa.String, nullable=False),
        sa.Column("parent", sa.Integer, nullable=False),
        sa.Column("author", sa.String, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("message", sa.String, nullable=False),
        sa.Column("way", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
    )
    op.create_table(
        "config_drafts",
        sa.Column("author", sa.String, primary_key=True),
        sa.Column("base", sa.Integer, nullable=False),
        sa.Column("text", sa.String, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
    )
    op.create_table(
        "config_pointer",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("active", sa.Integer, nullable=False),
        sa.Column("former", sa.Integer, nullable=False),
        sa.Column("deadline", sa.Float, nullable=False),
        sa.Column("seed", sa.String, nullable=False),
        sa.Column("mode", sa.String, nullable=False),
    )
