"""Parts of the index that take nothing more, and those in which no client has a whole address."""

import sqlalchemy as sa
from alembic import op

revision = "0014c"
down_revision = "0014b"


def upgrade() -> None:
    """Say so of each."""
    for name in ("is_closed", "is_coarse"):
        op.add_column("history_parts", sa.Column(name, sa.Boolean, nullable=False, server_default=sa.false()))
