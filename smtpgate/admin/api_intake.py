"""The API about the intake: whether anybody new is let in, and a pause of it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from smtpgate.admin import models as m
from smtpgate.admin.answer import Answer
from smtpgate.admin.api_look import answer_of
from smtpgate.admin.record import View
from smtpgate.admin.routes import Ask, Order, Route
from smtpgate.admin.text import moment, visible
from smtpgate.control.intake import MOST_MINUTES, Intake
from smtpgate.control.views import lasting

_BASE = "/api/v1/intake"


class PauseOrder(Order):
    """Let nobody new in for so long, and why."""

    minutes: Annotated[int, Field(ge=1, le=MOST_MINUTES)]
    reason: m.Line = ""


class IntakeModel(View):
    """Whether anybody new is let in; `until`: when a pause is over by itself."""

    is_paused: bool
    reason: str = ""
    by: str = ""
    since: str | None = None
    until: str | None = None


def intake_model(intake: Intake) -> IntakeModel:
    """As it stands."""
    one = intake.pause
    if one is None:
        return IntakeModel(is_paused=False)
    return IntakeModel(
        is_paused=True,
        reason=visible(one.reason, 500),
        by=visible(one.by, 200),
        since=moment(one.since),
        until=moment(one.until),
    )


async def intake(ask: Ask) -> Answer:
    """Whether anybody new is let in."""
    return answer_of(intake_model(ask.office.control.intake))


async def pause_intake(ask: Ask) -> Answer:
    """Let nobody new in for a while: 421 4.3.2; sessions that there are go on."""
    return answer_of(m.Done(is_audited=await pause(ask, ask.body.minutes, ask.body.reason)))


async def pause(ask: Ask, minutes: int, reason: str) -> bool:
    """The same for a page; whether it is in the audit."""
    intake = ask.office.control.intake
    intake.check(minutes)
    is_audited = await ask.change("intake.pause", "gateway", lasting(reason, minutes))
    intake.begin(minutes, ask.who.actor, reason)
    return is_audited


async def resume_intake(ask: Ask) -> Answer:
    """Let everybody in again."""
    return answer_of(m.Done(is_audited=await resume(ask)))


async def resume(ask: Ask) -> bool:
    """The same for a page; whether it is in the audit."""
    intake = ask.office.control.intake
    intake.check_end()
    is_audited = await ask.change("intake.resume", "gateway")
    intake.end(ask.who.actor)
    return is_audited


ROUTES = (
    Route("GET", _BASE, "stats:read", intake, summary="Whether anybody new is let in", answer=IntakeModel),
    Route(
        "POST",
        f"{_BASE}/pause",
        "system:write",
        pause_intake,
        summary="Let nobody new in for a while",
        body=PauseOrder,
        answer=m.Done,
    ),
    Route(
        "POST",
        f"{_BASE}/resume",
        "system:write",
        resume_intake,
        summary="Let everybody in again",
        body=m.Nothing,
        answer=m.Done,
    ),
)
