"""The page of somebody's own held mail: what waits for them, their lists, and when they hear of it.

It is in the language that they chose, and works without scripts: each button is a form.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlencode

from pydantic import ValidationError

from smtpgate.admin import api_me as do
from smtpgate.admin import models_me as mine
from smtpgate.admin.answer import Answer, redirect
from smtpgate.admin.problem import refusal_of
from smtpgate.admin.routes import Ask, Route, page_route
from smtpgate.admin.spoken import LANGUAGES, words_of
from smtpgate.control.views import Invalid, Refused, Unknown
from smtpgate.policy.own import KINDS, writer_of
from smtpgate.policy.person import DIGESTS, WEEKDAYS

#: Messages on a page.
ROWS = 50
_DONE = ("release", "request", "drop", "restore", "block", "allow", "remove", "saved")
#: An id or an entry: nobody is shown what somebody else wrote into a link.
_ABOUT = re.compile(r"[\w.@+=-]{1,320}")
_WRONG = (Invalid, Refused, Unknown)


async def my(ask: Ask) -> Answer:
    """What waits for who asks."""
    return await _my(ask)


async def _my(ask: Ask, trouble: str = "", status: int = 200) -> Answer:
    person, people = await do.who(ask), ask.office.control.people
    found, cursor = await people.held(person, ROWS, ask.query.get("before", "")[:40])
    language = person.preferences.language or ask.office.control.settings.digests.language
    told, about = ask.query.get("done", ""), ask.query.get("about", "")
    return await ask.office.templates.page(
        ask,
        "my.html",
        status,
        here="my",
        person=person,
        rows=[(mine.own_held(person, one, people.may(one)), writer_of(one)) for one in found],
        next_page=urlencode({"before": cursor}) if cursor else "",
        lists=(await do.lists_of(ask, person)).items,
        chosen=mine.own_preferences(person.preferences),
        told=told if told in _DONE else "",
        about=about if _ABOUT.fullmatch(about) else "",
        trouble=trouble,
        said=words_of(language),
        spoken=language,
        languages=tuple(LANGUAGES),
        digests=("default", *DIGESTS),
        weekdays=WEEKDAYS,
        kinds=KINDS,
    )


async def act(ask: Ask) -> Answer:
    """Release, request, delete one, or take that back; or put its sender on a list."""
    action = ask.form.get("action", "")
    try:
        if action in ("release", "request", "drop", "restore"):
            await do.act(ask, action)
            return _told(action, ask.args["id"])
        if action in KINDS:
            person = await do.who(ask)
            sender = writer_of(await ask.office.control.people.message(person, ask.args["id"]))
            await do.put(ask, sender, action)
            return _told(action, sender)
        raise Invalid("choose what is to become of it")
    except _WRONG as error:
        return await _trouble(ask, error)


async def _trouble(ask: Ask, error: Exception) -> Answer:
    refusal = refusal_of(error)
    return await _my(ask, f"{refusal.detail[:1].upper()}{refusal.detail[1:]}.", refusal.status)


def _told(done: str, about: str = "") -> Answer:
    return redirect("/my?" + urlencode({"done": done, **({"about": about} if about else {})}))


async def lists(ask: Ask) -> Answer:
    """Put a sender on a list, or take one off."""
    entry = ask.form.get("entry", "")[:320]
    try:
        if ask.form.get("action", "") == "remove":
            await do.take_off(ask, entry)
            return _told("remove", entry)
        kind = ask.form.get("kind", "")
        await do.put(ask, entry, kind)
        return _told(kind, entry)
    except _WRONG as error:
        return await _trouble(ask, error)


async def preferences(ask: Ask) -> Answer:
    """Choose when one hears of held mail, and in which language."""
    given: dict[str, Any] = {name: ask.form[name] for name in mine.NewPreferences.model_fields if ask.form.get(name)}
    try:
        chosen = mine.NewPreferences.model_validate(given)
    except ValidationError:
        return await _trouble(ask, Invalid("choose one of what is offered, and a time like 08:00"))
    try:
        await do.choose(ask, chosen)
    except _WRONG as error:
        return await _trouble(ask, error)
    return _told("saved")


def _page(path: str, serve: Any, method: Any = "GET") -> Route:
    return page_route(path, "self", serve, method, for_domains=True)


ROUTES = (
    _page("/my", my),
    _page("/my/lists", lists, "POST"),
    _page("/my/preferences", preferences, "POST"),
    _page("/my/<id>", act, "POST"),
)
