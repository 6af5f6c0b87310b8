"""Users and tokens while no gateway runs: the state folder is opened under its lock, and closed again.

The stores are those of `state`, run at once in this thread; answers have the shape that the API gives, so
that a command prints the same whoever answered. Root acts as the folder's owner, and makes no folder: whose it
is to be only the administrator knows.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import Deferred, ensureDeferred, maybeDeferred

from smtpgate.control.entries import Grant, check_domains, check_new, check_role, rights
from smtpgate.control.roles import SCOPES, held_by
from smtpgate.control.views import Actor

_DONE: Final = {"done": True, "is_audited": True}


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


def add_user(folder: Path, name: str, role: str, password: str, domains: Sequence[str]) -> Any:
    """A new user."""
    check_new(name, password)
    check_role(role)
    wanted = check_domains(domains, role)

    async def work(users: Any) -> Any:
        if await users.user(name) is not None:
            raise Refusal(f"there is a user {name} already")
        await users.audit(_actor(), "user.add", name, rights(role, wanted))
        await users.add_user(name, role, password, wanted)
        return _DONE

    return _do(folder, work)


async def _known(users: Any, name: str) -> Any:
    found = await users.user(name)
    if found is None:
        raise Refusal(f"no user {name}")
    return found


def change_user(
    folder: Path, name: str, role: str | None, domains: Sequence[str] | None, is_disabled: bool | None
) -> Any:
    """Other rights; its sessions end. None: as it was."""

    async def work(users: Any) -> Any:
        was = await _known(users, name)
        now = (was.role if role is None else role, was.is_disabled if is_disabled is None else is_disabled)
        check_role(now[0])
        wanted = check_domains(was.domains if domains is None else domains, now[0])
        before = rights(was.role, was.domains, was.is_disabled)
        await users.audit(_actor(), "user.change", name, f"{before} -> {rights(now[0], wanted, now[1])}")
        await users.change_user(name, now[0], wanted, now[1])
        return _DONE

    return _do(folder, work)


def set_password(folder: Path, name: str, password: str) -> Any:
    """Another password; its sessions end."""
    check_new(name, password)

    async def work(users: Any) -> Any:
        if (await _known(users, name)).issuer:
            raise Refusal("this account logs in elsewhere, and has no password here")
        await users.audit(_actor(), "user.password", name, "")
        await users.set_password(name, password)
        return _DONE

    return _do(folder, work)


def remove_user(folder: Path, name: str) -> Any:
    """A user goes."""

    async def work(users: Any) -> Any:
        was = await _known(users, name)
        await users.audit(_actor(), "user.remove", name, rights(was.role, was.domains))
        await users.remove_user(name)
        return _DONE

    return _do(folder, work)


def list_users(folder: Path) -> Any:
    """Who can log in."""

    async def work(users: Any) -> Any:
        found = await users.users()
        with_codes = set(await users.factors.users())
        invited = await users.factors.invitations(time.time())
        mine = {one.name: one.addresses for one in await users.persons.all()}
        return {
            "items": [
                {
                    "name": one.name,
                    "role": one.role,
                    "created": _moment(one.created),
                    "domains": list(one.domains),
                    "addresses": list(mine.get(one.name, ())),
                    "is_disabled": one.is_disabled,
                    "has_password": one.has_password,
                    "issuer": one.issuer,
                    "has_codes": one.name in with_codes,
                    "invited_until": _moment(invited.get(one.name, 0.0)),
                }
                for one in found
            ]
        }

    return _do(folder, work)


def add_token(folder: Path, name: str, grant: Grant) -> Any:
    """A new token."""

    async def work(users: Any) -> Any:
        await users.audit(_actor(), "token.add", name, str(grant))
        expires = time.time() + grant.days * 86400
        limits = (grant.scopes, grant.domains, grant.networks)
        return {"token": await users.add_token(name, grant.role, expires, *limits, f"cli uid {os.getuid()}")}

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
                    "scopes": sorted(held_by(one.role, one.scopes) & set(SCOPES)),
                    "domains": list(one.domains),
                    "networks": list(one.networks),
                    "maker": one.maker,
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
        return _DONE

    return _do(folder, work)


def verify_audit(folder: Path) -> Any:
    """Whether the audit's chain is whole."""

    async def work(users: Any) -> Any:
        found = await users.log.verify()
        return {
            "is_intact": not found.reason,
            "reason": found.reason,
            "rows": found.rows,
            "clock_steps": [{"seq": seq, "seconds": round(seconds, 3)} for seq, seconds in found.steps],
        }

    return _do(folder, work)


def _moment(seconds: float) -> str | None:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds") if seconds else None
