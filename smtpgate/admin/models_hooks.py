"""What the API says of webhooks, their calls, and muted alerts."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import Field

from smtpgate.admin.models import Line
from smtpgate.admin.record import View
from smtpgate.admin.routes import Order
from smtpgate.admin.text import moment
from smtpgate.config.masking import masked_urls
from smtpgate.config.model_hooks import Webhook
from smtpgate.control.mutes import DAYS, Mute
from smtpgate.policy.call import DONE, FAILED, WAITING, Call


class HookModel(View):
    """One webhook of the configuration, and how its calls stand."""

    name: str
    url: str
    events: list[str]
    outcomes: list[str]
    waiting: int
    done: int
    failed: int


class HookList(View):
    """All of them."""

    items: list[HookModel]


class CallModel(View):
    """One call.

    :ivar body: what is sent
    """

    id: int
    hook: str
    event: str
    state: str
    time: str | None
    due: str | None
    tries: int
    code: int
    told: str
    body: Any


class CallList(View):
    """Calls, the newest first."""

    items: list[CallModel]
    has_more: bool
    next_cursor: str | None


class TestResult(View):
    """What a hook answered; `code` 0 for nothing."""

    ok: bool
    code: int
    told: str


class NewMute(Order):
    """Which alert nobody is told of, and for how long."""

    id: Annotated[Line, Field(min_length=1)]
    minutes: Annotated[int, Field(ge=1, le=DAYS * 1440)] = 60
    reason: Line = ""


class MuteModel(View):
    """One alert that nobody is told of."""

    id: str
    until: str | None
    who: str
    reason: str


class MuteList(View):
    """All of them."""

    items: list[MuteModel]


def hook_model(one: Webhook, counts: dict[tuple[str, str], int]) -> HookModel:
    """A hook as the API tells it; its address without what may be a secret in it."""
    return HookModel(
        name=one.name,
        url=masked_urls(one.url),
        events=list(one.events),
        outcomes=sorted(one.outcomes),
        waiting=counts.get((one.name, WAITING), 0),
        done=counts.get((one.name, DONE), 0),
        failed=counts.get((one.name, FAILED), 0),
    )


def call_model(one: Call) -> CallModel:
    """A call as the API tells it."""
    return CallModel(
        id=one.n,
        hook=one.hook,
        event=one.event,
        state=one.state,
        time=moment(one.at),
        due=moment(one.due) if one.state == WAITING else None,
        tries=one.tries,
        code=one.code,
        told=one.told,
        body=json.loads(one.body),
    )


def mute_model(one: Mute) -> MuteModel:
    """A mute as the API tells it."""
    return MuteModel(id=one.id, until=moment(one.until), who=one.who, reason=one.reason)
