"""From a held message onto a list for all: its sender or its client is blocked or allowed from now on.

The lists are those of `api_lists`; this only reads the entry off the message, so that nobody types what a stranger
wrote.
"""

from __future__ import annotations

from typing import Literal

from smtpgate.admin.answer import Answer, redirect
from smtpgate.admin.api_lists import add
from smtpgate.admin.api_look import answer_of
from smtpgate.admin.api_quarantine import held_of
from smtpgate.admin.guard import Refusal
from smtpgate.admin.models import Done
from smtpgate.admin.routes import Ask, Order, Route
from smtpgate.control.lists import KINDS
from smtpgate.control.views import Invalid


class ListOrder(Order):
    """Whom to put on which list; `minutes` 0: for good."""

    kind: Literal["allow-sender", "block-sender", "allow-client", "block-client"]
    minutes: int = 0


async def put(ask: Ask, kind: str, minutes: int = 0) -> bool:
    """Put who sent a held message on a list; whether it is in the audit. Raises Invalid, Refused and Unknown."""
    if not ask.who.may("quarantine:read"):
        raise Refusal(
            "forbidden", 403, "your role has no permission quarantine:read, and the entry is read off the mail"
        )
    message = await held_of(ask, ask.args["id"])
    if kind not in KINDS:
        raise Invalid(f"kind is one of {', '.join(KINDS)}")
    entry = message.client_ip if kind.endswith("-client") else message.sender
    if not entry:
        raise Invalid("it has no sender in its envelope, as bounces have none; block its client")
    return await add(ask, kind, entry, minutes, f"from held message {message.id}")


async def list_held(ask: Ask) -> Answer:
    """Block or allow the sender or the client of a held message, for all."""
    return answer_of(Done(is_audited=await put(ask, ask.body.kind, ask.body.minutes)), 201)


async def list_from_page(ask: Ask) -> Answer:
    """The same by a button."""
    await put(ask, ask.form.get("kind", ""))
    return redirect("/lists")


ROUTES = (
    Route(
        "POST",
        "/api/v1/quarantine/<id>/list",
        "lists:write",
        list_held,
        summary="Put its sender or client on a list",
        body=ListOrder,
        answer=Done,
        status=201,
    ),
    Route(
        "POST",
        "/quarantine/<id>/list",
        "lists:write",
        list_from_page,
        "page",
        "Put its sender or client on a list",
        doors=frozenset({"web"}),
    ),
)
