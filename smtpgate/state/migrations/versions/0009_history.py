"""Messages numbered by time, with an index of words in parts; what was kept before is indexed afterwards."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008c"


def upgrade() -> None:
    """Rows of messages are made anew from the records of sessions, which stay."""
    op.drop_table("messages")
    op.create_table(
        "messages",
        sa.Column("n", sa.Integer, primary_key=True),
        sa.Column("id", sa.String, nullable=False),
        sa.Column("client_ip", sa.String, nullable=False),
        sa.Column("listener", sa.String, nullable=False),
        sa.Column("sender", sa.String, nullable=False),
        sa.Column("recipients", sa.String, nullable=False),
        sa.Column("count", sa.Integer, nullable=False),
        sa.Column("message_id", sa.String, nullable=False),
        sa.Column("subject", sa.String, nullable=False),
        sa.Column("outcome", sa.String, nullable=False),
        sa.Column("code", sa.Integer, nullable=False),
        sa.Column("action", sa.String, nullable=False),
        sa.Column("score", sa.Float, nullable=False),
        sa.Column("filter", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("backend", sa.String, nullable=False),
        sa.Column("server", sa.String, nullable=False),
        sa.Column("octets", sa.Integer, nullable=False),
    )
    op.create_table(
        "history_parts",
        sa.Column("part", sa.Integer, primary_key=True),
        sa.Column("low", sa.Integer, nullable=False),
        sa.Column("high", sa.Integer, nullable=False),
        sa.Column("rows", sa.Integer, nullable=False),
    )
    op.add_column("sessions", sa.Column("numbers", sa.String))
    op.create_index("ix_sessions_unnumbered", "sessions", ["started"], sqlite_where=sa.text("numbers IS NULL"))
