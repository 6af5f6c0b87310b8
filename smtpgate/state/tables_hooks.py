"""The table of calls out; see `tables`."""

from __future__ import annotations

import sqlalchemy as sa

from smtpgate.state.tables import metadata

#: Calls of webhooks: those that wait, and for some days those that are over.
hook_calls = sa.Table(
    "hook_calls",
    metadata,
    sa.Column("n", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("hook", sa.String, nullable=False),
    sa.Column("event", sa.String, nullable=False),
    sa.Column("body", sa.String, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    #: waiting, done or failed (`policy.call`).
    sa.Column("state", sa.String, nullable=False),
    sa.Column("due", sa.Float, nullable=False),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("code", sa.Integer, nullable=False),
    sa.Column("told", sa.String, nullable=False),
    sa.Index("ix_hook_calls", "hook", "state", "due"),
    sa.Index("ix_hook_calls_at", "at"),
)
