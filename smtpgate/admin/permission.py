"""Who may do what: permissions, roles as sets of them, and the principal of a request.

Every route declares one permission; `site` compares it with what the principal holds before the route's code
runs. Roles are those of `state.users`; an unknown role holds nothing. A token may hold less than a role, and users
and tokens may be limited to domains: such a principal gets the routes that look at its reach (`Route.for_domains`),
and no other.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Final

import attrs

from smtpgate.control.views import Actor
from smtpgate.policy.reach import Reach

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
    "rules:write",
    "lists:write",
    "runtime:write",
    "test:run",
    "access:write",
    "audit:read",
    "system:write",
    "metrics:read",
    "content:read",
    "quarantine:read",
    "quarantine:release",
    "quarantine:delete",
)

#: What a token can be given; the rest is not given but had.
SCOPES: Final = tuple(one for one in PERMISSIONS if one not in ("public", "near", "self"))

_HELD = frozenset({"quarantine:read", "quarantine:release", "quarantine:delete"})
_LOOK = frozenset({"self", "stats:read", "traffic:read", "messages:read"})
_ALL = frozenset(PERMISSIONS)

#: No role but owner may change who has access.
ROLES: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "owner": _ALL,
        "admin": _ALL - {"access:write"},
        "operator": _LOOK | _HELD | {"config:read", "lists:write", "runtime:write", "test:run", "metrics:read"},
        # Reads held mail, and decides on it; how the gateway works is not for them.
        "quarantine-manager": _LOOK | _HELD | {"content:read", "lists:write"},
        "helpdesk": _LOOK | {"quarantine:read"},
        "auditor": _LOOK | {"config:read", "audit:read", "metrics:read", "quarantine:read"},
        # Somebody with held mail of their own.
        "user": frozenset({"self"}),
    }
)


def held_by(role: str, scopes: Collection[str] = ()) -> frozenset[str]:
    """What a role holds, what of it was given to a token, or without a role what was given; nothing unknown."""
    if not role and scopes:
        return frozenset({"self", *scopes}) & {"self", *SCOPES}
    held = ROLES.get(role, frozenset())
    return held & {"self", *scopes} if scopes else held


@attrs.frozen
class Principal:
    """Who asks.

    :ivar kind: "user" (a browser's session), "token" or "cli" (the local socket)
    :ivar id: what is checked again while a stream is open: the session's or token's id
    :ivar csrf: what unsafe requests of a browser's session must bring along; "" where they need nothing
    :ivar login_at: when the password was given last, seconds since the epoch
    :ivar scopes: what it may do; of a user what the role holds
    :ivar domains: those that it is limited to; none for no limit
    :ivar has_code: a one-time code was given with the password
    """

    kind: str
    name: str
    role: str
    id: str = ""
    csrf: str = ""
    login_at: float = 0.0
    scopes: frozenset[str] = attrs.field(default=attrs.Factory(lambda self: held_by(self.role), takes_self=True))
    domains: tuple[str, ...] = ()
    has_code: bool = False

    @property
    def actor(self) -> Actor:
        """As `control` wants it named."""
        return Actor(self.kind, self.name)

    @property
    def reach(self) -> Reach:
        """Which mail it may see."""
        return Reach(self.domains)

    def may(self, permission: str) -> bool:
        """Whether it holds a permission."""
        return permission in self.scopes

    def covers(self, scopes: Collection[str], domains: Collection[str]) -> bool:
        """Whether it holds all that somebody else holds or is to hold: nobody gives more than they have."""
        is_inside = not self.domains or bool(domains) and set(domains) <= set(self.domains)
        return set(scopes) <= self.scopes and is_inside
