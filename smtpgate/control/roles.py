"""Who may do what: permissions, and roles as sets of them.

An unknown role holds nothing. A token may hold less than a role.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Final

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
    "content:malware",
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
