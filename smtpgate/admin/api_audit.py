"""The API about the audit: who did what, whether its chain is whole, and all of it as a file."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import attrs

from smtpgate.admin.answer import Answer
from smtpgate.admin.api_look import MOST, answer_of
from smtpgate.admin.models_audit import AuditList, AuditModel, ChainState, ClockStep, audit_model
from smtpgate.admin.params import Free, OneOf, Param, Whole
from smtpgate.admin.routes import Ask, Route
from smtpgate.admin.text import cell, visible

_BASE = "/api/v1/audit"
KINDS: Final = ("user", "token", "cli", "link", "system")
RESULTS: Final = ("ok", "denied", "failed")
#: Records of one file; the header X-Next-Cursor says where the next one begins.
FILE_ROWS: Final = 20_000
#: Those that are read at a time: nobody else waits longer for the database.
_SLICE: Final = 1000
#: Characters of a cell: more than a record keeps.
VALUE: Final = 10_000


@attrs.frozen
class Moment:
    """A time, as 2026-11-27T12:00:00Z, or a day; None for none."""

    meaning: str

    def read(self, text: str | None) -> float | None:
        """Seconds since the epoch."""
        if not text:
            return None
        try:
            found = datetime.fromisoformat(text)
            return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            raise ValueError("a time as 2026-11-27T12:00:00Z, or a day as 2026-11-27") from None

    def schema(self) -> Mapping[str, object]:
        """A text: a day is taken too."""
        return {"schema": {"type": "string", "examples": ["2026-11-27T12:00:00Z", "2026-11-27"]}}


FILTERS: Final[Mapping[str, Param]] = {
    "actor": Free("who: the whole name"),
    "kind": OneOf("which kind of actor", KINDS),
    "action": Free("what was done: a whole action, or what stands before its dot"),
    "target": Free("a part of what it was done to"),
    "result": OneOf("only with this result", RESULTS),
    "source": Free("the address that it came from"),
    "time_from": Moment("not before this time"),
    "time_to": Moment("before this time"),
    "q": Free("a part of actor, target or detail"),
}
_CURSOR: Final[Mapping[str, Param]] = {"cursor": Whole("next_cursor of the page before", 2**53, 0)}


def wanted_of(params: Mapping[str, Any]) -> dict[str, Any]:
    """What is looked for, as `state.audit_log` has it."""
    names = {"time_from": "since", "time_to": "until"}
    return {names.get(name, name): params[name] for name in FILTERS if params[name] not in ("", None)}


async def page_of(ask: Ask, params: Mapping[str, Any], limit: int, before: int) -> AuditList:
    """One page of records, for the API and the page."""
    rows = await ask.office.users.log.find(limit + 1, before, wanted_of(params))
    items = [audit_model(row) for row in rows[:limit]]
    more = len(rows) > limit
    return AuditList(items=items, has_more=more, next_cursor=str(items[-1].seq) if more else None)


async def audit(ask: Ask) -> Answer:
    """Who changed what, newest first."""
    return answer_of(await page_of(ask, ask.params, ask.params["limit"], ask.params["cursor"]))


async def chain(ask: Ask) -> ChainState:
    """Whether it is whole, for a page too."""
    found = await ask.office.users.log.verify()
    steps = [ClockStep(seq=seq, seconds=round(seconds, 3)) for seq, seconds in found.steps]
    return ChainState(is_intact=not found.reason, reason=found.reason, rows=found.rows, clock_steps=steps)


async def verify_audit(ask: Ask) -> Answer:
    """Whether the audit's chain is whole."""
    return answer_of(await chain(ask))


async def export(ask: Ask) -> Answer:
    """Records as a file, newest first: lines of JSON, or CSV for spreadsheets. That it was taken is a record too."""
    wanted, kind = wanted_of(ask.params), ask.params["format"] or "jsonl"
    told = ", ".join(f"{name} {ask.params[name]}" for name in FILTERS if ask.params[name] not in ("", None))
    await ask.office.accounts.note(ask.who.actor, "audit.export", kind, told, ask.caller)
    before, pieces, count, more = ask.params["cursor"], [], 0, True
    write = _as_csv if kind == "csv" else _as_lines
    while more and count < FILE_ROWS:
        rows = await ask.office.users.log.find(_SLICE, before, wanted)
        more = len(rows) == _SLICE
        if rows:
            before = rows[-1]["seq"]
            pieces.append(await ask.office.in_thread(write, rows, not count))
            count += len(rows)
    if not count and kind == "csv":
        pieces.append(_as_csv([], True))
    headers = {"Content-Disposition": f'attachment; filename="audit.{kind}"', "Content-Security-Policy": "sandbox"}
    if more:
        headers["X-Next-Cursor"] = str(before)
    media = "text/csv; charset=utf-8" if kind == "csv" else "application/x-ndjson"
    return Answer(b"".join(pieces), 200, media, headers)


def _as_lines(rows: Sequence[Mapping[str, Any]], is_first: bool) -> bytes:
    return b"".join(json.dumps(audit_model(row).model_dump()).encode("ascii") + b"\n" for row in rows)


def _as_csv(rows: Sequence[Mapping[str, Any]], is_first: bool) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    names = list(AuditModel.model_fields)
    if is_first:
        writer.writerow(names)
    for row in rows:
        values = audit_model(row).model_dump()
        writer.writerow([_cell(values[name]) for name in names])
    return text.getvalue().encode("utf-8", "replace")


def _cell(value: Any) -> str:
    """A value that no spreadsheet takes for a formula, and that steers no terminal."""
    if value is None:
        return ""
    text = visible(value, VALUE) if isinstance(value, str) else json.dumps(value)
    return cell(text)


ROUTES = (
    Route(
        "GET",
        _BASE,
        "audit:read",
        audit,
        summary="Who changed what",
        answer=AuditList,
        query={"limit": Whole(f"how many items, at most {MOST}", MOST, 50), **_CURSOR, **FILTERS},
    ),
    Route(
        "GET",
        f"{_BASE}/verify",
        "audit:read",
        verify_audit,
        summary="Is the audit whole",
        answer=ChainState,
    ),
    Route(
        "GET",
        f"{_BASE}/export",
        "audit:read",
        export,
        summary="The audit as a file",
        query={"format": OneOf("jsonl (without it) or csv", ("jsonl", "csv")), **_CURSOR, **FILTERS},
    ),
)
