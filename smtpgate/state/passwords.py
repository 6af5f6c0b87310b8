"""Passwords: argon2id hashes, checked in threads, few at a time.

One check costs a quarter of a second of a core and 64 MiB; more than two at once would take the machine from
the mail. An unknown name is checked against a hash that nobody knows the password of, so that it costs the
same.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from twisted.internet.defer import DeferredSemaphore

#: Checks at one time.
AT_ONCE = 2
#: Checks that may wait; more are refused.
WAITING = 64

_hasher = PasswordHasher()
_nobody = ""


class TooBusy(Exception):
    """So many passwords are being checked that one more must wait for later."""


def hash_password(password: str) -> str:
    """A new hash. Blocks."""
    return _hasher.hash(password)


def is_right(hashed: str | None, password: str) -> bool:
    """Whether a password fits; None is a user that does not exist. Blocks."""
    global _nobody
    if hashed is None:
        _nobody = _nobody or _hasher.hash(secrets.token_hex(16))
    try:
        return _hasher.verify(hashed or _nobody, password) and hashed is not None
    except (VerificationError, InvalidHashError):
        return False


class Checker:
    """Runs checks in threads."""

    def __init__(self, in_thread: Callable[..., Any]) -> None:
        self._in_thread = in_thread
        self._turns = DeferredSemaphore(AT_ONCE)

    async def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Await a blocking call in its turn. Raises TooBusy."""
        if len(self._turns.waiting) >= WAITING:
            raise TooBusy("too many logins at once; try again in a moment")
        return await self._turns.run(self._in_thread, function, *args)


class PasswordFile:
    """The users of a listener with `auth = "local"`: lines of `name:argon2 hash`, read when they change."""

    def __init__(self, path: Path, in_thread: Callable[..., Any]) -> None:
        self._path = path
        self._checker = Checker(in_thread)
        self._seen: tuple[int, int] | None = None
        self._hashes: dict[str, str] = {}

    async def check(self, user: str, password: str) -> bool:
        """Whether a login is right. Raises TooBusy, OSError."""
        found: bool = await self._checker.run(self._check, user, password)
        return found

    def _check(self, user: str, password: str) -> bool:
        stat = self._path.stat()
        seen = (stat.st_mtime_ns, stat.st_size)
        if seen != self._seen:
            lines = self._path.read_text(encoding="utf-8").splitlines()
            pairs = (line.partition(":") for line in lines if line.strip() and not line.startswith("#"))
            self._hashes = {name.strip(): hashed.strip() for name, _, hashed in pairs}
            self._seen = seen
        return is_right(self._hashes.get(user), password)
