"""Where the pages are: the groups of the side bar, in their order. Palette, keys and side bar read this one list."""

from __future__ import annotations

from typing import Final

import attrs


@attrs.frozen
class Place:
    """A page that stands in the side bar.

    :ivar name: what a template calls itself (`here`)
    :ivar key: the letter that opens it after `g`; "" for none
    """

    path: str
    name: str
    words: str
    permission: str
    key: str = ""


GROUPS: Final[tuple[tuple[str, tuple[Place, ...]], ...]] = (
    (
        "Mail",
        (
            Place("/", "overview", "Overview", "stats:read", "o"),
            Place("/live", "live", "Live sessions", "traffic:read", "l"),
            Place("/messages", "messages", "Messages", "messages:read", "m"),
            Place("/recent", "recent", "Ended sessions", "messages:read", "e"),
            Place("/quarantine", "quarantine", "Quarantine", "quarantine:read", "q"),
            Place("/tickets", "tickets", "Tickets", "quarantine:read", "t"),
            Place("/outbox", "outbox", "Outbox", "quarantine:read", "x"),
        ),
    ),
    (
        "Traffic",
        (
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
            Place("/rules", "rules", "Rules", "config:read", "r"),
        ),
    ),
    (
        "Gateway",
        (
            Place("/config", "config", "Configuration", "config:read", "k"),
            Place("/logs", "logs", "Log", "config:read", "j"),
            Place("/help", "help", "Help", "self", "h"),
        ),
    ),
)
