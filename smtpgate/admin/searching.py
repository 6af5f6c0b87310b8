"""Finding messages: the grammar of `policy.query`, as the text of one box and as parameters of the API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

from smtpgate.admin import models as m
from smtpgate.admin.answer import Answer
from smtpgate.admin.guard import Refusal
from smtpgate.admin.lookup import AT_ONCE, find_messages
from smtpgate.admin.panels import panel
from smtpgate.admin.params import Free, Param, Several, Whole
from smtpgate.admin.routes import Ask, Route
from smtpgate.admin.summary import Said, look, said
from smtpgate.admin.text import visible
from smtpgate.policy.clues import message_id_in, reference_in
from smtpgate.policy.query import FIELDS, OTHERS, TEXTS, Clause, Query, QueryError, join, parse, term

#: Most items of one list of the API, and rows of a page.
MOST: Final = 500
ROWS: Final = 100
#: Parameters of the API, and the fields that they stand for.
_FIELDS: Final = {
    "ip": "ip",
    "cidr": "cidr",
    "listener": "listener",
    "direction": "direction",
    "mail_from": "from",
    "rcpt": "to",
    "domain": "domain",
    "subject": "subject",
    "verdict": "verdict",
    "outcome": "verdict",
    "reason": "reason",
    "rule": "rule",
    "filter": "filter",
    "pool": "backend",
    "server": "server",
    "auth_user": "user",
    "tls": "tls",
}
#: Those that are bounds, and what stands before their value.
_BOUNDS: Final = {
    "time_from": ("after", "from this time on"),
    "time_to": ("before", "before this time"),
    "score_min": ("score", "this score or more"),
    "score_max": ("score", "this score or less"),
    "size_min": ("size", "this many octets or more"),
    "size_max": ("size", "this many octets or fewer"),
}
_SIGNS: Final = {"score_min": ">=", "score_max": "<=", "size_min": ">=", "size_max": "<="}
_MEANING: Final[Mapping[str, str]] = {**TEXTS, **OTHERS}
#: What is looked for, and which page of it.
TERMS: Final[Mapping[str, Param]] = {
    "q": Free("what is looked for, as in the search box (docs/searching.md); or a bounce that holds a reference id"),
    **{name: Several(f"{_MEANING[field]}; several: either") for name, field in _FIELDS.items()},
    **{name: Free(said) for name, (_, said) in _BOUNDS.items()},
}
QUERY: Final[Mapping[str, Param]] = {
    "limit": Whole(f"how many items, at most {MOST}", MOST, 50),
    "cursor": Free("next_cursor of the page before"),
    **TERMS,
}


def meant(text: str, now: float) -> Query:
    """What a text asks for: the terms of a query, or the message that a bounce is about. Raises QueryError.

    :param now: seconds since the epoch
    """
    reference = reference_in(text)
    if not reference:
        # A mail is no query, though a short one may read like one.
        message_id = message_id_in(text)
        if message_id and "\n" in text.strip():
            return Query((term("message-id", message_id, now),))
        try:
            return parse(text, now)
        except QueryError:
            if not message_id:
                raise
            return Query((term("message-id", message_id, now),))
    try:
        query = parse(text, now)
    except QueryError:
        query = Query()
    if any(clause.field for clause in query.clauses):
        return query
    return Query((term("id", reference, now),))


def given(params: Mapping[str, Any], now: float) -> Query:
    """What the parameters ask for; raises Refusal, which names each that is wrong."""
    faults: list[dict[str, str]] = []
    clauses: list[Clause] = []

    def take(name: str, field: str, value: str) -> None:
        try:
            clauses.append(term(field, value, now))
        except QueryError as error:
            faults.append({"parameter": name, "code": "value", "message": str(error)})

    query = Query()
    try:
        query = meant(params["q"], now)
    except QueryError as error:
        faults.append({"parameter": "q", "code": "query", "message": f"at character {error.at + 1}: {error}"})
    for name, field in _FIELDS.items():
        for value in params[name]:
            take(name, field, value)
    for name, (field, _) in _BOUNDS.items():
        if params[name]:
            take(name, field, _SIGNS.get(name, "") + params[name])
    if not faults:
        try:
            return query.with_all(join(clauses).clauses)
        except QueryError as error:
            faults.append({"parameter": "q", "code": "query", "message": str(error)})
    refusal = Refusal("parameter", 400, "the query has faults")
    refusal.errors = faults
    raise refusal


async def messages(ask: Ask) -> Answer:
    """Messages that fit, newest first."""
    office = ask.office
    query = given(ask.params, office.wall())
    found = await find_messages(office, ask.who.reach, query, ask.params["limit"], ask.params["cursor"])
    headers = {"Link": f'<{_next(ask, found.next_cursor)}>; rel="next"'} if found.next_cursor else {}

    def made() -> bytes:
        return found.model_dump_json().encode("utf-8", "replace")

    octets = await office.in_thread(made) if len(found.items) > AT_ONCE else made()
    return Answer(octets, 200, "application/json", headers=headers)


def _next(ask: Ask, cursor: str) -> str:
    """The address of the next page."""
    given = [
        (name.decode("utf-8", "replace"), value.decode("utf-8", "replace"))
        for name, values in (ask.request.args or {}).items()
        for value in values
        if name != b"cursor"
    ]
    return f"{ask.request.path.decode('latin-1')}?{urlencode([*given, ('cursor', cursor)])}"


async def page(ask: Ask) -> Answer:
    """Messages, found by what the box says."""
    office, wanted, cursor = ask.office, ask.query.get("q", ""), ask.query.get("cursor", "")
    outcome = ask.query.get("outcome", "")
    mistake: QueryError | None = None
    trouble = ""
    found = m.MessageList(items=[])
    numbers: Said | None = None
    now = office.wall()
    try:
        query = meant(wanted, now)
        if outcome:
            query = query.with_all([term("verdict", outcome, 0.0)])
        found, trouble = await panel(find_messages(office, ask.who.reach, query, ROWS, cursor), found)
        if not trouble and not cursor and (found.items or query.clauses) and not found.is_partial:
            counts, trouble = await panel(look(office, ask.who.reach, query), None)
            numbers = said(query, *counts, now) if counts is not None else None
    except QueryError as error:
        mistake = error
    kept = {name: value for name, value in (("q", wanted), ("outcome", outcome)) if value}
    searches, _ = await panel(office.users.searches.of(f"{ask.who.actor.kind} {ask.who.actor.name}"), ())
    return await office.templates.page(
        ask,
        "messages.html",
        400 if mistake is not None else 503 if trouble and not found.items else 200,
        here="messages",
        found=found,
        outcome=outcome,
        wanted=wanted,
        q=wanted,
        cursor=cursor,
        mistake=mistake,
        numbers=numbers,
        kept=searches,
        trouble=trouble,
        newer=f"/messages/new?{urlencode({**kept, 'since': found.items[0].id})}" if found.items and not cursor else "",
        asked=urlencode(kept),
        wrong=visible(wanted[mistake.at : mistake.at + mistake.length]) if mistake is not None else "",
        fields=[(name, _MEANING[name]) for name in FIELDS],
        older=f"/messages?{urlencode({**kept, 'cursor': found.next_cursor})}" if found.next_cursor else "",
    )


API = Route(
    "GET",
    "/api/v1/messages",
    "messages:read",
    messages,
    for_domains=True,
    summary="Messages, found by what they are like",
    answer=m.MessageList,
    query=QUERY,
)
