"""Tickets for refusals that their sender may do something about."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add them."""
    op.create_table(
        "tickets",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("key", sa.String, nullable=False, index=True),
        sa.Column("rule", sa.String, nullable=False),
        sa.Column("mode", sa.String, nullable=False),
        sa.Column("at", sa.Float, nullable=False, index=True),
        sa.Column("expires", sa.Float, nullable=False, index=True),
        sa.Column("message", sa.String, nullable=False, index=True),
        sa.Column("sender", sa.String, nullable=False),
        sa.Column("recipients", sa.String, nullable=False),
        sa.Column("subject", sa.String, nullable=False),
        sa.Column("text", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("decided_by", sa.String, nullable=False),
    )
