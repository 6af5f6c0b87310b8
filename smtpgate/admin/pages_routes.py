"""The page of routes: where mail goes and how much, and the way of one address through it."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from pydantic import ValidationError

from smtpgate.admin import api_routes, flow
from smtpgate.admin.answer import Answer
from smtpgate.admin.routes import Ask, Route
from smtpgate.admin.ways import RouteQuestion, WayModel, question_of, way_model
from smtpgate.control.views import Refused, Unavailable

#: What may be asked, all in the address of the page.
_ASKED = ("listener", "recipient", "sender", "client", "user", "sni")


async def routes(ask: Ask) -> Answer:
    """Where mail goes, and which way an address would."""
    asked = {name: ask.query.get(name, "").strip()[:500] for name in _ASKED}
    ways: list[WayModel] = []
    status, said = 200, ""
    try:
        ways = _trace(ask, asked) if asked["recipient"] else []
    except ValidationError as error:
        one = error.errors(include_url=False, include_input=False, include_context=False)[0]
        status, said = 422, f"{one['loc'][0] if one['loc'] else ''}: {one['msg'].removeprefix('Value error, ')}."
    except Refused as refused:
        status, said = 422, f"{refused}."
    try:
        found, trouble = await api_routes.the_map(ask), ""
    except Unavailable as error:
        return await _page_of(ask, 503, {"map": None, "picture": None, "trouble": str(error)}, asked, ways, said)
    on = frozenset(_on(asked["listener"], ways))
    links: dict[tuple[str, str], str] = {("policy", ""): "/filters"}
    links |= {("listener", one.name): f"/live?filter={quote(f'listener:{one.name}')}" for one in found.listeners}
    links |= {("backend", one.name): f"/backends/{quote(one.name, safe='')}" for one in found.backends}
    picture = flow.draw(
        [(one.name, one.messages) for one in found.listeners],
        [*(("backend", one.name, one.messages) for one in found.backends), *(("end", *one) for one in found.ends)],
        "the last hour",
        links,
        on,
    )
    more = {"map": api_routes.map_model(found), "picture": picture, "trouble": trouble}
    return await _page_of(ask, status, more, asked, ways, said)


async def _page_of(ask: Ask, status: int, more: dict[str, Any], asked: Any, ways: Any, said: str) -> Answer:
    listeners = list(ask.office.control.settings.listeners)
    won = {step.route for way in ways for step in way.steps if not step.failed}
    values = {"asked": asked, "ways": ways, "said": said, "listeners": listeners, "won": won, **more}
    return await ask.office.templates.page(ask, "routes.html", status, here="routes", **values)


def _trace(ask: Ask, asked: dict[str, str]) -> list[WayModel]:
    given: dict[str, Any] = {name: asked[name] for name in ("listener", "sender", "user", "sni")}
    if asked["client"]:
        given["client"] = asked["client"]
    question = question_of(RouteQuestion(recipients=[asked["recipient"]], **given))
    return [way_model(way) for way in ask.office.control.explain_route(question)]


def _on(listener: str, ways: list[WayModel]) -> list[tuple[str, str]]:
    """What of the picture the ways go through."""
    out = [("listener", listener)] if ways else []
    return out + [("backend", step.backend) for way in ways for step in way.steps if not step.failed]


ROUTES = (
    Route("GET", "/routes", "config:read", routes, "page", (routes.__doc__ or "").strip(), doors=frozenset({"web"})),
)
