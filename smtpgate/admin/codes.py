"""The second step of a login: one-time codes of a telephone, and recovery codes for the day when it is lost.

A secret that is being set up stays in memory until a first code shows that the telephone has it. Wrong codes are
delayed by account, wherever they come from: only who knows the password gets as far.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import attrs

from smtpgate.admin import totp
from smtpgate.admin.guard import Refusal
from smtpgate.admin.ports import Users
from smtpgate.admin.throttle import Throttle

#: So long a secret waits for its first code.
SET_UP_S: Final = 900.0
#: Secrets that wait; the oldest goes first.
_WAITING: Final = 1000


@attrs.frozen
class _Begun:
    user: str
    secret: bytes
    until: float


class Codes:
    """All second factors."""

    def __init__(self, users: Users, wall: Callable[[], float], issuer: Callable[[], str]) -> None:
        """
        :param wall: seconds since the epoch
        :param issuer: how the telephone calls us
        """
        self._users = users
        self._wall = wall
        self._issuer = issuer
        self._throttle = Throttle(wall)
        #: By id of a session.
        self._begun: dict[str, _Begun] = {}

    async def of(self, user: str) -> Any:
        """A user's factor (`state.factors.Factor`); None where there is none."""
        return await self._users.factors.of(user)

    async def check(self, user: str, code: str) -> bool:
        """Whether a code is right, by the telephone or from the list; it is taken by that. Raises TooMany."""
        place = f"codes of {user}"
        self._throttle.check(user, place)
        is_right = await self._take(user, code.strip()[:64])
        if is_right:
            self._throttle.passed(user, place)
        else:
            self._throttle.failed(user, place)
        return is_right

    async def _take(self, user: str, code: str) -> bool:
        factor = await self._users.factors.of(user)
        if factor is None:
            return False
        digits = code.replace(" ", "")
        if len(digits) == totp.DIGITS and digits.isascii() and digits.isdigit():
            step = totp.step_of(factor.secret, digits, self._wall(), factor.last_step)
            return step is not None and bool(await self._users.factors.spend_step(user, step))
        digest = totp.recovery_digest(code)
        return bool(digest) and bool(await self._users.factors.spend_recovery(user, digest))

    # Setting up

    def begin(self, session: str, user: str) -> bytes:
        """A secret for a session to set up; the same again for one that has begun."""
        now = self._wall()
        found = self._begun.get(session)
        if found is None or found.user != user or found.until <= now:
            found = _Begun(user, totp.fresh_secret(), now + SET_UP_S)
            self._begun.pop(session, None)
            self._begun[session] = found
            while len(self._begun) > _WAITING:
                del self._begun[next(iter(self._begun))]
        return found.secret

    def uri(self, user: str, secret: bytes) -> str:
        """What the telephone reads."""
        return totp.uri_of(secret, self._issuer(), user)

    def begun(self, session: str, user: str) -> bytes:
        """The secret that a session sets up. Raises Refusal where there is none, or where it waited too long."""
        found = self._begun.get(session)
        if found is None or found.user != user or found.until <= self._wall():
            raise Refusal("conflict", 409, "nothing is being set up, or it took over a quarter of an hour; begin again")
        return found.secret

    def first_step(self, session: str, user: str, code: str) -> int:
        """The step of the first code. Raises Refusal where it is wrong, TooMany after some that were."""
        place = f"codes of {user}"
        secret = self.begun(session, user)
        self._throttle.check(user, place)
        step = totp.step_of(secret, code.replace(" ", "")[:64], self._wall(), -1)
        if step is None:
            self._throttle.failed(user, place)
            raise Refusal("validation", 422, "that is not the code of this moment; is the telephone's clock right?")
        self._throttle.passed(user, place)
        return step

    async def confirm(self, session: str, user: str, step: int) -> Sequence[str]:
        """The telephone has it: from now on a login takes a code. The recovery codes, which are kept nowhere."""
        secret = self.begun(session, user)
        recovery = totp.fresh_recovery()
        await self._users.factors.set(user, secret, step, list(map(totp.recovery_digest, recovery)), self._wall())
        self._begun.pop(session, None)
        return recovery

    async def renew(self, user: str) -> Sequence[str]:
        """Other recovery codes in place of those before."""
        recovery = totp.fresh_recovery()
        await self._users.factors.set_recovery(user, list(map(totp.recovery_digest, recovery)))
        return recovery
