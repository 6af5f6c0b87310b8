"""Passwords: argon2id hashes, checked in threads, few at a time.

One check costs a quarter of a second of a core and 64 MiB; more than two at once would take the machine from the mail.
All listeners and the logins of the administrators share these two turns, and a turn is over when its thread is done,
not when somebody stops waiting for it. An unknown name is checked against a hash that nobody knows the password of, so
that it costs the same.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from twisted.internet.defer import Deferred, DeferredSemaphore, maybeDeferred

from smtpgate.interfaces import Unavailable

#: Checks at one time, in the whole process.
AT_ONCE = 2
#: Checks that may wait; more are refused.
WAITING = 64

_hasher = PasswordHasher()
_nobody = ""
#: The turns of the process.
_turns = DeferredSemaphore(AT_ONCE)


class TooBusy(Unavailable):
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
    except (VerificationError, InvalidHashError, UnicodeError):
        return False


def is_outdated(hashed: str) -> bool:
    """Whether a hash was made with other costs than new ones are, and is to be made anew at the next login."""
    try:
        return _hasher.check_needs_rehash(hashed)
    except InvalidHashError:
        return False


class Checker:
    """Runs checks in threads."""

    def __init__(self, in_thread: Callable[..., Any]) -> None:
        self._in_thread = in_thread

    async def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Await a blocking call in its turn. Raises TooBusy."""
        if len(_turns.waiting) >= WAITING:
            raise TooBusy("too many logins at once; try again in a moment")
        await _turns.acquire()
        # A thread cannot be stopped: who gives up waiting must not make room for another.
        done: Deferred[Any] = Deferred()

        def finished(result: Any) -> None:
            _turns.release()
            done.callback(result)

        maybeDeferred(self._in_thread, function, *args).addBoth(finished)
        return await done


class PasswordFile:
    """The users of a listener with `auth = "local"`: lines of `name:argon2 hash`, read when they change.

    Empty lines and those that begin with # are left out, and so are lines that are no name and hash: their users
    cannot log in, and `check-config` names them.
    """

    def __init__(self, path: Path, in_thread: Callable[..., Any]) -> None:
        self._path = path
        self._checker = Checker(in_thread)
        self._seen: tuple[int, int, int] | None = None
        self._hashes: dict[str, str] = {}

    async def check(self, user: str, password: str) -> bool:
        """Whether a login is right. Raises TooBusy, OSError."""
        found: bool = await self._checker.run(self._check, user, password)
        return found

    def _check(self, user: str, password: str) -> bool:
        stat = self._path.stat()
        seen = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        if seen != self._seen:
            self._hashes = _users(self._path.read_bytes())
            self._seen = seen
        return is_right(self._hashes.get(user), password)


def _users(octets: bytes) -> dict[str, str]:
    # A line that is not UTF-8 belongs to nobody who could log in; it takes nothing from the others.
    found = {}
    for line in octets.decode("utf-8-sig", "replace").split("\n"):
        name, _, hashed = line.strip().partition(":")
        if name and hashed and not name.startswith("#"):
            found[name.strip()] = hashed.strip()
    return found
