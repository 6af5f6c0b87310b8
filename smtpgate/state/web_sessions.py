"""Sessions of browsers, which outlive a restart: of the secret in a cookie only the digest is kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import sqlalchemy as sa
from twisted.internet.defer import Deferred

from smtpgate.state.ledger_store import as_store_failure
from smtpgate.state.tables import web_sessions


@attrs.frozen
class WebSession:
    """One login of a browser. Times are seconds since the epoch.

    :ivar digest: SHA-256 in hex of the secret in the cookie (256 bits of chance: it cannot be guessed back)
    :ivar id: what it is called where it is shown
    :ivar csrf: what its forms must bring along
    :ivar agent: what the browser calls itself, cut and in ASCII
    :ivar proved_at: when the password was given last
    :ivar has_code: a one-time code was given with it
    """

    digest: str
    id: str
    user: str
    csrf: str
    address: str
    agent: str
    login_at: float
    proved_at: float
    seen_at: float
    has_code: bool = False


class WebSessions:
    """The table, each call giving an awaitable."""

    def __init__(self, database: Any) -> None:
        self._database = database

    #: Makes one; it is kept by `keep`.
    make = WebSession

    def keep(self, session: WebSession, most: int, began_after: float) -> Deferred[None]:
        """A new one; of its user's the oldest beyond `most` go, and all that began before a time."""
        return self._database.run(_keep, session, most, began_after)

    def find(self, digest: str) -> Deferred[WebSession | None]:
        """That of a secret."""
        return self._database.run(_find, digest).addErrback(as_store_failure)

    def all(self) -> Deferred[Sequence[WebSession]]:
        """All of them, the newest first."""
        return self._database.run(_all).addErrback(as_store_failure)

    def seen(self, digest: str, at: float) -> Deferred[None]:
        """It was used."""
        return self._database.run(_seen, digest, at)

    def prove(self, digest: str, at: float) -> Deferred[None]:
        """The password was given again."""
        return self._database.run(_prove, digest, at)

    def end(self, digest: str) -> Deferred[None]:
        """One less."""
        return self._database.run(_end, digest)


def _keep(connection: sa.Connection, session: WebSession, most: int, began_after: float) -> None:
    columns = web_sessions.c
    connection.execute(sa.delete(web_sessions).where(columns.login_at < began_after))
    own = sa.select(columns.digest).where(columns.user == session.user).order_by(columns.login_at.desc())
    # SQLite has no offset without a limit; -1 is none.
    beyond = list(connection.execute(own.limit(-1).offset(most - 1)).scalars())
    if beyond:
        connection.execute(sa.delete(web_sessions).where(columns.digest.in_(beyond)))
    connection.execute(sa.insert(web_sessions).values(attrs.asdict(session)))


def _find(connection: sa.Connection, digest: str) -> WebSession | None:
    row = connection.execute(sa.select(web_sessions).where(web_sessions.c.digest == digest)).mappings().first()
    return WebSession(**row) if row is not None else None


def _all(connection: sa.Connection) -> list[WebSession]:
    query = sa.select(web_sessions).order_by(web_sessions.c.login_at.desc())
    return [WebSession(**row) for row in connection.execute(query).mappings()]


def _seen(connection: sa.Connection, digest: str, at: float) -> None:
    connection.execute(sa.update(web_sessions).where(web_sessions.c.digest == digest).values(seen_at=at))


def _prove(connection: sa.Connection, digest: str, at: float) -> None:
    connection.execute(sa.update(web_sessions).where(web_sessions.c.digest == digest).values(proved_at=at))


def _end(connection: sa.Connection, digest: str) -> None:
    connection.execute(sa.delete(web_sessions).where(web_sessions.c.digest == digest))


def end_of(connection: sa.Connection, user: str) -> None:
    """All of a user's: within the transaction that changes what they rest on."""
    connection.execute(sa.delete(web_sessions).where(web_sessions.c.user == user))
