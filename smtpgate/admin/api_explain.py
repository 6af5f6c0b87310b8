"""The API that explains one message: all that its page works out of its record."""

from __future__ import annotations

import attrs

from smtpgate.admin import insight, transcript, waits
from smtpgate.admin.answer import Answer
from smtpgate.admin.api_look import answer_of
from smtpgate.admin.explain import of_message
from smtpgate.admin.lookup import find_message, find_session
from smtpgate.admin.record import View
from smtpgate.admin.routes import Ask, Route
from smtpgate.admin.text import clock_time, visible


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
    """A part of its time, and for whom was waited: client, filter, backend or us.

    :ivar usual_ms, most_ms: half, and 95 of 100, of such parts took no longer in the last day; null where none did
    """

    name: str
    waits_for: str
    began_ms: float
    took_ms: float
    is_inner: bool
    usual_ms: float | None = None
    most_ms: float | None = None


class Explanation(View):
    """Why one message was accepted or refused.

    :ivar revision: the configuration that judged it; thresholds are those of `thresholds_of`
    :ivar below: with how few points it would have been treated milder; "" where points did not decide
    :ivar patience_used: from the end of data to the reply, as a part of the ten minutes that a client waits (RFC 5321)
    :ivar client_left_ms: when the client left without the reply
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
    patience_used: float | None
    client_left_ms: float | None
    queue_id: str
    answer: str


async def explain_message(ask: Ask) -> Answer:
    """Who it is proved to be from, how its points add up, what would have been otherwise, where its time went."""
    record, message = await find_message(ask.office, ask.who.reach, ask.args["id"])
    control = ask.office.control
    settings = control.settings
    banner = of_message(message)
    points = insight.points(message, settings.scale)
    found = waits.beside(insight.phases(message, record), await ask.office.usuals.known())
    patient = waits.patience(message, record)
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
            phases=[_phase(one) for one in found],
            patience_used=round(patient.used, 6) if patient is not None else None,
            client_left_ms=patient.left_ms if patient is not None else None,
            queue_id=insight.queue_id(message.reply.text) if message.reply is not None and message.server else "",
            answer=insight.answer(message, settings.hostname, clock_time(record.started)),
        )
    )


def _phase(one: waits.Wait) -> PhaseModel:
    phase, usual = one.phase, one.usual
    return PhaseModel(
        name=phase.name,
        waits_for=phase.waits_for,
        began_ms=phase.began_ms,
        took_ms=phase.took_ms,
        is_inner=phase.is_inner,
        usual_ms=round(usual.half_ms, 3) if usual is not None else None,
        most_ms=round(usual.most_ms, 3) if usual is not None else None,
    )


class GapModel(View):
    """A step of a session, and the time behind it: for whom was waited (client, filter, backend or us)."""

    at_ms: float
    who: str
    what: str
    detail: str
    took_ms: float
    waits_for: str
    words: str


class TouchedModel(View):
    """A limit that was met; `message` is empty where the session met it."""

    limit: str
    action: str
    detail: str
    is_shadow: bool
    message: str


class WaitsModel(View):
    """The steps of a session, and the limits that it met. `dropped`: steps that were not kept."""

    id: str
    is_live: bool
    items: list[GapModel]
    dropped: int
    limits: list[TouchedModel]


class LineModel(View):
    """A line of a dialogue, by client, gateway or backend; note: nobody said it, it happened."""

    at_ms: float
    who: str
    text: str
    is_hidden: bool


class TranscriptModel(View):
    """What was said in a session: as its record has it, or every line where its address was traced (`is_whole`).

    :ivar left_out: lines that were too many
    """

    id: str
    is_live: bool
    is_whole: bool
    items: list[LineModel]
    left_out: int


async def session_waits(ask: Ask) -> Answer:
    """Step by step, who waited for whom; and the limits that were met."""
    record = await find_session(ask.office, ask.who.reach, ask.args["id"])
    return answer_of(
        WaitsModel(
            id=record.id,
            is_live=record.is_live,
            items=[
                GapModel(
                    at_ms=one.step.at_ms,
                    who=one.step.who,
                    what=visible(one.step.what, 300),
                    detail=visible(one.step.detail, 1000),
                    took_ms=round(one.took_ms, 3),
                    waits_for=one.waits_for,
                    words=one.words,
                )
                for one in waits.gaps(record)
            ],
            dropped=record.dropped_steps,
            limits=[TouchedModel.model_validate(attrs.asdict(one)) for one in waits.touched(record)],
        )
    )


async def session_transcript(ask: Ask) -> Answer:
    """What was said, without secrets and content."""
    return answer_of(await transcript_of(ask, ask.args["id"]))


async def transcript_of(ask: Ask, reference: str) -> TranscriptModel:
    """The same for a page."""
    record = await find_session(ask.office, ask.who.reach, reference)
    heard = ask.office.control.attend.dialogue(record.id) if not ask.who.reach.is_limited else None
    if heard is not None:
        return TranscriptModel(
            id=record.id,
            is_live=record.is_live,
            is_whole=True,
            items=[
                LineModel(at_ms=round(one.at_ms, 3), who=one.who, text=visible(one.text, 1000), is_hidden=one.is_hidden)
                for one in heard.lines
            ],
            left_out=heard.left_out,
        )
    lines = transcript.of_record(record)
    return TranscriptModel(
        id=record.id,
        is_live=record.is_live,
        is_whole=False,
        items=[
            LineModel(at_ms=one.at_ms, who=one.who, text=visible(one.text, 1000), is_hidden=one.is_hidden)
            for one in lines
        ],
        left_out=record.dropped_steps,
    )


ROUTES = (
    Route(
        "GET",
        "/api/v1/sessions/<id>/waits",
        "messages:read",
        session_waits,
        for_domains=True,
        summary="Who waited for whom in a session",
        answer=WaitsModel,
    ),
    Route(
        "GET",
        "/api/v1/sessions/<id>/transcript",
        "messages:read",
        session_transcript,
        for_domains=True,
        summary="What was said in a session",
        answer=TranscriptModel,
    ),
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
