"""The API that tries mail: a message or a dialogue, on what is at work and on a draft. Nothing comes of it.

A draft may name files and hosts, so whoever tries one may also change the configuration. Content of held mail is
read for it, which is in the audit before the first octet, as each try is.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Final, Self

from pydantic import Field, model_validator

from smtpgate.admin import reading
from smtpgate.admin.answer import Answer
from smtpgate.admin.api_look import answer_of
from smtpgate.admin.api_quarantine import held_of
from smtpgate.admin.api_rules import check_size
from smtpgate.admin.explain import of_message, of_session
from smtpgate.admin.guard import Refusal
from smtpgate.admin.lookup import find_message
from smtpgate.admin.record import SessionRecord, View, of_row
from smtpgate.admin.routes import Ask, Order, Route
from smtpgate.config.loader import ConfigErrors
from smtpgate.control.bench import SCRIPT_LETTERS, SCRIPT_LINES, Arrival, Tried, differences
from smtpgate.control.bench_samples import BY_NAME, SAMPLES
from smtpgate.control.replays import came

Text = Annotated[str, Field(max_length=1000, pattern=r"^[^\x00-\x1f\x7f]*$")]
#: What a try takes for granted, in the words of its answer.
ASSUMED: Final = (
    "the backend takes every recipient and the message, over a leg that is as protected as was asked",
    "every password is right, and nobody is banned",
    "limits have counted nothing before, and no greeting waits",
    "engines and hooks outside the gateway are asked as for any mail; what they keep of it they decide",
)
#: Letters of the text of a draft.
DRAFT: Final = 900_000


class ArrivalModel(Order):
    """How the mail would have come; without a listener, to the first of role mx.

    `tls` is TLSv1.3, TLSv1.2 or off; without it the newest where the listener has TLS. `time` is RFC 3339.
    """

    sender: Text = ""
    recipients: Annotated[list[Text], Field(max_length=100)] = []
    client_ip: Text = ""
    helo: Text = ""
    user: Text = ""
    tls: Text = ""
    listener: Text = ""
    time: Text = ""


class MessageTrial(Order):
    """One of message (text), message_base64, sample (a name), held (an id) and stored (a message of the history that
    was held). Of the last two, what `envelope` does not say is as it came.

    `draft` is the text of a configuration to try beside the one at work; `reason` why held mail is read, where its
    class asks for that.
    """

    message: str = ""
    message_base64: str = ""
    sample: Text = ""
    held: Text = ""
    stored: Text = ""
    envelope: ArrivalModel = ArrivalModel()
    draft: Annotated[str, Field(max_length=DRAFT)] = ""
    reason: Text = ""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(map(bool, (self.message, self.message_base64, self.sample, self.held, self.stored))) != 1:
            raise ValueError("give one of message, message_base64, sample, held and stored")
        return self


class SessionTrial(Order):
    """What a client says, line by line, each after the reply to the one before; behind DATA the message, up to a line
    with a dot."""

    script: Annotated[str, Field(max_length=SCRIPT_LETTERS)]
    envelope: ArrivalModel = ArrivalModel()
    draft: Annotated[str, Field(max_length=DRAFT)] = ""


class SpokenModel(View):
    """What one side said: C the client, S the gateway."""

    who: str
    text: str


class FailureModel(View):
    """A filter, or the gateway itself, that could not do its work."""

    filter: str
    stage: str
    kind: str
    detail: str


class KeptModel(View):
    """What would have been held (a class), or sent beside it (bcc, redirect, journal), and for whom."""

    kind: str
    recipients: tuple[str, ...]


class TriedModel(View):
    """What would have become of it on one configuration: `of` says on which.

    :ivar outcome: as that of a message in the history; closed where it came to none
    """

    of: str
    revision: str
    outcome: str
    verdict: str
    explanation: str
    action: str
    score: float
    code: int
    reply: str
    took_ms: float
    session: SessionRecord
    dialogue: list[SpokenModel]
    failures: list[FailureModel]
    keeps: list[KeptModel]


class DifferenceModel(View):
    """Something that is otherwise on the draft."""

    what: str
    before: str
    after: str


class BenchModel(View):
    """The results, that of the configuration at work first; what differs; what was taken for granted."""

    items: list[TriedModel]
    differences: list[DifferenceModel]
    assumed: tuple[str, ...] = ASSUMED


class SampleModel(View):
    """A message to try first."""

    name: str
    words: str
    direction: str
    text: str


class SampleList(View):
    """All of them."""

    items: list[SampleModel]


def tried_model(one: Tried) -> TriedModel:
    """For an answer. It takes a while: not for the thread of the reactor."""
    record = of_row(one.record)
    message = record.messages[-1] if record.messages else None
    banner = of_message(message) if message is not None else of_session(record)
    verdict = message.verdict if message is not None else None
    said = message.reply if message is not None else None
    last = next((line.text for line in reversed(one.dialogue) if line.who == "S"), "")
    return TriedModel(
        of=one.of,
        revision=one.revision,
        outcome=one.outcome,
        verdict=banner.word,
        explanation=banner.sentence,
        action=verdict.action if verdict is not None else "accept",
        score=verdict.score if verdict is not None else 0.0,
        code=said.code if said is not None else int(last[:3]) if last[:3].isdigit() else 0,
        reply=f"{said.enhanced} {said.text}".strip() if said is not None else last[4:],
        took_ms=one.took_s * 1000,
        session=record,
        dialogue=[SpokenModel(who=line.who, text=line.text) for line in one.dialogue],
        failures=[FailureModel(filter=a, stage=b, kind=c, detail=d) for a, b, c, d in one.failures],
        keeps=[KeptModel(kind=kind, recipients=to) for kind, to in one.keeps],
    )


def bench_model(found: Sequence[Tried]) -> BenchModel:
    """For an answer. It takes a while: not for the thread of the reactor."""
    differ = differences(found[0], found[1]) if len(found) > 1 else []
    return BenchModel(
        items=[tried_model(one) for one in found],
        differences=[DifferenceModel(what=one.what, before=one.before, after=one.after) for one in differ],
    )


async def draft_of(ask: Ask, text: str) -> Any:
    """The settings of a draft; None without one. Raises Refusal."""
    if not text.strip():
        return None
    may_draft(ask)
    try:
        return await ask.office.in_thread(ask.office.control.configuration.settings_of, text)
    except ConfigErrors as errors:
        refusal = Refusal("validation", 422, "the draft is no configuration that could be put to work")
        refusal.errors = [
            {"pointer": "/draft", "code": one.key or "syntax", "message": f"line {one.line}: {one.message}; {one.hint}"}
            for one in errors.problems
            if one.is_error
        ]
        raise refusal from None


def may_draft(ask: Ask) -> None:
    """Raises Refusal for who may not try a draft."""
    if not ask.who.may("config:write"):
        raise Refusal(
            "forbidden", 403, "your role has no permission config:write, and a draft may name any file and host"
        )


async def of_store(ask: Ask, body: MessageTrial) -> tuple[bytes, Arrival, str]:
    """A held message, or one of the history that was held: its octets, how it came, and what it is called. It is in
    the audit before that it is read. Raises Refusal and Unknown."""
    if not ask.who.may("content:read"):
        raise Refusal("forbidden", 403, "your role has no permission content:read, and this reads held mail")
    id = body.held
    if body.stored:
        _, message = await find_message(ask.office, ask.who.reach, body.stored)
        id = message.held_id
        if not id:
            raise Refusal("conflict", 409, "its content is not kept: only of held mail it is; give it as a file")
    held = await held_of(ask, id)
    await reading.read(ask, held, "it is tried", body.reason)
    return await ask.office.control.quarantine.content(held.id), came(held), held.id


def arrival(given: ArrivalModel, came: Arrival | None = None) -> Arrival:
    """How it would have come: as is said, and else as it came. Raises Refusal for a time that is none."""
    base = came or Arrival()
    at = base.at
    if given.time:
        try:
            when = datetime.fromisoformat(given.time)
        except ValueError:
            when = None
        if when is None or when.tzinfo is None or not 0 < when.timestamp() < 2**33:
            raise Refusal("validation", 422, "time is RFC 3339 with a zone, as 2026-01-07T12:00:00Z")
        at = when.timestamp()
    return Arrival(
        given.sender or base.sender,
        tuple(given.recipients) or base.recipients,
        given.client_ip or base.client_ip,
        given.helo or base.helo,
        given.user or base.user,
        given.tls or base.tls,
        given.listener or base.listener,
        at,
    )


def octets_of(body: MessageTrial) -> bytes:
    """The message of a body; raises Refusal."""
    if body.sample:
        sample = BY_NAME.get(body.sample)
        if sample is None:
            raise Refusal("validation", 422, f"no sample of that name; there are {', '.join(BY_NAME)}")
        return sample.text.encode()
    if body.message:
        return body.message.encode("utf-8", "replace")
    try:
        return base64.b64decode(body.message_base64, validate=True)
    except (binascii.Error, ValueError):
        raise Refusal("validation", 422, "message_base64 is no base64") from None


async def given(ask: Ask, body: MessageTrial) -> tuple[bytes, Arrival, str]:
    """The message of a body, how it comes, and what it is called. Content of held mail is in the audit before it is
    read. Raises Refusal."""
    came_by, name = None, body.sample or "a message"
    if body.held or body.stored:
        octets, came_by, name = await of_store(ask, body)
    else:
        octets = await ask.office.in_thread(octets_of, body)
    check_size(ask, octets)
    return octets, arrival(body.envelope, came_by), name


async def octets_tried(ask: Ask, octets: bytes, comes: Arrival, name: str, draft: Any) -> list[Tried]:
    """Try a message."""
    bench = ask.office.control.bench
    bench.check(ask.office.control.settings, comes)
    await noted(ask, name, f"{len(octets)} octets", draft)
    found: list[Tried] = await bench.message(octets, comes, draft)
    return found


async def message_tried(ask: Ask, body: MessageTrial, draft: Any) -> list[Tried]:
    """Try the message of a body."""
    octets, comes, name = await given(ask, body)
    return await octets_tried(ask, octets, comes, name, draft)


async def noted(ask: Ask, what: str, detail: str, draft: Any) -> None:
    """That it is tried, in the audit."""
    beside = f"; with draft {draft.digest[:12]}" if draft is not None else ""
    await ask.office.accounts.note(ask.who.actor, "test.run", what, detail + beside, ask.caller)


async def try_message(ask: Ask) -> Answer:
    """What would become of a message; nothing does."""
    draft = await draft_of(ask, ask.body.draft)
    found = await message_tried(ask, ask.body, draft)
    return answer_of(await ask.office.in_thread(bench_model, found))


async def session_tried(ask: Ask, script: str, comes: Arrival, draft: Any) -> list[Tried]:
    """Try a dialogue."""
    lines = script.replace("\r\n", "\n").removesuffix("\n").split("\n")
    if len(lines) > SCRIPT_LINES:
        raise Refusal("validation", 422, f"a script has {SCRIPT_LINES} lines at most")
    bench = ask.office.control.bench
    bench.check(ask.office.control.settings, comes)
    await noted(ask, "a session", f"{len(lines)} lines", draft)
    found: list[Tried] = await bench.session(lines, comes, draft)
    return found


async def try_session(ask: Ask) -> Answer:
    """What the gateway would say to a client; nothing else comes of it."""
    draft = await draft_of(ask, ask.body.draft)
    found = await session_tried(ask, ask.body.script, arrival(ask.body.envelope), draft)
    return answer_of(await ask.office.in_thread(bench_model, found))


async def samples(ask: Ask) -> Answer:
    """Messages to try first."""
    items = [SampleModel(name=one.name, words=one.words, direction=one.direction, text=one.text) for one in SAMPLES]
    return answer_of(SampleList(items=items))


_BASE: Final = "/api/v1/test"
ROUTES = (
    Route("GET", f"{_BASE}/samples", "test:run", samples, summary="Messages to try first", answer=SampleList),
    Route(
        "POST",
        f"{_BASE}/message",
        "test:run",
        try_message,
        is_question=True,
        summary="Try a message on the whole chain",
        body=MessageTrial,
        answer=BenchModel,
        is_large=True,
    ),
    Route(
        "POST",
        f"{_BASE}/session",
        "test:run",
        try_session,
        is_question=True,
        summary="Try a dialogue",
        body=SessionTrial,
        answer=BenchModel,
    ),
)
