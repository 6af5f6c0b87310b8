"""Links by which somebody sets a first or another password, so that nobody else ever knows one.

A link holds for a day and once. Who has it sets the password of that user; a one-time code, where the user has those,
is wanted at the login all the same. What the user had holds until the link is used.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from typing import Final

from smtpgate.admin.browsers import digest_of
from smtpgate.admin.grants import Change, Grants, must_be_ours
from smtpgate.admin.guard import Caller, Refusal
from smtpgate.admin.permission import Principal
from smtpgate.admin.ports import User, Users
from smtpgate.admin.throttle import Gate
from smtpgate.control.entries import check_password
from smtpgate.control.views import Actor

#: So long a link holds (as GitLab's).
LINK_S: Final = 86400.0


class Invitations:
    """All links."""

    def __init__(
        self,
        users: Users,
        wall: Callable[[], float],
        gate: Gate,
        grants: Grants,
        audit: Callable[..., Awaitable[None]],
        forget: Callable[[str], None],
    ) -> None:
        """
        :param wall: seconds since the epoch
        :param gate: runs what hashes
        :param audit: writes down; raises Refusal where that cannot be
        :param forget: is told whose sessions have ended in the database
        """
        self._users = users
        self._wall = wall
        self._gate = gate
        self._grants = grants
        self._audit = audit
        self._forget = forget
        #: Digests of links that are being used.
        self._used: set[str] = set()

    async def make(self, change: Change, by: Principal, name: str) -> tuple[str, float]:
        """A link's secret, and until when it holds; a link before it holds no more."""
        must_be_ours(await self._grants.user(by, name))
        await change("user.invite", name, "")
        token, until = secrets.token_urlsafe(32), self._wall() + LINK_S
        await self._users.factors.invite(name, digest_of(token), f"{by.kind} {by.name}", until, self._wall())
        return token, until

    async def whom(self, token: str) -> User:
        """For whom a link is. Raises Refusal."""
        name = await self._users.factors.invited(digest_of(token), self._wall())
        user = await self._users.user(name) if name is not None else None
        if user is None or user.is_disabled:
            raise Refusal("not-found", 404, "this link was used, or is older than a day; ask for another")
        return user

    async def use(self, token: str, password: str, caller: Caller) -> None:
        """Set the password. Raises Refusal, Invalid, TooMany."""
        user, digest = await self.whom(token), digest_of(token)
        check_password(user.name, password)
        if digest in self._used:
            raise Refusal("conflict", 409, "this link is being used")
        self._used.add(digest)
        try:
            # Looked at again: nobody else uses it now.
            await self.whom(token)
            await self._audit(Actor("link", user.name), "user.password", user.name, "by invitation", caller)
            await self._gate.run(self._users.set_password, user.name, password)
        finally:
            self._used.discard(digest)
        self._forget(user.name)
