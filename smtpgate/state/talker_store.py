"""Who was seen most, by the hour for eight days and by the day for 400 (`interfaces.ITalkerStore`).

A day is made anew of its hours whenever one of them is written, in the same transaction; so nothing is counted twice,
whatever ends the process.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert
from twisted.internet.defer import Deferred
from zope.interface import implementer

from smtpgate.interfaces import ITalkerStore
from smtpgate.policy.sketch import PLACES, Row, Sketch
from smtpgate.state.database import Database
from smtpgate.state.ledger_store import as_store_failure
from smtpgate.state.tables import storable, talkers

HOUR: Final = 3600
DAY: Final = 86400
#: How long each is kept, seconds.
KEPT_S: Final = {HOUR: 8 * DAY, DAY: 400 * DAY}
#: Names of each kind that are kept of an hour and of a day.
NAMES: Final = 200

#: When it began, names with their counts, and how often somebody was seen at most who is not among them.
Kept = tuple[int, list[Row], int]


@implementer(ITalkerStore)
class TalkerStore:
    """The table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, hour: int, kinds: dict[str, tuple[Sequence[Row], int]]) -> Deferred[None]:
        """Write an hour, in place of what was written of it before."""
        return self._database.run(_put, hour, kinds).addErrback(as_store_failure)

    def load(self, kind: str, step: int, begin: int, end: int) -> Deferred[list[Kept]]:
        """Hours or days, `begin` included and `end` not."""
        return self._database.read(_load, kind, step, begin, end).addErrback(as_store_failure)

    def load_now(self, kind: str, hour: int) -> list[Kept]:
        """One hour, at once: for the start."""
        return self._database.now(_load, kind, HOUR, hour, hour + 1)


def _put(connection: sa.Connection, hour: int, kinds: dict[str, tuple[Sequence[Row], int]]) -> None:
    day = hour // DAY * DAY
    for kind, (rows, floor) in kinds.items():
        if not rows:
            continue
        _write(connection, kind, HOUR, hour, rows, floor)
        whole = Sketch(NAMES * 24)
        for _, kept, low in _load(connection, kind, HOUR, day, day + DAY):
            whole.merge(kept, low)
        _write(connection, kind, DAY, day, list(whole.rows())[:NAMES], whole.left_out(NAMES))
    for step, kept_s in KEPT_S.items():
        connection.execute(sa.delete(talkers).where((talkers.c.step == step) & (talkers.c.at < hour - kept_s)))


def _write(connection: sa.Connection, kind: str, step: int, at: int, rows: Iterable[Row], floor: int) -> None:
    text = json.dumps({"floor": floor, "rows": [[storable(name), *counts] for name, counts in rows]},
                      separators=(",", ":"), ensure_ascii=False)  # fmt: skip
    statement = insert(talkers).values(step=step, kind=kind, at=at, data=text)
    changed = {"data": statement.excluded.data}
    connection.execute(statement.on_conflict_do_update(index_elements=["step", "kind", "at"], set_=changed))


def _load(connection: sa.Connection, kind: str, step: int, begin: int, end: int) -> list[Kept]:
    where = (talkers.c.step == step) & (talkers.c.kind == kind) & (talkers.c.at >= begin) & (talkers.c.at < end)
    found = connection.execute(sa.select(talkers.c.at, talkers.c.data).where(where).order_by(talkers.c.at))
    return [(at, *_read(text)) for at, text in found]


def _read(text: str) -> tuple[list[Row], int]:
    """Rows that are damaged count as none."""
    try:
        found: Any = json.loads(text)
        rows = [(str(name), tuple(map(int, counts))) for name, *counts in found["rows"]]
        return [row for row in rows if len(row[1]) == len(PLACES)], int(found["floor"])
    except (ValueError, TypeError, KeyError):
        return [], 0
