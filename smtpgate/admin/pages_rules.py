"""The page about rules: which there are, how often each was true, what a rule would do before it is applied; and the
forms that edit them in one's draft of the configuration."""

from __future__ import annotations

from typing import Any

from smtpgate.admin import api_rules_edit
from smtpgate.admin.answer import Answer, redirect
from smtpgate.admin.api_policy import rule_models
from smtpgate.admin.api_rules import check_size
from smtpgate.admin.routes import Ask, Route, largest_message
from smtpgate.config import rule_texts
from smtpgate.config.loader import ConfigErrors
from smtpgate.config.rule_texts import MODES
from smtpgate.config.text_blocks import NotSo
from smtpgate.control.rule_edits import TEMPLATES
from smtpgate.control.rule_trials import Envelope
from smtpgate.control.views import Invalid, Refused

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
        rules=await rule_models(ask),
        templates=TEMPLATES,
        may_edit=ask.who.may("config:write") and control.configuration.store is not None,
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


async def edit(ask: Ask) -> Answer:
    """A rule to be written: one that is there, or one of the templates."""
    name = ask.args["name"]
    template = next((one for one in TEMPLATES if one.name == name), None)
    text = template.text if ask.query.get("template") and template is not None else ""
    if not text:
        text, _ = await ask.office.control.rule_edits.text_of(ask.who.actor, name)
    return await _edit(ask, name, text)


async def _edit(ask: Ask, name: str, text: str, status: int = 200, **more: Any) -> Answer:
    rules = [one.name for one in ask.office.control.policy.rules() if not one.is_packed]
    return await ask.office.templates.page(
        ask,
        "rule.html",
        status,
        here="rules",
        rule=name,
        text=text,
        others=rules,
        **{"said": "", "problems": (), "before": "", **more},
    )


async def save(ask: Ask) -> Answer:
    """Put it into one's draft."""
    text, before = ask.form.get("text", "")[:TEXT].replace("\r\n", "\n"), _line(ask.form.get("before", ""))
    name = ask.args["name"]
    try:
        await api_rules_edit.put(ask, text, before, is_new=False)
    except ConfigErrors as errors:
        return await _edit(ask, name, text, 422, problems=errors.problems, before=before)
    except Refused as refused:
        return await _edit(ask, name, text, 422, said=f"{refused}.", before=before)
    return redirect("/config#text")


async def change(ask: Ask) -> Answer:
    """Another mode for a rule, another place, or none at all, in one's draft."""
    name, verb = ask.args["name"], ask.form.get("verb", "")
    try:
        if verb in MODES:
            await api_rules_edit.set_mode(ask, name, verb)
        elif verb == "remove":
            await api_rules_edit.take_out(ask, name)
        elif verb in ("up", "down"):
            await _moved(ask, name, -1 if verb == "up" else 1)
        else:
            raise Invalid("choose what to do")
    except Refused as refused:
        return await _rules(ask, 409, said=f"{refused}.")
    return redirect("/config#text")


async def _moved(ask: Ask, name: str, by: int) -> None:
    edits = ask.office.control.rule_edits
    draft = await edits.draft(ask.who.actor)
    try:
        names = [one.name for one in await ask.office.in_thread(rule_texts.blocks, draft.text)]
    except NotSo as error:
        raise Invalid(str(error)) from None
    if name not in names:
        raise Invalid(f"there is no rule {name} in your draft")
    at = names.index(name)
    to = min(max(at + by, 0), len(names) - 1)
    names.insert(to, names.pop(at))
    await api_rules_edit.order(ask, names)


_WEB = frozenset({"web"})
ROUTES = (
    Route("GET", "/rules/edit/<name>", "config:write", edit, "page", "Write a rule", doors=_WEB),
    Route("POST", "/rules/edit/<name>", "config:write", save, "page", "Put it into your draft", doors=_WEB),
    Route("POST", "/rules/change/<name>", "config:write", change, "page", "Change it in your draft", doors=_WEB),
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
        takes_files=True,
    ),
)
