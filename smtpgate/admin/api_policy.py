"""The API about policy: the rules at work."""

from __future__ import annotations

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
    is_packed: bool
    owner: str
    note: str
    hits: int
    last_hit: str | None


class RuleList(View):
    """All rules, in the order of the file."""

    items: list[RuleModel]


async def rules(ask: Ask) -> Answer:
    """All rules, and how often each was true."""
    views = ask.office.control.policy.rules()
    return answer_of(RuleList(items=[RuleModel.model_validate(plain(view)) for view in views]))


ROUTES = (Route("GET", "/api/v1/rules", "config:read", rules, summary="All rules", answer=RuleList),)
