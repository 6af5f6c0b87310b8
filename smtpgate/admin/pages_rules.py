"""The page about rules: which there are, how often each was true, and what a rule would do before it is applied."""

from __future__ import annotations

from typing import Any

from smtpgate.admin.answer import Answer
from smtpgate.admin.api_rules import check_size
from smtpgate.admin.routes import Ask, Route, largest_message
from smtpgate.config.loader import ConfigErrors
from smtpgate.control.rule_trials import Envelope
from smtpgate.control.views import Refused

#: Messages of the history that the form tries rules on.
LAST = 1000
#: What a form may say in one line, of rules, and of a message that is written there; a file may be larger.
LINE, TEXT, MESSAGE = 500, 20_000, 900_000
_FIELDS = ("sender", "recipients", "client_ip", "user", "listener")


async def rules(ask: Ask) -> Answer:
    """All rules."""
    return await _rules(ask)


async def _rules(ask: Ask, status: int = 200, **more: Any) -> Answer:
    control = ask.office.control
    given = {"said": "", "problems": (), "past": None, "items": None, "text": "", "message": "", **more}
    most = largest_message(control.settings.limits.message_size_octets)
    return await ask.office.templates.page(
        ask,
        "rules.html",
        status,
        here="rules",
        rules=control.policy.rules(),
        listeners=tuple(control.settings.listeners),
        last=LAST,
        most_mib=max(most >> 20, 1),
        fields={name: _line(ask.form.get(name, "")) for name in _FIELDS} if more else dict.fromkeys(_FIELDS, ""),
        **given,
    )


def _line(text: str) -> str:
    return "".join(c for c in text if c.isprintable())[:LINE].strip()


async def try_rules(ask: Ask) -> Answer:
    """Try rules on the newest messages, or on one."""
    text = ask.form.get("text", "")[:TEXT].replace("\r\n", "\n")
    message = ask.form.get("message", "")
    on = ask.form.get("on", "")
    given: dict[str, Any] = {"text": text, "message": message}
    trials = ask.office.control.rule_trials
    file = ask.files.get("file", b"")
    if on != "history" and not message.strip() and not file:
        said = "Paste a message, give a file, or try the rules on the history."
        return await _rules(ask, 422, said=said, **given)
    if on != "history" and message.strip() and file:
        return await _rules(ask, 422, said="Give one message: a file, or words in the form.", **given)
    if len(message) > MESSAGE:
        return await _rules(ask, 422, said="The message is too large for this form.", text=text)
    try:
        if on == "history":
            return await _rules(ask, past=await trials.past(LAST, text), **given)
        recipients = _line(ask.form.get("recipients", "")).replace(",", " ").split()
        names = {name: _line(ask.form.get(name, "")) for name in _FIELDS if name != "recipients"}
        octets = file or message.encode("utf-8", "replace")
        check_size(ask, octets)
        items = await trials.message(octets, Envelope(recipients=tuple(recipients), **names), text)
    except ConfigErrors as errors:
        return await _rules(ask, 422, problems=errors.problems, **given)
    except Refused as refused:
        return await _rules(ask, 409, said=str(refused), **given)
    return await _rules(ask, items=items, **given)


ROUTES = (
    Route("GET", "/rules", "config:read", rules, "page", "All rules", doors=frozenset({"web"})),
    Route(
        "POST",
        "/rules/try",
        "test:run",
        try_rules,
        "page",
        "Try rules on the newest messages, or on one",
        doors=frozenset({"web"}),
        is_large=True,
    ),
)
