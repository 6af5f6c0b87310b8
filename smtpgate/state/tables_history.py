"""The tables of the index of the history, and of searches in it; see `tables`."""

from __future__ import annotations

import sqlalchemy as sa

from smtpgate.state.tables import metadata

#: Parts of the index of words: the table `history_words_N` of each, and which rows it reaches over.
history_parts = sa.Table(
    "history_parts",
    metadata,
    sa.Column("part", sa.Integer, primary_key=True),
    sa.Column("low", sa.Integer, nullable=False),
    sa.Column("high", sa.Integer, nullable=False),
    sa.Column("rows", sa.Integer, nullable=False),
    #: Nothing more is put into it.
    sa.Column("is_closed", sa.Boolean, nullable=False, server_default=sa.false()),
    #: Of clients there are networks only in it.
    sa.Column("is_coarse", sa.Boolean, nullable=False, server_default=sa.false()),
)

#: Words that wait to be put into a part, many at a time.
history_waiting = sa.Table(
    "history_waiting",
    metadata,
    sa.Column("n", sa.Integer, primary_key=True),
    sa.Column("words", sa.String, nullable=False),
)

#: Searches that somebody keeps; `owner`: kind and name of whose it is.
saved_searches = sa.Table(
    "saved_searches",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("owner", sa.String, nullable=False, index=True),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("query", sa.String, nullable=False),
    sa.Column("created", sa.Float, nullable=False),
)
