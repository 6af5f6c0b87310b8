"""Ended sessions, those without mail too, found by the same terms as messages."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import attrs

from smtpgate.admin import explain
from smtpgate.admin.answer import Answer
from smtpgate.admin.api_look import answer_of
from smtpgate.admin.lookup import find_sessions, recent_sessions
from smtpgate.admin.panels import panel
from smtpgate.admin.params import Free, Whole
from smtpgate.admin.record import SessionRecord, View
from smtpgate.admin.routes import Ask, Route
from smtpgate.admin.searching import TERMS, given, meant
from smtpgate.admin.text import moment, visible
from smtpgate.policy.query import QueryError

#: Rows of one list: each is a record that is read.
ROWS = 100


class EndedModel(View):
    """One ended session.

    :ivar result: what its page says of it in a word
    """

    id: str
    began: str | None
    duration_ms: float
    client_ip: str
    helo: str
    listener: str
    user: str
    messages: int
    result: str
    closed_by: str


class EndedSessions(View):
    """The newest first.

    :ivar is_partial: the time of one search was over; `next_cursor` goes on
    """

    items: list[EndedModel]
    next_cursor: str | None = None
    has_more: bool = False
    is_partial: bool = False


def _model(one: SessionRecord) -> EndedModel:
    return EndedModel(
        id=one.id,
        began=moment(one.started),
        duration_ms=one.duration_ms,
        client_ip=one.client_ip,
        helo=one.helo,
        listener=one.listener,
        user=one.user,
        messages=len(one.messages),
        result=explain.of_session(one).word,
        closed_by=one.closed_by,
    )


async def ended_sessions(ask: Ask) -> Answer:
    """Ended sessions that fit, newest first."""
    query, limit, cursor = given(ask.params, ask.office.wall()), ask.params["limit"], ask.params["cursor"]
    found = await find_sessions(ask.office, ask.who.reach, query, limit, cursor)
    return answer_of(
        EndedSessions(
            items=[_model(one) for one in found.records],
            next_cursor=found.next_cursor,
            has_more=found.next_cursor is not None,
            is_partial=found.is_partial,
        )
    )


async def recent(ask: Ask) -> Answer:
    """The newest ended sessions, those without mail too; or those that fit."""
    office, reach = ask.office, ask.who.reach
    wanted, cursor = ask.query.get("q", ""), ask.query.get("cursor", "")
    mistake: QueryError | None = None
    trouble = ""
    records: list[SessionRecord] = []
    more: Any = None
    try:
        query = meant(wanted, office.wall())
        if query.clauses:
            more, trouble = await panel(find_sessions(office, reach, query, ROWS, cursor), None)
            records = more.records if more is not None else []
        else:
            records, trouble = await panel(recent_sessions(office, reach, ROWS), records)
    except QueryError as error:
        mistake = error
    next_cursor = more.next_cursor if more is not None else None
    return await office.templates.page(
        ask,
        "recent.html",
        400 if mistake is not None else 503 if trouble else 200,
        here="recent",
        trouble=trouble,
        rows=[(record, explain.of_session(record)) for record in records],
        wanted=wanted,
        cursor=cursor,
        mistake=mistake,
        wrong=visible(wanted[mistake.at : mistake.at + mistake.length]) if mistake is not None else "",
        is_partial=more is not None and more.is_partial,
        older=f"/recent?{urlencode({'q': wanted, 'cursor': next_cursor})}" if next_cursor else "",
    )


_ALL = (
    Route(
        "GET",
        "/api/v1/sessions/ended",
        "messages:read",
        ended_sessions,
        summary="Ended sessions, found by what they are like",
        answer=EndedSessions,
        query={
            "limit": Whole(f"how many items, at most {ROWS}", ROWS, 50),
            "cursor": Free("next_cursor of the page before"),
            **TERMS,
        },
    ),
    Route("GET", "/recent", "messages:read", recent, "page", "Ended sessions", doors=frozenset({"web"})),
)

ROUTES = tuple(attrs.evolve(route, for_domains=True) for route in _ALL)
