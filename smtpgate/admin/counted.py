"""Requests and logins as they are counted: by a few groups of routes, never by what a stranger wrote."""

from __future__ import annotations

from typing import Final

from smtpgate.admin.routes import Route
from smtpgate.policy.meter import Meter

#: First part of a path behind /api/v1, or of a page, to its group; twelve groups at most.
_GROUPS: Final = {
    "livez": "health", "readyz": "health", "startupz": "health", "metrics": "metrics", "assets": "assets",
    "events": "events", "login": "access", "logout": "access", "setup": "access", "theme": "access", "users": "access",
    "tokens": "access", "audit": "access", "me": "access", "sessions": "mail", "messages": "mail", "recent": "mail",
    "search": "mail", "quarantine": "held", "outbox": "held", "tickets": "held", "held": "held", "why": "held",
    "config": "config", "rules": "config", "filters": "config", "registered": "config", "routes": "config",
    "backends": "traffic", "traffic": "traffic", "limits": "traffic", "bans": "traffic", "senders": "traffic",
    "stats": "stats", "series": "stats", "overview": "stats", "": "stats",
    "my": "held", "alerts": "stats", "webhooks": "config",
}  # fmt: skip
GROUPS: Final = (*dict.fromkeys(_GROUPS.values()), "other")


def group_of(route: Route) -> str:
    """The group that a route is counted in."""
    return _GROUPS.get(route.path.removeprefix("/api/v1").lstrip("/").partition("/")[0], "other")


def request(meter: Meter, route: Route, status: int, seconds: float) -> None:
    """One request was answered, or went away."""
    group = group_of(route)
    meter.count("http_requests_total", group, route.method, f"{status // 100}xx")
    if group != "events":
        meter.took(seconds, "http_request_seconds", group)


def login(meter: Meter, method: str, result: str) -> None:
    """Somebody wanted to come in: ok, failed or throttled."""
    meter.count("admin_logins_total", method, result)


def expect(meter: Meter) -> None:
    """Show zeros."""
    for group in GROUPS:
        meter.histogram("http_request_seconds", group)
    for method in ("password", "code", "oidc"):
        for result in ("ok", "failed", "throttled"):
            meter.expect("admin_logins_total", method, result)
