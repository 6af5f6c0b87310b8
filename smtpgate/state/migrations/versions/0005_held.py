"""Held mail and letters."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_TOTAL = (
    "INSERT INTO held_totals (held_as, state, count, octets) VALUES ({row}.held_as, {row}.state, {sign}1, "
    "{sign}{row}.octets) ON CONFLICT (held_as, state) DO UPDATE SET count = count {sign} 1, "
    "octets = octets {sign} {row}.octets"
)


def upgrade() -> None:
    """Add them. Totals are kept by the database itself, so that no count goes through a million rows."""
    op.create_table(
        "held",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("expires", sa.Float, nullable=False, index=True),
        sa.Column("held_as", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("message", sa.String, nullable=False, index=True),
        sa.Column("listener", sa.String, nullable=False),
        sa.Column("direction", sa.String, nullable=False),
        sa.Column("client_ip", sa.String, nullable=False),
        sa.Column("sender", sa.String, nullable=False),
        sa.Column("author", sa.String, nullable=False),
        sa.Column("subject", sa.String, nullable=False),
        sa.Column("message_id", sa.String, nullable=False),
        sa.Column("filter", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("detail", sa.String, nullable=False),
        sa.Column("score", sa.Float, nullable=False),
        sa.Column("octets", sa.Integer, nullable=False),
        sa.Column("digest", sa.String, nullable=False),
        sa.Column("body", sa.String, nullable=False, index=True),
        sa.Column("key", sa.String, nullable=False),
        sa.Column("asked", sa.Float, nullable=False),
        sa.Column("asked_by", sa.String, nullable=False),
        sa.Column("recipients", sa.String, nullable=False),
        sa.Column("facts", sa.String, nullable=False),
    )
    op.create_index("ix_held_class", "held", ["held_as", "id"])
    op.create_index("ix_held_state", "held", ["state", "id"])
    op.create_index("ix_held_key", "held", ["key"], sqlite_where=sa.text("key <> ''"))
    op.create_index("ix_held_asked", "held", ["asked"], sqlite_where=sa.text("asked > 0"))
    op.create_table(
        "held_recipients",
        sa.Column("address", sa.String, primary_key=True),
        sa.Column("id", sa.String, primary_key=True),
    )
    op.create_index("ix_held_recipients_id", "held_recipients", ["id"])
    op.create_table(
        "held_totals",
        sa.Column("held_as", sa.String, primary_key=True),
        sa.Column("state", sa.String, primary_key=True),
        sa.Column("count", sa.Integer, nullable=False),
        sa.Column("octets", sa.Integer, nullable=False),
    )
    added, gone = _TOTAL.format(row="NEW", sign="+"), _TOTAL.format(row="OLD", sign="-")
    op.execute(f"CREATE TRIGGER held_added AFTER INSERT ON held BEGIN {added}; END")
    op.execute(f"CREATE TRIGGER held_gone AFTER DELETE ON held BEGIN {gone}; END")
    op.execute(f"CREATE TRIGGER held_changed AFTER UPDATE OF held_as, state ON held BEGIN {gone}; {added}; END")
    op.create_table(
        "letters",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("expires", sa.Float, nullable=False),
        sa.Column("body", sa.String, nullable=False, index=True),
        sa.Column("octets", sa.Integer, nullable=False),
        sa.Column("sender", sa.String, nullable=False),
        sa.Column("held", sa.String, nullable=False, index=True),
        sa.Column("message", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("backend", sa.String, nullable=False),
        sa.Column("due", sa.Float, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("told", sa.String, nullable=False),
        sa.Column("recipients", sa.String, nullable=False),
        sa.Column("facts", sa.String, nullable=False),
        sa.Column("params", sa.String, nullable=False),
    )
    op.create_index("ix_letters_due", "letters", ["state", "due"])
