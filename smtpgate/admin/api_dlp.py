"""Data loss prevention at a glance: which rules look for what, what they found, and what is registered. It shows names,
counts and kinds, and never a value: no term of a dictionary, no pattern, and nothing that was found.
"""

from __future__ import annotations

from typing import Any, Final

from smtpgate.admin.answer import Answer
from smtpgate.admin.api_look import answer_of
from smtpgate.admin.api_policy import RegisteredModel, RuleModel, rule_models
from smtpgate.admin.models_traffic import plain
from smtpgate.admin.record import View
from smtpgate.admin.routes import Ask, Route
from smtpgate.config.searched import is_policy, searchers
from smtpgate.control.views import Refused


class SearcherModel(View):
    """A detector or a dictionary (`kind`). `is_asked`: a rule asks for it, so that it is searched for."""

    name: str
    kind: str
    group: str
    country: str
    about: str
    is_own: bool
    is_asked: bool
    terms: int


class DLPModel(View):
    """Rules about what texts hold, the detectors and dictionaries there are, and registered documents and tables;
    `unread` says why these cannot be told now."""

    policies: list[RuleModel]
    searchers: list[SearcherModel]
    registered: list[RegisteredModel]
    unread: str


async def found(ask: Ask) -> DLPModel:
    """All of it."""
    control = ask.office.control
    settings = control.settings
    names = {rule.name for rule in settings.rules if is_policy(rule)}
    listed = await ask.office.in_thread(searchers, settings)
    registered: list[Any] = []
    unread = ""
    try:
        registered = await control.policy.registered()
    except Refused as refused:
        unread = str(refused)
    return DLPModel(
        policies=[one for one in await rule_models(ask) if one.name in names],
        searchers=[SearcherModel.model_validate(plain(one)) for one in listed],
        registered=[RegisteredModel.model_validate(plain(one)) for one in registered],
        unread=unread,
    )


async def dlp_policies(ask: Ask) -> Answer:
    """What is looked for, and how often it was found."""
    return answer_of(await found(ask))


async def dlp_page(ask: Ask) -> Answer:
    """The same for people."""
    return await ask.office.templates.page(ask, "dlp.html", here="dlp", found=await found(ask))


_SUMMARY: Final = "What must not leave: rules, detectors, what is registered"
ROUTES = (
    Route("GET", "/api/v1/dlp/policies", "config:read", dlp_policies, summary=_SUMMARY, answer=DLPModel),
    Route("GET", "/dlp", "config:read", dlp_page, "page", _SUMMARY, doors=frozenset({"web"})),
)
