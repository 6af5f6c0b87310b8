"""The pages about held mail and the outbox."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any
from urllib.parse import urlencode

from smtpgate.admin import api_outbox
from smtpgate.admin import api_quarantine as do
from smtpgate.admin import models_quarantine as q
from smtpgate.admin.answer import Answer, redirect
from smtpgate.admin.routes import Ask, page_route
from smtpgate.control.views import Invalid, Refused
from smtpgate.policy.held import STATES

#: Messages on a page.
ROWS = 50
#: What a form may say in one line.
LINE = 500
_FIELDS = ("held_as", "state", "recipient", "sender", "subject", "client_ip", "asked")


def _line(text: str) -> str:
    return "".join(c for c in text if c.isprintable())[:LINE].strip()


async def messages(ask: Ask) -> Answer:
    """Held mail."""
    return await _messages(ask)


def _asked(given: Mapping[str, str]) -> dict[str, str]:
    """What is looked for."""
    asked = {name: _line(given.get(name, "")) for name in _FIELDS}
    if asked["state"] not in STATES:
        asked["state"] = ""
    asked["asked"] = "yes" if asked["asked"] else ""
    return asked


def _query(asked: Mapping[str, str], **more: str) -> str:
    return urlencode({name: value for name, value in {**asked, **more}.items() if value})


async def _messages(ask: Ask, said: str = "", status: int = 200) -> Answer:
    asked = _asked(ask.query)
    before = _line(ask.query.get("before", ""))
    found = await do.list_of(ask, do.wanted_of(asked), ROWS, before)
    quarantine = ask.office.control.settings.quarantine
    by_class: dict[str, int] = {}
    for one in found.totals:
        by_class[one.held_as] = by_class.get(one.held_as, 0) + one.count
    wishes = await do.list_of(ask, {"asked": True}, 1, "")
    return await ask.office.templates.page(
        ask,
        "quarantine.html",
        status,
        here="quarantine",
        found=found,
        asked=asked,
        said=said,
        states=STATES,
        classes=quarantine.classes,
        by_class=[(name, count, _query({"held_as": name})) for name, count in sorted(by_class.items())],
        wishes=wishes.total,
        # Of somebody who is limited to domains it is not looked up whose mail each is.
        readers=ask.office.seconds.waiting() if ask.who.may("content:read") and not ask.who.domains else [],
        size=quarantine.size_octets,
        used=sum(one.octets for one in found.totals),
        context=_query(asked),
        next_page=_query(asked, before=found.next_cursor or "") if found.has_more else "",
        newest="" if before or not found.items else found.items[0].id,
    )


async def message(ask: Ask) -> Answer:
    """One held message."""
    return await _held(ask)


async def _held(ask: Ask, said: str = "", status: int = 200) -> Answer:
    asked = _asked(ask.query)
    found = do.shown_of(ask, await do.held_of(ask, ask.args["id"]))
    wanted, context = do.wanted_of(asked), _query(asked)
    # Beside it in the list that somebody came from.
    newer, older = await do.beside(ask, wanted, found.id)
    alike = []
    for words, name, value in (
        ("from the same sender", "sender", found.sender),
        ("with the same subject", "subject", found.subject),
        ("from the same client", "client_ip", found.client_ip),
    ):
        if value and len(value) <= LINE and value.isprintable():
            count = (await do.list_of(ask, {name: value}, 1, "")).total
            if count > 1:
                alike.append((words, count - 1, _query({name: value})))
    return await ask.office.templates.page(
        ask,
        "held.html",
        status,
        here="quarantine",
        one=found,
        said=said,
        context=context,
        newer=newer,
        older=older,
        alike=alike,
        wants_two=ask.office.control.settings.quarantine.of(found.held_as).two_persons,
    )


async def outbox(ask: Ask) -> Answer:
    """What the gateway has still to deliver."""
    found = await ask.office.control.quarantine.letters(ROWS)
    letters = [q.letter_model(one) for one in found if ask.who.reach.letter(one)]
    return await ask.office.templates.page(ask, "outbox.html", here="outbox", letters=letters)


# Do


async def decide(ask: Ask) -> Answer:
    """Release, delete or deny what was chosen on the list, or all that fits. What cannot be undone, and what is about
    all that fits, is asked once more with its number."""
    action = ask.form.get("action", "")
    ids = [name.removeprefix("id-") for name in ask.form if name.startswith("id-")]
    is_all, is_sure = ask.form.get("all", "") == "yes", ask.form.get("sure", "") == "yes"
    if action not in ("release", "delete", "deny") or not (ids or is_all):
        return await _messages(ask, "Choose messages first, then what is to become of them.", 422)
    asked = _asked({name.removeprefix("for-"): value for name, value in ask.form.items() if name.startswith("for-")})
    wanted = do.wanted_of(asked)
    if not is_sure and (is_all or action == "delete" or ask.form.get("ask", "") == "yes"):
        count = (await do.would(ask, action, wanted))["expected_count"] if is_all else len(ids)
        return await ask.office.templates.page(
            ask,
            "held-sure.html",
            here="quarantine",
            action=action,
            count=count,
            ids=[] if is_all else ids,
            is_all=is_all,
            asked={name: value for name, value in asked.items() if value},
            context=_query(asked),
        )
    if is_all:
        expected = ask.form.get("expected", "")
        if not expected.isascii() or not expected.isdigit() or len(expected) > 9:
            raise Invalid("the number that was shown is missing; go back to the list")
        ids = await ask.office.control.quarantine.chosen(do.within(ask, wanted), int(expected))
    outcomes, _ = await do.order(ask, action, ids)
    left = [one for one in outcomes if not one.done]
    if left:
        return await _messages(ask, f"{len(outcomes) - len(left)} done; {left[0].id}: {left[0].why}.", 409)
    context = _query(asked)
    return redirect(f"/quarantine?{context}" if context else "/quarantine")


async def release(ask: Ask) -> Answer:
    """Deliver one."""
    if ask.form.get("again", "") != "yes":
        return await _one(ask, "release")
    found = await do.held_of(ask, ask.args["id"])
    # For whom nobody knows; those who have it for certain get it no second time.
    whom = [one.address for one in found.recipients if one.state != "released"]
    return await _one(ask, "release", recipients=whom, again=True)


async def delete(ask: Ask) -> Answer:
    """Delete one."""
    id = ask.args["id"]
    asked = _asked(ask.query)
    _, older = await do.beside(ask, do.wanted_of(asked), id)
    outcomes, _ = await do.order(ask, "delete", [id])
    if not outcomes[0].done:
        return await _held(ask, outcomes[0].why, 409)
    # On to the next of those that are gone through.
    place = f"/quarantine/{older}" if older else "/quarantine"
    context = _query(asked)
    return redirect(f"{place}?{context}" if context else place)


async def propose(ask: Ask) -> Answer:
    """Ask for its release, for a second person."""
    reason = _line(ask.form.get("reason", ""))[:300]
    if not reason:
        return await _held(ask, "say why, in a few words", 422)
    try:
        await do.propose(ask, reason)
    except Refused as error:
        return await _held(ask, str(error), 409)
    context = _query(_asked(ask.query))
    return redirect(f"/quarantine/{ask.args['id']}" + (f"?{context}" if context else ""))


async def deny(ask: Ask) -> Answer:
    """Say no to who asked."""
    return await _one(ask, "deny")


async def _one(ask: Ask, action: str, **more: Any) -> Answer:
    outcomes, _ = await do.order(ask, action, [ask.args["id"]], **more)
    if not outcomes[0].done:
        return await _held(ask, outcomes[0].why, 409)
    context = _query(_asked(ask.query))
    return redirect(f"/quarantine/{ask.args['id']}" + (f"?{context}" if context else ""))


async def try_letter(ask: Ask) -> Answer:
    """Try a letter now."""
    await api_outbox.try_letter(ask)
    return redirect("/outbox")


async def cancel(ask: Ask) -> Answer:
    """Take a letter back."""
    await api_outbox.cancel_letter(ask)
    return redirect("/outbox")


#: Open to those who are limited to domains.
_page = partial(page_route, for_domains=True)

ROUTES = (
    _page("/quarantine", "quarantine:read", messages),
    _page("/quarantine", "quarantine:release", decide, "POST"),
    _page("/quarantine/<id>", "quarantine:read", message),
    _page("/quarantine/<id>/release", "quarantine:release", release, "POST"),
    _page("/quarantine/<id>/request", "quarantine:release", propose, "POST"),
    _page("/quarantine/<id>/delete", "quarantine:delete", delete, "POST"),
    _page("/quarantine/<id>/deny", "quarantine:release", deny, "POST"),
    _page("/outbox", "quarantine:read", outbox),
    _page("/outbox/<id>/try", "quarantine:release", try_letter, "POST"),
    _page("/outbox/<id>/cancel", "quarantine:delete", cancel, "POST"),
)
