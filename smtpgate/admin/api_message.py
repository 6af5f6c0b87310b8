"""The API about one message by its own id: when what happened, its content where that is held, and a try of it anew.

Of a message whose content is kept nowhere the metadata stays: its content is answered 410.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import attrs
from pydantic import Field

from smtpgate.admin import insight, reading
from smtpgate.admin import models_viewer as v
from smtpgate.admin.answer import Answer
from smtpgate.admin.api_explain import PhaseModel
from smtpgate.admin.api_look import answer_of
from smtpgate.admin.api_test import (
    DRAFT,
    ArrivalModel,
    BenchModel,
    MessageTrial,
    Text,
    bench_model,
    draft_of,
    message_tried,
)
from smtpgate.admin.api_viewer import held_content, held_part, model_of
from smtpgate.admin.guard import Refusal
from smtpgate.admin.lookup import find_message, find_session
from smtpgate.admin.params import Free, OneOf, Param
from smtpgate.admin.record import MessageView, SessionRecord, Step, View
from smtpgate.admin.routes import Ask, Order, Route
from smtpgate.admin.text import moment
from smtpgate.control.views import Unknown
from smtpgate.policy.held import Held


class TimelineModel(View):
    """When what happened; times are milliseconds since `started`.

    :ivar phases: the same as parts of the time of one message, and for whom was waited
    :ivar dropped_steps: of a long session the first and the last are kept
    """

    id: str
    started: str | None
    began_ms: float
    took_ms: float
    steps: list[Step]
    phases: list[PhaseModel] = Field(default_factory=list)
    dropped_steps: int = 0


class HeaderList(View):
    """Header fields in their order, as they came.

    :ivar is_complete: False where a limit ended the look at the content, and some may not be here
    """

    items: list[v.FieldModel]
    is_complete: bool


class Retest(Order):
    """What is other than it was then: how it came, and a draft of a configuration beside the one at work.

    `reason` says why held mail is read, where its class asks for that.
    """

    envelope: ArrivalModel = ArrivalModel()
    draft: Annotated[str, Field(max_length=DRAFT)] = ""
    reason: Text = ""


async def session_timeline(ask: Ask) -> Answer:
    """All steps of a session, live or ended."""
    record = await find_session(ask.office, ask.who.reach, ask.args["id"])
    return answer_of(
        TimelineModel(
            id=record.id,
            started=moment(record.started),
            began_ms=0.0,
            took_ms=record.duration_ms,
            steps=list(record.timeline),
            dropped_steps=record.dropped_steps,
        )
    )


async def message_timeline(ask: Ask) -> Answer:
    """The steps of one message, and the parts of its time."""
    record, message = await find_message(ask.office, ask.who.reach, ask.args["id"])
    return answer_of(timeline_of(record, message))


def timeline_of(record: SessionRecord, message: MessageView) -> TimelineModel:
    """From its first command to its last reply; of one that runs up to now."""
    end = message.ended_ms if message.ended_ms is not None else record.duration_ms
    return TimelineModel(
        id=message.id,
        started=moment(record.started),
        began_ms=message.begun_ms,
        took_ms=max(end - message.begun_ms, 0.0),
        steps=[step for step in record.timeline if message.begun_ms <= step.at_ms <= end],
        phases=[PhaseModel.model_validate(attrs.asdict(one)) for one in insight.phases(message, record)],
        dropped_steps=record.dropped_steps,
    )


async def _held(ask: Ask) -> Held:
    """The held mail with the content of a message; raises Refusal."""
    _, message = await find_message(ask.office, ask.who.reach, ask.args["id"])
    gone = Refusal("gone", 410, "its content is not kept: only that of held mail is, up to its end")
    if not message.held_id:
        raise gone
    try:
        held: Held = await ask.office.control.quarantine.message(message.held_id)
    except Unknown:
        raise gone from None
    if not ask.who.reach.held(held):
        raise Refusal("not-found", 404, "no such message")
    return held


async def message_headers(ask: Ask) -> Answer:
    """The header of its content. Whoever asks is in the audit."""
    held = await _held(ask)
    await reading.read(ask, held, "its header", ask.params["reason"] or "")
    seen = await model_of(ask, held)
    return answer_of(HeaderList(items=seen.fields, is_complete=seen.is_complete))


async def message_raw(ask: Ask) -> Answer:
    """Its octets, as they came; of a sealed class in an archive. Whoever asks is in the audit."""
    return await held_content(_of_held(ask, await _held(ask)))


async def message_part(ask: Ask) -> Answer:
    """One part, decoded; of a sealed class in an archive. Whoever asks is in the audit."""
    return await held_part(_of_held(ask, await _held(ask)))


def _of_held(ask: Ask, held: Held) -> Ask:
    return attrs.evolve(ask, args={**ask.args, "id": held.id})


async def retest(ask: Ask) -> Answer:
    """What would become of it now; nothing does. Whoever asks is in the audit."""
    await _held(ask)
    draft = await draft_of(ask, ask.body.draft)
    trial = MessageTrial(stored=ask.args["id"], envelope=ask.body.envelope, reason=ask.body.reason)
    found = await message_tried(ask, trial, draft)
    return answer_of(await ask.office.in_thread(bench_model, found))


_MESSAGE: Final = "/api/v1/messages/<id>"
_REASON: Final[dict[str, Param]] = {"reason": Free("why it is read, where the class asks for it; for the audit")}
_SEALED: Final[dict[str, Param]] = {"sealed": OneOf("no: as it is, where its class is sealed", ("no",))}
_READ: Final[Literal["content:read"]] = "content:read"

ROUTES = (
    Route(
        "GET",
        "/api/v1/sessions/<id>/timeline",
        "messages:read",
        session_timeline,
        summary="The steps of a session",
        answer=TimelineModel,
        for_domains=True,
    ),
    Route(
        "GET",
        f"{_MESSAGE}/timeline",
        "messages:read",
        message_timeline,
        summary="The steps of a message",
        answer=TimelineModel,
        for_domains=True,
    ),
    Route(
        "GET",
        f"{_MESSAGE}/headers",
        _READ,
        message_headers,
        summary="The header of its content, where that is held",
        answer=HeaderList,
        query=_REASON,
        for_domains=True,
    ),
    Route(
        "GET",
        f"{_MESSAGE}/raw",
        _READ,
        message_raw,
        summary="Its octets, where they are held",
        query={**_REASON, **_SEALED},
        for_domains=True,
        is_guarded=True,
    ),
    Route(
        "GET",
        f"{_MESSAGE}/parts/<number>",
        _READ,
        message_part,
        summary="One part of it, where it is held",
        query=_REASON,
        for_domains=True,
        is_guarded=True,
    ),
    Route(
        "POST",
        f"{_MESSAGE}/retest",
        "test:run",
        retest,
        is_question=True,
        summary="Try it with the configuration at work now",
        body=Retest,
        answer=BenchModel,
    ),
)
