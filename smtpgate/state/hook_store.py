"""Calls of webhooks on the disk: those that wait, and for some days those that are over (`policy.call`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs
import sqlalchemy as sa
from twisted.internet.defer import Deferred

from smtpgate.policy.call import WAITING, Call
from smtpgate.state.ledger_store import as_store_failure
from smtpgate.state.tables import storable
from smtpgate.state.tables_hooks import hook_calls

#: Rows that go at once.
_SLICE: Final = 1000
_C: Final = hook_calls.c


class HookStore:
    """The table, each call giving an awaitable."""

    def __init__(self, database: Any) -> None:
        self._database = database

    def put(self, calls: Sequence[Call], most: Mapping[str, int]) -> Deferred[dict[str, int]]:
        """Keep calls that wait; how many of a hook were left out, since so many wait for it already."""
        return self._database.run(_put, tuple(calls), dict(most)).addErrback(as_store_failure)

    def next(self, hook: str) -> Deferred[Call | None]:
        """The call that is due first."""
        return self._database.read(_next, hook).addErrback(as_store_failure)

    def write(self, call: Call) -> Deferred[None]:
        """What became of a try."""
        return self._database.run(_write, call).addErrback(as_store_failure)

    def find(self, limit: int, before: int = 0, hook: str = "", state: str = "") -> Deferred[list[Call]]:
        """Calls, the newest first."""
        return self._database.read(_find, limit, before, hook, state).addErrback(as_store_failure)

    def call(self, n: int) -> Deferred[Call | None]:
        """One."""
        return self._database.read(_call, n).addErrback(as_store_failure)

    def counts(self) -> Deferred[dict[tuple[str, str], int]]:
        """How many, by hook and state."""
        return self._database.read(_counts).addErrback(as_store_failure)

    def forget(self, before: float) -> Deferred[int]:
        """Calls from before a time go, a slice of them; how many."""
        return self._database.run(_forget, before).addErrback(as_store_failure)


def _of(row: Any) -> Call:
    return Call(**dict(row._mapping))


def _put(connection: sa.Connection, calls: Sequence[Call], most: Mapping[str, int]) -> dict[str, int]:
    left = {hook: most.get(hook, 0) - _waiting(connection, hook) for hook in {one.hook for one in calls}}
    rows, out = [], Counter[str]()
    for one in calls:
        if left[one.hook] <= 0:
            out[one.hook] += 1
            continue
        left[one.hook] -= 1
        row = attrs.asdict(one)
        del row["n"]
        rows.append({name: storable(value) if isinstance(value, str) else value for name, value in row.items()})
    if rows:
        connection.execute(sa.insert(hook_calls), rows)
    return dict(out)


def _waiting(connection: sa.Connection, hook: str) -> int:
    query = sa.select(sa.func.count()).select_from(hook_calls).where((_C.hook == hook) & (_C.state == WAITING))
    return int(connection.execute(query).scalar() or 0)


def _next(connection: sa.Connection, hook: str) -> Call | None:
    query = sa.select(hook_calls).where((_C.hook == hook) & (_C.state == WAITING)).order_by(_C.due, _C.n).limit(1)
    row = connection.execute(query).first()
    return _of(row) if row is not None else None


def _write(connection: sa.Connection, call: Call) -> None:
    values = {"state": call.state, "due": call.due, "tries": call.tries, "code": call.code, "told": storable(call.told)}
    connection.execute(sa.update(hook_calls).where(_C.n == call.n).values(values))


def _find(connection: sa.Connection, limit: int, before: int, hook: str, state: str) -> list[Call]:
    query = sa.select(hook_calls).order_by(_C.n.desc()).limit(limit)
    if before:
        query = query.where(_C.n < before)
    if hook:
        query = query.where(_C.hook == storable(hook))
    if state:
        query = query.where(_C.state == state)
    return [_of(row) for row in connection.execute(query)]


def _call(connection: sa.Connection, n: int) -> Call | None:
    row = connection.execute(sa.select(hook_calls).where(_C.n == n)).first()
    return _of(row) if row is not None else None


def _counts(connection: sa.Connection) -> dict[tuple[str, str], int]:
    query = sa.select(_C.hook, _C.state, sa.func.count().label("count")).group_by(_C.hook, _C.state)
    return {(row.hook, row.state): row._mapping["count"] for row in connection.execute(query)}


def _forget(connection: sa.Connection, before: float) -> int:
    some = sa.select(_C.n).where(_C.at < before).limit(_SLICE)
    return int(connection.execute(sa.delete(hook_calls).where(_C.n.in_(some))).rowcount)
