"""The page of one named table of the configuration: its text, what its keys mean, and into the draft with it."""

from __future__ import annotations

from typing import Any, Final

import attrs

from smtpgate.admin import api_tables
from smtpgate.admin.answer import Answer, redirect
from smtpgate.admin.guard import Refusal
from smtpgate.admin.routes import Ask, page_route
from smtpgate.config.reference import explained
from smtpgate.config.table_texts import KINDS
from smtpgate.control.views import Invalid, Refused, Unknown

_TEXT: Final = 100_000
_LETTERS: Final = 60


@attrs.frozen
class _Shown:
    """The table as the page has it."""

    text: str
    is_new: bool
    is_draft: bool


async def table(ask: Ask) -> Answer:
    """A table to be written: one that is there, or a new one."""
    _check(ask)
    try:
        one = await api_tables.text_of(ask)
        shown = _Shown(one.text, False, one.is_draft)
    except Unknown:
        shown = _Shown(await ask.office.in_thread(_fresh, ask.args["kind"], ask.args["name"]), True, False)
    except Refused as refused:
        return await _page(ask, _Shown("", False, False), 409, f"{refused}.")
    return await _page(ask, shown)


def _check(ask: Ask) -> None:
    kind, name = ask.args["kind"], ask.args["name"]
    if kind not in KINDS:
        raise Unknown("no table of that kind has a name")
    if not name.isprintable() or len(name) > _LETTERS or not set(name) <= _NAME:
        raise Invalid("a name has small letters, digits, - and _")


_NAME: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_")


def _fresh(kind: str, name: str) -> str:
    needed = [key for key in explained(KINDS[kind]) if key.is_required]
    return "\n".join([f"[{kind}.{name}]", *(f"{key.name} = {key.example}" for key in needed), ""])


async def _page(ask: Ask, shown: _Shown, status: int = 200, said: str = "", problems: Any = ()) -> Answer:
    return await ask.office.templates.page(
        ask,
        "table.html",
        status,
        here="config",
        kind=ask.args["kind"],
        called=ask.args["name"],
        shown=shown,
        keys=explained(KINDS[ask.args["kind"]]),
        said=said,
        problems=problems,
    )


async def save(ask: Ask) -> Answer:
    """Put it into one's draft, or take it out of that."""
    _check(ask)
    text = ask.form.get("text", "")[:_TEXT].replace("\r\n", "\n")
    try:
        if ask.form.get("verb") == "remove":
            await api_tables.take_out(ask)
        else:
            await api_tables.check_names(ask, text)
            await api_tables.put(ask, text, is_new=False)
    except (Refusal, Refused) as error:
        said = error.detail if isinstance(error, Refusal) else str(error)
        return await _page(ask, _Shown(text, False, True), 422, f"{said}.")
    return redirect("/config#text")


async def begin(ask: Ask) -> Answer:
    """From a form: to the page of the table that is named there."""
    kind, name = ask.query.get("kind", ""), ask.query.get("name", "").strip()
    if not kind:
        return redirect("/config#tables")
    asked = attrs.evolve(ask, args={"kind": kind, "name": name or "new"})
    _check(asked)
    return redirect(f"/config/tables/{kind}/{name or 'new'}")


ROUTES = (
    page_route("/config/tables", "config:write", begin),
    page_route("/config/tables/<kind>/<name>", "config:write", table),
    page_route("/config/tables/<kind>/<name>", "config:write", save, "POST"),
)
