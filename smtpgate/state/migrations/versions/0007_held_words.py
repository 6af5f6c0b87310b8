"""An index of what held messages are looked for by."""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add it."""
    op.create_index("ix_held_words", "held", ["id", "held_as", "state", "sender", "subject", "client_ip"])
