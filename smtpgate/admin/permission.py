"""The principal of a request: who asks, and what they may do (`control.roles`).

Every route declares one permission; `site` compares it with what the principal holds before the route's code
runs. Users and tokens may be limited to domains: such a principal gets the routes that look at its reach
(`Route.for_domains`), and no other.
"""

from __future__ import annotations

from collections.abc import Collection

import attrs

from smtpgate.control.roles import PERMISSIONS, ROLES, SCOPES, held_by
from smtpgate.control.views import Actor
from smtpgate.policy.reach import Reach


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
    :ivar issuer: where they log in (`[sso]`); "" for here
    :ivar must_enrol: a one-time code is wanted of the role, and there is none yet: nothing but setting it up is open
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
    must_enrol: bool = False
    issuer: str = ""

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


__all__ = ["PERMISSIONS", "ROLES", "SCOPES", "Principal", "held_by"]
