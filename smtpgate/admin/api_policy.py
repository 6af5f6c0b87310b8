"""The API about policy: the rules at work."""

from __future__ import annotations

import attrs

from smtpgate.admin.api_look import answer_of
from smtpgate.admin.record import View
from smtpgate.admin.routes import Ask, Route
from smtpgate.admin.text import moment
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


async def rules(ask: Ask) -> Answer:
    """All rules, and how often each was true."""
    found = []
    for view in ask.office.control.policy.rules():
        given = attrs.asdict(view, recurse=False)
        given["last_hit"] = moment(view.last_hit)
        found.append(RuleModel.model_validate(given))
    return answer_of(RuleList(items=found))


ROUTES = (Route("GET", "/api/v1/rules", "config:read", rules, summary="All rules", answer=RuleList),)
