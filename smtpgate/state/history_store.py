"""Ended sessions on disk (`interfaces.IHistoryStore`): a packed record each, and rows to search by.

Kept for 30 days and up to a number of sessions, whichever is less. What is too old goes with each batch that
is written, a little more than came, so nobody waits for a large deletion; `expire` does the same where
nothing comes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, Final

import sqlalchemy as sa
from twisted.internet.defer import Deferred
from zope.interface import implementer

from smtpgate.interfaces import IHistoryStore
from smtpgate.policy.record import compact, expand
from smtpgate.policy.transaction import Session, Transaction
from smtpgate.state.database import Database
from smtpgate.state.packing import pack, unpack
from smtpgate.state.tables import messages, sessions, storable

#: Sessions kept, by age and by number.
KEEP_S: Final = 30 * 86400.0
KEEP_ROWS: Final = 1_000_000
#: Sessions deleted in one go, so that no one waits long for the database.
SLICE: Final = 2000
#: Recipients of one message that a search finds.
SEARCHED: Final = 100
#: After so many sessions and messages the thread sleeps a moment: the interpreter's lock goes back to the reactor,
#: which would otherwise get it every five milliseconds only.
_BREATH: Final = 20
_BREATH_S: Final = 0.0002

Record = dict[str, Any]


@implementer(IHistoryStore)
class HistoryStore:
    """What is written are the facts of sessions; what is read are mappings, as `policy.record.plain` makes them."""

    def __init__(
        self,
        database: Database,
        wall: Callable[[], float] = time.time,
        keep_s: float = KEEP_S,
        keep_rows: int = KEEP_ROWS,
    ) -> None:
        """
        :param keep_s: sessions that began before that long ago are deleted
        :param keep_rows: of more sessions the oldest are deleted
        """
        self._database = database
        self._wall = wall
        self._keep_s = keep_s
        self._keep_rows = keep_rows
        #: Sessions in the table; known once somebody in the database's thread has counted, in the database that was
        #: open then.
        self._count: int | None = None
        self._counted_in: sa.Engine | None = None

    def write(self, ended: Sequence[Session]) -> Deferred[None]:
        """Keep a batch of ended sessions; they become records in the thread."""
        return self._database.run(self._write, ended)

    def session(self, id: str) -> Deferred[Record | None]:
        """One session's record."""
        return self._database.read(_session, id)

    def recent(self, limit: int, before: float | None = None) -> Deferred[list[Record]]:
        """The newest sessions, newest first.

        :param before: only those that began before, seconds since the epoch
        """
        return self._database.read(_recent, limit, before)

    def begun_since(self, at: float, limit: int, after: str = "") -> Deferred[list[Record]]:
        """Sessions that began at or after a time, the oldest first.

        :param at: seconds since the epoch
        :param after: id of a session that began then: only those behind it, for the next page
        """
        return self._database.read(_begun_since, at, limit, after)

    def edge(self, limit: int) -> Deferred[float]:
        """When the session began that so many came after; 0.0 where there are fewer."""
        return self._database.read(_edge, limit)

    def search(
        self,
        text: str = "",
        limit: int = 50,
        *,
        client_ip: str = "",
        sender: str = "",
        recipient: str = "",
        outcome: str = "",
        since: float = 0.0,
        until: float = 0.0,
        before: str = "",
    ) -> Deferred[list[Record]]:
        """Messages, newest first; all that is given must fit.

        :param text: part of a sender, a recipient, a Message-ID or an address of a client
        :param client_ip: exactly
        :param sender: part of it; so is `recipient`, of the first hundred
        :param since: seconds since the epoch; so is `until`, 0 for now
        :param before: id of a message: only those that come after it in the order, for the next page
        """
        exact = {"client_ip": client_ip, "outcome": outcome}
        parts = {"sender": sender, "recipients": recipient}
        return self._database.read(_search, text, limit, exact, parts, since, until, before)

    def expire(self, now: float) -> Deferred[int]:
        """Delete a slice of what is past its time; how many sessions went."""
        return self._database.run(self._expire, now, SLICE)

    # In the database's thread

    def _write(self, connection: sa.Connection, ended: Sequence[Session]) -> None:
        kept: list[tuple[object, ...]] = []
        found: list[tuple[object, ...]] = []
        work = 0
        for session in ended:
            kept.append((session.id, session.started, pack(compact(session, session.ended))))
            found += [_searchable(session, message) for message in session.transactions]
            work += 1 + len(session.transactions)
            if work > _BREATH:
                work = 0
                time.sleep(_BREATH_S)
        if not kept:
            return
        before = self._counted(connection)
        self._count = before + _insert(connection, _SESSIONS, kept)
        _insert(connection, _MESSAGES, found)
        self._expire(connection, self._wall(), min(SLICE, 2 * len(kept)))

    def _counted(self, connection: sa.Connection) -> int:
        if self._count is None or self._counted_in is not connection.engine:
            self._counted_in = connection.engine
            self._count = connection.execute(sa.select(sa.func.count()).select_from(sessions)).scalar() or 0
        return self._count

    def _expire(self, connection: sa.Connection, now: float, most: int) -> int:
        count = self._counted(connection)
        oldest = sa.select(sessions.c.id).order_by(sessions.c.started)
        if count > self._keep_rows:
            gone = connection.execute(oldest.limit(min(most, count - self._keep_rows)))
        else:
            gone = connection.execute(oldest.where(sessions.c.started < now - self._keep_s).limit(most))
        ids = [row[0] for row in gone]
        if ids:
            connection.execute(sa.delete(messages).where(messages.c.session_id.in_(ids)))
            connection.execute(sa.delete(sessions).where(sessions.c.id.in_(ids)))
            self._count = count - len(ids)
        return len(ids)


def _searchable(session: Session, message: Transaction) -> tuple[object, ...]:
    """A row of `messages`, its columns in the order of the table."""
    begun = message.begun - session.begun if message.begun else 0.0
    return (
        message.id,
        session.id,
        session.started + begun,
        session.client_ip,
        storable(f"<{message.sender}>"),
        storable(" ".join([f"<{one.path}>" for one in message.recipients[:SEARCHED]])),
        storable(message.message_id),
        storable(message.told_subject),
        message.outcome,
    )


#: Rows of one statement; the largest has fewer parameters than any SQLite takes (SQLITE_MAX_VARIABLE_NUMBER, 999).
_ROWS: Final = (64, 16, 4, 1)


def _inserts(table: sa.Table) -> dict[int, str]:
    """A statement for each number of rows: each execution takes the interpreter's lock anew, however little it does."""
    names = [column.name for column in table.columns]
    head = f"INSERT OR IGNORE INTO {table.name} ({', '.join(names)}) VALUES "
    row = f"({', '.join('?' * len(names))})"
    return {rows: head + ", ".join([row] * rows) for rows in _ROWS}


_SESSIONS: Final = _inserts(sessions)
_MESSAGES: Final = _inserts(messages)


def _insert(connection: sa.Connection, statements: dict[int, str], rows: list[tuple[object, ...]]) -> int:
    """Insert rows in few statements; how many were new."""
    added = at = 0
    for size, statement in statements.items():
        while len(rows) - at >= size:
            values = tuple(chain.from_iterable(rows[at : at + size]))
            added += connection.exec_driver_sql(statement, values).rowcount
            at += size
    return added


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


def _search(
    connection: sa.Connection,
    text: str,
    limit: int,
    exact: dict[str, str],
    parts: dict[str, str],
    since: float,
    until: float,
    before: str,
) -> list[Record]:
    columns = messages.c
    query = sa.select(messages).order_by(columns.at.desc(), columns.id.desc()).limit(limit)
    if text:
        anywhere = (columns.sender, columns.recipients, columns.message_id, columns.client_ip)
        query = query.where(sa.or_(*(column.contains(storable(text), autoescape=True) for column in anywhere)))
    for name, value in exact.items():
        if value:
            query = query.where(columns[name] == storable(value))
    for name, value in parts.items():
        if value:
            query = query.where(columns[name].contains(storable(value), autoescape=True))
    if since:
        query = query.where(columns.at >= since)
    if until:
        query = query.where(columns.at < until)
    if before:
        place = sa.select(columns.at, columns.id).where(columns.id == storable(before)).scalar_subquery()
        query = query.where(sa.tuple_(columns.at, columns.id) < place)
    return [dict(row._mapping) for row in connection.execute(query)]
