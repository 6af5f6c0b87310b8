"""The API that explains one message: all that its page works out of its record."""

from __future__ import annotations

import attrs

from smtpgate.admin import insight
from smtpgate.admin.answer import Answer
from smtpgate.admin.api_look import answer_of
from smtpgate.admin.explain import of_message
from smtpgate.admin.lookup import find_message
from smtpgate.admin.record import View
from smtpgate.admin.routes import Ask, Route
from smtpgate.admin.text import clock_time


class ProofModel(View):
    """One result of SPF, DKIM, ARC or DMARC."""

    method: str
    result: str
    detail: str


class PointModel(View):
    """A finding that has points; those in shadow are not in the sum."""

    filter: str
    reason: str
    score: float
    is_shadow: bool


class ThresholdModel(View):
    """What a sum leads to."""

    action: str
    score: float


class OtherwiseModel(View):
    """What would have become of the message without one finding."""

    filter: str
    reason: str
    action: str


class PhaseModel(View):
    """A part of its time, and for whom was waited: client, filter, backend or us."""

    name: str
    waits_for: str
    began_ms: float
    took_ms: float
    is_inner: bool


class Explanation(View):
    """Why one message was accepted or refused.

    :ivar revision: the configuration that judged it; thresholds are those of `thresholds_of`
    :ivar below: with how few points it would have been treated milder; "" where points did not decide
    :ivar answer: what can be sent to a sender who asks; "" where nothing was refused
    """

    id: str
    verdict: str
    explanation: str
    revision: str
    thresholds_of: str
    proofs: list[ProofModel]
    score: float
    points: list[PointModel]
    thresholds: list[ThresholdModel]
    below: str
    otherwise: list[OtherwiseModel]
    phases: list[PhaseModel]
    queue_id: str
    answer: str


async def explain_message(ask: Ask) -> Answer:
    """Who it is proved to be from, how its points add up, what would have been otherwise, where its time went."""
    record, message = await find_message(ask.office, ask.who.reach, ask.args["id"])
    control = ask.office.control
    settings = control.settings
    banner = of_message(message)
    points = insight.points(message, settings.scale)
    return answer_of(
        Explanation(
            id=message.id,
            verdict=banner.word,
            explanation=banner.sentence,
            revision=record.revision,
            thresholds_of=control.current().id,
            proofs=[ProofModel.model_validate(attrs.asdict(one)) for one in insight.proofs(message)],
            score=points.total if points is not None else 0.0,
            points=[
                PointModel.model_validate(attrs.asdict(one)) for one in (points.bars if points is not None else ())
            ],
            thresholds=[
                ThresholdModel(action=action, score=limit)
                for action, limit, _ in (points.marks if points is not None else ())
            ],
            below=insight.below(message, points),
            otherwise=[
                OtherwiseModel.model_validate(attrs.asdict(one)) for one in insight.otherwise(message, settings.scale)
            ],
            phases=[PhaseModel.model_validate(attrs.asdict(one)) for one in insight.phases(message, record)],
            queue_id=insight.queue_id(message.reply.text) if message.reply is not None and message.server else "",
            answer=insight.answer(message, settings.hostname, clock_time(record.started)),
        )
    )


ROUTES = (
    Route(
        "GET",
        "/api/v1/messages/<id>/explain",
        "messages:read",
        explain_message,
        for_domains=True,
        summary="Why one message was accepted or refused",
        answer=Explanation,
    ),
)
