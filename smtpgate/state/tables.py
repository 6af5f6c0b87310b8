"""The tables, as SQLAlchemy sees them; `migrations/` makes them in a database."""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()


def storable(text: str) -> str:
    """A text as the database takes it: half a surrogate pair is no text to it."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


ledger = sa.Table(
    "ledger",
    metadata,
    sa.Column("key", sa.String, primary_key=True),
    sa.Column("recipient", sa.String, primary_key=True),
    sa.Column("state", sa.String, nullable=False),
    sa.Column("server", sa.String, nullable=False),
    sa.Column("expires", sa.Float, nullable=False, index=True),
    sa.Column("transaction_id", sa.String, nullable=False),
    sa.Column("code", sa.Integer, nullable=False),
    sa.Column("text", sa.String, nullable=False),
    sa.Column("envelope", sa.String, nullable=False),
)

sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("started", sa.Float, nullable=False, index=True),
    sa.Column("record", sa.LargeBinary, nullable=False),
    #: Of its rows in `messages`, joined by commas; NULL where it has none yet.
    sa.Column("numbers", sa.String),
    sa.Index("ix_sessions_unnumbered", "started", sqlite_where=sa.text("numbers IS NULL")),
)

#: Numbered by time: microseconds since the epoch. Their words are in parts (`state.history_rows`).
messages = sa.Table(
    "messages",
    metadata,
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

users = sa.Table(
    "users",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("role", sa.String, nullable=False),
    sa.Column("password", sa.String, nullable=False),
    sa.Column("created", sa.Float, nullable=False),
    #: Words with blanks between, as in the table of tokens; "" for no limit.
    sa.Column("domains", sa.String, nullable=False, server_default=""),
    sa.Column("is_disabled", sa.Boolean, nullable=False, server_default=sa.false()),
    #: Who logs in elsewhere (`[sso]`): where, and as whom there; "" for who has a password here.
    sa.Column("issuer", sa.String, nullable=False, server_default=""),
    sa.Column("subject", sa.String, nullable=False, server_default=""),
    sa.Index("ix_users_subject", "issuer", "subject", unique=True, sqlite_where=sa.text("issuer != ''")),
)

tokens = sa.Table(
    "tokens",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("role", sa.String, nullable=False),
    sa.Column("digest", sa.String, nullable=False),
    sa.Column("created", sa.Float, nullable=False),
    sa.Column("expires", sa.Float, nullable=False),
    sa.Column("last_used", sa.Float, nullable=False),
    #: "" for all that the role holds.
    sa.Column("scopes", sa.String, nullable=False, server_default=""),
    sa.Column("domains", sa.String, nullable=False, server_default=""),
    sa.Column("networks", sa.String, nullable=False, server_default=""),
    sa.Column("maker", sa.String, nullable=False, server_default=""),
)

#: Logins of browsers. Of the secret in the cookie only the digest; `csrf` is of use with the cookie only.
web_sessions = sa.Table(
    "web_sessions",
    metadata,
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

#: Second factors of users: secrets of one-time codes (RFC 6238), which must be read to be compared; `last_step`: the
#: step of the last code that was taken, so that none is taken twice.
factors = sa.Table(
    "factors",
    metadata,
    sa.Column("user", sa.String, primary_key=True),
    sa.Column("secret", sa.LargeBinary, nullable=False),
    sa.Column("last_step", sa.Integer, nullable=False),
    sa.Column("made", sa.Float, nullable=False),
)

#: Codes for the day when the telephone is lost, as digests; each goes when it is used.
recovery_codes = sa.Table(
    "recovery_codes",
    metadata,
    sa.Column("digest", sa.String, primary_key=True),
    sa.Column("user", sa.String, nullable=False, index=True),
)

#: Links by which somebody sets a password, as digests; each goes when it is used.
invitations = sa.Table(
    "invitations",
    metadata,
    sa.Column("digest", sa.String, primary_key=True),
    sa.Column("user", sa.String, nullable=False, index=True),
    sa.Column("maker", sa.String, nullable=False),
    sa.Column("expires", sa.Float, nullable=False),
)

audit = sa.Table(
    "audit",
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("time", sa.Float, nullable=False),
    sa.Column("actor_kind", sa.String, nullable=False),
    sa.Column("actor", sa.String, nullable=False),
    sa.Column("action", sa.String, nullable=False),
    sa.Column("target", sa.String, nullable=False),
    sa.Column("detail", sa.String, nullable=False),
    sa.Column("hash", sa.String, nullable=False),
    #: In which form the row was written (`audit_log`); what stands below has been there since form 2.
    sa.Column("form", sa.Integer, nullable=False, server_default="1"),
    sa.Column("result", sa.String, nullable=False, server_default="ok"),
    sa.Column("source", sa.String, nullable=False, server_default=""),
    sa.Column("request_id", sa.String, nullable=False, server_default=""),
    sa.Column("more", sa.String, nullable=False, server_default=""),
)

#: One row: the last of the audit, so that a shortened audit shows.
audit_head = sa.Table(
    "audit_head",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("seq", sa.Integer, nullable=False),
    sa.Column("hash", sa.String, nullable=False),
)

held = sa.Table(
    "held",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("expires", sa.Float, nullable=False, index=True),
    sa.Column("held_as", sa.String, nullable=False),
    #: That of all its recipients together (`policy.held.Held.state`).
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
    sa.Column("proposed_by", sa.String, nullable=False, server_default=""),
    sa.Column("recipients", sa.String, nullable=False),
    sa.Column("facts", sa.String, nullable=False),
    sa.Index("ix_held_class", "held_as", "id"),
    sa.Index("ix_held_state", "state", "id"),
    sa.Index("ix_held_key", "key", sqlite_where=sa.text("key <> ''")),
    sa.Index("ix_held_asked", "asked", sqlite_where=sa.text("asked > 0")),
    #: What is looked for by a part of it is read from here: a tenth of the rows.
    sa.Index("ix_held_words", "id", "held_as", "state", "sender", "subject", "client_ip"),
)

#: Addresses in lower case, so that everybody finds their own.
held_recipients = sa.Table(
    "held_recipients",
    metadata,
    sa.Column("address", sa.String, primary_key=True),
    sa.Column("id", sa.String, primary_key=True),
    sa.Index("ix_held_recipients_id", "id"),
)

#: Kept by triggers of the database.
held_totals = sa.Table(
    "held_totals",
    metadata,
    sa.Column("held_as", sa.String, primary_key=True),
    sa.Column("state", sa.String, primary_key=True),
    sa.Column("count", sa.Integer, nullable=False),
    sa.Column("octets", sa.Integer, nullable=False),
)

letters = sa.Table(
    "letters",
    metadata,
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
    sa.Index("ix_letters_due", "state", "due"),
)

tickets = sa.Table(
    "tickets",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("key", sa.String, nullable=False, index=True),
    sa.Column("rule", sa.String, nullable=False),
    sa.Column("mode", sa.String, nullable=False),
    sa.Column("at", sa.Float, nullable=False, index=True),
    sa.Column("expires", sa.Float, nullable=False, index=True),
    sa.Column("message", sa.String, nullable=False, index=True),
    sa.Column("sender", sa.String, nullable=False),
    sa.Column("recipients", sa.String, nullable=False),
    sa.Column("subject", sa.String, nullable=False),
    sa.Column("text", sa.String, nullable=False),
    sa.Column("state", sa.String, nullable=False),
    sa.Column("reason", sa.String, nullable=False),
    sa.Column("decided_by", sa.String, nullable=False),
)

counters = sa.Table(
    "counters",
    metadata,
    sa.Column("space", sa.String, primary_key=True),
    sa.Column("key", sa.String, primary_key=True),
    sa.Column("value", sa.String, nullable=False),
    sa.Column("expires", sa.Float, nullable=False, index=True),
)

memory = sa.Table(
    "memory",
    metadata,
    sa.Column("table", sa.String, primary_key=True),
    sa.Column("key", sa.String, primary_key=True),
    sa.Column("value", sa.String, nullable=False),
    sa.Column("expires", sa.Float, nullable=False, index=True),
)

#: Counts of one metric in one step of time (`state.series_store`).
series = sa.Table(
    "series",
    metadata,
    sa.Column("step", sa.Integer, primary_key=True),
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("at", sa.Integer, primary_key=True),
    sa.Column("data", sa.String, nullable=False),
    sqlite_with_rowid=False,
)

config_revisions = sa.Table(
    "config_revisions",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("digest", sa.String, nullable=False),
    sa.Column("text", sa.String, nullable=False),
    sa.Column("parent", sa.Integer, nullable=False),
    sa.Column("author", sa.String, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("message", sa.String, nullable=False),
    sa.Column("way", sa.String, nullable=False),
    sa.Column("state", sa.String, nullable=False),
)

config_drafts = sa.Table(
    "config_drafts",
    metadata,
    sa.Column("author", sa.String, primary_key=True),
    sa.Column("base", sa.Integer, nullable=False),
    sa.Column("text", sa.String, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
)

#: One row: which revision of the configuration rules.
config_pointer = sa.Table(
    "config_pointer",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("active", sa.Integer, nullable=False),
    sa.Column("former", sa.Integer, nullable=False),
    sa.Column("deadline", sa.Float, nullable=False),
    sa.Column("seed", sa.String, nullable=False),
    sa.Column("mode", sa.String, nullable=False),
)

#: Who was seen most in one step of time (`state.talker_store`).
talkers = sa.Table(
    "talkers",
    metadata,
    sa.Column("step", sa.Integer, primary_key=True),
    sa.Column("kind", sa.String, primary_key=True),
    sa.Column("at", sa.Integer, primary_key=True),
    sa.Column("data", sa.String, nullable=False),
    sqlite_with_rowid=False,
)

#: Long pieces of work (`state.job_store`).
jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("who", sa.String, nullable=False),
    sa.Column("permission", sa.String, nullable=False),
    sa.Column("state", sa.String, nullable=False),
    sa.Column("done", sa.Integer, nullable=False),
    sa.Column("total", sa.Integer, nullable=False),
    sa.Column("detail", sa.String, nullable=False),
    sa.Column("result", sa.String, nullable=False),
    sa.Column("created", sa.Float, nullable=False),
    sa.Column("changed", sa.Float, nullable=False),
    sa.Column("expires", sa.Float, nullable=False),
    sa.Column("media", sa.String, nullable=False),
)

#: Mail that was tried once, and what is wanted to become of it (`state.case_store`).
cases = sa.Table(
    "cases",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("author", sa.String, nullable=False),
    sa.Column("created", sa.Float, nullable=False),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("arrival", sa.String, nullable=False),
    sa.Column("octets", sa.LargeBinary, nullable=False),
    sa.Column("outcome", sa.String, nullable=False),
    sa.Column("action", sa.String, nullable=False),
    sa.Column("decided_by", sa.String, nullable=False),
)
