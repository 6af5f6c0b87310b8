"""The API's bodies and answers about filters as they run, what was said of them for a while, and plugins."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from smtpgate.admin.models import FilterModel, Line
from smtpgate.admin.record import View
from smtpgate.admin.routes import Order
from smtpgate.admin.text import moment, visible
from smtpgate.control.engine_room import LEAST_S, MOST_MINUTES, MOST_S, PluginView, Standing, Tuning
from smtpgate.control.views import FilterView


class TuneOrder(Order):
    """Let a filter run otherwise for a while, for sessions that begin. What is not named stays as it was said before;
    null is as configured.

    :ivar timeout_s: longest that one call may take
    """

    mode: Literal["enforce", "shadow", "off"] | None = None
    timeout_s: Annotated[float, Field(ge=LEAST_S, le=MOST_S)] | None = None
    reason: Annotated[Line, Field(min_length=1)]
    minutes: Annotated[int, Field(ge=1, le=MOST_MINUTES)] = 60


class TuningModel(View):
    """What was said of a filter: `mode` and `timeout_s` where they are not as configured.

    :ivar is_known: there is such a filter in the configuration at work
    """

    name: str
    mode: str | None
    timeout_s: float | None
    reason: str
    by: str
    since: str | None
    until: str | None
    is_known: bool


class TuningList(View):
    """All of them."""

    items: list[TuningModel]


class EngineServer(View):
    """A server that a filter asks: up, down (it is left alone) or due (the next message tries it).

    :ivar failures: in a row
    """

    endpoint: str
    state: str
    failures: int
    busy: int
    retry_s: float


class FilterDetail(FilterModel):
    """One filter as it runs, and how it stands.

    :ivar use: its plugin
    :ivar own_mode, own_budget_s: as configured
    :ivar tuning: what was said of it for a while
    :ivar is_tunable: something can be said of it: it is a filter of the configuration
    :ivar is_up: false where all servers that it asks are left alone
    :ivar signatures: when what its engine looks for was made; null where the engine does not say
    :ivar trouble: why the last question for that had no answer
    :ivar errors: failures since the start by where; `fail_open`: those after which mail went on unchecked
    """

    use: str
    own_mode: str
    own_budget_s: float
    tuning: TuningModel | None
    is_tunable: bool
    is_up: bool
    servers: list[EngineServer]
    signatures: str | None
    trouble: str
    errors: dict[str, int]
    fail_open: int


class PluginUse(View):
    """A filter of the configuration that a plugin makes, and its mode now."""

    name: str
    mode: str


class PluginModel(View):
    """One plugin: a factory of filters. `version` is empty where its package does not say one."""

    name: str
    module: str
    file: str
    version: str
    is_builtin: bool
    stages: list[str]
    roles: list[str]
    category: str
    on_error: str
    budget_s: float
    needs_message: bool
    used_as: list[PluginUse]


class BrokenPlugin(View):
    """A module of plugins that cannot be used, and why."""

    module: str
    reason: str


class PluginList(View):
    """All plugins, those that are used first; and the modules that cannot be used."""

    items: list[PluginModel]
    failed: list[BrokenPlugin]


class SchemaModel(View):
    """The JSON schema of a plugin's own table, `[filters.options]`."""

    name: str
    options: dict[str, Any]


#: Fields of a filter that change by themselves, and are no other version of it.
BY_ITSELF = frozenset({"is_up", "servers", "signatures", "trouble", "errors", "fail_open"})


def tuning_model(name: str, one: Tuning, is_known: bool = True) -> TuningModel:
    """What was said of one."""
    return TuningModel(
        name=visible(name, 200),
        mode=one.mode or None,
        timeout_s=one.budget_s or None,
        reason=visible(one.reason, 500),
        by=visible(one.by, 200),
        since=moment(one.since),
        until=moment(one.until),
        is_known=is_known,
    )


def detail_model(view: FilterView, standing: Standing) -> FilterDetail:
    """One filter."""
    return FilterDetail(
        name=view.name,
        roles=list(view.roles),
        stages=list(view.stages),
        mode=view.mode,
        budget_s=view.budget_s,
        on_error=view.on_error,
        needs_message=view.needs_message,
        category=view.category,
        use=view.use,
        own_mode=view.own_mode or view.mode,
        own_budget_s=view.own_budget_s or view.budget_s,
        tuning=tuning_model(view.name, view.tuning) if view.tuning is not None else None,
        is_tunable=view.is_tunable,
        is_up=standing.is_up,
        servers=[
            EngineServer(
                endpoint=visible(one.endpoint, 300),
                state=one.state,
                failures=one.failures,
                busy=one.busy,
                retry_s=round(one.retry_s, 1),
            )
            for one in standing.servers
        ],
        signatures=moment(standing.signatures_at),
        trouble=visible(standing.trouble, 500),
        errors=dict(standing.errors),
        fail_open=standing.fail_open,
    )


def plugin_model(view: PluginView) -> PluginModel:
    """One plugin."""
    source = view.source
    return PluginModel(
        name=visible(view.name, 200),
        module=visible(source.module, 300),
        file=visible(source.file, 500),
        version=visible(source.version, 100),
        is_builtin=source.is_builtin,
        stages=list(view.stages),
        roles=list(view.roles),
        category=view.category,
        on_error=view.on_error,
        budget_s=view.budget_s,
        needs_message=view.needs_message,
        used_as=[PluginUse(name=name, mode=mode) for name, mode in view.used_as],
    )
