"""The API about policy: the rules at work, and what is registered."""

from __future__ import annotations

from smtpgate.admin import models as m
from smtpgate.admin.api_look import answer_of
from smtpgate.admin.models_traffic import plain
from smtpgate.admin.record import View
from smtpgate.admin.routes import Ask, Route
from smtpgate.admin.wire import Answer


class RuleModel(View):
    """One rule, with how many messages it was true of since the start."""

    name: str
    when: str
    unless: str
    listener: tuple[str, ...]
    direction: str
    action: str
    mode: str
    step: str
    owner: str
    note: str
    hits: int
    last_hit: str | None


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
    is_audited = await ask.office.accounts.note(ask.who.actor, "registered.forget", name, kind)
    await policy.forget(kind, name)
    return answer_of(m.Done(is_audited=is_audited))


async def rules(ask: Ask) -> Answer:
    """All rules, and how often each was true."""
    views = ask.office.control.policy.rules()
    return answer_of(RuleList(items=[RuleModel.model_validate(plain(view)) for view in views]))


ROUTES = (
    Route("GET", "/api/v1/rules", "config:read", rules, summary="All rules", answer=RuleList),
    Route(
        "GET",
        "/api/v1/registered",
        "config:read",
        registered,
        summary="Registered documents and tables",
        answer=RegisteredList,
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
