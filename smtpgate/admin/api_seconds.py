"""The API about reading that wants a second person: who asks, and who says yes or no."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import Field

from smtpgate.admin import reading
from smtpgate.admin.answer import Answer
from smtpgate.admin.api_look import answer_of
from smtpgate.admin.api_quarantine import held_of
from smtpgate.admin.guard import Refusal
from smtpgate.admin.models import Done, Line
from smtpgate.admin.record import View
from smtpgate.admin.routes import Ask, Order, Route
from smtpgate.admin.seconds import Wish
from smtpgate.admin.text import moment
from smtpgate.policy.held import Held

_READING: Final = "/api/v1/quarantine/<id>/reading"


class ReadingWish(Order):
    """Why it is to be read."""

    reason: Annotated[Line, Field(min_length=1, max_length=300)]


class ReadingAnswer(Order):
    """To whom it is said."""

    name: Line


class WishModel(View):
    """Somebody wants to read a held message, or may until `until`, where `approved_by` somebody."""

    name: str
    reason: str
    asked: str | None
    until: str | None
    approved_by: str


class WishList(View):
    """Wishes that wait, and that of who asks."""

    is_wanted: bool
    items: list[WishModel]


def wish_model(ask: Ask, one: Wish) -> WishModel:
    """A wish as the API tells it."""
    apart = ask.office.wall() - ask.office.clock.seconds()
    return WishModel(
        name=one.name,
        reason=one.reason,
        asked=moment(one.at + apart),
        until=moment(one.until + apart),
        approved_by=one.by,
    )


async def held_reading(ask: Ask) -> Answer:
    """Who wants to read a held message."""
    return answer_of(wishes_of(ask, await held_of(ask, ask.args["id"])))


def wishes_of(ask: Ask, message: Held) -> WishList:
    """The same for a page."""
    seconds = ask.office.seconds
    found = seconds.waiting(message.id)
    own = seconds.held(message.id, ask.who)
    items = [wish_model(ask, one) for one in ([own] if own is not None else []) + found]
    return WishList(is_wanted=reading.is_of_two(ask, message), items=items)


async def ask_reading(ask: Ask) -> Answer:
    """Ask to read a held message; somebody else approves."""
    await want(ask, await held_of(ask, ask.args["id"]), ask.body.reason)
    return answer_of(Done())


async def want(ask: Ask, message: Held, reason: str) -> None:
    """The same for a page. Raises Refusal."""
    _check(ask, message)
    reason = "".join(letter for letter in reason if letter.isprintable()).strip()[: reading.REASON]
    if not reason:
        raise Refusal("validation", 422, "say why, in a few words")
    await ask.guarded_change("content.ask", message.id, f"held as {message.held_as}; reason: {reason}")
    ask.office.seconds.ask(message.id, ask.who, reason)


async def approve_reading(ask: Ask) -> Answer:
    """Let somebody else read it for a quarter of an hour."""
    await say(ask, await held_of(ask, ask.args["id"]), ask.body.name, True)
    return answer_of(Done())


async def deny_reading(ask: Ask) -> Answer:
    """Say no."""
    await say(ask, await held_of(ask, ask.args["id"]), ask.body.name, False)
    return answer_of(Done())


async def say(ask: Ask, message: Held, name: str, is_yes: bool) -> None:
    """The same for a page. Raises Refusal."""
    _check(ask, message)
    seconds = ask.office.seconds
    wish = next((one for one in seconds.waiting(message.id) if one.name == name), None)
    if wish is None:
        raise Refusal("not-found", 404, "nobody of that name waits to read it")
    if is_yes and wish.name == ask.who.name:
        raise Refusal("conflict", 409, "somebody else has to approve it")
    action = "content.approve" if is_yes else "content.deny"
    await ask.guarded_change(action, message.id, f"for {wish.name}; reason: {wish.reason}")
    if is_yes:
        seconds.approve(wish, ask.who)
    else:
        seconds.deny(wish)


def _check(ask: Ask, message: Held) -> None:
    if not reading.is_of_two(ask, message):
        raise Refusal("conflict", 409, f"mail held as {message.held_as} wants no second person")
    if ask.who.kind != "user":
        raise Refusal("conflict", 409, "this is between people who are logged in")


def _route(path: str, serve: Any, summary: str, body: type[Order], is_guarded: bool = False) -> Route:
    return Route(
        "POST",
        path,
        "content:read",
        serve,
        summary=summary,
        body=body,
        answer=Done,
        for_domains=True,
        is_guarded=is_guarded,
    )


ROUTES = (
    Route(
        "GET",
        _READING,
        "content:read",
        held_reading,
        summary="Who wants to read it",
        answer=WishList,
        for_domains=True,
    ),
    _route(_READING, ask_reading, "Ask to read it, for a second person", ReadingWish),
    _route(f"{_READING}/approve", approve_reading, "Let somebody read it", ReadingAnswer, True),
    _route(f"{_READING}/deny", deny_reading, "Say no to who wants to read it", ReadingAnswer),
)
