"""The page of the log: its newest lines, and from which level on which part of it is written."""

from __future__ import annotations

from smtpgate.admin import api_logs, sieve
from smtpgate.admin.answer import Answer, redirect
from smtpgate.admin.guard import Refusal
from smtpgate.admin.routes import Ask, page_route
from smtpgate.control.logs import LINES, PARTS
from smtpgate.control.views import Refused

#: Lines on a page.
ROWS = 100
#: What of a line stands in its row; the rest is a click away.
FACTS = ("client_ip", "mail_from", "rcpt_to", "reason", "code", "reply", "filter", "server", "dur_ms")
#: Lengths that a form offers, minutes.
LENGTHS = ((15, "15 minutes"), (60, "an hour"), (1440, "a day"))


async def logs(ask: Ask) -> Answer:
    """The newest lines of the log."""
    return await _logs(ask)


async def _logs(ask: Ask, status: int = 200, said: str = "") -> Answer:
    wanted, least = ask.query.get("filter", ""), ask.query.get("level", "")
    least = least if least in api_logs.LEVELS else ""
    try:
        read = sieve.read(wanted)
    except ValueError as error:
        read, status, said = sieve.read(""), 400, f"The filter is not understood: {error}."
    try:
        items, tail = await api_logs.read(ask, 0, ROWS, least, read)
        levels = ask.office.control.logs.levels()
        last = tail.last
    except Refused as refused:
        items, levels, last, said = [], [], 0, str(refused)
    return await ask.office.templates.page(
        ask,
        "logs.html",
        status,
        here="logs",
        items=items[::-1],
        last=last,
        wanted=wanted,
        least=least,
        levels=api_logs.LEVELS,
        own=[one for one in levels if one.until],
        usual=next((one.level for one in levels if not one.until), ""),
        parts=PARTS,
        lengths=LENGTHS,
        facts=FACTS,
        said=said,
    )


async def download(ask: Ask) -> Answer:
    """The lines that are kept, as a file."""
    try:
        read = sieve.read(ask.query.get("filter", ""))
    except ValueError as error:
        raise Refusal("parameter", 400, f"filter: {error}") from None
    least = ask.query.get("level", "")
    items, _ = await api_logs.read(ask, 0, LINES, least if least in api_logs.LEVELS else "", read)
    text = "".join(f"{item.text}\n" for item in items)
    headers = {"Content-Disposition": 'attachment; filename="smtpgate.log"'}
    return Answer(text.encode("utf-8", "replace"), 200, "text/plain; charset=utf-8", headers)


async def set_level(ask: Ask) -> Answer:
    """Another level for a part of the log."""
    minutes = ask.form.get("minutes", "")
    if minutes not in {"0", *(str(one) for one, _ in LENGTHS)}:
        raise Refusal("parameter", 400, "choose how long")
    try:
        await api_logs.change_level(ask, ask.form.get("part", ""), ask.form.get("level", ""), int(minutes))
    except Refused as refused:
        return await _logs(ask, 409, f"Nothing was changed: {refused}.")
    return redirect("/logs")


ROUTES = (
    page_route("/logs", "config:read", logs),
    page_route("/logs/download", "config:read", download),
    page_route("/logs/level", "system:write", set_level, "POST"),
)
