"""The pages on which the content of held mail is read: text first, HTML in a locked frame, nothing from outside.

The frame's page is written anew by an allow list in the limited child (`examine.sanitised`); its policy lets no script
run, nothing be fetched, nothing be sent, and the frame's `sandbox` is empty. The page around it never holds a
stranger's markup.
"""

from __future__ import annotations

from typing import Any, Final

import attrs

from smtpgate.admin import api_seconds, reading
from smtpgate.admin import api_viewer as do
from smtpgate.admin.answer import Answer, redirect
from smtpgate.admin.api_quarantine import held_of
from smtpgate.admin.guard import Refusal
from smtpgate.admin.routes import Ask, Route, page_route
from smtpgate.control.views import Refused, Unavailable, Unknown
from smtpgate.policy.held import Held

#: Letters of all texts on one page; the rest is in the API and in the file.
LETTERS: Final = 100_000
#: Letters that are shown of one piece at a time (`text.visible` cuts what is longer than 500).
_PIECE: Final = 400
#: Links, members of archives and header fields on the page; the API has all.
ROWS: Final = 200
#: Of the frame: no more than the sandbox of the frame itself allows, for whoever opens it elsewhere.
FRAME_POLICY: Final = (
    "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'"
)
_SAID: Final = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Held message</title></head><body><p>{}</p>'
    "</body></html>"
)


async def view(ask: Ask) -> Answer:
    """What is in a held message."""
    message = await held_of(ask, ask.args["id"])
    if reading.wants_second(ask, message):
        return await _second(ask, message)
    if reading.wants_reason(ask, message) and not reading.is_of_two(ask, message):
        return await _reason(ask, message)
    if not ask.office.readings.holds(ask, message):
        await reading.read(ask, message, "its content on a page")
    said, found = "", None
    try:
        found = await do.model_of(ask, message)
    except (Unavailable, Refused) as error:
        # What is known of it without its content is on the other page, and it can be downloaded all the same.
        said = str(error)
    texts, left = [], LETTERS
    for text in found.texts if found is not None else ():
        texts.append({"of": text, "rows": _rows(text.text[:left]), "is_cut": text.is_cut or len(text.text) > left})
        left = max(0, left - len(text.text))
        if not left:
            break
    answer = await ask.office.templates.page(
        ask,
        "view.html",
        200 if found is not None else 503,
        here="quarantine",
        one=message,
        found=found,
        said=said,
        wants_reason=False,
        wishes=api_seconds.wishes_of(ask, message).items if reading.is_of_two(ask, message) else [],
        wants_second=False,
        texts=texts,
        rows=ROWS,
        may_have=ask.who.may("content:malware") or not (found is not None and found.is_sealed),
    )
    policy = answer.headers["Content-Security-Policy"] + "; frame-src 'self'"
    return attrs.evolve(answer, headers={**answer.headers, "Content-Security-Policy": policy})


async def _second(ask: Ask, message: Held, said: str = "", status: int = 200) -> Answer:
    return await _asking(ask, message, said, status, wants_second=True)


async def _reason(ask: Ask, message: Held, said: str = "", status: int = 200) -> Answer:
    return await _asking(ask, message, said, status, wants_second=False)


async def _asking(ask: Ask, message: Held, said: str, status: int, wants_second: bool) -> Answer:
    own = ask.office.seconds.of(message.id, ask.who.name)
    answer: Answer = await ask.office.templates.page(
        ask,
        "view.html",
        status,
        here="quarantine",
        one=message,
        found=None,
        said=said,
        wants_reason=not wants_second,
        wants_second=wants_second,
        wishes=api_seconds.wishes_of(ask, message).items if reading.is_of_two(ask, message) else [],
        waits=own is not None,
        texts=[],
        rows=ROWS,
        may_have=False,
    )
    return answer


async def give_reason(ask: Ask) -> Answer:
    """Say why it is read."""
    message = await held_of(ask, ask.args["id"])
    reason = ask.form.get("reason", "").strip()
    if not reason:
        return await _reason(ask, message, "Say why, in a few words.", 422)
    await reading.read(ask, message, "its content on a page", reason)
    return redirect(f"/quarantine/{message.id}/view")


async def want_reading(ask: Ask) -> Answer:
    """Ask to read it, for a second person."""
    message = await held_of(ask, ask.args["id"])
    return await _done(ask, message, api_seconds.want(ask, message, ask.form.get("reason", "")))


async def approve_reading(ask: Ask) -> Answer:
    """Let somebody else read it."""
    message = await held_of(ask, ask.args["id"])
    return await _done(ask, message, api_seconds.say(ask, message, ask.form.get("name", ""), True))


async def deny_reading(ask: Ask) -> Answer:
    """Say no."""
    message = await held_of(ask, ask.args["id"])
    return await _done(ask, message, api_seconds.say(ask, message, ask.form.get("name", ""), False))


async def _done(ask: Ask, message: Held, work: Any) -> Answer:
    try:
        await work
    except Refusal as refusal:
        if refusal.status not in (404, 409, 422) or not reading.wants_second(ask, message):
            raise
        return await _second(ask, message, refusal.detail.capitalize() + ".", refusal.status)
    return redirect(f"/quarantine/{message.id}/view")


async def frame(ask: Ask) -> Answer:
    """One part of HTML, locked up."""
    message, number = await held_of(ask, ask.args["id"]), ask.args["number"]
    if reading.wants_second(ask, message):
        return _framed(_SAID.format("Somebody else has to approve it first.").encode(), 403)
    if reading.wants_reason(ask, message) and not reading.is_of_two(ask, message):
        return _framed(_SAID.format("Open the page of the message, and say why you read it.").encode(), 403)
    if not ask.office.readings.holds(ask, message):
        await reading.read(ask, message, f"part {number[:60]} as HTML")
    try:
        shown = await ask.office.control.viewer.page(message, number)
    except Unknown:
        return _framed(_SAID.format("There is no such part of HTML.").encode(), 404)
    except (Unavailable, Refused):
        return _framed(_SAID.format("The HTML cannot be shown now. Its text is on the page around.").encode(), 503)
    return _framed(shown.html)


def _framed(html: bytes, status: int = 200) -> Answer:
    headers = {"Content-Security-Policy": FRAME_POLICY, "X-Frame-Options": "SAMEORIGIN"}
    return Answer(html, status, headers=headers)


def _rows(text: str) -> list[list[str]]:
    """Lines, each in pieces that are shown whole."""
    return [[line[at : at + _PIECE] for at in range(0, len(line), _PIECE)] for line in text.split("\n")]


async def content(ask: Ask) -> Answer:
    """All of it, as a file."""
    return await do.held_content(ask)


async def part(ask: Ask) -> Answer:
    """One part, as a file."""
    return await do.held_part(ask)


def _page(path: str, serve: Any, method: Any = "GET", is_guarded: bool = False) -> Route:
    return page_route(path, "content:read", serve, method, for_domains=True, is_guarded=is_guarded)


ROUTES = (
    _page("/quarantine/<id>/view", view),
    _page("/quarantine/<id>/view", give_reason, "POST"),
    _page("/quarantine/<id>/reading", want_reading, "POST"),
    _page("/quarantine/<id>/reading/approve", approve_reading, "POST", is_guarded=True),
    _page("/quarantine/<id>/reading/deny", deny_reading, "POST"),
    _page("/quarantine/<id>/frame/<number>", frame),
    _page("/quarantine/<id>/content", content, is_guarded=True),
    _page("/quarantine/<id>/parts/<number>", part, is_guarded=True),
)
