"""The pages behind the links of digests: for recipients, who have no login here.

A GET shows what would be done and changes nothing; only the button does. Whoever has the link may do that one thing.
"""

from __future__ import annotations

from typing import Any

from smtpgate.admin.answer import Answer
from smtpgate.admin.guard import Refusal
from smtpgate.admin.links import Link
from smtpgate.admin.routes import Ask, Route
from smtpgate.admin.spoken import words_of
from smtpgate.control.views import Actor, Refused, Unknown
from smtpgate.policy.held import Held


async def link_page(ask: Ask) -> Answer:
    """What a link would do."""
    link, message = await _chosen(ask)
    if message is None:
        return _page(ask, "nothing", "gone", 404)
    state = _state(link, message)
    if state not in _WAITS:
        return _nothing(ask, link, message, state)
    title, words, button = f"{link.action}_title", f"{link.action}_words", f"do_{link.action}"
    return _page(ask, title, words, message=message, link=link, button=button)


def _nothing(ask: Ask, link: Link, message: Held, state: str) -> Answer:
    words = state if state in _STATES else "not_yours"
    return _page(ask, "nothing", words, message=message, link=link)


_WAITS = ("held", "refused")
_STATES = ("sending", "released", "unknown")


async def use_link(ask: Ask) -> Answer:
    """Do it."""
    ask.office.form_keys.check(ask.caller, ask.form)
    link, message = await _chosen(ask)
    if message is None:
        return _page(ask, "nothing", "gone", 404)
    state = _state(link, message)
    if state not in _WAITS:
        return _nothing(ask, link, message, state)
    control, actor = ask.office.control.quarantine, Actor("link", link.address)
    if link.action == "release":
        if not ask.office.control.settings.quarantine.of(message.held_as).is_released_by_users:
            raise Refusal("forbidden", 403, "such messages are not for recipients to release any more")
        await ask.office.accounts.note(actor, "quarantine.release", link.held, link.address, ask.caller)
        (outcome,) = await control.release([link.held], actor, [link.address])
        return _page(ask, "done", "sending" if outcome.done else "before", message=message, link=link)
    await ask.office.accounts.note(actor, "quarantine.ask", link.held, link.address, ask.caller)
    try:
        await control.ask_for(link.held, link.address, actor)
    except Unknown:
        return _page(ask, "nothing", "gone", 404)
    except Refused as refused:
        raise Refusal("forbidden", 403, str(refused)) from None
    return _page(ask, "done", "looked_at", message=message, link=link)


async def _chosen(ask: Ask) -> tuple[Link, Held | None]:
    link = ask.office.links.read(ask.args["token"], ask.office.wall())
    if link is None:
        raise Refusal("not-found", 404, "this link does not hold any more, or is not whole")
    try:
        return link, await ask.office.control.quarantine.message(link.held)
    except Unknown:
        return link, None


def _state(link: Link, message: Held) -> str:
    return next((one.state for one in message.recipients if one.address.lower() == link.address), "")


def _page(ask: Ask, title: str, words: str, status: int = 200, **more: Any) -> Answer:
    """:param title: and `words`: names of texts (`spoken`)"""
    link, message = more.get("link"), more.get("message")
    language = ask.office.control.settings.digests.language
    said = words_of(language)
    token, cookie = ask.office.form_keys.issue(ask.caller)
    answer = ask.office.templates.bare(
        ask.caller,
        "link.html",
        status,
        csrf=token,
        title=said[title],
        words=said[words],
        said=said,
        language=language,
        message=message,
        address=link.address if link is not None else "",
        button=said[more["button"]] if "button" in more else "",
        place=f"/held/{ask.args['token']}",
    )
    return Answer(answer.body, answer.status, cookies=(cookie,) if cookie else ())


ROUTES = (
    Route("GET", "/held/<token>", "public", link_page, "page", "What a link would do", doors=frozenset({"web"})),
    Route("POST", "/held/<token>", "public", use_link, "page", "Do it", doors=frozenset({"web"})),
)
