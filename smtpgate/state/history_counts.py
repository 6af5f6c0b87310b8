"""How many messages fit a query, when they came, and what the newest of them have; in the database's thread."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final

import attrs
import sqlalchemy as sa

from smtpgate.policy.found import NO_MESSAGE, Counted, Row, Without
from smtpgate.policy.query import ANY, OWNER, Query
from smtpgate.state.history_rows import SEARCH_S, Asked, ask, name_of, parts, search
from smtpgate.state.history_words import MESSAGE

#: Newest rows whose values are counted.
FACETS_OF: Final = 2000
#: Fields of a query, and what a row has for each.
FACETS: Final[dict[str, Callable[[Row], str]]] = {
    "verdict": lambda row: row.outcome,
    "reason": lambda row: row.reason if row.filter != _RULES else "",
    "rule": lambda row: row.reason if row.filter == _RULES else "",
    "backend": lambda row: row.backend,
    "listener": lambda row: row.listener,
}
#: Values of one.
VALUES: Final = 12
_RULES: Final = "rules"
#: Clauses of a query that are tried without.
_TRIED: Final = 8
#: Stretches of a histogram, seconds; the first that gives at most `_BARS`.
_STEPS: Final = (1, 10, 60, 300, 900, 3600, 3 * 3600, 6 * 3600, 86400, 7 * 86400, 30 * 86400)
_BARS: Final = 60


def count(connection: sa.Connection, query: Query, seconds: float = SEARCH_S) -> Counted:
    """How many rows fit, when, and what the newest of them have."""
    begun = time.monotonic()
    newest = search(connection, query, FACETS_OF, seconds=seconds / 2)
    facets = {
        name: dict(Counter(value for row in newest.rows if (value := of(row))).most_common(VALUES))
        for name, of in FACETS.items()
    }
    there = _total(connection, query, max(seconds / 4, seconds - (time.monotonic() - begun)))
    return attrs.evolve(there, facets=facets, of=len(newest.rows))


def _total(connection: sa.Connection, query: Query, seconds: float) -> Counted:
    """How many rows fit, and when."""
    asked = ask(connection, query, 0)
    until = time.monotonic() + seconds
    if asked.only is not None:
        return Counted(len(search(connection, query, FACETS_OF, seconds=seconds).rows))
    there = parts(connection)
    low = max(asked.low, min((one.low for one in there), default=0))
    high = min(asked.high, max((one.high for one in there), default=0) + 1)
    step = _step((high - low) / 1_000_000) * 1_000_000
    bars: Counter[int] = Counter()
    since = 0
    words = asked.words or f'"{MESSAGE}"'
    for number, one in enumerate(there):
        if one.high < asked.low or one.low >= asked.high:
            continue
        if number and time.monotonic() > until:
            since = one.high
            break
        for bar, rows in _bars(connection, one.part, asked, words, step):
            bars[bar] += rows
    if since:
        bars = Counter({bar: rows for bar, rows in bars.items() if (bar + 1) * step > since})
    histogram = tuple((bar * step / 1_000_000, rows) for bar, rows in sorted(bars.items()))
    return Counted(sum(bars.values()), since != 0, since / 1_000_000, step / 1_000_000, histogram)


def without(connection: sa.Connection, query: Query, seconds: float = SEARCH_S) -> tuple[Without, ...]:
    """What would fit without each clause, the most first; only where something would."""
    tried = [(at, one) for at, one in enumerate(query.clauses) if one.field not in (OWNER, ANY)][:_TRIED]
    found = []
    for at, clause in tried:
        there = _total(connection, query.without(clause), seconds / len(tried))
        if there.total:
            found.append(Without(at, there.total, there.is_partial))
    return tuple(sorted(found, key=lambda one: -one.total))


def _bars(connection: sa.Connection, part: int, asked: Asked, words: str, step: int) -> Iterator[tuple[int, int]]:
    name = name_of(part)
    # Rows that are past their time are in the index until their part goes.
    low = max(asked.low, connection.exec_driver_sql("SELECT min(n) FROM messages").scalar() or 0)
    head = f"SELECT {name}.rowid / ? AS bar, count(*) FROM {name}"
    span = f"{name} MATCH ? AND {name}.rowid < ? AND {name}.rowid >= ?"
    is_plain = asked.where in ("", f"messages.outcome <> '{NO_MESSAGE}'")
    if is_plain:
        if asked.where and MESSAGE not in words:
            words = f'"{MESSAGE}" AND ({words})'
        sql = f"{head} WHERE {span} GROUP BY bar"
        values: tuple[Any, ...] = (step, words, asked.high, low)
    else:
        sql = f"{head} CROSS JOIN messages ON messages.n = {name}.rowid WHERE {span} AND {asked.where} GROUP BY bar"
        values = (step, words, asked.high, low, *asked.values)
    yield from connection.exec_driver_sql(sql, values)


def _step(seconds: float) -> int:
    return next((one for one in _STEPS if seconds / one <= _BARS), _STEPS[-1])
