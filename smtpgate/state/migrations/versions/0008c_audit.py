"""More about each change in the audit. Rows that are there keep their form and so their hashes."""

import sqlalchemy as sa
from alembic import op

revision = "0008c"
down_revision = "0008b"


def upgrade() -> None:
    """Add the columns."""
    op.add_column("audit", sa.Column("form", sa.Integer, nullable=False, server_default="1"))
    op.add_column("audit", sa.Column("result", sa.String, nullable=False, server_default="ok"))
    for name in ("source", "request_id", "more"):
        op.add_column("audit", sa.Column(name, sa.String, nullable=False, server_default=""))
