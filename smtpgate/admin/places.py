"""Where the pages are: the groups of the side bar, in their order. Palette, keys and side bar read this one list."""

from __future__ import annotations

from typing import Final

import attrs


@attrs.frozen
class Place:
    """A page that stands in the side bar.

    :ivar name: what a template calls itself (`here`)
    :ivar for_domains: it is open to those who are limited to domains, as its route is (`Route.for_domains`)
    :ivar key: the letter that opens it after `g`; "" for none. Small ones are used up: a large one is its own
    """

    path: str
    name: str
    words: str
    permission: str
    key: str = ""
    for_domains: bool = False


GROUPS: Final[tuple[tuple[str, tuple[Place, ...]], ...]] = (
    (
        "Mail",
        (
            Place("/", "overview", "Overview", "stats:read", "o"),
            Place("/live", "live", "Live sessions", "traffic:read", "l", for_domains=True),
            Place("/messages", "messages", "Messages", "messages:read", "m", for_domains=True),
            Place("/recent", "recent", "Ended sessions", "messages:read", "e", for_domains=True),
            Place("/quarantine", "quarantine", "Quarantine", "quarantine:read", "q", for_domains=True),
            Place("/tickets", "tickets", "Tickets", "quarantine:read", "t", for_domains=True),
            Place("/outbox", "outbox", "Outbox", "quarantine:read", "x", for_domains=True),
            Place("/my", "my", "Your held mail", "self", "y", for_domains=True),
        ),
    ),
    (
        "Traffic",
        (
            Place("/stats", "stats", "Statistics", "stats:read", "n"),
            Place("/routes", "routes", "Routes", "config:read", "z"),
            Place("/backends", "backends", "Backends", "stats:read", "b"),
            Place("/traffic", "traffic", "Classes", "traffic:read", "c"),
            Place("/limits", "limits", "Limits and bans", "traffic:read", "i"),
            Place("/senders", "senders", "Senders", "traffic:read", "s"),
        ),
    ),
    (
        "Policy",
        (
            Place("/filters", "filters", "Filters", "config:read", "f"),
            Place("/plugins", "plugins", "Plugins", "config:read", "P"),
            Place("/rules", "rules", "Rules", "config:read", "r"),
            Place("/lists", "lists", "Lists", "config:read", "p"),
            Place("/dlp", "dlp", "Data loss", "config:read", "d"),
            Place("/test", "test", "Try mail", "test:run", "v"),
        ),
    ),
    (
        "Gateway",
        (
            Place("/access", "access", "Access", "access:write", "a"),
            Place("/audit", "audit", "Audit", "audit:read", "u"),
            Place("/tls", "tls", "Certificates", "config:read", "T"),
            Place("/config", "config", "Configuration", "config:read", "k"),
            Place("/tasks", "tasks", "Tasks", "messages:read", "g", for_domains=True),
            Place("/alerts", "alerts", "Alerts", "stats:read", "w"),
            Place("/webhooks", "webhooks", "Webhooks", "config:read", "W"),
            Place("/logs", "logs", "Log", "config:read", "j"),
            Place("/system", "system", "System", "config:read", "S"),
            Place("/help", "help", "Help", "self", "h", for_domains=True),
        ),
    ),
)
#: For those who are limited to domains.
LIMITED: Final = tuple((title, tuple(one for one in places if one.for_domains)) for title, places in GROUPS)
