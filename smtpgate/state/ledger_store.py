"""The commit ledger's rows on disk (`interfaces.ILedgerStore`)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NoReturn

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import SQLAlchemyError
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface import implementer

from smtpgate.interfaces import ILedgerStore, StoreFailed
from smtpgate.state.database import Database, DatabaseClosed
from smtpgate.state.tables import ledger

_NAMES = [column.name for column in ledger.columns]


@implementer(ILedgerStore)
class LedgerStore:
    """What is written has an attribute for each column (`proxy.ledger.Row`); what is read are mappings."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def load_now(self, now: float) -> list[dict[str, Any]]:
        """All rows not yet expired, at once: for the start."""
        return self._database.now(_load, now)

    def load(self, now: float) -> Deferred[list[dict[str, Any]]]:
        """The same in the database's thread."""
        return self._database.run(_load, now).addErrback(as_store_failure)

    def put(self, rows: Iterable[Any]) -> Deferred[None]:
        """Write rows; they are durable when this fires."""
        values = [{name: getattr(row, name) for name in _NAMES} for row in rows]
        return self._database.run(_put, values).addErrback(as_store_failure)

    def expire(self, now: float) -> Deferred[None]:
        """Forget the rows past their time."""
        return self._database.run(_expire, now).addErrback(as_store_failure)


def as_store_failure(failure: Failure) -> NoReturn:
    """What an engine raises, as the error of the port."""
    if failure.check(SQLAlchemyError, DatabaseClosed, OSError):
        raise StoreFailed(str(failure.value)) from failure.value
    failure.raiseException()


def _load(connection: sa.Connection, now: float) -> list[dict[str, Any]]:
    found = connection.execute(sa.select(ledger).where(ledger.c.expires > now).order_by(ledger.c.expires))
    return [dict(row._mapping) for row in found]


def _put(connection: sa.Connection, rows: list[dict[str, Any]]) -> None:
    if not rows:
        return
    statement = insert(ledger)
    changed = {name: statement.excluded[name] for name in _NAMES if name not in ("key", "recipient")}
    connection.execute(statement.on_conflict_do_update(index_elements=["key", "recipient"], set_=changed), rows)


def _expire(connection: sa.Connection, now: float) -> None:
    connection.execute(sa.delete(ledger).where(ledger.c.expires <= now))
