"""Pages and API of the first five minutes: the steps, a look at a server that is not ours yet, rules to begin with.

What they make is a text of the configuration, which goes into the draft of who asks, is checked and compared there, and
put to work from there, to be confirmed.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import attrs
from markupsafe import Markup, escape
from pydantic import Field

from smtpgate.admin.answer import Answer, redirect
from smtpgate.admin.api_look import answer_of
from smtpgate.admin.guard import Refusal
from smtpgate.admin.models import Done, Nothing
from smtpgate.admin.record import View
from smtpgate.admin.routes import Ask, Order, Route, page_route
from smtpgate.admin.text import visible
from smtpgate.config.drafting import Unclear, enforced, point_at, with_rule
from smtpgate.config.hiding import hide
from smtpgate.config.problem import BadValue
from smtpgate.control import acquaint

_BASE: Final = "/api/v1/first-steps"
#: Rules to begin with: what they are for, and their table. All begin in shadow.
RULES: Final = (
    (
        "Programs are refused, by what they are and not by their names",
        "no-programs",
        """\
[[rules]]
name   = "no-programs"
when   = "attachments.exists(a, a.kind in ['executable', 'script'])"
action = "reject"
reply  = "550 5.7.1 Programs are not accepted by mail"
mode   = "shadow"
""",
    ),
    (
        "Mail from outside is marked in the subject",
        "from-outside",
        """\
[[rules]]
name        = "from-outside"
direction   = "in"
action      = "tag"
subject_tag = "[EXTERNAL]"
mode        = "shadow"
""",
    ),
    (
        "Locked archives wait in the quarantine, for no scanner can see into them",
        "locked-archives-wait",
        """\
[[rules]]
name   = "locked-archives-wait"
when   = "attachments.exists(a, a.kind == 'archive' && 'encrypted' in a.flags)"
action = "quarantine"
mode   = "shadow"
""",
    ),
)


class StepModel(View):
    """One of the first steps; `link` is the page where it is done."""

    id: str
    words: str
    is_done: bool
    link: str


class StepList(View):
    """All of them, and whether who asks has put the card away."""

    items: list[StepModel]
    is_dismissed: bool


class ServerOrder(Order):
    """A server to look at.

    :ivar recipient: for whom mail would be; "" to stop before MAIL
    """

    address: Annotated[str, Field(max_length=300)]
    recipient: Annotated[str, Field(max_length=320)] = ""


class ServerSeen(View):
    """What a server said; nothing was sent to it.

    :ivar tls: what `tls` of its backend could be
    :ivar certificate: why its certificate does not hold; ""
    :ivar trouble: why it could not be looked at to the end; ""
    """

    is_audited: bool
    address: str
    banner: str
    capabilities: list[str]
    tls: str
    tls_version: str
    certificate: str
    recipient_code: int
    recipient_reply: str
    trouble: str
    dialogue: list[str]


async def steps(ask: Ask) -> Answer:
    """The first steps."""
    first = ask.office.first
    items = [StepModel(**attrs.asdict(one)) for one in await first.steps()]
    return answer_of(StepList(items=items, is_dismissed=await first.is_dismissed(ask.who.name)))


async def dismiss(ask: Ask) -> Answer:
    """Put the card away."""
    is_audited = await ask.change("first_steps.dismiss", ask.who.name)
    await ask.office.first.dismiss(ask.who.name)
    return answer_of(Done(is_audited=is_audited))


async def look_at(ask: Ask) -> Answer:
    """Look at a server that is not in the configuration."""
    return answer_of(await _look(ask, ask.body.address, ask.body.recipient))


async def _look(ask: Ask, address: str, recipient: str) -> ServerSeen:
    office, settings = ask.office, ask.office.control.settings
    if recipient and (not recipient.isascii() or not recipient.isprintable() or set(recipient) & set(" <>")
                      or "@" not in recipient):  # fmt: skip
        raise Refusal("validation", 422, "give a recipient as bob@example.net")
    if office.is_sending:
        raise Refusal("rate-limited", 429, "another look is under way", 5.0)
    is_audited = await ask.change("server.look", visible(address, 300), recipient)
    office.is_sending = True
    try:
        seen = await office.in_thread(
            acquaint.look, address, settings.hostname, f"postmaster@{settings.hostname}", recipient
        )
    except BadValue as error:
        raise Refusal("validation", 422, f"{error}; {error.hint}") from None
    finally:
        office.is_sending = False
    shown = {name: visible(value, 600) for name, value in attrs.asdict(seen).items() if isinstance(value, str)}
    return ServerSeen(
        **shown,
        is_audited=is_audited,
        address=address,
        capabilities=[visible(one, 60) for one in seen.capabilities],
        recipient_code=seen.recipient_code,
        dialogue=[visible(line, 600) for line in seen.dialogue],
    )


# Pages


async def dismiss_page(ask: Ask) -> Answer:
    """Put the card of the first steps away."""
    await ask.office.first.dismiss(ask.who.name)
    return redirect("/")


async def server(ask: Ask) -> Answer:
    """Point the gateway at your server: a form."""
    return await _server(ask)


async def _server(ask: Ask, status: int = 200, **more: Any) -> Answer:
    given = {"said": "", "seen": None, "address": "", "recipient": "", "text": "", **more}
    return await ask.office.templates.page(
        ask, "first_server.html", status, here="overview", active=ask.office.control.configuration.active, **given
    )


async def server_look(ask: Ask) -> Answer:
    """Look at a server, and write the text that would point the gateway at it."""
    address, recipient = (ask.form.get(name, "").strip()[:320] for name in ("address", "recipient"))
    given: dict[str, Any] = {"address": address, "recipient": recipient}
    if not recipient:
        return await _server(ask, 422, said="Give somebody who has a mailbox there.", **given)
    try:
        seen = await _look(ask, address, recipient)
    except Refusal as refusal:
        if refusal.status != 422:
            raise
        return await _server(ask, 422, said=refusal.detail, **given)
    text, said = "", ""
    if not seen.trouble:
        domain = recipient.rpartition("@")[2].lower()
        try:
            text = _letters(point_at(hide(ask.office.control.configuration.active.text), address, seen.tls, domain))
        except Unclear as error:
            said = f"The draft is left to you: {error}."
    return await _server(ask, seen=seen, text=text, said=said, **given)


def _letters(text: str) -> Markup:
    """The letters themselves, since they come back: what would steer a reader is shown by the difference."""
    return Markup("\n") + escape(text)


async def rule(ask: Ask) -> Answer:
    """Rules to begin with, each as a text to check and put to work."""
    active = ask.office.control.configuration.active
    text = await ask.office.in_thread(hide, active.text)
    templates: list[tuple[str, str, str, str, str]] = []
    for words, name, table in RULES:
        try:
            templates.append((words, name, table, _letters(with_rule(text, table)), ""))
        except Unclear as error:
            templates.append((words, name, table, "", str(error)))
    waiting: list[tuple[Any, str]] = []
    for one in ask.office.control.policy.rules():
        if one.mode == "shadow":
            try:
                waiting.append((one, _letters(enforced(text, one.name))))
            except Unclear:
                waiting.append((one, ""))
    return await ask.office.templates.page(
        ask, "first_rule.html", here="rules", active=active, templates=templates, waiting=waiting
    )


ROUTES = (
    Route("GET", _BASE, "stats:read", steps, summary="The first steps", answer=StepList),
    Route("POST", f"{_BASE}/dismiss", "stats:read", dismiss, summary="Put them away", body=Nothing, answer=Done),
    Route(
        "POST",
        f"{_BASE}/server",
        "config:write",
        look_at,
        summary="Look at a server that is not in the configuration",
        body=ServerOrder,
        answer=ServerSeen,
    ),
    page_route("/first/dismiss", "stats:read", dismiss_page, "POST"),
    page_route("/first/server", "config:write", server),
    page_route("/first/server", "config:write", server_look, "POST"),
    page_route("/first/rule", "config:write", rule),
)
