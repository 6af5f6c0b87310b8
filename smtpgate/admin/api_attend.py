"""The API about sessions that somebody attends to: slowed down, or written down as far as commands and replies go."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from smtpgate.admin import models as m
from smtpgate.admin.answer import Answer
from smtpgate.admin.api_look import answer_of
from smtpgate.admin.models import Line
from smtpgate.admin.record import View
from smtpgate.admin.routes import Ask, Order, Route
from smtpgate.admin.text import moment, visible
from smtpgate.control.attend import MOST_DELAY_S, MOST_MINUTES, MOST_SLOW_MINUTES, Trace
from smtpgate.control.views import lasting

_BASE = "/api/v1"


class SlowOrder(Order):
    """How long each reply of a session waits, and for how many minutes."""

    seconds: Annotated[float, Field(ge=1, le=MOST_DELAY_S)] = 10.0
    minutes: Annotated[int, Field(ge=1, le=MOST_SLOW_MINUTES)] = 10


class TraceOrder(Order):
    """The address whose sessions are to be written down, and for how many minutes."""

    address: Annotated[str, Field(min_length=2, max_length=64)]
    minutes: Annotated[int, Field(ge=1, le=MOST_MINUTES)] = MOST_MINUTES
    reason: Line = ""


class TraceModel(View):
    """An address that is traced, or was a while ago.

    :ivar sessions: ids of those that were heard; their transcripts have every line
    :ivar missed: sessions that came when there was no room for more
    """

    address: str
    reason: str
    by: str
    since: str | None
    until: str | None
    is_on: bool
    sessions: list[str]
    missed: int


class TraceList(View):
    """All of them, the newest first."""

    items: list[TraceModel]


def model_of(ask: Ask, one: Trace) -> TraceModel:
    """One of them."""
    return TraceModel(
        address=one.address,
        reason=visible(one.reason, 500),
        by=visible(one.by, 200),
        since=moment(one.since),
        until=moment(one.until),
        is_on=ask.office.control.attend.is_on(one),
        sessions=list(one.sessions),
        missed=one.missed,
    )


def traces_of(ask: Ask) -> list[TraceModel]:
    """All."""
    return [model_of(ask, one) for one in ask.office.control.attend.traces()]


async def traces(ask: Ask) -> Answer:
    """Addresses that are traced, and the sessions that were heard."""
    return answer_of(TraceList(items=traces_of(ask)))


async def one_trace(ask: Ask) -> Answer:
    """One of them."""
    return answer_of(model_of(ask, ask.office.control.attend.trace(ask.args["address"])))


async def begin_trace(ask: Ask) -> Answer:
    """Write down what the sessions of an address say, from those that begin now on: no logins, no content."""
    body = ask.body
    return answer_of(m.Done(is_audited=await trace(ask, body.address, body.minutes, body.reason)), 201)


async def trace(ask: Ask, address: str, minutes: int, reason: str) -> bool:
    """The same for a page; whether it is in the audit. Raises Refused."""
    attend = ask.office.control.attend
    address = attend.check(address, minutes)
    detail = lasting("; ".join(filter(None, (reason, "commands and replies, no content"))), minutes)
    is_audited = await ask.change("trace.begin", address, detail)
    attend.begin(address, minutes, reason, ask.who.actor)
    return is_audited


async def end_trace(ask: Ask) -> Answer:
    """Listen no more, and forget what was heard."""
    return answer_of(m.Done(is_audited=await forget_trace(ask)))


async def forget_trace(ask: Ask) -> bool:
    """The same for a page; whether it is in the audit. Raises Unknown."""
    attend = ask.office.control.attend
    found = attend.trace(ask.args["address"])
    is_audited = await ask.change("trace.end", found.address)
    attend.end(found.address, ask.who.actor)
    return is_audited


async def tarpit(ask: Ask) -> Answer:
    """Hold each reply of a session back, for a while."""
    return answer_of(m.Done(is_audited=await slow(ask, ask.body.seconds, ask.body.minutes)))


async def slow(ask: Ask, seconds: float, minutes: int) -> bool:
    """The same for a page; whether it is in the audit. Raises Refused."""
    attend, id = ask.office.control.attend, ask.args["id"]
    attend.check_slow(id, seconds, minutes)
    detail = f"{seconds:g} s before each reply, for {minutes} minutes"
    is_audited = await ask.change("session.tarpit", id, detail)
    attend.slow(id, seconds, minutes, ask.who.actor)
    return is_audited


_TRACE = f"{_BASE}/traces/<path:address>"

ROUTES = (
    Route(
        "POST",
        f"{_BASE}/sessions/<id>/tarpit",
        "runtime:write",
        tarpit,
        summary="Slow a session down",
        body=SlowOrder,
        answer=m.Done,
    ),
    Route("GET", f"{_BASE}/traces", "messages:read", traces, summary="Addresses that are traced", answer=TraceList),
    Route(
        "POST",
        f"{_BASE}/traces",
        "runtime:write",
        begin_trace,
        summary="Trace an address",
        body=TraceOrder,
        answer=m.Done,
        status=201,
    ),
    Route("GET", _TRACE, "messages:read", one_trace, summary="One address that is traced", answer=TraceModel),
    Route("DELETE", _TRACE, "runtime:write", end_trace, summary="End a trace", answer=m.Done),
)
