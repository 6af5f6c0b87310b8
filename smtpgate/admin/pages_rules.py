"""The page about rules: which there are, how often each was true, and what a rule would do before it is applied."""

from __future__ import annotations

from typing import Any

from smtpgate.admin.routes import Ask, Route
from smtpgate.admin.wire import Answer
from smtpgate.config.loader import ConfigErrors
from smtpgate.control.rule_trials import Envelope
from smtpgate.control.views import Refused

#: Messages of the history that the form tries rules on.
LAST = 1000
#: What a form may say in one line, of rules, and of a message; all of it is under the cap of a request.
LINE, TEXT, MESSAGE = 500, 20_000, 900_000
_FIELDS = ("sender", "recipients", "client_ip", "user", "listener")


async def rules(ask: Ask) -> Answer:
    """All rules."""
    return await _rules(ask)


async def _rules(ask: Ask, status: int = 200, **more: Any) -> Answer:
    control = ask.office.control
    given = {"said": "", "problems": (), "past": None, "items": None, "text": "", "message": "", **more}
    return await ask.office.templates.page(
        ask,
        "rules.html",
        status,
        here="rules",
        rules=control.policy.rules(),
        listeners=tuple(control.settings.listeners),
        last=LAST,
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
    if on != "history" and not message.strip():
        return await _rules(ask, 422, said="Paste a message, or try the rules on the history.", **given)
    if len(message) > MESSAGE:
        return await _rules(ask, 422, said="The message is too large for this form.", text=text)
    try:
        if on == "history":
            return await _rules(ask, past=await trials.past(LAST, text), **given)
        recipients = _line(ask.form.get("recipients", "")).replace(",", " ").split()
        names = {name: _line(ask.form.get(name, "")) for name in _FIELDS if name != "recipients"}
        items = await trials.message(
            message.encode("utf-8", "replace"), Envelope(recipients=tuple(recipients), **names), text
        )
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
    ),
)
