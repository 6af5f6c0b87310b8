"""Calls of webhooks."""

import sqlalchemy as sa
from alembic import op

revision = "0017b"
down_revision = "0017"


def upgrade() -> None:
    """Add them, empty."""
    op.create_table(
        "hook_calls",
        sa.Column("n", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("hook", sa.String, nullable=False),
        sa.Column("event", sa.String, nullable=False),
        sa.Column("body", sa.String, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("due", sa.Float, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("code", sa.Integer, nullable=False),
        sa.Column("told", sa.String, nullable=False),
    )
    op.create_index("ix_hook_calls", "hook_calls", ["hook", "state", "due"])
    op.create_index("ix_hook_calls_at", "hook_calls", ["at"])
