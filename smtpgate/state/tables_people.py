"""The tables of people with held mail of their own; see `tables`."""

from __future__ import annotations

import sqlalchemy as sa

from smtpgate.state.tables import metadata

#: Whose mail is whose: each address, in its normal form (`policy.own`), is one user's.
user_addresses = sa.Table(
    "user_addresses",
    metadata,
    sa.Column("address", sa.String, primary_key=True),
    sa.Column("user", sa.String, nullable=False, index=True),
    sa.Column("at", sa.Float, nullable=False),
)

#: From whom somebody always wants mail, and from whom never.
own_entries = sa.Table(
    "own_entries",
    metadata,
    sa.Column("user", sa.String, primary_key=True),
    sa.Column("entry", sa.String, primary_key=True),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
)

#: What somebody chose for their digests; "" for what the configuration says.
own_preferences = sa.Table(
    "own_preferences",
    metadata,
    sa.Column("user", sa.String, primary_key=True),
    sa.Column("digest", sa.String, nullable=False),
    sa.Column("at", sa.Integer, nullable=False),
    sa.Column("weekday", sa.Integer, nullable=False),
    sa.Column("language", sa.String, nullable=False),
)

#: Up to when somebody, a user or an address, has heard of what is held: written with the digest.
digest_marks = sa.Table(
    "digest_marks",
    metadata,
    sa.Column("who", sa.String, primary_key=True),
    sa.Column("until", sa.Float, nullable=False, index=True),
)
