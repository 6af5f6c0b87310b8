"""Where mail goes, as a whole: listeners, routes in their order, backends, and how much went each way lately."""

from __future__ import annotations

from typing import Any, Final

import attrs

from smtpgate.config.model import Route
from smtpgate.control.statistics import Statistics
from smtpgate.proxy.revision import Revision

#: Rates are those of the last hour.
SPAN_S: Final = 3600.0
#: Entries of one condition that are named.
NAMED: Final = 5
_CONDITIONS: Final = ("listener", "client", "sni", "user", "sender", "recipient")
#: Verdicts of mail that went to a backend.
_WENT: Final = frozenset({"accept", "tag"})


@attrs.frozen
class Entry:
    """A listener or a backend.

    :ivar about: its role, or how many of its servers are up
    :ivar messages: that came in, or that were answered, in the last hour
    """

    name: str
    about: str
    messages: int


@attrs.frozen
class RouteLine:
    """One route.

    :ivar conditions: name, and what it wants in words; none: it takes all that comes to it
    """

    number: int
    line: int
    conditions: tuple[tuple[str, str], ...]
    backend: str


@attrs.frozen
class RouteMap:
    """All of it.

    :ivar ends: verdicts of mail that went to no backend, with their counts
    :ivar since: from when on anything is counted; None: nothing is
    """

    listeners: tuple[Entry, ...]
    routes: tuple[RouteLine, ...]
    backends: tuple[Entry, ...]
    ends: tuple[tuple[str, int], ...]
    since: int | None


async def route_map(revision: Revision, statistics: Statistics) -> RouteMap:
    """As it stands. Raises Unavailable where counts cannot be read."""
    settings = revision.settings
    asked = statistics.range(statistics.now() - SPAN_S, 0, "1m")
    came = await statistics.series("messages", "listener", asked)
    verdicts = await statistics.series("messages", "verdict", asked)
    answered = await statistics.series("backend_replies", "pool", asked)
    by_listener, by_pool = dict(zip(came.groups, came.totals)), dict(zip(answered.groups, answered.totals))
    return RouteMap(
        tuple(Entry(name, one.role, by_listener.get(name, 0)) for name, one in settings.listeners.items()),
        tuple(route_line(route) for route in settings.routes),
        tuple(Entry(name, _servers(revision, name), by_pool.get(name, 0)) for name in settings.backends),
        tuple((name, count) for name, count in zip(verdicts.groups, verdicts.totals) if count and name not in _WENT),
        came.since,
    )


def _servers(revision: Revision, name: str) -> str:
    pool = revision.pools.get(name)
    if pool is None:
        return "servers by MX"
    up = sum(server.state == "up" and not server.is_drained for server in pool.servers)
    return f"{up} of {len(pool.servers)} servers in service"


def route_line(route: Route) -> RouteLine:
    """One route in words."""
    conditions = []
    for name in _CONDITIONS:
        wanted: Any = getattr(route, name)
        if wanted:
            entries = list(wanted)
            more = f" and {len(entries) - NAMED} more" if len(entries) > NAMED else ""
            conditions.append((name, ", ".join(map(str, entries[:NAMED])) + more))
    return RouteLine(route.number, route.line, tuple(conditions), route.backend)
