"""What the API says about held mail and the outbox, and what orders about them may say."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from smtpgate.admin.record import View
from smtpgate.admin.routes import Order
from smtpgate.admin.text import moment
from smtpgate.control.quarantine import MANY, Total
from smtpgate.policy.held import Held, Letter


class AddresseeModel(View):
    """One recipient."""

    address: str
    state: str
    reply: str


class HeldModel(View):
    """One held message."""

    id: str
    at: str | None
    expires: str | None
    held_as: str
    state: str
    message: str
    listener: str
    direction: str
    client_ip: str
    sender: str
    author: str
    subject: str
    message_id: str
    recipients: list[AddresseeModel]
    filter: str
    reason: str
    detail: str
    score: float
    octets: int
    digest: str
    asked: str | None
    asked_by: str
    proposed_by: str


class TotalModel(View):
    """How much is held of one class in one state."""

    held_as: str
    state: str
    count: int
    octets: int


class HeldList(View):
    """Held messages, the newest first.

    :ivar total: how many fit
    :ivar totals: of all that is held
    """

    items: list[HeldModel]
    total: int
    totals: list[TotalModel]
    has_more: bool
    next_cursor: str | None


class OutcomeModel(View):
    """What an order did to one message."""

    id: str
    done: bool
    why: str


class Orders(View):
    """What an order did."""

    items: list[OutcomeModel]
    is_audited: bool = True


class LetterModel(View):
    """One letter that waits."""

    id: str
    kind: str
    state: str
    at: str | None
    due: str | None
    expires: str | None
    tries: int
    sender: str
    recipients: list[AddresseeModel]
    held: str
    message: str
    backend: str
    octets: int
    told: str


class LetterList(View):
    """The outbox, the newest first."""

    items: list[LetterModel]
    has_more: bool
    next_cursor: str | None


class Release(Order):
    """For whom, and whether to those too who may have it."""

    recipients: list[str] | None = None
    again: bool = False


class Propose(Order):
    """Why it is to be released."""

    reason: Annotated[str, Field(min_length=1, max_length=300)]


class Forward(Order):
    """Who is to get it."""

    to: Annotated[list[str], Field(min_length=1, max_length=100)]


class Bulk(Order):
    """An order about many: those with these ids, or all that fit, of which the number is known."""

    action: Literal["release", "delete", "deny"]
    ids: Annotated[list[str], Field(max_length=MANY)] | None = None
    filter: dict[str, str] | None = None
    expected_count: int | None = None


def held_model(one: Held) -> HeldModel:
    """A held message as the API tells it."""
    return HeldModel(
        id=one.id,
        at=moment(one.at),
        expires=moment(one.expires),
        held_as=one.held_as,
        state=one.state,
        message=one.message,
        listener=one.listener,
        direction=one.direction,
        client_ip=one.client_ip,
        sender=one.sender,
        author=one.author,
        subject=one.subject,
        message_id=one.message_id,
        recipients=[AddresseeModel(address=who.address, state=who.state, reply=who.reply) for who in one.recipients],
        filter=one.filter,
        reason=one.reason,
        detail=one.detail,
        score=one.score,
        octets=one.octets,
        digest=one.digest,
        asked=moment(one.asked),
        asked_by=one.asked_by,
        proposed_by=one.proposed_by,
    )


def letter_model(one: Letter) -> LetterModel:
    """A letter as the API tells it."""
    return LetterModel(
        id=one.id,
        kind=one.kind,
        state=one.state,
        at=moment(one.at),
        due=moment(one.due),
        expires=moment(one.expires),
        tries=one.tries,
        sender=one.sender,
        recipients=[AddresseeModel(address=who.address, state=who.state, reply=who.reply) for who in one.recipients],
        held=one.held,
        message=one.message,
        backend=one.backend,
        octets=one.octets,
        told=one.told,
    )


def total_model(total: Total) -> TotalModel:
    """A total as the API tells it."""
    return TotalModel(held_as=total.held_as, state=total.state, count=total.count, octets=total.octets)
