"""The pages of one filter, what is said of it for a while, and plugins."""

from __future__ import annotations

import json
from typing import Any, Final

from smtpgate.admin import api_engine as do
from smtpgate.admin import api_filters
from smtpgate.admin import models_engine as e
from smtpgate.admin.answer import Answer, redirect
from smtpgate.admin.guard import Refusal
from smtpgate.admin.routes import Ask, page_route
from smtpgate.control.engine_room import LEAST_S, MODES, MOST_S, Standing
from smtpgate.control.views import Refused, Unavailable, Unknown

#: Lengths that the form offers, minutes.
LENGTHS: Final = ((15, "for 15 minutes"), (60, "for an hour"), (8 * 60, "for 8 hours"), (24 * 60, "for a day"))


async def one_filter(ask: Ask) -> Answer:
    """One filter: how it runs, how what it asks stands, and what is said of it for a while."""
    return await _one_filter(ask)


async def _one_filter(ask: Ask, status: int = 200, said: str = "") -> Answer:
    room, name = ask.office.control.room, ask.args["name"]
    view = room.find(name)
    trouble, figures = "", None
    try:
        figures = {one.name: one for one in await api_filters.figures_of(ask)}.get(name)
    except Unavailable as error:
        status, trouble = max(status, 503) if status == 200 else status, str(error)
    return await ask.office.templates.page(
        ask,
        "filter.html",
        status,
        here="filters",
        one=e.detail_model(view, room.standings().get(name, Standing(name))),
        figures=figures,
        trouble=trouble,
        said=said,
        asked=ask.form,
        modes=MODES,
        lengths=LENGTHS,
        least_s=LEAST_S,
        most_s=MOST_S,
    )


async def tune_form(ask: Ask) -> Answer:
    """Let it run otherwise for a while."""
    form = ask.form
    mode, minutes, timeout = form.get("mode", ""), form.get("minutes", ""), form.get("timeout", "").strip()
    reason = "".join(letter for letter in form.get("reason", "") if letter.isprintable())
    if mode not in ("", *MODES) or minutes not in {str(one) for one, _ in LENGTHS}:
        raise Refusal("parameter", 400, "choose a mode and how long")
    try:
        seconds = float(timeout) if timeout else 0.0
    except ValueError:
        return await _one_filter(ask, 422, f"A time is a number of seconds, {LEAST_S:g} to {MOST_S:g}.")
    try:
        await do.tune(ask, mode, seconds, reason, int(minutes))
    except Unknown:
        raise
    except Refused as refused:
        return await _one_filter(ask, 422, f"{refused}.")
    return redirect(f"/filters/{ask.args['name']}")


async def end_form(ask: Ask) -> Answer:
    """As configured again."""
    await do.take_back(ask)
    return redirect("/filters")


async def plugins(ask: Ask) -> Answer:
    """Plugins that are here: what they are, what they did, and how another one is installed."""
    figures: dict[str, api_filters.FilterFiguresModel] = {}
    status, trouble = 200, ""
    try:
        figures = {one.name: one for one in await api_filters.figures_of(ask)}
    except Unavailable as error:
        status, trouble = 503, str(error)
    found = do.plugins_of(ask)
    standings = ask.office.control.room.standings()
    return await ask.office.templates.page(
        ask,
        "plugins.html",
        status,
        here="plugins",
        used=[(one, _work(one, figures, standings)) for one in found.items if one.used_as],
        others=[one for one in found.items if not one.used_as],
        strangers=sum(not one.is_builtin for one in found.items),
        failed=found.failed,
        trouble=trouble,
    )


def _work(one: e.PluginModel, figures: Any, standings: dict[str, Standing]) -> dict[str, Any]:
    """What its filters did together."""
    names = [use.name for use in one.used_as]
    stand = [standings[name] for name in names if name in standings]
    return {
        "share": sum(figures[name].share for name in names if name in figures),
        "calls": sum(figures[name].calls for name in names if name in figures),
        "errors": sum(sum(standing.errors.values()) for standing in stand),
        "fail_open": sum(standing.fail_open for standing in stand),
        "servers": [server for standing in stand for server in standing.servers],
    }


async def plugin(ask: Ask) -> Answer:
    """One plugin: where it comes from, and what its table may say."""
    name = ask.args["name"]
    schema = ask.office.control.room.schema(name)
    found = next(one for one in do.plugins_of(ask).items if one.name == name)
    return await ask.office.templates.page(
        ask, "plugin.html", here="plugins", one=found, keys=keys_of(schema), schema=json.dumps(schema, indent=2)
    )


def keys_of(schema: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """The keys of a table: name, what stands there, default ("" where it is needed), meaning."""
    needed = set(schema.get("required", ()))
    out = []
    for name, one in schema.get("properties", {}).items():
        default = "" if name in needed else json.dumps(one.get("default"), ensure_ascii=False)
        out.append((name, _kind(one), default, str(one.get("description", ""))))
    return out


def _kind(one: dict[str, Any]) -> str:
    if "enum" in one:
        return ", ".join(map(str, one["enum"]))
    for choice in ("anyOf", "oneOf"):
        if choice in one:
            return " or ".join(dict.fromkeys(_kind(each) for each in one[choice]))
    if one.get("type") == "array":
        return f"list of {_kind(one.get('items', {}))}"
    return str(one.get("type") or one.get("$ref", "").rpartition("/")[2] or "any")


ROUTES = (
    page_route("/filters/<name>", "config:read", one_filter),
    page_route("/filters/<name>/tune", "runtime:write", tune_form, "POST", is_guarded=True),
    page_route("/filters/<name>/end", "runtime:write", end_form, "POST", is_guarded=True),
    page_route("/plugins", "config:read", plugins),
    page_route("/plugins/<name>", "config:read", plugin),
)
