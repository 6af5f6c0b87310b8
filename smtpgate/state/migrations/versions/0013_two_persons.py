"""Who asked for a release that a second person is to approve."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012b"


def upgrade() -> None:
    """Add it."""
    op.add_column("held", sa.Column("proposed_by", sa.String, nullable=False, server_default=""))
