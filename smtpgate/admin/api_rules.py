"""The API that tries rules: on a message, on a held one, and on the newest of the history. Nothing comes of it."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from smtpgate.admin.answer import Answer
from smtpgate.admin.api_look import answer_of
from smtpgate.admin.guard import Refusal
from smtpgate.admin.models_traffic import plain
from smtpgate.admin.record import View
from smtpgate.admin.routes import Ask, Order, Route, largest_message
from smtpgate.config.loader import ConfigErrors
from smtpgate.control.rule_trials import MOST, Envelope
from smtpgate.policy.tried import Past, Said

_Line = Annotated[str, Field(max_length=1000, pattern=r"^[^\x00-\x1f\x7f]*$")]


class EnvelopeModel(Order):
    """How the message would have come; without a listener, to the first of role mx."""

    sender: _Line = ""
    recipients: Annotated[list[_Line], Field(max_length=1000)] = []
    client_ip: _Line = ""
    helo: _Line = ""
    user: _Line = ""
    listener: _Line = ""


class RuleTrial(Order):
    """What to try rules on: one of message (text), message_base64, held (an id) and last (so many of the history).

    Without `rules`, a text of TOML with [[rules]] and what they search for, those at work are tried.
    """

    message: str = ""
    message_base64: str = ""
    envelope: EnvelopeModel = EnvelopeModel()
    held: _Line = ""
    last: Annotated[int, Field(ge=0, le=MOST)] = 0
    rules: Annotated[str, Field(max_length=100_000)] = ""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(map(bool, (self.message, self.message_base64, self.held, self.last))) != 1:
            raise ValueError("give one of message, message_base64, held and last")
        return self


class SaidModel(View):
    """What one rule says of one message."""

    rule: str
    step: str
    action: str
    mode: str
    answer: str
    why: str
    recipients: tuple[str, ...]
    does: str
    ended_by: str


class TallyModel(View):
    """What one rule says of many messages; where `why` is given it cannot be judged on what the history keeps."""

    rule: str
    step: str
    action: str
    mode: str
    why: str
    counts: dict[str, int]
    delivered: int
    examples: tuple[str, ...]


class RuleTrialModel(View):
    """What rules say: of one message in `items`, of the history in `tallies`, with how many messages it had."""

    items: list[SaidModel]
    messages: int
    since: str | None
    until: str | None
    tallies: list[TallyModel]


async def try_rules(ask: Ask) -> Answer:
    """What rules say, without effect."""
    body = ask.body
    trials = ask.office.control.rule_trials
    try:
        if body.last:
            past: Past = await trials.past(body.last, body.rules)
            return answer_of(RuleTrialModel.model_validate(plain(past) | {"items": []}))
        if body.held:
            said: list[Said] = await trials.held(body.held, body.rules)
        else:
            octets = await ask.office.in_thread(_octets, body)
            check_size(ask, octets)
            said = await trials.message(octets, Envelope(**_envelope(body.envelope)), body.rules)
    except ConfigErrors as errors:
        refusal = Refusal("validation", 422, "the text has no rules that could be put to work")
        refusal.errors = [
            {"pointer": "/rules", "code": one.key or "syntax", "message": f"line {one.line}: {one.message}; {one.hint}"}
            for one in errors.problems
        ]
        raise refusal from None
    items = [SaidModel.model_validate(plain(one)) for one in said]
    return answer_of(RuleTrialModel(items=items, messages=1, since=None, until=None, tallies=[]))


def check_size(ask: Ask, octets: bytes) -> None:
    """Raises Refusal for a message that is larger than one that is tried may be."""
    most = largest_message(ask.office.control.settings.limits.message_size_octets)
    if len(octets) > most:
        raise Refusal("too-large", 413, f"the message has {len(octets)} octets; one that is tried has {most} at most")


def _envelope(given: EnvelopeModel) -> dict[str, Any]:
    return given.model_dump() | {"recipients": tuple(given.recipients)}


def _octets(body: RuleTrial) -> bytes:
    if body.message:
        return body.message.encode("utf-8", "replace")
    try:
        return base64.b64decode(body.message_base64, validate=True)
    except (binascii.Error, ValueError):
        raise Refusal("validation", 422, "message_base64 is no base64") from None


ROUTES = (
    Route(
        "POST",
        "/api/v1/rules/try",
        "test:run",
        try_rules,
        is_question=True,
        summary="Try rules on a message, a held one or the history",
        body=RuleTrial,
        answer=RuleTrialModel,
        is_large=True,
        may_wait=True,
    ),
)
