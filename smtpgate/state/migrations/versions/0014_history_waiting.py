"""Words of messages wait, so that the index is given many at a time."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Add their table."""
    op.create_table(
        "history_waiting",
        sa.Column("n", sa.Integer, primary_key=True),
        sa.Column("words", sa.String, nullable=False),
    )
