"""Who may do what: permissions, roles as sets of them, and the principal of a request.

Every route declares one permission; `site` compares it with what the principal holds before the route's code
runs. Roles are those of `state.users`; an unknown role holds nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import attrs

from smtpgate.control.views import Actor

#: The closed list. "public" needs no login, "near" none from loopback, "self" any login.
PERMISSIONS: Final = (
    "public",
    "near",
    "self",
    "stats:read",
    "traffic:read",
    "messages:read",
    "config:read",
    "config:write",
    "runtime:write",
    "test:run",
    "access:write",
    "audit:read",
    "system:write",
    "metrics:read",
    "content:read",
    "content:malware",
    "quarantine:read",
    "quarantine:release",
    "quarantine:delete",
)

_HELD = frozenset({"quarantine:read", "quarantine:release", "quarantine:delete"})
_LOOK = frozenset({"self", "stats:read", "traffic:read", "messages:read"})
_ALL = frozenset(PERMISSIONS)

#: No role but owner may change who has access.
ROLES: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "owner": _ALL,
        "admin": _ALL - {"access:write"},
        "operator": _LOOK | _HELD | {"config:read", "runtime:write", "test:run", "metrics:read"},
        # Reads held mail, and decides on it; how the gateway works is not for them.
        "quarantine-manager": _LOOK | _HELD | {"content:read"},
        "helpdesk": _LOOK | {"quarantine:read"},
        "auditor": _LOOK | {"config:read", "audit:read", "metrics:read", "quarantine:read"},
    }
)


@attrs.frozen
class Principal:
    """Who asks.

    :ivar kind: "user" (a browser's session), "token" or "cli" (the local socket)
    :ivar id: what is checked again while a stream is open: the session's or token's id
    :ivar csrf: what unsafe requests of a browser's session must bring along; "" where they need nothing
    :ivar login_at: when the password was given, seconds since the epoch
    """

    kind: str
    name: str
    role: str
    id: str = ""
    csrf: str = ""
    login_at: float = 0.0

    @property
    def actor(self) -> Actor:
        """As `control` wants it named."""
        return Actor(self.kind, self.name)

    def may(self, permission: str) -> bool:
        """Whether the role holds a permission."""
        return permission in ROLES.get(self.role, frozenset())
