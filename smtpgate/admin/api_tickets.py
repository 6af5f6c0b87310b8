"""The API and the pages about tickets, and the page behind the link of a refusal, which is for its sender.

Managers name a ticket by the reference id of the refusal: its own id is a capability, and stands in the refusal only.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from smtpgate.admin.answer import Answer, redirect
from smtpgate.admin.api_look import MOST, answer_of
from smtpgate.admin.guard import Refusal
from smtpgate.admin.models import Done, Nothing
from smtpgate.admin.params import OneOf, Whole
from smtpgate.admin.record import View
from smtpgate.admin.routes import Ask, Route, page_route
from smtpgate.admin.text import moment
from smtpgate.control.views import Actor, Refused, Unknown
from smtpgate.policy.ticket import STATES, Ticket

_BASE = "/api/v1"
#: Letters of a reason; fewer than these say nothing.
_LEAST, _MOST = 5, 500


class TicketModel(View):
    """One refusal that its sender may do something about."""

    message: str
    rule: str
    mode: str
    state: str
    at: str | None
    expires: str | None
    sender: str
    recipients: list[str]
    subject: str
    text: str
    reason: str
    decided_by: str


class TicketList(View):
    """The newest first."""

    items: list[TicketModel]


def ticket_model(one: Ticket) -> TicketModel:
    """A ticket as the API tells it."""
    return TicketModel(
        message=one.message,
        rule=one.rule,
        mode=one.mode,
        state=one.state,
        at=moment(one.at),
        expires=moment(one.expires),
        sender=one.sender,
        recipients=list(one.recipients),
        subject=one.subject,
        text=one.text,
        reason=one.reason,
        decided_by=one.decided_by,
    )


async def tickets(ask: Ask) -> Answer:
    """Refusals that their senders may do something about."""
    states = (ask.params["state"],) if ask.params["state"] else ()
    found = await ask.office.control.tickets.recent(states, ask.params["limit"], ask.who.domains)
    return answer_of(TicketList(items=[ticket_model(one) for one in found]))


async def decide(ask: Ask, verb: str) -> bool:
    """Grant or deny the one that the path names; whether it is in the audit."""
    control = ask.office.control.tickets
    ticket = await control.by_message(ask.args["message"])
    if not ask.who.reach.ticket(ticket):
        raise Unknown(f"no ticket of {ask.args['message']}")
    is_audited = await ask.change(f"ticket.{verb}", ticket.message, ticket.rule)
    await (control.grant if verb == "grant" else control.deny)(ticket, ask.who.actor)
    return is_audited


async def grant_ticket(ask: Ask) -> Answer:
    """The message may pass once."""
    return answer_of(Done(is_audited=await decide(ask, "grant")))


async def deny_ticket(ask: Ask) -> Answer:
    """It may not."""
    return answer_of(Done(is_audited=await decide(ask, "deny")))


# Pages for managers


async def ticket_page(ask: Ask) -> Answer:
    """Who asks for what to pass."""
    found = await ask.office.control.tickets.recent((), 100, ask.who.domains)
    order = {"asked": 0, "open": 1}
    items = sorted((ticket_model(one) for one in found), key=lambda one: order.get(one.state, 2))
    return await ask.office.templates.page(ask, "tickets.html", here="tickets", items=items)


async def grant_on_page(ask: Ask) -> Answer:
    """Let it pass once."""
    await decide(ask, "grant")
    return redirect("/tickets")


async def deny_on_page(ask: Ask) -> Answer:
    """Say no."""
    await decide(ask, "deny")
    return redirect("/tickets")


# The page behind a link


async def why(ask: Ask) -> Answer:
    """What was refused, and what its sender can do."""
    return _why(ask, await _ticket(ask), "")


async def say_why(ask: Ask) -> Answer:
    """Its sender says why it must go."""
    ask.office.form_keys.check(ask.caller, ask.form)
    ticket = await _ticket(ask)
    reason = " ".join(ask.form.get("reason", "").split())[:_MOST]
    if len(reason) < _LEAST:
        return _why(ask, ticket, "Write a few words: somebody will read them.", 422)
    actor = Actor("link", ticket.sender or "<>")
    verb = "use" if ticket.mode == "reason" else "ask"
    await ask.office.accounts.note(actor, f"ticket.{verb}", ticket.message, reason, ask.caller)
    try:
        ticket = await ask.office.control.tickets.say(ticket.id, reason, actor)
    except Refused as refused:
        return _why(ask, await _ticket(ask), f"Nothing was done: {refused}.", 409)
    return _why(ask, ticket, "")


async def _ticket(ask: Ask) -> Ticket:
    try:
        found: Ticket = await ask.office.control.tickets.ticket(ask.args["token"])
    except Unknown:
        raise Refusal("not-found", 404, "this link does not hold any more, or is not whole") from None
    return found


def _why(ask: Ask, ticket: Ticket, trouble: str, status: int = 200) -> Answer:
    token, cookie = ask.office.form_keys.issue(ask.caller)
    values: dict[str, Any] = {"csrf": token, "ticket": ticket, "trouble": trouble, "place": f"/why/{ticket.id}"}
    answer = ask.office.templates.bare(ask.caller, "why.html", status, **values)
    return Answer(answer.body, answer.status, cookies=(cookie,) if cookie else ())


#: Open to those who are limited to domains.
_page = partial(page_route, for_domains=True)

ROUTES = (
    Route(
        "GET",
        f"{_BASE}/tickets",
        "quarantine:read",
        tickets,
        summary="Refusals that their senders may do something about",
        answer=TicketList,
        for_domains=True,
        query={
            "limit": Whole(f"how many items, at most {MOST}", MOST, 50),
            "state": OneOf("only in this state", STATES),
        },
    ),
    Route(
        "POST",
        f"{_BASE}/tickets/<message>/grant",
        "quarantine:release",
        grant_ticket,
        summary="Let the message pass once",
        body=Nothing,
        answer=Done,
        for_domains=True,
    ),
    Route(
        "POST",
        f"{_BASE}/tickets/<message>/deny",
        "quarantine:release",
        deny_ticket,
        summary="Say no",
        body=Nothing,
        answer=Done,
        for_domains=True,
    ),
    _page("/tickets", "quarantine:read", ticket_page),
    _page("/tickets/<message>/grant", "quarantine:release", grant_on_page, "POST"),
    _page("/tickets/<message>/deny", "quarantine:release", deny_on_page, "POST"),
    _page("/why/<token>", "public", why),
    _page("/why/<token>", "public", say_why, "POST"),
)
