"""Ended sessions on disk (`interfaces.IHistoryStore`): a packed record each, and rows and words to search by.

Kept for some time and up to a number of messages, whichever is less. What is too old goes with each batch that
is written, a little more than came, so nobody waits for a large deletion; `expire` does the same where
nothing comes. What an earlier version kept without words is given them little by little (`catch_up`).
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from itertools import chain
from typing import Any, Final, TypeVar

import sqlalchemy as sa
from twisted.internet.defer import Deferred
from zope.interface import implementer

from smtpgate.interfaces import IHistoryStore
from smtpgate.policy.found import Counted, Found, Kept, Without
from smtpgate.policy.query import Query
from smtpgate.policy.record import compact, expand, listed
from smtpgate.policy.redaction import Change, coarsen, eraser
from smtpgate.policy.transaction import Session
from smtpgate.state import history_rework as rework
from smtpgate.state import history_rows as rows
from smtpgate.state.database import Database
from smtpgate.state.history_counts import count, without
from smtpgate.state.history_record import Made, made
from smtpgate.state.history_words import words_of
from smtpgate.state.ledger_store import as_store_failure
from smtpgate.state.packing import pack, unpack
from smtpgate.state.tables import messages, sessions, storable
from smtpgate.state.tables_history import history_waiting

#: Sessions deleted in one go, so that no one waits long for the database.
SLICE: Final = 2000
#: Messages that are indexed in one go: the index has less to do with many at once, and 2,048 take some 30 ms, in which
#: the ledger waits. A search waits for it too.
GROUP: Final = 2048
#: Sessions that get their words in one go.
_CATCH_UP: Final = 500
#: After so many sessions and messages the thread sleeps a moment: the interpreter's lock goes back to the reactor,
#: which would otherwise get it every five milliseconds only.
_BREATH: Final = 20
_BREATH_S: Final = 0.0002

Record = dict[str, Any]
T = TypeVar("T")


@implementer(IHistoryStore)
class HistoryStore:
    """What is written are the facts of sessions; what is read are mappings, as `policy.record.plain` makes them."""

    def __init__(
        self,
        database: Database,
        wall: Callable[[], float] = time.time,
        kept: Callable[[], Kept] = Kept,
    ) -> None:
        """
        :param kept: what is to be kept now
        """
        self._database = database
        self._wall = wall
        self._kept = kept
        #: Rows of messages; known once somebody in the database's thread has counted, in the database that was
        #: open then.
        self._count: int | None = None
        self._counted_in: sa.Engine | None = None
        #: Messages whose words wait to be indexed; None where another process has left some, perhaps. Only the
        #: database's thread changes it: a transaction that fails leaves it too high, which does no harm.
        self._waiting: int | None = None
        self._is_catching_up = False
        self._is_reworking = False
        self._reworked: list[Deferred[None]] = []

    def write(self, ended: Sequence[Session]) -> Deferred[None]:
        """Keep a batch of ended sessions; they become records in the thread."""
        return self._database.run(self._write, ended)

    def session(self, id: str) -> Deferred[Record | None]:
        """One session's record."""
        return self._database.read(_session, id).addErrback(as_store_failure)

    def recent(self, limit: int, before: float | None = None) -> Deferred[list[Record]]:
        """The newest sessions, newest first.

        :param before: only those that began before, seconds since the epoch
        """
        return self._database.read(_recent, limit, before).addErrback(as_store_failure)

    def begun_since(self, at: float, limit: int, after: str = "") -> Deferred[list[Record]]:
        """Sessions that began at or after a time, the oldest first.

        :param at: seconds since the epoch
        :param after: id of a session that began then: only those behind it, for the next page
        """
        return self._database.read(_begun_since, at, limit, after).addErrback(as_store_failure)

    def edge(self, limit: int) -> Deferred[float]:
        """When the session began that so many came after; 0.0 where there are fewer."""
        return self._database.read(_edge, limit).addErrback(as_store_failure)

    def search(self, query: Query, limit: int = 50, before: int = 0) -> Deferred[Found]:
        """Messages that fit, newest first.

        :param before: `place` of what was found last, for the next page; 0 for the newest
        """
        if not query.clauses:
            return self._database.read(rows.search, query, limit, before).addErrback(as_store_failure)
        return self._settled(rows.search, query, limit, before)

    def count(self, query: Query) -> Deferred[Counted]:
        """How many messages fit, when they came, and what the newest of them have."""
        return self._settled(count, query)

    def without(self, query: Query) -> Deferred[tuple[Without, ...]]:
        """How many messages would fit without each clause of a query that fits none, the most first."""
        return self._settled(without, query)

    def expire(self, now: float) -> Deferred[int]:
        """Delete a slice of what is past its time, and index what waits; how many sessions went."""
        return self._database.run(self._keep_house, now)

    async def catch_up(self) -> int:
        """Give words to what an earlier version kept, slice by slice; how many sessions it had.

        Others have their turn in the database's thread between two slices. A call while one is at work does nothing.
        """
        if self._is_catching_up:
            return 0
        self._is_catching_up = True
        done = 0
        try:
            while slice := await self._database.run(self._catch_up, _CATCH_UP):
                done += slice
        finally:
            self._is_catching_up = False
        return done

    def _settled(self, function: Callable[..., T], *args: Any) -> Deferred[T]:
        """Ask once all words are in the index."""
        if self._waiting == 0:
            return self._database.read(function, *args).addErrback(as_store_failure)
        return (
            self._database.run(self._settle)
            .addCallback(lambda _: self._database.read(function, *args))
            .addErrback(as_store_failure)
        )

    async def erase(self, address: str, step: Callable[[int, int], Awaitable[bool]]) -> int:
        """Take an address out of all that is kept, and the subjects of its mail; of how many messages.

        :param step: is told of steps done and of all, and says whether to go on; others have their turn meanwhile
        """
        while await self.catch_up():
            pass
        await self._database.run(self._settle)
        there = await self._database.run(rework.with_words, words_of(address))
        changed, change = 0, eraser(address)
        for number, part in enumerate(there):
            changed += await self._rework(part, change, False, partial(step, number, len(there)))
        return changed

    async def coarsen(self, now: float) -> int:
        """Cut the addresses of clients in a part of the index that is old enough; how many messages had whole ones."""
        exact_s = self._kept().exact_s
        if exact_s is None or self._is_reworking:
            return 0
        part = await self._database.read(rework.too_exact, int((now - exact_s) * 1_000_000))
        return await self._rework(part, coarsen, True) if part is not None else 0

    async def _rework(
        self, part: int, change: Change, is_coarse: bool, step: Callable[[], Awaitable[bool]] | None = None
    ) -> int:
        """Make a part anew. One at a time: they share a table."""
        while self._is_reworking:
            waiting: Deferred[None] = Deferred()
            self._reworked.append(waiting)
            await waiting
        self._is_reworking = True
        try:
            await self._database.run(rework.begin, part)
            changed = last = 0
            while True:
                last, more = await self._database.run(rework.step, part, last, change)
                changed += more
                if not last:
                    break
                if step is not None and not await step():
                    return changed
            await self._database.run(rework.end, part, is_coarse)
            return changed
        finally:
            self._is_reworking = False
            reworked, self._reworked = self._reworked, []
            for waiting in reworked:
                waiting.callback(None)

    # In the database's thread

    def _write(self, connection: sa.Connection, ended: Sequence[Session]) -> None:
        fresh = _fresh(connection, ended)
        if not fresh:
            return
        work = 0
        records: list[list[Any]] = []
        searched: list[list[Made]] = []
        for session in fresh:
            record = compact(session, session.ended)
            records.append(record)
            searched.append(list(made(record)))
            work += 1 + len(session.transactions)
            if work > _BREATH:
                work = 0
                time.sleep(_BREATH_S)
        before = self._counted(connection)
        numbers = self._index(connection, searched)
        kept = [
            (session.id, session.started, pack(record), numbered)
            for session, record, numbered in zip(fresh, records, numbers, strict=True)
        ]
        _insert(connection, _SESSIONS, kept)
        came = sum(map(len, searched))
        self._count = before + came
        self._waiting = (self._waiting if self._waiting is not None else GROUP) + came
        if self._waiting >= GROUP:
            self._settle(connection)
        self._expire(connection, self._wall(), min(SLICE, 2 * len(kept)))

    def _index(self, connection: sa.Connection, searched: list[list[Made]], is_old: bool = False) -> list[str]:
        """Keep the rows and words of sessions; the numbers of each session's rows."""
        flat = [one for some in searched for one in some]
        numbers = rows.numbered(connection, [at for at, _, _ in flat])
        _insert(connection, _MESSAGES, [(n, *columns) for n, (_, columns, _) in zip(numbers, flat, strict=True)])
        words = [(n, text) for n, (_, _, text) in zip(numbers, flat, strict=True)]
        if is_old:
            rows.index(connection, words, *self._part)
        else:
            _insert(connection, _WAITING, words)
        given = iter(numbers)
        return [",".join([str(next(given)) for _ in some]) for some in searched]

    @property
    def _part(self) -> tuple[int, int]:
        """So long and so large that no part outlives its rows by more than a little, and there are not too many."""
        kept = self._kept()
        return int(max(86400.0, kept.keep_s / 50) * 1_000_000), max(rows.PART_ROWS, kept.messages // 50)

    def _settle(self, connection: sa.Connection) -> None:
        rows.settle(connection, *self._part)
        self._waiting = 0

    def _keep_house(self, connection: sa.Connection, now: float) -> int:
        self._settle(connection)
        return self._expire(connection, now, SLICE)

    def _catch_up(self, connection: sa.Connection, most: int) -> int:
        table = sessions.c
        old = sa.select(table.id, table.record).where(table.numbers.is_(None)).order_by(table.started.desc())
        found = connection.execute(old.limit(most)).all()
        searched = [_searched(octets) for _, octets in found]
        for (id, _), numbers in zip(found, self._index(connection, searched, is_old=True), strict=True):
            connection.exec_driver_sql("UPDATE sessions SET numbers = ? WHERE id = ?", (numbers, id))
        if self._count is not None:
            self._count += sum(map(len, searched))
        return len(found)

    def _counted(self, connection: sa.Connection) -> int:
        if self._count is None or self._counted_in is not connection.engine:
            self._counted_in = connection.engine
            self._count = rows.estimate(connection)
        return self._count

    def _expire(self, connection: sa.Connection, now: float, most: int) -> int:
        count, kept = self._counted(connection), self._kept()
        oldest = sa.select(sessions.c.id, sessions.c.numbers).order_by(sessions.c.started)
        surplus = count - kept.messages
        if surplus > 0:
            gone = connection.execute(oldest.limit(min(most, surplus))).all()
            going = _as_many(gone, surplus)
        else:
            going = connection.execute(oldest.where(sessions.c.started < now - kept.keep_s).limit(most)).all()
        if going:
            numbers = [(int(one),) for row in going for one in (row[1] or "").split(",") if one]
            if numbers:
                connection.exec_driver_sql("DELETE FROM messages WHERE n = ?", numbers)
            connection.exec_driver_sql("DELETE FROM sessions WHERE id = ?", [(row[0],) for row in going])
            rows.drop_old(connection)
            self._count = count - len(numbers)
        return len(going)


def _as_many(oldest: Sequence[Any], surplus: int) -> Sequence[Any]:
    """The first of these sessions that have so many rows together."""
    for at, (_, numbers) in enumerate(oldest, 1):
        surplus -= numbers.count(",") + 1 if numbers else 0
        if surplus <= 0:
            return oldest[:at]
    return oldest


def _fresh(connection: sa.Connection, ended: Sequence[Session]) -> list[Session]:
    """Those that are not kept yet: a batch may be tried again."""
    given = {session.id: session for session in ended}
    ids = list(given)
    for at in range(0, len(ids), 64):
        some = tuple(ids[at : at + 64])
        marks = ", ".join("?" * len(some))
        for row in connection.exec_driver_sql(f"SELECT id FROM sessions WHERE id IN ({marks})", some):
            given.pop(row[0], None)
    return list(given.values())


#: Rows of one statement; the largest has fewer parameters than any SQLite takes (SQLITE_MAX_VARIABLE_NUMBER, 999).
_ROWS: Final = (48, 16, 4, 1)


def _inserts(table: sa.Table) -> dict[int, str]:
    """A statement for each number of rows: each execution takes the interpreter's lock anew, however little it does."""
    names = [column.name for column in table.columns]
    head = f"INSERT OR IGNORE INTO {table.name} ({', '.join(names)}) VALUES "
    row = f"({', '.join('?' * len(names))})"
    return {rows: head + ", ".join([row] * rows) for rows in _ROWS}


_SESSIONS: Final = _inserts(sessions)
_MESSAGES: Final = _inserts(messages)
_WAITING: Final = _inserts(history_waiting)


def _insert(connection: sa.Connection, statements: dict[int, str], rows: Sequence[tuple[object, ...]]) -> int:
    """Insert rows in few statements; how many were new."""
    added = at = 0
    for size, statement in statements.items():
        while len(rows) - at >= size:
            values = tuple(chain.from_iterable(rows[at : at + size]))
            added += connection.exec_driver_sql(statement, values).rowcount
            at += size
    return added


def _searched(octets: bytes) -> list[Made]:
    """What is searched of a record, also of one that was kept with names; nothing of a damaged one."""
    try:
        kept = unpack(octets)
        return list(made(kept if isinstance(kept, list) else listed(kept)))
    except (ValueError, LookupError, TypeError, AttributeError):
        return []


def _record(octets: bytes) -> Record:
    kept = unpack(octets)
    return expand(kept) if isinstance(kept, list) else kept


def _session(connection: sa.Connection, id: str) -> Record | None:
    found = connection.execute(sa.select(sessions.c.record).where(sessions.c.id == storable(id))).scalar()
    return _record(found) if found is not None else None


def _recent(connection: sa.Connection, limit: int, before: float | None) -> list[Record]:
    query = sa.select(sessions.c.record).order_by(sessions.c.started.desc()).limit(limit)
    if before is not None:
        query = query.where(sessions.c.started < before)
    return [_record(row[0]) for row in connection.execute(query)]


def _begun_since(connection: sa.Connection, at: float, limit: int, after: str) -> list[Record]:
    columns = sessions.c
    query = sa.select(columns.record).order_by(columns.started, columns.id).limit(limit).where(columns.started >= at)
    if after:
        query = query.where(sa.tuple_(columns.started, columns.id) > sa.tuple_(at, storable(after)))
    found = []
    for number, row in enumerate(connection.execute(query), 1):
        found.append(_record(row[0]))
        if not number % _BREATH:
            time.sleep(_BREATH_S)
    return found


def _edge(connection: sa.Connection, limit: int) -> float:
    query = sa.select(sessions.c.started).order_by(sessions.c.started.desc()).offset(limit).limit(1)
    return connection.execute(query).scalar() or 0.0
