"""The pages about held mail and the outbox."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from smtpgate.admin import api_quarantine as do
from smtpgate.admin import models_quarantine as q
from smtpgate.admin.answer import Answer, redirect
from smtpgate.admin.routes import Ask, Route
from smtpgate.policy.held import STATES

#: Messages on a page.
ROWS = 50
#: What a form may say in one line.
LINE = 500
_FIELDS = ("held_as", "state", "recipient", "sender", "subject", "asked")


def _line(text: str) -> str:
    return "".join(c for c in text if c.isprintable())[:LINE].strip()


async def messages(ask: Ask) -> Answer:
    """Held mail."""
    return await _messages(ask)


async def _messages(ask: Ask, said: str = "", status: int = 200) -> Answer:
    asked = {name: _line(ask.query.get(name, "")) for name in _FIELDS}
    if asked["state"] not in STATES:
        asked["state"] = ""
    found = await do.list_of(ask, do.wanted_of(asked), ROWS, _line(ask.query.get("before", "")))
    next_page = urlencode(
        {**{name: value for name, value in asked.items() if value}, "before": found.next_cursor or ""}
    )
    quarantine = ask.office.control.settings.quarantine
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
        size=quarantine.size_octets,
        used=sum(one.octets for one in found.totals),
        next_page=next_page if found.has_more else "",
    )


async def message(ask: Ask) -> Answer:
    """One held message."""
    found = q.held_model(await ask.office.control.quarantine.message(ask.args["id"]))
    return await ask.office.templates.page(ask, "held.html", here="quarantine", one=found, said="")


async def outbox(ask: Ask) -> Answer:
    """What the gateway has still to deliver."""
    letters = [q.letter_model(one) for one in await ask.office.control.quarantine.letters(ROWS)]
    return await ask.office.templates.page(ask, "outbox.html", here="outbox", letters=letters)


# Do


async def decide(ask: Ask) -> Answer:
    """Release, delete or deny what was chosen on the list."""
    action = ask.form.get("action", "")
    ids = [name.removeprefix("id-") for name in ask.form if name.startswith("id-")]
    if action not in ("release", "delete", "deny") or not ids:
        return await _messages(ask, "Choose messages first, then what is to become of them.", 422)
    outcomes, _ = await do.order(ask, action, ids)
    left = [one for one in outcomes if not one.done]
    if left:
        return await _messages(ask, f"{len(outcomes) - len(left)} done; {left[0].id}: {left[0].why}.", 409)
    return redirect("/quarantine")


async def release(ask: Ask) -> Answer:
    """Deliver one."""
    if ask.form.get("again", "") != "yes":
        return await _one(ask, "release")
    found = await ask.office.control.quarantine.message(ask.args["id"])
    # For whom nobody knows; those who have it for certain get it no second time.
    whom = [one.address for one in found.recipients if one.state != "released"]
    return await _one(ask, "release", recipients=whom, again=True)


async def delete(ask: Ask) -> Answer:
    """Delete one."""
    id = ask.args["id"]
    outcomes, _ = await do.order(ask, "delete", [id])
    if not outcomes[0].done:
        return await _said(ask, outcomes[0].why)
    return redirect("/quarantine")


async def deny(ask: Ask) -> Answer:
    """Say no to who asked."""
    return await _one(ask, "deny")


async def _one(ask: Ask, action: str, **more: Any) -> Answer:
    outcomes, _ = await do.order(ask, action, [ask.args["id"]], **more)
    if not outcomes[0].done:
        return await _said(ask, outcomes[0].why)
    return redirect(f"/quarantine/{ask.args['id']}")


async def _said(ask: Ask, why: str) -> Answer:
    found = q.held_model(await ask.office.control.quarantine.message(ask.args["id"]))
    return await ask.office.templates.page(ask, "held.html", 409, here="quarantine", one=found, said=why)


async def try_letter(ask: Ask) -> Answer:
    """Try a letter now."""
    await do.try_letter(ask)
    return redirect("/outbox")


async def cancel(ask: Ask) -> Answer:
    """Take a letter back."""
    await do.cancel_letter(ask)
    return redirect("/outbox")


def _page(path: str, permission: str, serve: Any, method: Any = "GET") -> Route:
    return Route(method, path, permission, serve, "page", (serve.__doc__ or "").strip(), doors=frozenset({"web"}))


ROUTES = (
    _page("/quarantine", "quarantine:read", messages),
    _page("/quarantine", "quarantine:release", decide, "POST"),
    _page("/quarantine/<id>", "quarantine:read", message),
    _page("/quarantine/<id>/release", "quarantine:release", release, "POST"),
    _page("/quarantine/<id>/delete", "quarantine:delete", delete, "POST"),
    _page("/quarantine/<id>/deny", "quarantine:release", deny, "POST"),
    _page("/outbox", "quarantine:read", outbox),
    _page("/outbox/<id>/try", "quarantine:release", try_letter, "POST"),
    _page("/outbox/<id>/cancel", "quarantine:delete", cancel, "POST"),
)
