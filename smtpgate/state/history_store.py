"""Ended sessions on disk (`interfaces.IHistoryStore`): a packed record each, and rows to search by.

Kept for 30 days and up to a number of sessions, whichever is less. What is too old goes with each batch that
is written, a little more than came, so nobody waits for a large deletion; `expire` does the same where
nothing comes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.sqlite import insert
from twisted.internet.defer import Deferred
from zope.interface import implementer

from smtpgate.interfaces import IHistoryStore
from smtpgate.state.database import Database
from smtpgate.state.packing import pack, unpack
from smtpgate.state.tables import messages, sessions

#: Sessions kept, by age and by number.
KEEP_S: Final = 30 * 86400.0
KEEP_ROWS: Final = 1_000_000
#: Sessions deleted in one go, so that no one waits long for the database.
SLICE: Final = 2000
#: Recipients of one message that a search finds.
SEARCHED: Final = 100
#: After so many records the thread sleeps a moment: the interpreter's lock goes back to the reactor, which would
#: otherwise get it every five milliseconds only.
_BREATH: Final = 20
_BREATH_S: Final = 0.0002

Record = dict[str, Any]


@implementer(IHistoryStore)
class HistoryStore:
    """Records are mappings as `policy.record.plain` makes them."""

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

    def write(self, rows: Sequence[Record]) -> Deferred[None]:
        """Keep a batch of records."""
        return self._database.run(self._write, rows)

    def write_facts(self, facts: Sequence[Any], plain: Callable[[Any, float], Record]) -> Deferred[None]:
        """The same for facts that become records in the thread."""
        return self._database.run(self._write_facts, facts, plain)

    def session(self, id: str) -> Deferred[Record | None]:
        """One session's record."""
        return self._database.read(_session, id)

    def recent(self, limit: int, before: float | None = None) -> Deferred[list[Record]]:
        """The newest sessions, newest first.

        :param before: only those that began before, seconds since the epoch
        """
        return self._database.read(_recent, limit, before)

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

    def _write_facts(
        self, connection: sa.Connection, facts: Sequence[Any], plain: Callable[[Any, float], Record]
    ) -> None:
        # One record at a time: five hundred at once would be walked through by the collector again and again.
        self._write(connection, (plain(session, session.ended) for session in facts))

    def _write(self, connection: sa.Connection, records: Iterable[Record]) -> None:
        rows: list[Record] = []
        found: list[tuple[object, ...]] = []
        for number, record in enumerate(records, 1):
            rows.append({"id": record["id"], "started": record["started"], "record": pack(record)})
            found += [_searchable(record, message) for message in record["messages"]]
            _breathe(number)
        if not rows:
            return
        before = self._counted(connection)
        added = connection.execute(insert(sessions).on_conflict_do_nothing(), rows).rowcount
        if found:
            connection.exec_driver_sql(_INSERT, found)
        self._count = before + (added if added >= 0 else len(rows))
        self._expire(connection, self._wall(), min(SLICE, 2 * len(rows)))

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


def _breathe(number: int) -> None:
    if not number % _BREATH:
        time.sleep(_BREATH_S)


def _clean(text: str) -> str:
    """As the database takes it: half a surrogate pair is no text to it."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _searchable(record: Record, message: Record) -> tuple[object, ...]:
    """A row of `messages`, its columns in the order of the table."""
    return (
        message["id"],
        record["id"],
        record["started"] + message["begun_ms"] / 1000,
        record["client_ip"],
        _clean(message["sender"]),
        _clean(" ".join([one["address"] for one in message["recipients"][:SEARCHED]])),
        _clean(message["message_id"]),
        _clean(message["subject"]),
        message["outcome"],
    )


#: Made once: to put names to the values of each row anew would cost as much as the row.
_INSERT: Final = str(insert(messages).on_conflict_do_nothing().compile(dialect=sqlite.dialect()))


def _session(connection: sa.Connection, id: str) -> Record | None:
    found = connection.execute(sa.select(sessions.c.record).where(sessions.c.id == _clean(id))).scalar()
    return unpack(found) if found is not None else None


def _recent(connection: sa.Connection, limit: int, before: float | None) -> list[Record]:
    query = sa.select(sessions.c.record).order_by(sessions.c.started.desc()).limit(limit)
    if before is not None:
        query = query.where(sessions.c.started < before)
    return [unpack(row[0]) for row in connection.execute(query)]


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
        query = query.where(sa.or_(*(column.contains(_clean(text), autoescape=True) for column in anywhere)))
    for name, value in exact.items():
        if value:
            query = query.where(columns[name] == _clean(value))
    for name, value in parts.items():
        if value:
            query = query.where(columns[name].contains(_clean(value), autoescape=True))
    if since:
        query = query.where(columns.at >= since)
    if until:
        query = query.where(columns.at < until)
    if before:
        place = sa.select(columns.at, columns.id).where(columns.id == _clean(before)).scalar_subquery()
        query = query.where(sa.tuple_(columns.at, columns.id) < place)
    return [dict(row._mapping) for row in connection.execute(query)]
