"""The API about the engine room: filters as they run and stand, what is said of them for a while, plugins."""

from __future__ import annotations

from typing import Any

from smtpgate.admin import models as m
from smtpgate.admin import models_engine as e
from smtpgate.admin.answer import Answer
from smtpgate.admin.api_look import answer_of
from smtpgate.admin.routes import Ask, Route
from smtpgate.control.engine_room import EngineRoom, Standing, Tuning, words_of
from smtpgate.control.views import lasting

_BASE = "/api/v1"
_FILTER = f"{_BASE}/filters/<name>"


def _room(ask: Ask) -> EngineRoom:
    room: EngineRoom = ask.office.control.room
    return room


# Look


def details(ask: Ask) -> list[e.FilterDetail]:
    """All filters, those that are off too."""
    standings = _room(ask).standings()
    views = ask.office.control.filters()
    return [e.detail_model(view, standings.get(view.name, Standing(view.name))) for view in views]


async def one_filter(ask: Ask) -> Answer:
    """One filter: how it runs, how what it asks stands, and what failed since the start."""
    view = _room(ask).find(ask.args["name"])
    return answer_of(e.detail_model(view, _room(ask).standings().get(view.name, Standing(view.name))))


def tunings_of(ask: Ask) -> list[e.TuningModel]:
    """What was said of filters."""
    known = {view.name for view in ask.office.control.filters() if view.is_tunable}
    return [e.tuning_model(name, one, name in known) for name, one in _room(ask).tunings.wanted().items()]


async def filter_overrides(ask: Ask) -> Answer:
    """Filters that run otherwise than the configuration says: how, why and until when."""
    return answer_of(e.TuningList(items=tunings_of(ask)))


async def filter_override(ask: Ask) -> Answer:
    """What was said of one."""
    name = ask.args["name"]
    found = _room(ask).tuning(name)
    is_known = any(view.name == name and view.is_tunable for view in ask.office.control.filters())
    return answer_of(e.tuning_model(name, found, is_known))


def plugins_of(ask: Ask) -> e.PluginList:
    """All plugins, and the modules that cannot be used."""
    room = _room(ask)
    failed = [e.BrokenPlugin(module=module, reason=reason[:500]) for module, reason in room.failed.items()]
    return e.PluginList(items=[e.plugin_model(view) for view in room.plugins()], failed=failed)


async def plugins(ask: Ask) -> Answer:
    """Plugins that are here: version, stages, and the filters that they make."""
    return answer_of(plugins_of(ask))


async def plugin_schema(ask: Ask) -> Answer:
    """What may stand in the table of a plugin."""
    name = ask.args["name"]
    return answer_of(e.SchemaModel(name=name, options=_room(ask).schema(name)))


# Do


async def tune_filter(ask: Ask) -> Answer:
    """Let a filter run otherwise for a while: its mode, or the longest that a call may take."""
    body = ask.body
    mode = (body.mode or "") if "mode" in body.model_fields_set else None
    timeout_s = (body.timeout_s or 0.0) if "timeout_s" in body.model_fields_set else None
    await tune(ask, mode, timeout_s, body.reason, body.minutes)
    return answer_of(m.Done())


async def tune(ask: Ask, mode: str | None, timeout_s: float | None, reason: str, minutes: int) -> None:
    """The same for a page. It may let through what a filter would stop: where the audit cannot be written it is not
    done. Raises Unknown, Invalid, Refused."""
    room, name = _room(ask), ask.args["name"]
    tuning = room.planned(name, mode, timeout_s, reason, minutes, f"{ask.who.kind} {ask.who.name}")
    detail = lasting(f"{words_of(tuning)}: {tuning.reason}", minutes)
    view = room.find(name)
    before = {"mode": view.mode, "timeout_s": view.budget_s}
    await ask.guarded_change("filter.tune", name, detail, before, _after(tuning, view))
    room.tune(name, tuning, ask.who.actor)


def _after(tuning: Tuning, view: Any) -> dict[str, Any]:
    return {"mode": tuning.mode or view.own_mode, "timeout_s": tuning.budget_s or view.own_budget_s}


async def end_filter_override(ask: Ask) -> Answer:
    """As configured again."""
    await take_back(ask)
    return answer_of(m.Done())


async def take_back(ask: Ask) -> None:
    """The same for a page. Raises Unknown."""
    room, name = _room(ask), ask.args["name"]
    room.tuning(name)
    await ask.guarded_change("filter.tune", name, "as configured")
    room.take_back(name, ask.who.actor)


ROUTES = (
    Route(
        "GET",
        f"{_BASE}/filter-overrides",
        "config:read",
        filter_overrides,
        summary="Filters that are not as configured",
        answer=e.TuningList,
    ),
    Route(
        "GET",
        _FILTER,
        "config:read",
        one_filter,
        summary="One filter",
        answer=e.FilterDetail,
        unversioned=e.BY_ITSELF,
    ),
    Route(
        "PATCH",
        _FILTER,
        "runtime:write",
        tune_filter,
        summary="Let a filter run otherwise for a while",
        body=e.TuneOrder,
        answer=m.Done,
        is_guarded=True,
    ),
    Route(
        "GET",
        f"{_FILTER}/override",
        "config:read",
        filter_override,
        summary="What was said of a filter",
        answer=e.TuningModel,
    ),
    Route(
        "DELETE",
        f"{_FILTER}/override",
        "runtime:write",
        end_filter_override,
        summary="Let a filter run as configured again",
        answer=m.Done,
        is_guarded=True,
    ),
    Route("GET", f"{_BASE}/plugins", "config:read", plugins, summary="Plugins that are here", answer=e.PluginList),
    Route(
        "GET",
        f"{_BASE}/plugins/<name>/schema",
        "config:read",
        plugin_schema,
        summary="What a plugin's table may say",
        answer=e.SchemaModel,
    ),
)
