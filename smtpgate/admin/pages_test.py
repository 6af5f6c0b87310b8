"""The page that tries mail: a message from a file, pasted, a sample or a held one, or a dialogue; on what is at work,
and on one's own draft beside it."""

from __future__ import annotations

from typing import Any, Final

from pydantic import ValidationError

from smtpgate.admin import api_cases, explain, insight
from smtpgate.admin import api_test as do
from smtpgate.admin.answer import Answer, redirect
from smtpgate.admin.api_rules import check_size
from smtpgate.admin.guard import Refusal
from smtpgate.admin.panels import panel
from smtpgate.admin.routes import Ask, Route, largest_message
from smtpgate.config.loader import ConfigErrors
from smtpgate.control.bench import AT_WORK, TLS_VERSIONS, Arrival, Tried
from smtpgate.control.bench_samples import BY_NAME, SAMPLES
from smtpgate.control.views import Refused

#: What a form may say in one line, and of a message or a script that is written there; a file may be larger.
LINE: Final = 500
MESSAGE: Final = 900_000
#: Of an arrival; they stand in the address of the page too.
FIELDS: Final = ("sender", "recipients", "client_ip", "helo", "user", "tls", "listener", "time")
_SCRIPT: Final = "EHLO client.example.org\nMAIL FROM:<ann@example.org>\nRCPT TO:<bob@example.net>\nQUIT"


async def test(ask: Ask) -> Answer:
    """What to try."""
    sample = BY_NAME.get(ask.query.get("sample", ""))
    given = {name: line(ask.query.get(name, "")) for name in (*FIELDS, "held", "stored")}
    text = sample.text if sample is not None else ""
    return await _page(ask, given, ask.query.get("form", ""), text=text)


def line(text: str) -> str:
    """One line of a form."""
    return "".join(letter for letter in text if letter.isprintable())[:LINE].strip()


async def _page(ask: Ask, given: dict[str, str], form: str, status: int = 200, **more: Any) -> Answer:
    settings = ask.office.control.settings
    draft = (await panel(ask.office.control.configuration.draft(ask.who.actor), None))[0] if may_draft(ask) else None
    values = {"said": "", "problems": (), "found": (), "model": None, "text": "", "script": _SCRIPT, **more}
    return await ask.office.templates.page(
        ask,
        "test.html",
        status,
        here="test",
        given=given,
        form="session" if form == "session" else "message",
        samples=SAMPLES,
        listeners=tuple(settings.listeners),
        versions=(*TLS_VERSIONS, "off"),
        has_draft=draft is not None and bool(draft.at),
        most_mib=max(largest_message(settings.limits.message_size_octets) >> 20, 1),
        assumed=do.ASSUMED,
        insight=insight,
        banner_of_session=explain.of_session,
        at_work=AT_WORK,
        **values,
    )


def may_draft(ask: Ask) -> bool:
    """Whether who asks may have a draft."""
    return ask.who.may("config:write") and ask.office.control.configuration.store is not None


async def run(ask: Ask) -> Answer:
    """Try it."""
    given = {name: line(ask.form.get(name, "")) for name in (*FIELDS, "held", "stored")}
    form = ask.form.get("form", "")
    text, script = ask.form.get("message", ""), ask.form.get("script", "")
    shown: dict[str, Any] = {"text": text if len(text) <= MESSAGE else "", "script": script or _SCRIPT}
    if max(len(text), len(script)) > MESSAGE:
        return await _page(ask, given, form, 422, said="It is too large for this form: give a file.", **shown)
    try:
        draft = await _draft(ask) if ask.form.get("draft") else None
        if form == "session":
            octets, comes = script.replace("\r\n", "\n").encode("utf-8", "replace"), do.arrival(_envelope(given))
            found = await do.session_tried(ask, script, comes, draft)
        else:
            wrong = _wrong(ask, given, text)
            if wrong:
                return await _page(ask, given, form, 422, said=wrong, **shown)
            octets, comes, name = await _message(ask, given, text)
            found = await do.octets_tried(ask, octets, comes, name, draft)
        if line(ask.form.get("case", "")):
            await api_cases.keep(ask, line(ask.form["case"]), octets, comes, found[0])
    except ConfigErrors as errors:
        problems = [one for one in errors.problems if one.is_error]
        return await _page(ask, given, form, 422, problems=problems, **shown)
    except ValidationError:
        return await _page(
            ask, given, form, 422, said="An address or a name has letters that cannot be there.", **shown
        )
    except Refusal as refusal:
        if refusal.status not in (409, 413, 422):
            raise
        return await _page(ask, given, form, refusal.status, said=refusal.detail, **shown)
    except Refused as refused:
        return await _page(ask, given, form, 409, said=str(refused), **shown)
    model, records = await ask.office.in_thread(_shown, found)
    return await _page(ask, given, form, model=model, found=records, **shown)


def _shown(found: list[Tried]) -> tuple[Any, list[Any]]:
    model = do.bench_model(found)
    return model, [(view, one.scale) for view, one in zip(model.items, found, strict=True)]


async def _draft(ask: Ask) -> Any:
    """The settings of one's own draft."""
    text = await draft_text(ask)
    return await ask.office.in_thread(ask.office.control.configuration.settings_of, text)


async def draft_text(ask: Ask) -> str:
    """The text of one's own draft, with the secrets that it has of its own. Raises Refusal."""
    do.may_draft(ask)
    books, actor = ask.office.control.configuration, ask.who.actor
    draft = await books.draft(actor)
    text: str = await books.whole(draft.text, actor)
    return text


def _envelope(given: dict[str, str]) -> do.ArrivalModel:
    recipients = given["recipients"].replace(",", " ").split()
    named = {name: given[name] for name in FIELDS if name != "recipients"}
    return do.ArrivalModel(recipients=recipients, **named)


def _wrong(ask: Ask, given: dict[str, str], text: str) -> str:
    """What is wrong with a form that has a message; "" for nothing."""
    ways = [bool(text.strip()), bool(ask.files.get("file", b"")), bool(given["held"]), bool(given["stored"])]
    return "" if sum(ways) == 1 else "Paste one message, give a file, or say which held one: one of these."


async def _message(ask: Ask, given: dict[str, str], text: str) -> tuple[bytes, Arrival, str]:
    """The message of a form, how it comes, and what it is called. Raises Refusal."""
    envelope = _envelope(given)
    if given["held"] or given["stored"]:
        reason = line(ask.form.get("reason", ""))
        body = do.MessageTrial(held=given["held"], stored=given["stored"], envelope=envelope, reason=reason)
        return await do.given(ask, body)
    # What is not text stays as it is.
    octets = ask.files.get("file", b"") or text.encode("utf-8", "replace")
    check_size(ask, octets)
    return octets, do.arrival(envelope), "a message"


async def cases(ask: Ask) -> Answer:
    """What was kept to be tried again."""
    return await _cases(ask)


async def _cases(ask: Ask, status: int = 200, said: str = "", checked: Any = None) -> Answer:
    try:
        found = [api_cases.case_model(one) for one in await ask.office.control.cases.all()]
    except Refused as refused:
        found, status, said = [], 503, f"{refused}."
    draft = (await panel(ask.office.control.configuration.draft(ask.who.actor), None))[0] if may_draft(ask) else None
    return await ask.office.templates.page(
        ask,
        "cases.html",
        status,
        here="test",
        said=said,
        cases=found,
        checked=checked,
        has_draft=draft is not None and bool(draft.at),
    )


async def run_cases(ask: Ask) -> Answer:
    """Try all again."""
    try:
        draft = await _draft(ask) if ask.form.get("draft") else None
        await do.noted(ask, "all cases", "", draft)
        found = await ask.office.control.cases.run(draft)
    except ConfigErrors:
        return await _cases(ask, 422, "Your draft has errors: see the page Configuration.")
    except Refused as refused:
        return await _cases(ask, 409, f"{refused}.")
    return await _cases(ask, checked=await ask.office.in_thread(api_cases.checked_model, found))


async def remove_case(ask: Ask) -> Answer:
    """Delete one."""
    await api_cases.remove(ask, ask.args["id"])
    return redirect("/test/cases")


_WEB: Final = frozenset({"web"})
ROUTES = (
    Route("GET", "/test/cases", "test:run", cases, "page", "Regression cases", doors=_WEB),
    Route("POST", "/test/cases", "test:run", run_cases, "page", "Try all again", doors=_WEB),
    Route("POST", "/test/cases/<id>/remove", "test:run", remove_case, "page", "Delete a case", doors=_WEB),
    Route("GET", "/test", "test:run", test, "page", "What to try", doors=frozenset({"web"})),
    Route("POST", "/test", "test:run", run, "page", "Try it", doors=_WEB, is_large=True, takes_files=True),
)
