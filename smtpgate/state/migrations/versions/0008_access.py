"""What users and tokens reach, and the sessions of browsers."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add them; whoever is there keeps what the role gives, everywhere."""
    for table, name in (("users", "domains"), ("tokens", "scopes"), ("tokens", "domains"), ("tokens", "networks")):
        op.add_column(table, sa.Column(name, sa.String, nullable=False, server_default=""))
    op.add_column("tokens", sa.Column("maker", sa.String, nullable=False, server_default=""))
    op.add_column("users", sa.Column("is_disabled", sa.Boolean, nullable=False, server_default=sa.false()))
    op.create_table(
        "web_sessions",
        sa.Column("digest", sa.String, primary_key=True),
        sa.Column("id", sa.String, nullable=False, unique=True),
        sa.Column("user", sa.String, nullable=False, index=True),
        sa.Column("csrf", sa.String, nullable=False),
        sa.Column("address", sa.String, nullable=False),
        sa.Column("agent", sa.String, nullable=False),
        sa.Column("login_at", sa.Float, nullable=False),
        sa.Column("proved_at", sa.Float, nullable=False),
        sa.Column("seen_at", sa.Float, nullable=False),
        sa.Column("has_code", sa.Boolean, nullable=False),
    )
