"""Logins that are half done: the password was right, and the one-time code is to come.

They stand in memory; a restart means to begin again. Of the secret in the browser's cookie only the digest is held.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Final

import attrs

from smtpgate.admin.browsers import digest_of
from smtpgate.admin.guard import Caller

COOKIE: Final = "sg-half"
#: So long the code is waited for, and so many are tried.
HALF_S: Final = 300.0
TRIES: Final = 5
_MOST: Final = 1000


@attrs.define
class Half:
    """One of them. `is_over`: what it rests on is no more."""

    user: str
    until: float
    tries: int = 0
    is_over: bool = False


def _is_fresh(one: Half, now: float) -> bool:
    # One that would last longer than any is one of before the clock was set back.
    return 0.0 < one.until - now <= HALF_S


class Halves:
    """All of them."""

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._all: dict[str, Half] = {}

    def begin(self, caller: Caller, user: str) -> str:
        """The password was right; the Set-Cookie line."""
        now = self._wall()
        self._all = {digest: one for digest, one in self._all.items() if _is_fresh(one, now)}
        while len(self._all) >= _MOST:
            del self._all[next(iter(self._all))]
        secret = secrets.token_urlsafe(32)
        self._all[digest_of(secret)] = Half(user, now + HALF_S)
        return caller.cookie(COOKIE, secret, int(HALF_S))

    def find(self, caller: Caller) -> Half | None:
        """That of a request's cookie."""
        found = self._all.get(digest_of(caller.sent_cookie(COOKIE)))
        return found if found is not None and _is_fresh(found, self._wall()) and found.tries < TRIES else None

    def end(self, caller: Caller) -> str:
        """It is over; the Set-Cookie line that takes its cookie away."""
        self._all.pop(digest_of(caller.sent_cookie(COOKIE)), None)
        return caller.cookie(COOKIE, "", 0)

    def forget(self, user: str) -> None:
        """Those of a user rest on a password or a role that is no more."""
        for digest, one in list(self._all.items()):
            if one.user == user:
                one.is_over = True
                del self._all[digest]
