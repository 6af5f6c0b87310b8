"""Searches that somebody keeps under a name, on disk."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any, Final

import attrs
import sqlalchemy as sa
from twisted.internet.defer import Deferred

from smtpgate.state.ledger_store import as_store_failure
from smtpgate.state.tables import storable
from smtpgate.state.tables_history import saved_searches

#: Of one owner.
MOST: Final = 50


@attrs.frozen
class SavedSearch:
    """One of them.

    :ivar owner: kind and name of whose it is
    :ivar query: as it was typed (`policy.query`); `created`: seconds since the epoch
    """

    id: str
    owner: str
    name: str
    query: str
    created: float


class Searches:
    """The table, each call giving an awaitable."""

    make = SavedSearch

    def __init__(self, database: Any) -> None:
        self._database = database

    def of(self, owner: str) -> Deferred[Sequence[SavedSearch]]:
        """An owner's, by name."""
        return self._database.run(_of, owner).addErrback(as_store_failure)

    def add(self, owner: str, name: str, query: str, now: float) -> Deferred[SavedSearch | None]:
        """A new one; None where there are too many."""
        return self._database.run(_add, owner, name, query, now).addErrback(as_store_failure)

    def change(self, owner: str, id: str, name: str, query: str) -> Deferred[bool]:
        """Other words; False where there is no such one of that owner."""
        return self._database.run(_change, owner, id, name, query).addErrback(as_store_failure)

    def remove(self, owner: str, id: str) -> Deferred[bool]:
        """One goes; False where there is no such one of that owner."""
        return self._database.run(_remove, owner, id).addErrback(as_store_failure)


_C: Final = saved_searches.c


def _of(connection: sa.Connection, owner: str) -> list[SavedSearch]:
    query = sa.select(saved_searches).where(_C.owner == owner).order_by(_C.name, _C.created, _C.id)
    return [SavedSearch(**row._mapping) for row in connection.execute(query)]


def _add(connection: sa.Connection, owner: str, name: str, query: str, now: float) -> SavedSearch | None:
    if len(_of(connection, owner)) >= MOST:
        return None
    made = SavedSearch(secrets.token_hex(8), owner, storable(name), storable(query), now)
    connection.execute(sa.insert(saved_searches).values(attrs.asdict(made)))
    return made


def _change(connection: sa.Connection, owner: str, id: str, name: str, query: str) -> bool:
    words = {"name": storable(name), "query": storable(query)}
    change = sa.update(saved_searches).where(_C.id == id, _C.owner == owner).values(**words)
    return connection.execute(change).rowcount > 0


def _remove(connection: sa.Connection, owner: str, id: str) -> bool:
    return connection.execute(sa.delete(saved_searches).where(_C.id == id, _C.owner == owner)).rowcount > 0


def forget_searches(connection: sa.Connection, owner: str) -> None:
    """All of an owner who is gone."""
    connection.execute(sa.delete(saved_searches).where(_C.owner == owner))
