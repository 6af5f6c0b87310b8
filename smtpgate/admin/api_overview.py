"""The API about the whole: state and counters, what is wrong now, and a test message through an own listener."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from smtpgate.admin import models_overview as o
from smtpgate.admin.answer import Answer
from smtpgate.admin.api_look import answer_of
from smtpgate.admin.guard import Refusal
from smtpgate.admin.lookup import find_session
from smtpgate.admin.routes import Ask, Route
from smtpgate.config.model import Settings
from smtpgate.control import sendtest
from smtpgate.control.views import Refused

_BASE = "/api/v1"
#: Lines of a dialogue that are kept.
LINES = 200


async def overview(ask: Ask) -> Answer:
    """State, counters, and warnings."""
    control = ask.office.control
    await control.certificates.look()
    return answer_of(o.whole_model(control, ask.office.numbers.p95_ms(), ask.office.wall()))


async def alerts(ask: Ask) -> Answer:
    """What is wrong now."""
    await ask.office.control.certificates.look()
    return answer_of(o.AlertList(items=[o.alert_model(one) for one in ask.office.control.alerts.now()]))


async def send(ask: Ask) -> Answer:
    """A test message through one of the gateway's own listeners, and what both sides said."""
    body = ask.body
    sent, dialogue, is_audited = await send_test(ask, body.to, body.sender, body.listener, body.is_bad)
    return answer_of(o.TestSent(is_audited=is_audited, code=sent.code, reference=sent.reference, dialogue=dialogue))


def recipient_of(settings: Settings) -> str:
    """To whom a test message goes where nobody says."""
    domain = next((entry for entry in settings.local_domains if not entry.startswith("*")), "example.net")
    return f"postmaster@{domain}"


async def send_test(
    ask: Ask, to: str, sender: str, listener: str, is_bad: bool = False
) -> tuple[sendtest.Sent, list[str], bool]:
    """The same for a page: what became of it, the dialogue, and whether it is in the audit. One at a time: each has a
    thread for as long as the gateway takes to answer."""
    office, settings = ask.office, ask.office.control.settings
    to, sender = to or recipient_of(settings), sender or f"postmaster@{settings.hostname}"
    for address in (to, sender):
        if not address.isascii() or not address.isprintable() or set(address) & set(" <>") or "@" not in address:
            raise Refusal("validation", 422, "an address as bob@example.net")
    try:
        sendtest.choose(settings, listener)
    except ValueError as error:
        raise Refused(str(error)) from None
    if office.is_sending:
        raise Refusal("rate-limited", 429, "another test message is on its way", 5.0)
    is_audited = await ask.change("test.send", to, f"{listener} bad".strip() if is_bad else listener)
    lines: list[str] = []
    office.is_sending = True
    try:
        sent: sendtest.Sent = await office.in_thread(
            sendtest.run,
            settings,
            to,
            sender,
            listener,
            lambda *words: lines.append(" ".join(map(str, words))),
            is_bad,
        )
    except OSError as error:
        raise Refused(f"the listener does not answer: {error}") from None
    finally:
        office.is_sending = False
    return sent, lines[:LINES], is_audited


async def wait_for(ask: Ask, reference: str) -> bool:
    """Whether a message that just ended is found: histories are written in batches."""
    for _ in range(20):
        try:
            await find_session(ask.office, ask.who.reach, reference)
        except Refusal:
            pause: Deferred[None] = Deferred()
            ask.office.clock.callLater(0.1, pause.callback, None)
            await pause
        else:
            return True
    return False


ROUTES = (
    Route(
        "GET",
        f"{_BASE}/overview",
        "stats:read",
        overview,
        summary="State and counters",
        answer=o.WholeModel,
    ),
    Route("GET", f"{_BASE}/alerts", "stats:read", alerts, summary="What is wrong now", answer=o.AlertList),
    Route(
        "POST",
        f"{_BASE}/test/send",
        "test:run",
        send,
        summary="A test message through an own listener",
        body=o.TestSend,
        answer=o.TestSent,
    ),
)
