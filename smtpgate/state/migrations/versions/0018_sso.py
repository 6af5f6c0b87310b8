"""Users who log in at a provider of identities."""

import sqlalchemy as sa
from alembic import op

revision = "0018sso"
down_revision = "0017b"


def upgrade() -> None:
    """Add who they are there; all users that there are have a password here."""
    for name in ("issuer", "subject"):
        op.add_column("users", sa.Column(name, sa.String, nullable=False, server_default=""))
    op.create_index(
        "ix_users_subject", "users", ["issuer", "subject"], unique=True, sqlite_where=sa.text("issuer != ''")
    )
