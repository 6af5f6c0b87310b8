"""What filters remember over restarts: small values under text keys (`interfaces.ITable`).

Reads go to what is held in memory first; writes are held there and go to the database in groups, so that a message
never waits for the disk. Killed, the gateway forgets the last seconds: a greylisted sender waits once more, a first
contact is first again. Nothing that mail depends on is kept here.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import SQLAlchemyError
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure
from zope.interface import implementer

from smtpgate.interfaces import ITable
from smtpgate.policy.event import Happened
from smtpgate.state.database import Database, DatabaseClosed
from smtpgate.state.tables import memory

#: Values held in memory, over all tables: some hundred octets each.
HELD: Final = 50_000
#: Writes wait so long to go together.
GATHER_S: Final = 1.0
#: A value that is larger as JSON is a mistake of its filter.
VALUE_OCTETS: Final = 4096
KEY_CHARACTERS: Final = 512


class MemoryStore:
    """All tables of one gateway."""

    def __init__(self, database: Database, clock: Any, wall: Callable[[], float], tell: Callable[[Any], None]) -> None:
        self._database = database
        self._clock = clock
        self._wall = wall
        self._tell = tell
        self._held: OrderedDict[tuple[str, str], tuple[str | None, float]] = OrderedDict()
        self._waiting: dict[tuple[str, str], tuple[str, float]] = {}
        #: What the database has been given and has not confirmed: a read beside it may not see it yet.
        self._writing: dict[tuple[str, str], tuple[str, float]] = {}
        self._timer: Any = None
        self._is_failing = False

    def table(self, name: str) -> Table:
        """The table of a name."""
        return Table(self, name)

    def get(self, table: str, key: str) -> Deferred[Any]:
        """The value, or None."""
        place = (table, key)
        held = self._held.get(place) or self._waiting.get(place) or self._writing.get(place)
        if held is not None:
            self._hold(place, held)
            return succeed(self._valid(held))
        return self._database.read(_get, table, key, self._wall()).addCallbacks(self._got, self._unread, (place,))

    def _valid(self, held: tuple[str | None, float]) -> Any:
        text, expires = held
        return None if text is None or expires <= self._wall() else json.loads(text)

    def _got(self, row: tuple[str, float] | None, place: tuple[str, str]) -> Any:
        # What was put while the database was asked is newer.
        held = self._held.get(place)
        if held is None:
            held = row if row is not None else (None, 0.0)
            self._hold(place, held)
        return self._valid(held)

    def _unread(self, failure: Failure) -> None:
        """A table that cannot be read is empty: what filters remember only improves a guess. Said once."""
        if not failure.check(SQLAlchemyError, DatabaseClosed, OSError):
            failure.raiseException()
        self._failed(str(failure.value))

    def put(self, table: str, key: str, value: Any, keep_s: float) -> Deferred[None]:
        """Keep a value. Raises ValueError where it is too large, TypeError where JSON cannot hold it."""
        text = json.dumps(value, separators=(",", ":"))
        if len(text) > VALUE_OCTETS or len(key) > KEY_CHARACTERS:
            raise ValueError(f"{len(text)} octets under a key of {len(key)} characters are too much to remember")
        place, held = (table, key), (text, self._wall() + keep_s)
        self._hold(place, held)
        self._waiting[place] = held
        if self._timer is None:
            self._timer = self._clock.callLater(GATHER_S, self._write)
        return succeed(None)

    def _hold(self, place: tuple[str, str], held: tuple[str | None, float]) -> None:
        self._held[place] = held
        self._held.move_to_end(place)
        if len(self._held) > HELD:
            self._held.popitem(last=False)

    def _write(self) -> Deferred[None]:
        self._timer = None
        waiting, self._waiting = self._waiting, {}
        self._writing |= waiting
        rows = [
            {"table": table, "key": key, "value": text, "expires": expires}
            for (table, key), (text, expires) in waiting.items()
        ]
        done = self._database.run(_put, rows)
        done.addBoth(self._settled, waiting)
        return done.addCallbacks(self._written, self._unwritten)

    def _settled(self, result: Any, written: dict[tuple[str, str], tuple[str, float]]) -> Any:
        for place, held in written.items():
            if self._writing.get(place) is held:
                del self._writing[place]
        return result

    def _written(self, _: None) -> None:
        if self._is_failing:
            self._is_failing = False
            self._tell(Happened("memory.works", "info", "what filters remember is kept again"))

    def _unwritten(self, failure: Failure) -> None:
        if not failure.check(SQLAlchemyError, DatabaseClosed, OSError):
            failure.raiseException()
        self._failed(str(failure.value))

    def _failed(self, reason: str) -> None:
        if not self._is_failing:
            self._is_failing = True
            self._tell(Happened("memory.failing", "error", f"what filters remember is not kept: {reason[:300]}"))

    def expire(self) -> Deferred[None]:
        """Forget the rows past their time."""
        return self._database.run(_expire, self._wall()).addErrback(self._unwritten)

    def close(self) -> Deferred[None]:
        """Write what waits."""
        if self._timer is None:
            return succeed(None)
        self._timer.cancel()
        return self._write()


@implementer(ITable)
class Table:
    """One filter's table."""

    def __init__(self, store: MemoryStore, name: str) -> None:
        self._store = store
        self._name = name

    def get(self, key: str) -> Deferred[Any]:
        """The value, or None."""
        return self._store.get(self._name, key)

    def put(self, key: str, value: Any, keep_s: float) -> Deferred[None]:
        """Keep a plain value."""
        return self._store.put(self._name, key, value, keep_s)


def _get(connection: sa.Connection, table: str, key: str, now: float) -> tuple[str, float] | None:
    where = (memory.c.table == table) & (memory.c.key == key) & (memory.c.expires > now)
    row = connection.execute(sa.select(memory.c.value, memory.c.expires).where(where)).first()
    return None if row is None else (row.value, row.expires)


def _put(connection: sa.Connection, rows: list[dict[str, Any]]) -> None:
    statement = insert(memory)
    changed = {name: statement.excluded[name] for name in ("value", "expires")}
    connection.execute(statement.on_conflict_do_update(index_elements=["table", "key"], set_=changed), rows)


def _expire(connection: sa.Connection, now: float) -> None:
    connection.execute(sa.delete(memory).where(memory.c.expires <= now))
