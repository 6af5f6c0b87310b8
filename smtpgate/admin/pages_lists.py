"""The page of allow and block lists."""

from __future__ import annotations

from typing import Any, Final

from smtpgate.admin import api_lists as do
from smtpgate.admin.answer import Answer, redirect
from smtpgate.admin.routes import Ask, Route, page_route
from smtpgate.control.lists import KINDS
from smtpgate.control.views import Refused, Unknown

#: How long an entry may hold, minutes and words.
LENGTHS: Final = (
    (1440, "a day"),
    (10_080, "a week"),
    (43_200, "30 days"),
    (525_600, "a year"),
    (0, "good"),
)
ROWS: Final = 500
_FIELDS: Final = ("kind", "entry", "minutes", "reason")


async def lists(ask: Ask) -> Answer:
    """All entries."""
    return await _lists(ask, {name: ask.query.get(name, "") for name in _FIELDS})


async def _lists(ask: Ask, given: dict[str, str], status: int = 200, said: str = "", text: str = "") -> Answer:
    managed = ask.office.control.lists
    shown = given["kind"] if given["kind"] in KINDS else ""
    found = managed.entries(shown)
    return await ask.office.templates.page(
        ask,
        "lists.html",
        status,
        here="lists",
        said=said,
        entries=found[:ROWS],
        total=len(found),
        configured=managed.configured()[:ROWS],
        is_asked=managed.is_asked,
        kinds=KINDS,
        shown=shown,
        lengths=LENGTHS,
        given={name: "".join(c for c in value if c.isprintable())[:400] for name, value in given.items()},
        text=text,
        may_write=ask.who.may("lists:write"),
    )


async def add(ask: Ask) -> Answer:
    """List somebody."""
    given = {name: ask.form.get(name, "") for name in _FIELDS}
    minutes = given["minutes"]
    if minutes not in {str(one) for one, _ in LENGTHS}:
        return await _lists(ask, given, 422, "Choose how long it holds.")
    try:
        await do.add(ask, given["kind"], given["entry"], int(minutes), given["reason"])
    except Refused as refused:
        return await _lists(ask, given, 422, f"{refused}.")
    return redirect("/lists")


async def remove(ask: Ask) -> Answer:
    """Take an entry out."""
    try:
        await do.remove(ask, ask.form.get("kind", ""), ask.form.get("entry", ""))
    except Unknown:
        # Somebody was quicker, or its time is over.
        pass
    except Refused as refused:
        return await _lists(ask, dict.fromkeys(_FIELDS, ""), 422, f"{refused}.")
    return redirect("/lists")


async def take_in(ask: Ask) -> Answer:
    """List those of a text."""
    text = ask.form.get("text", "")[:900_000].replace("\r\n", "\n")
    try:
        await do.take_in(ask, text)
    except Refused as refused:
        return await _lists(ask, dict.fromkeys(_FIELDS, ""), 422, f"{refused}.", text[:20_000])
    return redirect("/lists")


def _page(method: Any, path: str, permission: str, serve: Any) -> Route:
    return page_route(path, permission, serve, method)


ROUTES = (
    _page("GET", "/lists", "config:read", lists),
    _page("POST", "/lists/add", "lists:write", add),
    _page("POST", "/lists/remove", "lists:write", remove),
    _page("POST", "/lists/import", "lists:write", take_in),
)
