"""A walk over all GET routes, with real things in the place of each variable of a path: for tests that look at all
that can be seen.

What there is, is found over the API. A route with a variable that nothing here fills fails the test, so a new one is
walked too, or its test does not pass.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote

from smtpgate.admin.every import ROUTES
from smtpgate.admin.problem import PROBLEMS
from smtpgate.admin.routes import Route

Get = Callable[[str], Any]
Fill = Callable[[Get], list[dict[str, str]]]

_VARIABLE: Final = re.compile(r"<(?:\w+:)?(\w+)>")
#: Of many things of one kind so many are looked at.
MOST: Final = 3


def _some(path: str, **names: str) -> Fill:
    """Things of a list of the API: variable to the field that holds it."""

    def fill(get: Get) -> list[dict[str, str]]:
        items = get(path).get("items", [])[:MOST]
        return [{name: str(one[field]) for name, field in names.items()} for one in items]

    return fill


def _these(name: str, *values: str) -> Fill:
    return lambda get: [{name: value} for value in values]


def _parts(get: Get) -> list[dict[str, str]]:
    return [{**one, "number": "1"} for one in _HELD(get)]


def _message_parts(get: Get) -> list[dict[str, str]]:
    return [{"id": one["id"], "number": "1"} for one in _MESSAGES(get)]


def _frames(get: Get) -> list[dict[str, str]]:
    """The pieces of content that the viewer shows."""
    return [{**one, "number": str(number)} for one in _HELD(get) for number in (0, 1, 2)]


def _listeners(get: Get) -> list[dict[str, str]]:
    """Those that have a certificate."""
    items = get("/api/v1/tls/certificates")["items"][:MOST]
    return [{"listener": name} for one in items for name in one["listeners"][:1]]


_HELD: Final = _some("/api/v1/quarantine", id="id")
_MESSAGES: Final = _some("/api/v1/messages", id="id")
_TASKS: Final = _some("/api/v1/tasks", id="id")
_SERVERS: Final = _some("/api/v1/backends", pool="backend", name="name")
_FILTERS: Final = _some("/api/v1/filters", name="name")
_PLUGINS: Final = _some("/api/v1/plugins", name="name")
_TABLES: Final = _some("/api/v1/config/tables", kind="kind", name="name")
_HOOKS: Final = _some("/api/v1/webhooks", name="name")
_USERS: Final = _some("/api/v1/users", name="name")
_RULES: Final = _some("/api/v1/rules", name="name")
_ENDED: Final = _some("/api/v1/sessions/ended", id="id")
#: By the beginning of a path; the first that fits.
FILLS: Final[tuple[tuple[str, Fill], ...]] = (
    ("/api/v1/backends/<pool>/servers/", _SERVERS),
    ("/api/v1/backends/", _SERVERS),
    ("/backends/", _SERVERS),
    ("/api/v1/overrides/", _some("/api/v1/overrides", kind="kind", pool="backend", name="server")),
    ("/api/v1/tasks/", _TASKS),
    ("/tasks/", _TASKS),
    ("/test/replay/", _TASKS),
    ("/api/v1/log-levels/", _these("namespace", "smtpgate.admin")),
    ("/api/v1/test/cases/named/", _some("/api/v1/test/cases", id="id")),
    ("/api/v1/sessions/", _ENDED),
    ("/sessions/", _ENDED),
    ("/api/v1/messages/<id>/parts/", _message_parts),
    ("/api/v1/messages/", _MESSAGES),
    ("/api/v1/searches/", _some("/api/v1/searches", id="id")),
    ("/api/v1/config/revisions/", _some("/api/v1/config/revisions", number="number")),
    ("/api/v1/config/tables/", _TABLES),
    ("/config/tables/", _TABLES),
    ("/config/", _some("/api/v1/config/revisions", number="number")),
    ("/api/v1/quarantine/<id>/parts/", _parts),
    ("/quarantine/<id>/parts/", _parts),
    ("/quarantine/<id>/frame/", _frames),
    ("/api/v1/quarantine/", _HELD),
    ("/quarantine/", _HELD),
    ("/api/v1/me/quarantine/", _some("/api/v1/me/quarantine", id="id")),
    ("/api/v1/users/", _USERS),
    ("/access/users/", _USERS),
    ("/api/v1/rules/named/", _RULES),
    ("/rules/edit/", _RULES),
    ("/api/v1/filters/", _FILTERS),
    ("/filters/", _FILTERS),
    ("/api/v1/plugins/", _PLUGINS),
    ("/plugins/", _PLUGINS),
    ("/api/v1/webhooks/", _HOOKS),
    ("/webhooks/", _HOOKS),
    ("/api/v1/traces/", _some("/api/v1/traces", address="address")),
    ("/api/v1/tls/certificates/of/", _listeners),
    ("/login/sso/", _some("/api/v1/sso", name="name")),
    ("/problems/", lambda get: [{"slug": slug} for slug in PROBLEMS]),
)
#: What a path cannot do without, or shows more with.
QUESTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "/api/v1/config/diff": ("?a=1&b=2",),
    "/api/v1/audit/export": ("", "?format=csv"),
    "/api/v1/senders/known": ("?asked=192.0.2.7",),
    "/api/v1/tls-reports": ("?date=2026-11-28",),
    "/api/v1/stats/top": ("?what=client",),
    "/config/tables": ("?kind=backends&name=x",),
    "/search": ("?q=x",),
}


def paths(route: Route, get: Get, more: Mapping[str, Fill] = {}) -> Iterator[str]:  # noqa: B006  (it is not changed)
    """What to ask for of one route.

    :param get: a look into the API
    :param more: fills by path, for what only the test has
    """
    filled = [route.path]
    if "<" in route.path:
        fill = more.get(route.path) or next((one for start, one in FILLS if route.path.startswith(start)), None)
        if fill is None:
            raise AssertionError(f"{route.path}: nothing is known to put into it")
        filled = []
        for values in fill(get):
            filled.append(_VARIABLE.sub(lambda found, held=values: quote(held[found[1]], safe=""), route.path))  # type: ignore[misc]
    for path in dict.fromkeys(filled):
        for question in QUESTIONS.get(route.path, ("",)):
            yield path + question


def gets(kind: str = "") -> tuple[Route, ...]:
    """Routes that only look; streams, which do not end, and files of ours are not among them.

    :param kind: "page", "api", "word"; "": all
    """
    return tuple(
        one
        for one in ROUTES
        if one.method == "GET"
        and "web" in one.doors
        and kind in ("", one.kind)
        and not one.path.startswith("/assets/")
        and not one.path.endswith("/events")
    )
