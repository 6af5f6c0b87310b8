"""Counts by the minute for 48 hours and by the hour for 400 days (`interfaces.ISeriesStore`).

A row is one metric in one step. What is added to a minute is added to its hour in the same transaction, so both always
agree, also where a minute is written twice because the gateway was started anew in it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert
from twisted.internet.defer import Deferred
from zope.interface import implementer

from smtpgate.interfaces import ISeriesStore
from smtpgate.policy.counted import COVERED, Counts, Rows, add, as_text, of_text
from smtpgate.state.database import Database
from smtpgate.state.ledger_store import as_store_failure
from smtpgate.state.tables import series, storable

MINUTE: Final = 60
HOUR: Final = 3600
#: How long each is kept, seconds: two days beside each other, and a month beside that of the year before.
KEPT_S: Final = {MINUTE: 48 * 3600, HOUR: 400 * 86400}


@implementer(ISeriesStore)
class SeriesStore:
    """The table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, minutes: Iterable[tuple[int, Rows]]) -> Deferred[None]:
        """Add counts to minutes; each is when it began."""
        return self._database.run(_put, list(minutes)).addErrback(as_store_failure)

    def load(self, names: Iterable[str], step: int, begin: int, end: int) -> Deferred[list[tuple[str, int, Counts]]]:
        """Rows of these metrics in order of time, `begin` included and `end` not."""
        return self._database.read(_load, list(names), step, begin, end).addErrback(as_store_failure)

    def oldest(self) -> Deferred[int | None]:
        """When the first step began that is kept; None where none is."""
        return self._database.read(_oldest).addErrback(as_store_failure)


def _put(connection: sa.Connection, minutes: list[tuple[int, Rows]]) -> None:
    for minute, rows in minutes:
        for step in KEPT_S:
            at = minute // step * step
            for name, counts in rows.items():
                _add(connection, step, name, at, counts)
        if minute % HOUR == 0:
            for step, kept_s in KEPT_S.items():
                connection.execute(sa.delete(series).where((series.c.step == step) & (series.c.at < minute - kept_s)))


def _add(connection: sa.Connection, step: int, name: str, at: int, counts: Counts) -> None:
    where = (series.c.step == step) & (series.c.name == name) & (series.c.at == at)
    text = connection.execute(sa.select(series.c.data).where(where)).scalar()
    merged = _read(text) if text is not None else {}
    add(merged, counts)
    if name == COVERED:
        merged = {labels: min(value, step) if isinstance(value, int) else value for labels, value in merged.items()}
    statement = insert(series).values(step=step, name=name, at=at, data=storable(as_text(merged)))
    changed = {"data": statement.excluded.data}
    connection.execute(statement.on_conflict_do_update(index_elements=["step", "name", "at"], set_=changed))


def _read(text: str) -> Counts:
    """Counts that are damaged count as none."""
    try:
        return of_text(text)
    except ValueError:
        return {}


def _load(
    connection: sa.Connection, names: list[str], step: int, begin: int, end: int
) -> list[tuple[str, int, Counts]]:
    out = []
    for name in names:
        where = (series.c.step == step) & (series.c.name == name) & (series.c.at >= begin) & (series.c.at < end)
        found = connection.execute(sa.select(series.c.at, series.c.data).where(where).order_by(series.c.at))
        out += [(name, at, _read(text)) for at, text in found]
    return out


def _oldest(connection: sa.Connection) -> int | None:
    minute, hour = (
        connection.execute(
            sa.select(sa.func.min(series.c.at)).where((series.c.step == step) & (series.c.name == COVERED))
        ).scalar()
        for step in (MINUTE, HOUR)
    )
    if hour is None or minute is not None and hour == minute // HOUR * HOUR:
        # Nothing is kept of what that hour had before.
        return minute
    return int(hour)
