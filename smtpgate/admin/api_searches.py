"""Searches that somebody keeps under a name: their own, over the API and on the page of messages."""

from __future__ import annotations

from typing import Annotated, Any

import attrs
from pydantic import Field

from smtpgate.admin import models as m
from smtpgate.admin.answer import Answer, redirect
from smtpgate.admin.api_look import answer_of
from smtpgate.admin.guard import Refusal
from smtpgate.admin.record import View
from smtpgate.admin.routes import Ask, Order, Route
from smtpgate.admin.summary import place_of
from smtpgate.admin.text import moment
from smtpgate.control.views import Refused, Unknown
from smtpgate.policy.query import LONGEST, QueryError, parse

_NAME = 100


class SearchOrder(Order):
    """A name, and what is looked for, as in the search box."""

    name: Annotated[str, Field(min_length=1, max_length=_NAME)]
    query: Annotated[str, Field(max_length=LONGEST)]


class SearchModel(View):
    """One of them."""

    id: str
    name: str
    query: str
    created: str | None


class SearchList(View):
    """By name."""

    items: list[SearchModel]


def _owner(ask: Ask) -> str:
    actor = ask.who.actor
    return f"{actor.kind} {actor.name}"


def _model(one: Any) -> SearchModel:
    return SearchModel(id=one.id, name=one.name, query=one.query, created=moment(one.created))


async def own_searches(ask: Ask) -> list[Any]:
    """Those of who asks."""
    return list(await ask.office.users.searches.of(_owner(ask)))


async def _own(ask: Ask) -> Any:
    found = next((one for one in await own_searches(ask) if one.id == ask.args["id"]), None)
    if found is None:
        raise Unknown("no such search of yours")
    return found


async def saved_searches(ask: Ask) -> Answer:
    """Searches that whoever asks has kept."""
    return answer_of(SearchList(items=[_model(one) for one in await own_searches(ask)]))


async def saved_search(ask: Ask) -> Answer:
    """One of them."""
    return answer_of(_model(await _own(ask)))


def _checked(ask: Ask, name: str, query: str) -> tuple[str, str]:
    """Name and query as they are kept; raises Refusal."""
    name = " ".join("".join(c if c.isprintable() else " " for c in name).split())
    faults = []
    if not name:
        faults.append({"pointer": "/name", "code": "value", "message": "give it a name"})
    try:
        # Times like `last:24h` are kept as they are written, and mean another day tomorrow.
        if not parse(query, ask.office.wall()).clauses:
            faults.append({"pointer": "/query", "code": "value", "message": "it looks for nothing"})
    except QueryError as error:
        faults.append({"pointer": "/query", "code": "query", "message": f"at character {error.at + 1}: {error}"})
    if faults:
        refusal = Refusal("validation", 422, "; ".join(one["message"] for one in faults))
        refusal.errors = faults
        raise refusal
    return name, " ".join(query.split())


async def _add(ask: Ask, name: str, query: str) -> Any:
    name, query = _checked(ask, name, query)
    await ask.change("search.save", name, query)
    made = await ask.office.users.searches.add(_owner(ask), name, query, ask.office.wall())
    if made is None:
        raise Refused("you keep as many searches as there is room for: remove one")
    return made


async def save_search(ask: Ask) -> Answer:
    """Keep a search under a name."""
    return answer_of(_model(await _add(ask, ask.body.name, ask.body.query)), 201)


async def change_search(ask: Ask) -> Answer:
    """Another name, or other words."""
    found = await _own(ask)
    name, query = _checked(ask, ask.body.name, ask.body.query)
    before = {"name": found.name, "query": found.query}
    await ask.change("search.change", name, query, before, {"name": name, "query": query})
    if not await ask.office.users.searches.change(_owner(ask), found.id, name, query):
        raise Unknown("no such search of yours")
    return answer_of(_model(await _own(ask)))


async def _drop(ask: Ask) -> bool:
    found = await _own(ask)
    is_audited = await ask.change("search.remove", found.name, found.query)
    await ask.office.users.searches.remove(_owner(ask), found.id)
    return is_audited


async def remove_search(ask: Ask) -> Answer:
    """One goes."""
    return answer_of(m.Done(is_audited=await _drop(ask)))


# The page's forms


async def save_form(ask: Ask) -> Answer:
    """Keep what the page looks for under a name."""
    made = await _add(ask, ask.form.get("name", "")[:_NAME], ask.form.get("q", "")[:LONGEST])
    return redirect(place_of(made.query))


async def remove_form(ask: Ask) -> Answer:
    """One goes."""
    await _drop(ask)
    return redirect("/messages")


_BASE = "/api/v1/searches"
_WEB = frozenset({"web"})

_ALL = (
    Route("GET", _BASE, "messages:read", saved_searches, summary="Searches that are kept", answer=SearchList),
    Route(
        "POST",
        _BASE,
        "messages:read",
        save_search,
        summary="Keep a search",
        body=SearchOrder,
        answer=SearchModel,
        status=201,
    ),
    Route("GET", f"{_BASE}/<id>", "messages:read", saved_search, summary="One of them", answer=SearchModel),
    Route(
        "PUT",
        f"{_BASE}/<id>",
        "messages:read",
        change_search,
        summary="Another name, or other words",
        body=SearchOrder,
        answer=SearchModel,
    ),
    Route("DELETE", f"{_BASE}/<id>", "messages:read", remove_search, summary="One goes", answer=m.Done),
    Route("POST", "/messages/searches", "messages:read", save_form, "page", "Keep a search", doors=_WEB),
    Route("POST", "/messages/searches/<id>/remove", "messages:read", remove_form, "page", "One goes", doors=_WEB),
)

ROUTES = tuple(attrs.evolve(route, for_domains=True) for route in _ALL)
