"""Second factors, and links by which somebody sets a password."""

import sqlalchemy as sa
from alembic import op

revision = "0008b"
down_revision = "0008"


def upgrade() -> None:
    """Add them, empty."""
    op.create_table(
        "factors",
        sa.Column("user", sa.String, primary_key=True),
        sa.Column("secret", sa.LargeBinary, nullable=False),
        sa.Column("last_step", sa.Integer, nullable=False),
        sa.Column("made", sa.Float, nullable=False),
    )
    op.create_table(
        "recovery_codes",
        sa.Column("digest", sa.String, primary_key=True),
        sa.Column("user", sa.String, nullable=False, index=True),
    )
    op.create_table(
        "invitations",
        sa.Column("digest", sa.String, primary_key=True),
        sa.Column("user", sa.String, nullable=False, index=True),
        sa.Column("maker", sa.String, nullable=False),
        sa.Column("expires", sa.Float, nullable=False),
    )
