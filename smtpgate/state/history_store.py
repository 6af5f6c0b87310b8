"""Ended sessions on disk (`interfaces.IHistoryStore`): one compressed record each, and a row a message to search by."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert
from zope.interface import implementer

from twisted.internet.defer import Deferred

from smtpgate.interfaces import IHistoryStore
from smtpgate.state.database import Database
from smtpgate.state.tables import messages, sessions

#: Sessions kept, by age and by number.
KEEP_S = 30 * 86400.0
KEEP_ROWS = 1_000_000
#: Rows deleted in one go, so that no one waits long for the database.
_SLICE = 2000


@implementer(IHistoryStore)
class HistoryStore:
    """Records are mappings as `policy.record.plain` makes them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def write(self, records: Sequence[dict[str, Any]]) -> Deferred[None]:
        """Keep a batch."""
        return self._database.run(_write, records)

    def write_facts(self, facts: Sequence[Any], plain: Callable[[Any, float], dict[str, Any]]) -> Deferred[None]:
        """The same for facts that become records in the thread."""
        return self._database.run(_write_facts, facts, plain)

    def session(self, id: str) -> Deferred[dict[str, Any] | None]:
        """One session's record."""
        return self._database.run(_session, id)

    def recent(self, limit: int, before: float | None = None) -> Deferred[list[dict[str, Any]]]:
        """The newest sessions, newest first."""
        return self._database.run(_recent, limit, before)

    def search(self, text: str, limit: int) -> Deferred[list[dict[str, Any]]]:
        """Messages whose sender, recipients, Message-ID or client's address contain a text, newest first."""
        return self._database.run(_search, text, limit)

    def expire(self, now: float) -> Deferred[int]:
        """Delete a slice of what is past its time; how many sessions went."""
        return self._database.run(_expire, now)


def _write(connection: sa.Connection, records: Sequence[dict[str, Any]]) -> None:
    rows, found = [], []
    for record in records:
        octets = zlib.compress(json.dumps(record, separators=(",", ":")).encode("utf-8"), 1)
        rows.append({"id": record["id"], "started": record["started"], "record": octets})
        for message in record["messages"]:
            found.append(
                {
                    "id": message["id"],
                    "session_id": record["id"],
                    "at": record["started"] + message["begun_ms"] / 1000,
                    "client_ip": record["client_ip"],
                    "sender": message["sender"],
                    "recipients": " ".join(one["address"] for one in message["recipients"][:100]),
                    "message_id": message["message_id"],
                    "subject": message["subject"],
                    "outcome": message["outcome"],
                }
            )
    connection.execute(insert(sessions).on_conflict_do_nothing(), rows)
    if found:
        connection.execute(insert(messages).on_conflict_do_nothing(), found)


def _write_facts(
    connection: sa.Connection, facts: Sequence[Any], plain: Callable[[Any, float], dict[str, Any]]
) -> None:
    _write(connection, [plain(session, session.ended) for session in facts])


def _record(octets: bytes) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(zlib.decompress(octets))
    return record


def _session(connection: sa.Connection, id: str) -> dict[str, Any] | None:
    found = connection.execute(sa.select(sessions.c.record).where(sessions.c.id == id)).scalar()
    return _record(found) if found is not None else None


def _recent(connection: sa.Connection, limit: int, before: float | None) -> list[dict[str, Any]]:
    query = sa.select(sessions.c.record).order_by(sessions.c.started.desc()).limit(limit)
    if before is not None:
        query = query.where(sessions.c.started < before)
    return [_record(row[0]) for row in connection.execute(query)]


def _search(connection: sa.Connection, text: str, limit: int) -> list[dict[str, Any]]:
    columns = (messages.c.sender, messages.c.recipients, messages.c.message_id, messages.c.client_ip)
    wanted = sa.or_(*(column.contains(text, autoescape=True) for column in columns))
    query = sa.select(messages).where(wanted).order_by(messages.c.at.desc()).limit(limit)
    return [dict(row._mapping) for row in connection.execute(query)]


def _expire(connection: sa.Connection, now: float) -> int:
    count = connection.execute(sa.select(sa.func.count()).select_from(sessions)).scalar() or 0
    old = sa.select(sessions.c.id).where(sessions.c.started < now - KEEP_S)
    if count > KEEP_ROWS:
        old = sa.select(sessions.c.id).order_by(sessions.c.started).limit(min(_SLICE, count - KEEP_ROWS))
    ids = [row[0] for row in connection.execute(old.limit(_SLICE))]
    if ids:
        connection.execute(sa.delete(messages).where(messages.c.session_id.in_(ids)))
        connection.execute(sa.delete(sessions).where(sessions.c.id.in_(ids)))
    return len(ids)
