"""The API about policy: the rules at work, what is registered, and how TLS to the world fares."""

from __future__ import annotations

import re
from typing import Any, Final

import attrs

from smtpgate.admin import models as m
from smtpgate.admin.answer import Answer
from smtpgate.admin.api_look import answer_of
from smtpgate.admin.models_traffic import plain
from smtpgate.admin.params import Day, Free
from smtpgate.admin.record import View
from smtpgate.admin.routes import Ask, Route
from smtpgate.config.rule_order import shadowed_by
from smtpgate.control.rule_edits import UNUSED_S
from smtpgate.control.statistics import Range
from smtpgate.control.views import Unavailable


class RuleModel(View):
    """One rule, with how many messages it was true of.

    :ivar day_hits: of these in the last day, in whole hours, in shadow left out; null where nothing is kept
    :ivar is_unused: it was true of none for 30 days
    :ivar shadowed_by: a rule before it because of which it changes nothing; "" for none
    :ivar problems: what is doubtful about it
    """

    name: str
    when: str
    unless: str
    listener: tuple[str, ...]
    direction: str
    sender: tuple[str, ...]
    recipient: tuple[str, ...]
    action: str
    mode: str
    step: str
    is_packed: bool
    owner: str
    note: str
    hits: int
    last_hit: str | None
    day_hits: int | None = None
    is_unused: bool = False
    shadowed_by: str = ""
    problems: tuple[str, ...] = ()


class RuleList(View):
    """All rules, in the order of the file."""

    items: list[RuleModel]


class RegisteredModel(View):
    """A registered document or table: what it is, and never what was in it."""

    kind: str
    name: str
    octets: int
    since: str
    files: int
    hashes: int
    rows: int
    columns: tuple[str, ...]
    least: int
    window: int


class RegisteredList(View):
    """All that is registered."""

    items: list[RegisteredModel]


async def registered(ask: Ask) -> Answer:
    """Registered documents and tables."""
    views = await ask.office.control.policy.registered()
    return answer_of(RegisteredList(items=[RegisteredModel.model_validate(plain(view)) for view in views]))


async def forget_registered(ask: Ask) -> Answer:
    """Look for one no more."""
    kind, name = ask.args["kind"], ask.args["name"]
    policy = ask.office.control.policy
    await policy.check(kind, name)
    is_audited = await ask.change("registered.forget", name, kind)
    await policy.forget(kind, name)
    return answer_of(m.Done(is_audited=is_audited))


async def tell_registered(ask: Ask) -> Answer:
    """Somebody registered one, in the state folder itself: it comes into the audit."""
    kind, name = ask.args["kind"], ask.args["name"]
    await ask.office.control.policy.check(kind, name)
    is_audited = await ask.change("registered.add", name, kind)
    return answer_of(m.Done(is_audited=is_audited))


async def rules(ask: Ask) -> Answer:
    """All rules, and how often each was true."""
    return answer_of(RuleList(items=await rule_models(ask)))


async def rule_models(ask: Ask) -> list[RuleModel]:
    """The same for a page."""
    control, now = ask.office.control, ask.office.wall()
    views, settings = control.policy.rules(), control.settings
    day = await _day_hits(ask, now)
    shadowed = await ask.office.in_thread(shadowed_by, settings.rules)
    doubts: dict[int, list[str]] = {}
    for problem in settings.warnings:
        found = _OF_RULE.match(problem.key)
        if found is not None:
            doubts.setdefault(int(found[1]), []).append(problem.message)
    return [
        RuleModel.model_validate(
            {
                **plain(view),
                "day_hits": day.get(view.name, 0) if day is not None else None,
                "is_unused": bool(view.last_hit) and now - view.last_hit > UNUSED_S,
                "shadowed_by": shadowed.get(view.name, ""),
                "problems": tuple(doubts.get(number, ())),
            }
        )
        for number, view in enumerate(views)
    ]


async def _day_hits(ask: Ask, now: float) -> dict[str, int] | None:
    """Messages that each rule was true of in the last day; None where that is not kept or cannot be read."""
    top = ask.office.control.top
    if top.talkers is None and top.store is None:
        return None
    try:
        found = await top.top("rule", Range(int(now) - 86400, int(now) + 1, 3600), 2000)
    except Unavailable:
        return None
    return {one.name: one.count for one in found.talkers}


_OF_RULE: Final = re.compile(r"rules\[([0-9]+)\]")


class TLSReportModel(View):
    """What TLS to the servers of one domain was on one day.

    :ivar wanted_at: where the domain wants its reports; none where it wants none; null where the DNS did not say
    :ivar report: the report itself (RFC 8460 section 4.4)
    """

    domain: str
    successes: int
    failures: int
    wanted_at: tuple[str, ...] | None
    report: dict[str, Any]


class TLSReportList(View):
    """Those of a day, by domain, 500 at a time, and the days of which something is known."""

    days: list[str]
    items: list[TLSReportModel]


async def tls_reports(ask: Ask) -> Answer:
    """Reports on TLS to servers that the DNS names."""
    watch = ask.office.control.tls
    views = await watch.day(ask.params["date"], ask.params["after"])
    items = [TLSReportModel.model_validate(attrs.asdict(view, recurse=False)) for view in views]
    return answer_of(TLSReportList(days=watch.reports.days, items=items))


ROUTES = (
    Route("GET", "/api/v1/rules", "config:read", rules, summary="All rules", answer=RuleList),
    Route(
        "GET",
        "/api/v1/tls-reports",
        "stats:read",
        tls_reports,
        summary="How TLS to the servers of each domain fared on a day",
        answer=TLSReportList,
        query={
            "date": Day("which day, in UTC; without it the last of which something is known"),
            "after": Free("only domains behind this one: the last of the page before"),
        },
    ),
    Route(
        "GET",
        "/api/v1/registered",
        "config:read",
        registered,
        summary="Registered documents and tables",
        answer=RegisteredList,
    ),
    Route(
        "POST",
        "/api/v1/registered/<kind>/<name>",
        "config:write",
        tell_registered,
        summary="Tell that a document or table was registered, for the audit",
        body=m.Nothing,
        answer=m.Done,
    ),
    Route(
        "DELETE",
        "/api/v1/registered/<kind>/<name>",
        "config:write",
        forget_registered,
        summary="Forget a registered document or table",
        answer=m.Done,
    ),
)
