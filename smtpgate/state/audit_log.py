"""The audit: who did what, in a chain in which each row's hash covers the row before, so that a change, a gap and a new
order show.

Rows have a form. Form 1 has who, what and when; form 2 also the result, where it came from, and as JSON what was before
and after, by which login, and under which configuration. A row keeps the form that it was written in, and the form is
part of what the hash covers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import attrs
import sqlalchemy as sa
from twisted.internet.defer import Deferred

from smtpgate.state.ledger_store import as_store_failure
from smtpgate.state.tables import audit, audit_head, storable

#: The form that is written.
FORM: Final = 2
#: Characters of what was before or after; more is cut, and says so.
VALUE_CHARACTERS: Final = 8000
#: Steps of the clock that are told.
_STEPS: Final = 100
#: A row that is so much older than the one before was written by a clock that was set back (NTP slews below 128 ms).
_STEP_S: Final = 1.0


@attrs.frozen
class Chain:
    """What a look at the whole audit found.

    :ivar reason: what is wrong; "" for nothing
    :ivar rows: how many were looked at
    :ivar steps: rows before which the clock was set back, and the seconds: the order is right, and the times are not
    """

    reason: str
    rows: int
    steps: tuple[tuple[int, float], ...] = ()


class AuditLog:
    """The tables, each call giving an awaitable."""

    def __init__(self, database: Any, wall: Callable[[], float]) -> None:
        self._database = database
        self._wall = wall

    def write(
        self, kind: str, name: str, action: str, target: str, detail: str, context: Mapping[str, Any]
    ) -> Deferred[None]:
        """Add a row; it is on the disk when this fires.

        :param context: `result` ("ok" where it says nothing else), `source`, `request_id`, and what else is to be kept
        """
        more = dict(context)
        row = {
            "time": self._wall(),
            "actor_kind": kind,
            "actor": storable(name),
            "action": action,
            "target": storable(target),
            "detail": storable(detail),
            "result": more.pop("result", "ok"),
            "source": storable(more.pop("source", "")),
            "request_id": storable(more.pop("request_id", "")),
            "more": json.dumps({key: _short(value) for key, value in more.items() if value is not None}),
        }
        return self._database.run(_write, row)

    def find(self, limit: int, before: int = 0, wanted: Mapping[str, Any] | None = None) -> Deferred[Any]:
        """Rows, newest first, as mappings; `more` is read, and `prev_hash` is that of the row before.

        :param before: rows of a smaller number only; 0: all
        :param wanted: `actor`, `kind`, `action` (or what stands before its dot), `target` (a part of it), `result`,
            `source`, `since`, `until` (seconds since the epoch), `q` (a part of actor, target or detail)
        """
        return self._database.read(_find, limit, before, dict(wanted or {})).addErrback(as_store_failure)

    def verify(self) -> Deferred[Chain]:
        """Look at all of it."""
        return self._database.read(_verify).addErrback(as_store_failure)


def _short(value: Any) -> Any:
    text = json.dumps(value, default=str)
    return value if len(text) <= VALUE_CHARACTERS else {"cut": text[:VALUE_CHARACTERS]}


_V1: Final = tuple(audit.c[name] for name in ("seq", "time", "actor_kind", "actor", "action", "target", "detail"))
_V2: Final = (*_V1, *(audit.c[name] for name in ("result", "source", "request_id", "more")))


def _link(before: str, form: int, values: Sequence[Any]) -> str:
    said = [before, *values[: len(_V1)]] if form == 1 else [before, f"form {form}", *values]
    return hashlib.sha256(json.dumps(said).encode("utf-8")).hexdigest()


def _write(connection: sa.Connection, row: Mapping[str, Any]) -> None:
    head = connection.execute(sa.select(audit_head)).one()
    row = {"seq": head.seq + 1, **row}
    link = _link(head.hash, FORM, [row[column.name] for column in _V2])
    connection.execute(sa.insert(audit).values(form=FORM, hash=link, **row))
    connection.execute(sa.update(audit_head).values(seq=row["seq"], hash=link))


def _find(connection: sa.Connection, limit: int, before: int, wanted: Mapping[str, Any]) -> list[dict[str, Any]]:
    earlier = audit.alias()
    query = (
        sa.select(audit, earlier.c.hash.label("prev_hash"))
        .outerjoin(earlier, earlier.c.seq == audit.c.seq - 1)
        .order_by(audit.c.seq.desc())
        .limit(limit)
    )
    if before:
        query = query.where(audit.c.seq < before)
    for name, value in wanted.items():
        query = query.where(_condition(name, value))
    found = []
    for row in connection.execute(query).mappings():
        try:
            more = json.loads(row["more"] or "{}")
        except ValueError:
            # Somebody wrote into it; that is what `verify` is for.
            more = {}
        found.append({**row, "prev_hash": row["prev_hash"] or "", "more": more if isinstance(more, dict) else {}})
    return found


def _condition(name: str, value: Any) -> Any:
    columns = audit.c
    if name == "kind":
        return columns.actor_kind == value
    if name in ("actor", "result", "source"):
        return columns[name] == storable(value)
    if name == "action":
        return (columns.action == value) | columns.action.startswith(f"{value}.", autoescape=True)
    if name == "target":
        return columns.target.contains(storable(value), autoescape=True)
    if name == "since":
        return columns.time >= value
    if name == "until":
        return columns.time < value
    if name == "q":
        parts = (columns.actor, columns.target, columns.detail)
        return sa.or_(*(one.contains(storable(value), autoescape=True) for one in parts))
    raise ValueError(f"the audit is not looked through by {name}")


def _verify(connection: sa.Connection) -> Chain:
    before, number, time = "", 0, 0.0
    steps: list[tuple[int, float]] = []
    for row in connection.execute(sa.select(*_V2, audit.c.form, audit.c.hash).order_by(audit.c.seq)):
        *values, form, found = row
        number += 1
        if values[0] != number:
            return Chain(f"row {number} is missing", number - 1)
        if form not in (1, FORM) or found != _link(before, form, values):
            return Chain(f"row {number} was changed", number - 1)
        if values[1] < time - _STEP_S and len(steps) < _STEPS:
            steps.append((number, time - values[1]))
        before, time = found, values[1]
    head = connection.execute(sa.select(audit_head)).one()
    if head.seq > number:
        return Chain(f"row {number + 1} is missing", number)
    if head.seq != number or head.hash != before:
        return Chain(f"row {number} does not end the chain", number)
    return Chain("", number, tuple(steps))
