"""The API about the log: its newest lines, and from which level on which part of it is written."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from smtpgate.admin import models as m
from smtpgate.admin.answer import Answer
from smtpgate.admin.api_live import FILTER
from smtpgate.admin.api_look import MOST, answer_of
from smtpgate.admin.params import OneOf, Whole
from smtpgate.admin.record import View
from smtpgate.admin.routes import Ask, Order, Route
from smtpgate.admin.sieve import Sieve
from smtpgate.admin.text import moment, visible
from smtpgate.control.logs import MOST_MINUTES, LevelView, LogLine, Tail

_BASE = "/api/v1"
LEVELS = ("debug", "info", "warning", "error")


class LineModel(View):
    """One line of the log.

    :ivar fields: what it says beside its message, each as text
    :ivar reference: the message or session that it is about; "" for none
    """

    number: int
    time: str
    level: str
    event: str
    message: str
    fields: dict[str, str]
    reference: str
    text: str


class LineList(View):
    """Lines, the oldest first.

    :ivar last: number of the newest line that there is
    :ivar left_out: lines behind `after` that are not shown, since they are too many or not kept any more
    """

    items: list[LineModel]
    last: int
    left_out: int


class LevelModel(View):
    """From which level on a part of the log is written; `until` is null where the configuration says it."""

    namespace: str
    level: str
    until: str | None
    by: str


class LevelList(View):
    """All parts."""

    items: list[LevelModel]


class LevelOrder(Order):
    """Another level for a part, for a while."""

    level: Literal["debug", "info", "warning", "error"]
    minutes: int = Field(ge=1, le=MOST_MINUTES)


def _line_model(line: LogLine) -> LineModel:
    fields = {visible(name, 60): visible(_shown(value), 500) for name, value in line.fields.items()}
    message, text = visible(line.message, 2000), visible(line.text, 4096)
    event = visible(line.event, 100)
    return LineModel(
        number=line.number,
        time=visible(line.time, 40),
        level=line.level,
        event=event,
        message=message,
        fields=fields,
        reference=line.reference,
        text=text,
    )


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(_shown, value))
    if isinstance(value, dict):
        return " ".join(f"{name}={_shown(inner)}" for name, inner in value.items())
    return str(value)


def _level_model(view: LevelView) -> LevelModel:
    return LevelModel(
        namespace=view.namespace, level=view.level, until=moment(view.until) if view.until else None, by=view.by
    )


def passes(sieve: Sieve, line: LogLine) -> bool:
    """Whether a filter lets a line through."""
    said = line.fields
    facts = {
        "listener": str(said.get("listener", "")).casefold(),
        "ip": str(said.get("client_ip", "")),
        "verdict": str(said.get("verdict", "")),
        "q": line.text.casefold(),
    }
    return sieve.passes(facts)


async def read(ask: Ask, after: int, limit: int, least: str, sieve: Sieve) -> tuple[list[LineModel], Tail]:
    """Lines for the API and for the page."""
    is_all = not sieve.wanted and not sieve.words
    tail = await ask.office.control.logs.tail(
        after, limit, least or "debug", None if is_all else lambda line: passes(sieve, line)
    )
    items: list[LineModel] = await ask.office.in_thread(lambda: [_line_model(line) for line in tail.lines])
    return items, tail


async def logs(ask: Ask) -> Answer:
    """The newest lines of the log, or those behind one."""
    params = ask.params
    items, tail = await read(ask, params["after"], params["limit"], params["level"], params["filter"])
    return answer_of(LineList(items=items, last=tail.last, left_out=tail.left_out))


async def levels(ask: Ask) -> Answer:
    """From which level on each part of the log is written."""
    return answer_of(LevelList(items=[_level_model(one) for one in ask.office.control.logs.levels()]))


async def level(ask: Ask) -> Answer:
    """The same of one part."""
    return answer_of(_level_model(ask.office.control.logs.level_of(ask.args["namespace"])))


async def set_level(ask: Ask) -> Answer:
    """Another level for a part of the log, for a while."""
    body = ask.body
    return answer_of(m.Done(is_audited=await change_level(ask, ask.args["namespace"], body.level, body.minutes)))


async def change_level(ask: Ask, namespace: str, level: str, minutes: int) -> bool:
    """The same for a page; 0 minutes: as configured again. Whether it is in the audit."""
    logs: Any = ask.office.control.logs
    if not minutes:
        logs.level_of(namespace)
        is_audited = await ask.change("log.level", namespace, "as configured")
        logs.reset(namespace, ask.who.actor)
        return is_audited
    logs.check(namespace, level, minutes)
    is_audited = await ask.change("log.level", namespace, f"{level} for {minutes} minutes")
    logs.set_level(namespace, level, minutes, ask.who.actor)
    return is_audited


async def reset_level(ask: Ask) -> Answer:
    """As the configuration says again."""
    return answer_of(m.Done(is_audited=await change_level(ask, ask.args["namespace"], "", 0)))


_LEVEL = f"{_BASE}/log-levels/<namespace>"

ROUTES = (
    Route(
        "GET",
        f"{_BASE}/logs",
        "config:read",
        logs,
        summary="The newest lines of the log",
        answer=LineList,
        query={
            "after": Whole("number of the last line that you have; what came after it is told", 2**53, 0, 0),
            "limit": Whole(f"how many lines, at most {MOST}", MOST, 100),
            "level": OneOf("the least that is wanted", LEVELS),
            "filter": FILTER,
        },
    ),
    Route("GET", f"{_BASE}/log-levels", "config:read", levels, summary="Levels of the log", answer=LevelList),
    Route("GET", _LEVEL, "config:read", level, summary="Level of a part of the log", answer=LevelModel),
    Route(
        "PUT",
        _LEVEL,
        "system:write",
        set_level,
        summary="Another level for a while",
        body=LevelOrder,
        answer=m.Done,
    ),
    Route("DELETE", _LEVEL, "system:write", reset_level, summary="As configured again", answer=m.Done),
)
