"""Who may come in: logins, the first owner, tokens, and the sessions of browsers.

`site` asks `principal` for every request; pages and API call the rest. Passwords are hashed behind a narrow
gate and in threads; failed logins are delayed. A session's secret is 256 bits, is made anew at each login,
and only its hash is kept; it ends after 30 idle minutes, after 12 hours, and when its user's password or role
changes.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import attrs
from twisted.logger import Logger

from smtpgate.admin.guard import Caller, Refusal
from smtpgate.admin.permission import ROLES, Principal
from smtpgate.admin.ports import Users
from smtpgate.admin.text import visible
from smtpgate.admin.throttle import Gate, Throttle, TooMany
from smtpgate.control.views import Actor

#: Length of a setup code in octets of chance (192 bits), and how long it holds.
CODE_OCTETS = 24
CODE_S = 1800.0
#: A session ends after so long without a request, and after so long altogether.
IDLE_S = 1800.0
LIFE_S = 12 * 3600.0
#: Sessions of one user; the oldest makes room.
SESSIONS_PER_USER = 20
#: Writes a change down: its action, target and detail.
Change = Callable[[str, str, str], Awaitable[None]]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


@attrs.define
class _WebSession:
    """One browser's login. `id` may be shown; `csrf` is for its forms."""

    id: str
    user: str
    role: str
    csrf: str
    login_at: float
    seen_at: float


class Accounts:
    """Everybody who may come in."""

    log = Logger(namespace="smtpgate.admin")

    def __init__(self, users: Users, wall: Callable[[], float], say: Callable[[str], None]) -> None:
        """
        :param wall: seconds since the epoch
        :param say: tells the person at the log the setup code
        """
        self.users = users
        self._wall = wall
        self._say = say
        self._throttle = Throttle(wall)
        self._gate = Gate()
        self._sessions: dict[str, _WebSession] = {}
        #: Changes that could not be written to the audit.
        self.audit_failures = 0
        self._code = ""
        self._code_until = 0.0
        self._has_owner = False
        self._on_end: list[Callable[[], None]] = []

    # Who asks

    async def principal(self, caller: Caller) -> Principal | None:
        """Who makes a request; None for a stranger. A bearer token stands above a cookie."""
        if caller.door == "local":
            return Principal("cli", "local", "owner", "local")
        token = caller.bearer
        if token:
            found = await self.users.check_token(token, caller.address)
            return Principal("token", found.name, found.role, found.id) if found is not None else None
        if caller.request.header("authorization"):
            return None
        session = self._find(caller.sent_cookie(caller.cookie_name))
        if session is None:
            return None
        session.seen_at = self._wall()
        return Principal("user", session.user, session.role, session.id, session.csrf, session.login_at)

    async def is_valid(self, principal: Principal) -> bool:
        """Whether a principal may still be served (asked while a stream is open)."""
        if principal.kind == "user":
            return any(one.id == principal.id and self._is_fresh(one) for one in self._sessions.values())
        if principal.kind == "token":
            return any(one.id == principal.id and one.role == principal.role for one in await self.users.tokens())
        return True

    def _find(self, secret: str) -> _WebSession | None:
        if not secret:
            return None
        key = _hash(secret)
        session = self._sessions.get(key)
        if session is not None and not self._is_fresh(session):
            del self._sessions[key]
            return None
        return session

    def _is_fresh(self, session: _WebSession) -> bool:
        now = self._wall()
        return now - session.seen_at < IDLE_S and now - session.login_at < LIFE_S

    @property
    def count(self) -> int:
        """Sessions of people that have not run out."""
        return sum(self._is_fresh(one) for one in self._sessions.values())

    # Coming and going

    async def log_in(self, caller: Caller, name: str, password: str) -> str:
        """A Set-Cookie line for a new session; raises Refusal or TooMany."""
        name = name.strip()[:256]
        self._throttle.check(name, caller.address)
        user = await self._gate.run(self.users.verify, name, password[:1024])
        if user is None:
            self._throttle.failed(name, caller.address)
            await self.note(Actor("user", name), "login.failed", caller.address)
            raise Refusal("unauthenticated", 401, "name or password is wrong")
        self._throttle.passed(name, caller.address)
        self._forget(caller)
        return await self._enter(caller, user.name, user.role)

    async def _enter(self, caller: Caller, name: str, role: str) -> str:
        now = self._wall()
        for key in [key for key, one in self._sessions.items() if not self._is_fresh(one)]:
            del self._sessions[key]
        own = [key for key, one in self._sessions.items() if one.user == name]
        for key in own[: max(0, len(own) - SESSIONS_PER_USER + 1)]:
            del self._sessions[key]
        secret = secrets.token_urlsafe(32)
        session = _WebSession(secrets.token_hex(8), name, role, secrets.token_urlsafe(32), now, now)
        self._sessions[_hash(secret)] = session
        await self.note(Actor("user", name), "login", caller.address)
        return caller.cookie(caller.cookie_name, secret)

    def _forget(self, caller: Caller) -> None:
        self._sessions.pop(_hash(caller.sent_cookie(caller.cookie_name)), None)

    async def log_out(self, caller: Caller, principal: Principal) -> str:
        """End the session; the Set-Cookie line that takes the cookie away."""
        self._forget(caller)
        self._ended()
        await self.note(principal.actor, "logout", principal.name)
        return caller.cookie(caller.cookie_name, "", 0)

    def end_sessions(self, name: str, but: str = "") -> None:
        """A user's password or role has changed, or the user is gone."""
        for key in [key for key, one in self._sessions.items() if one.user == name and one.id != but]:
            del self._sessions[key]
        self._ended()

    def on_end(self, call: Callable[[], None]) -> None:
        """Hear whenever somebody's access may have ended."""
        self._on_end.append(call)

    def _ended(self) -> None:
        for call in self._on_end:
            call()

    # The first owner

    async def needs_setup(self) -> bool:
        """True until an owner exists."""
        if not self._has_owner:
            self._has_owner = await self.users.has_owner()
        return not self._has_owner

    async def offer_setup(self) -> None:
        """Where nobody can log in yet, say a code that lets one person become the owner."""
        if await self.needs_setup() and self._wall() >= self._code_until:
            self._code = secrets.token_urlsafe(CODE_OCTETS)
            self._code_until = self._wall() + CODE_S
            self._say(self._code)

    async def set_up(self, caller: Caller, code: str, name: str, password: str) -> str:
        """Make the first owner; a Set-Cookie line for the session."""
        if not await self.needs_setup():
            raise Refusal("not-found", 404, "there is nothing here")
        self._throttle.check("\0setup", caller.address)
        is_right = hmac.compare_digest(code.strip().encode("utf-8", "replace"), self._code.encode())
        if not self._code or not is_right or self._wall() >= self._code_until:
            self._throttle.failed("\0setup", caller.address)
            await self.offer_setup()
            raise Refusal("unauthenticated", 401, "the code is wrong or too old; the newest one stands in the log")
        check_new(name, password)
        # Spent before the hashing begins: a second request must not use it too.
        self._code, self._code_until = "", 0.0
        await self.add_user(partial(self.audit, Actor("user", name)), name, "owner", password)
        self._has_owner = True
        return await self._enter(caller, name, "owner")

    # Changes. Each is given what writes it down (`routes.Ask.guarded_change`), and calls that when all is checked.

    async def add_user(self, change: Change, name: str, role: str, password: str) -> None:
        """A new user; raises Refusal where name, role or password will not do."""
        check_new(name, password)
        check_role(role)
        if any(one.name == name for one in await self.users.users()):
            raise Refusal("conflict", 409, f"there is a user {name} already")
        await change("user.add", name, f"role {role}")
        await self._gate.run(self.users.add_user, name, role, password)

    async def set_password(self, change: Change, name: str, password: str, but: str = "") -> None:
        """A new password; other sessions of that user end."""
        check_new(name, password)
        if not any(one.name == name for one in await self.users.users()):
            raise Refusal("not-found", 404, f"no user {name}")
        await change("user.password", name, "")
        await self._gate.run(self.users.set_password, name, password)
        self.end_sessions(name, but)

    async def remove_user(self, change: Change, name: str) -> None:
        """A user goes; the last owner cannot."""
        users = await self.users.users()
        user = next((one for one in users if one.name == name), None)
        if user is None:
            raise Refusal("not-found", 404, f"no user {name}")
        if user.role == "owner" and sum(one.role == "owner" for one in users) == 1:
            raise Refusal("conflict", 409, "the last owner cannot be removed; add another owner first")
        await change("user.remove", name, f"role {user.role}")
        await self.users.remove_user(name)
        self.end_sessions(name)

    async def add_token(self, change: Change, name: str, role: str, days: int | None) -> Any:
        """A new token; the text is in the answer and nowhere else."""
        if _NAME.fullmatch(name) is None:
            raise Refusal("validation", 422, "a name has letters, digits and . _ - @, at most 64 characters")
        check_role(role)
        expires = self._wall() + days * 86400 if days is not None else 0.0
        await change("token.add", name, f"role {role}")
        return await self.users.add_token(name, role, expires)

    async def revoke_token(self, change: Change, id: str) -> None:
        """A token holds no more."""
        if not any(one.id == id for one in await self.users.tokens()):
            raise Refusal("not-found", 404, f"no token {id}")
        await change("token.revoke", id, "")
        await self.users.revoke_token(id)
        self._ended()

    # The audit

    async def audit(self, actor: Actor, action: str, target: str, detail: str = "") -> None:
        """Write a change of users or tokens down; where that cannot be done the change is not made."""
        try:
            await self.users.audit(actor, action, target, detail)
        except Exception as error:
            self.audit_failures += 1
            self.log.error("the audit cannot be written, {action} is refused: {reason}", action=action, reason=error)
            raise Refusal("audit", 503, "the audit cannot be written, so nothing is changed") from error

    async def note(self, actor: Actor, action: str, target: str, detail: str = "") -> bool:
        """Write down what goes on all the same: to come in, and to do what keeps mail flowing. False where it is only
        in the log: a disk without room must not keep anybody from draining a server.
        """
        try:
            await self.users.audit(actor, action, target, detail)
        except Exception as error:
            self.audit_failures += 1
            self.log.error(
                "the audit cannot be written, {action} {target} {detail} by {kind} {name} goes on without: {reason}",
                action=action,
                target=target,
                detail=visible(detail),
                kind=actor.kind,
                name=visible(actor.name),
                reason=error,
            )
            return False
        return True


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


#: Passwords that are guessed first, in the lengths that pass the length rule.
_GUESSED = (
    "password",
    "passwort",
    "123456789012",
    "qwertyuiop",
    "letmein",
    "administrator",
    "smtpgate",
    "changeme",
)


def check_new(name: str, password: str) -> None:
    """Raises Refusal where a new user's name or password will not do."""
    if _NAME.fullmatch(name) is None:
        raise Refusal("validation", 422, "a name has letters, digits and . _ - @, at most 64 characters")
    if len(password) < 12:
        raise Refusal("validation", 422, "a password has at least 12 characters")
    if len(password) > 1024:
        raise Refusal("validation", 422, "a password has at most 1024 characters")
    plain = password.casefold().strip("0123456789!.-_ ")
    if len(set(password)) < 5 or plain in _GUESSED or plain == name.casefold():
        raise Refusal("validation", 422, "this password is among the first that are guessed; take a longer phrase")


def check_role(role: str) -> None:
    """Raises Refusal for a role that is not known."""
    if role not in ROLES:
        raise Refusal("validation", 422, f"no role {role}; known: {', '.join(ROLES)}")


__all__ = ["Accounts", "TooMany", "check_new", "check_role"]
