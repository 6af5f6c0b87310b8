"""The API about routes: listeners, routes and backends with their mail, and which way an address would go."""

from __future__ import annotations

from smtpgate.admin.answer import Answer
from smtpgate.admin.api_look import answer_of
from smtpgate.admin.record import View
from smtpgate.admin.routes import Ask, Route
from smtpgate.admin.text import moment, visible
from smtpgate.admin.ways import RouteAnswer, RouteQuestion, question_of, way_model
from smtpgate.control.route_map import RouteMap, route_map

_BASE = "/api/v1"


class EntryModel(View):
    """A listener or a backend, and its messages of the last hour; `about` is its role or its servers."""

    name: str
    about: str
    messages: int


class RouteLineModel(View):
    """One route: what it wants, by condition (none: all that comes to it), and where it leads."""

    number: int
    line: int
    conditions: dict[str, str]
    backend: str


class RouteMapModel(View):
    """Where mail goes.

    :ivar ends: messages of the last hour that went to no backend, by verdict
    :ivar since: from when on anything is counted
    """

    listeners: list[EntryModel]
    routes: list[RouteLineModel]
    backends: list[EntryModel]
    ends: dict[str, int]
    since: str | None


def map_model(found: RouteMap) -> RouteMapModel:
    """All of it."""
    return RouteMapModel(
        listeners=[EntryModel(name=one.name, about=one.about, messages=one.messages) for one in found.listeners],
        routes=[
            RouteLineModel(
                number=one.number,
                line=one.line,
                conditions={name: visible(text, 500) for name, text in one.conditions},
                backend=one.backend,
            )
            for one in found.routes
        ],
        backends=[EntryModel(name=one.name, about=one.about, messages=one.messages) for one in found.backends],
        ends=dict(found.ends),
        since=moment(found.since) if found.since is not None else None,
    )


async def the_map(ask: Ask) -> RouteMap:
    """As it stands."""
    control = ask.office.control
    return await route_map(control.current(), control.statistics)


async def routes(ask: Ask) -> Answer:
    """Listeners, routes in their order, and backends, with the mail of the last hour."""
    return answer_of(map_model(await the_map(ask)))


async def trace(ask: Ask) -> Answer:
    """Which backend each recipient of one message would go to, and which routes were asked."""
    ways = ask.office.control.explain_route(question_of(ask.body))
    return answer_of(RouteAnswer(items=[way_model(way) for way in ways]))


ROUTES = (
    Route(
        "GET",
        f"{_BASE}/routes",
        "config:read",
        routes,
        summary="Listeners, routes and backends",
        answer=RouteMapModel,
        unversioned=frozenset({"listeners", "backends", "ends", "since"}),
    ),
    Route(
        "POST",
        f"{_BASE}/routes/trace",
        "config:read",
        trace,
        is_question=True,
        summary="Which way mail would go",
        body=RouteQuestion,
        answer=RouteAnswer,
    ),
)
