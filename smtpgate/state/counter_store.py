"""Counters on disk (`interfaces.ICounterStore`): what limits, reputation and bans must not forget at a restart."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert
from twisted.internet.defer import Deferred
from zope.interface import implementer

from smtpgate.interfaces import ICounterStore
from smtpgate.state.database import Database
from smtpgate.state.ledger_store import as_store_failure
from smtpgate.state.tables import counters, storable

Row = tuple[str, Any, float]


@implementer(ICounterStore)
class CounterStore:
    """Rows of text keys and plain values, by space."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def load_now(self, space: str, now: float) -> list[Row]:
        """All rows of a space that have not expired, at once: for the start."""
        return self._database.now(_load, space, now)

    def load(self, space: str, now: float) -> Deferred[list[Row]]:
        """The same in the database's thread."""
        return self._database.run(_load, space, now).addErrback(as_store_failure)

    def put(self, space: str, rows: Iterable[Row]) -> Deferred[None]:
        """Write rows; a value of None takes its row away."""
        return self._database.run(_put, space, list(rows)).addErrback(as_store_failure)

    def expire(self, now: float) -> Deferred[None]:
        """Forget the rows past their time."""
        return self._database.run(_expire, now).addErrback(as_store_failure)


def _load(connection: sa.Connection, space: str, now: float) -> list[Row]:
    where = (counters.c.space == space) & (counters.c.expires > now)
    found = connection.execute(sa.select(counters.c.key, counters.c.value, counters.c.expires).where(where))
    return [(key, json.loads(value), expires) for key, value, expires in found]


def _put(connection: sa.Connection, space: str, rows: list[Row]) -> None:
    gone = [storable(key) for key, value, _ in rows if value is None]
    for start in range(0, len(gone), 500):
        where = (counters.c.space == space) & counters.c.key.in_(gone[start : start + 500])
        connection.execute(sa.delete(counters).where(where))
    kept = [
        {"space": space, "key": storable(key), "value": json.dumps(value, separators=(",", ":")), "expires": expires}
        for key, value, expires in rows
        if value is not None
    ]
    if kept:
        statement = insert(counters)
        changed = {name: statement.excluded[name] for name in ("value", "expires")}
        connection.execute(statement.on_conflict_do_update(index_elements=["space", "key"], set_=changed), kept)


def _expire(connection: sa.Connection, now: float) -> None:
    connection.execute(sa.delete(counters).where(counters.c.expires <= now))
