"""Users and tokens while no gateway runs: the state folder is opened under its lock, and closed again.

The stores are those of `state`, run at once in this thread; answers have the shape that the API gives, so
that a command prints the same whoever answered. Root acts as the folder's owner, and makes no folder: whose it
is to be only the administrator knows.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred, maybeDeferred

from smtpgate.control.views import Actor


class Refusal(Exception):
    """It cannot be done; the text says why."""


def _open(folder: Path) -> AbstractContextManager[Any]:
    """The users of a state folder, under its lock; raises Refusal where root would make it."""
    from smtpgate.state.offline import open_users

    if os.geteuid() == 0 and not folder.exists():
        raise Refusal(
            f"there is no folder {folder} yet, and what root makes the gateway's user may not open: start the gateway "
            f"first, or make the folder for that user (install -d -m 0700 -o USER {folder}), or run this as that user"
        )
    opened: AbstractContextManager[Any] = open_users(folder, maybeDeferred)
    return opened


def _actor() -> Actor:
    return Actor("cli", f"uid {os.getuid()}")


def _do(folder: Path, work: Callable[[Any], Any]) -> Any:
    """Run a coroutine over the users; every step of it is done at once."""
    from smtpgate.state.folder import StateError

    results: list[Any] = []
    failures: list[Any] = []
    try:
        with _open(folder) as users:
            running: Deferred[Any] = ensureDeferred(work(users))
            running.addCallbacks(results.append, failures.append)
            if failures:
                failures[0].raiseException()
    except StateError as error:
        raise Refusal(str(error)) from error
    if not results:
        raise Refusal("the state folder does not answer")
    return results[0]


def add_user(folder: Path, name: str, role: str, password: str) -> Any:
    """A new user."""
    if len(password) < 12:
        raise Refusal("a password has at least 12 characters")

    async def work(users: Any) -> Any:
        if any(one.name == name for one in await users.users()):
            raise Refusal(f"there is a user {name} already")
        await users.audit(_actor(), "user.add", name, f"role {role}")
        await users.add_user(name, role, password)
        return {"done": True, "is_audited": True}

    return _do(folder, work)


def remove_user(folder: Path, name: str) -> Any:
    """A user goes."""

    async def work(users: Any) -> Any:
        if not any(one.name == name for one in await users.users()):
            raise Refusal(f"no user {name}")
        await users.audit(_actor(), "user.remove", name, "")
        await users.remove_user(name)
        return {"done": True, "is_audited": True}

    return _do(folder, work)


def list_users(folder: Path) -> Any:
    """Who can log in."""

    async def work(users: Any) -> Any:
        found = await users.users()
        return {"items": [{"name": one.name, "role": one.role, "created": _moment(one.created)} for one in found]}

    return _do(folder, work)


def add_token(folder: Path, name: str, role: str, days: int) -> Any:
    """A new token."""

    async def work(users: Any) -> Any:
        await users.audit(_actor(), "token.add", name, f"role {role}")
        return {"token": await users.add_token(name, role, time.time() + days * 86400)}

    return _do(folder, work)


def list_tokens(folder: Path) -> Any:
    """Tokens in force."""

    async def work(users: Any) -> Any:
        return {
            "items": [
                {
                    "id": one.id,
                    "name": one.name,
                    "role": one.role,
                    "created": _moment(one.created),
                    "expires": _moment(one.expires),
                    "last_used": _moment(one.last_used),
                }
                for one in await users.tokens()
            ]
        }

    return _do(folder, work)


def revoke_token(folder: Path, id: str) -> Any:
    """A token holds no more."""

    async def work(users: Any) -> Any:
        if not any(one.id == id for one in await users.tokens()):
            raise Refusal(f"no token {id}")
        await users.audit(_actor(), "token.revoke", id, "")
        await users.revoke_token(id)
        return {"done": True, "is_audited": True}

    return _do(folder, work)


def _moment(seconds: float) -> str | None:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds") if seconds else None
