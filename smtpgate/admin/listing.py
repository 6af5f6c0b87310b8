"""More of the list of messages: what its numbers are, the list as a file, and how many have come since."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlencode

from smtpgate.admin.answer import Answer
from smtpgate.admin.api_look import answer_of
from smtpgate.admin.lookup import find_messages
from smtpgate.admin.models import MessageRow
from smtpgate.admin.params import Free, OneOf
from smtpgate.admin.routes import Ask, Route
from smtpgate.admin.searching import TERMS, given, meant
from smtpgate.admin.summary import Summary, look, summary_model
from smtpgate.admin.text import cell, visible
from smtpgate.policy.query import QueryError, term

#: Rows of one file; `X-Next-Cursor` goes on from there. More would be tens of megabytes in memory.
FILE_ROWS: Final = 20_000
_SLICE: Final = 500
#: New messages that are counted.
_NEW: Final = 100


async def message_summary(ask: Ask) -> Answer:
    """How many messages fit, when they came, what the newest of them have, and what keeps all out."""
    query = given(ask.params, ask.office.wall())
    return answer_of(summary_model(query, *await look(ask.office, ask.who.reach, query)))


async def export_messages(ask: Ask) -> Answer:
    """Messages that fit as a file, newest first: lines of JSON, or CSV for spreadsheets. That it was taken is in the
    audit.
    """
    office, reach = ask.office, ask.who.reach
    query, kind = given(ask.params, office.wall()), ask.params["format"] or "jsonl"
    await office.accounts.note(ask.who.actor, "messages.export", kind, query.text, ask.caller)
    cursor, pieces, count = ask.params["cursor"], [_head(kind)], 0
    while count < FILE_ROWS:
        page = await find_messages(office, reach, query, _SLICE, cursor)
        pieces.append(await office.in_thread(_write, kind, page.items))
        count += len(page.items)
        cursor = page.next_cursor or ""
        if not cursor:
            break
    headers = {"Content-Disposition": f'attachment; filename="messages.{kind}"', "Content-Security-Policy": "sandbox"}
    if cursor:
        headers["X-Next-Cursor"] = cursor
    media = "text/csv; charset=utf-8" if kind == "csv" else "application/x-ndjson"
    return Answer(b"".join(pieces), 200, media, headers)


def _head(kind: str) -> bytes:
    return _csv([list(MessageRow.model_fields)]) if kind == "csv" else b""


def _write(kind: str, items: Sequence[MessageRow]) -> bytes:
    if kind == "csv":
        return _csv([[_cell(value) for value in one.model_dump().values()] for one in items])
    return b"".join(json.dumps(one.model_dump()).encode("ascii") + b"\n" for one in items)


def _csv(rows: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode("utf-8", "replace")


def _cell(value: Any) -> str:
    """A value that no spreadsheet takes for a formula, and that steers no terminal."""
    if isinstance(value, list):
        value = " ".join(value)
    if not isinstance(value, str):
        return "" if value is None else str(value)
    return cell(visible(value, 2000))


async def new_messages(ask: Ask) -> Answer:
    """How many messages have come since the list was made; the list itself stays as it is."""
    office, wanted, outcome = ask.office, ask.query.get("q", ""), ask.query.get("outcome", "")
    count = 0
    try:
        query = meant(wanted, office.wall())
        if outcome:
            query = query.with_all([term("verdict", outcome, 0.0)])
        found = await find_messages(office, ask.who.reach, query, _NEW)
        ids = [one.id for one in found.items]
        since = ask.query.get("since", "")
        count = ids.index(since) if since in ids else len(ids)
    except QueryError:
        # The list says what is wrong with it.
        count = 0
    kept = {name: value for name, value in (("q", wanted), ("outcome", outcome)) if value}
    return await office.templates.page(
        ask,
        "messages-new.html",
        here="messages",
        count=count,
        is_more=count == _NEW,
        place=f"/messages?{urlencode(kept)}" if kept else "/messages",
        newer=f"/messages/new?{urlencode({**kept, 'since': ask.query.get('since', '')})}",
    )


_BASE = "/api/v1/messages"

ROUTES = (
    Route(
        "GET",
        f"{_BASE}/summary",
        "messages:read",
        message_summary,
        for_domains=True,
        summary="Messages that fit, counted",
        answer=Summary,
        query=TERMS,
    ),
    Route(
        "GET",
        f"{_BASE}/export",
        "messages:read",
        export_messages,
        for_domains=True,
        summary="Messages that fit, as a file",
        query={
            "format": OneOf("jsonl (without it) or csv", ("jsonl", "csv")),
            "cursor": Free("X-Next-Cursor of the file before"),
            **TERMS,
        },
    ),
    Route(
        "GET",
        "/messages/new",
        "messages:read",
        new_messages,
        "page",
        "How many messages have come since",
        doors=frozenset({"web"}),
        for_domains=True,
    ),
)
