"""Who may come in: logins, the first owner, and the sessions of browsers.

`site` asks `principal` for every request; pages and API call the rest. Passwords are hashed behind a narrow
gate and in threads; failed logins are delayed. Sessions are those of `browsers`; users and tokens are made and
changed by `grants`.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from twisted.logger import Logger

from smtpgate.admin.browsers import Browsers
from smtpgate.admin.codes import Codes
from smtpgate.admin.grants import Change, Grants
from smtpgate.admin.guard import Caller, Refusal
from smtpgate.admin.halves import Halves
from smtpgate.admin.invitations import Invitations
from smtpgate.admin.permission import Principal, held_by
from smtpgate.admin.ports import User, Users, WebSession
from smtpgate.admin.text import visible
from smtpgate.admin.throttle import Gate, Throttle
from smtpgate.admin.trail import METHOD, Bounds, context_of
from smtpgate.config.model import Settings
from smtpgate.config.model_sso import issuers
from smtpgate.control.entries import check_new
from smtpgate.control.people import People
from smtpgate.control.views import Actor, Refused

#: Length of a setup code in octets of chance (192 bits), and how long it holds.
CODE_OCTETS = 24
CODE_S = 1800.0


class Accounts:
    """Everybody who may come in."""

    log = Logger(namespace="smtpgate.admin")

    def __init__(
        self,
        users: Users,
        wall: Callable[[], float],
        say: Callable[[str], None],
        settings: Callable[[], Settings],
        people: People,
    ) -> None:
        """
        :param wall: seconds since the epoch
        :param say: tells the person at the log the setup code
        :param settings: those at work
        :param people: whose mail is whose
        """
        self._settings = settings
        self.users = users
        self._wall = wall
        self._say = say
        self._throttle = Throttle(wall)
        self._gate = Gate()
        self.browsers = Browsers(users, wall)
        self.codes = Codes(users, wall, lambda: f"smtpgate {settings().hostname}")
        self.halves = Halves(wall)
        self.grants = Grants(users, wall, self._gate, self.forget_sessions, self._ended, people)
        self.invitations = Invitations(users, wall, self._gate, self.grants, self.audit, self.forget_sessions)
        #: Changes that could not be written to the audit.
        self.audit_failures = 0
        self._code = ""
        self._code_until = 0.0
        self._has_owner = False
        self._bounds = Bounds(wall)
        self._on_end: list[Callable[[], None]] = []

    # Who asks

    async def principal(self, caller: Caller) -> Principal | None:
        """Who makes a request; None for a stranger. A bearer token stands above a cookie."""
        if caller.door == "local":
            return Principal("cli", "local", "owner", "local")
        token = caller.bearer
        if token:
            found = await self.users.check_token(token, caller.address)
            if found is None:
                return None
            scopes = held_by(found.role, found.scopes)
            return Principal("token", found.name, found.role, found.id, scopes=scopes, domains=tuple(found.domains))
        if caller.request.header("authorization"):
            return None
        browser = await self.browsers.find(caller)
        if browser is None or not self._comes_in(browser.user):
            return None
        session, user = browser.session, browser.user
        return Principal(
            "user",
            user.name,
            user.role,
            session.id,
            session.csrf,
            session.proved_at,
            domains=tuple(user.domains),
            has_code=session.has_code,
            must_enrol=not session.has_code and self.wants_code(user.role),
            issuer=user.issuer,
        )

    def _comes_in(self, user: User) -> bool:
        """Whether the way by which somebody logs in is there still."""
        return not user.issuer or user.issuer in issuers(self._settings().sso)

    def wants_code(self, role: str) -> bool:
        """Whether users of a role must have one-time codes."""
        return role in self._settings().admin.require_totp

    async def is_valid(self, principal: Principal) -> bool:
        """Whether a principal may still be served (asked while a stream is open)."""
        if principal.kind == "user":
            # A role that must have codes from now on reads no further without one.
            is_enough = principal.has_code or not self.wants_code(principal.role)
            is_known = not principal.issuer or principal.issuer in issuers(self._settings().sso)
            return self.browsers.holds(principal.id) and is_enough and is_known
        if principal.kind == "token":
            return any(one.id == principal.id and one.role == principal.role for one in await self.users.tokens())
        return True

    # Coming and going

    async def log_in(self, caller: Caller, name: str, password: str) -> tuple[str, bool]:
        """A Set-Cookie line, and whether it is that of a session; else a one-time code is wanted (`second`). Raises
        Refusal or TooMany.
        """
        name = name.strip()[:256]
        user = await self._verify(caller, name, password, "login.failed", "name or password is wrong")
        if await self.codes.of(user.name) is not None:
            return self.halves.begin(caller, user.name), False
        return await self._enter(caller, user), True

    async def _verify(self, caller: Caller, name: str, password: str, action: str, why: str) -> User:
        self._throttle.check(name, caller.address)
        user: User | None = await self._gate.run(self.users.verify, name, password[:1024])
        if user is None:
            self._throttle.failed(name, caller.address)
            await self.refused(Actor("user", name), action, caller.address, "", caller, "failed")
            raise Refusal("unauthenticated", 401, why)
        self._throttle.passed(name, caller.address)
        return user

    async def second(self, caller: Caller, code: str) -> tuple[str, str]:
        """The second step of a login: the Set-Cookie lines of a new session. Raises Refusal or TooMany."""
        half = self.halves.find(caller)
        if half is None:
            raise Refusal("conflict", 409, "the login took too long, or too many codes were wrong; begin again")
        half.tries += 1
        is_right = await self.codes.check(half.user, code)
        user = await self.users.user(half.user)
        if not is_right or user is None or user.is_disabled or half.is_over:
            actor = Actor("user", half.user)
            await self.refused(actor, "login.failed", caller.address, "one-time code", caller, "failed")
            raise Refusal("unauthenticated", 401, "the code is wrong, or was used already")
        return self.halves.end(caller), await self._enter(caller, user, has_code=True)

    async def _enter(self, caller: Caller, user: User, has_code: bool = False) -> str:
        more = {"method": METHOD} if user.issuer else {}
        try:
            cookie = await self.browsers.begin(caller, user, has_code)
        except Refusal as error:
            actor = Actor("user", user.name)
            await self.refused(actor, "login.failed", caller.address, error.detail, caller, "failed", **more)
            raise
        detail = "with one-time code" if has_code else ""
        await self.note(Actor("user", user.name), "login", caller.address, detail, caller, **more)
        return cookie

    async def enter_from(self, caller: Caller, user: User, has_code: bool) -> tuple[str, bool]:
        """Somebody logged in elsewhere: as `log_in` for them. Raises Refusal.

        :param has_code: what they gave there counts as a one-time code
        """
        if not has_code and await self.codes.of(user.name) is not None:
            return self.halves.begin(caller, user.name), False
        return await self._enter(caller, user, has_code), True

    async def prove(self, caller: Caller, who: Principal, password: str) -> None:
        """The password again, for what is dangerous; raises Refusal or TooMany."""
        if who.issuer:
            raise Refusal("conflict", 409, "this account has no password; log in anew where it logs in, on a page here")
        await self._verify(caller, who.name, password, "proof.failed", "the password is wrong")
        await self.browsers.prove(who.id)

    # One's own

    async def set_own_password(self, caller: Caller, who: Principal, current: str, fresh: str) -> str:
        """Another password for who asks; all their sessions end, and the Set-Cookie line begins a new one."""
        if who.issuer:
            raise Refusal("conflict", 409, "this account has no password here, and none can be set")
        check_new(who.name, fresh)
        user = await self._verify(caller, who.name, current, "proof.failed", "the password is wrong")
        await self.audit(who.actor, "user.password", who.name, "own", caller)
        user = await self._gate.run(self.users.set_password, who.name, fresh) or user
        caller.made()
        self.forget_sessions(who.name)
        return await self.browsers.begin(caller, user, who.has_code)

    async def set_up_codes(self, caller: Caller, who: Principal, code: str) -> tuple[Sequence[str], str]:
        """The telephone of who asks has the secret: recovery codes, and the Set-Cookie line of a new session. Other
        sessions of theirs, which had no code, end.
        """
        step = self.codes.first_step(who.id, who.name, code)
        user = await self.users.user(who.name)
        if user is None:
            raise Refusal("not-found", 404, "there is no such user any more")
        await self.audit(who.actor, "totp.set", who.name, "", caller)
        recovery = await self.codes.confirm(who.id, who.name, step)
        caller.made()
        await self.end_all(who.name)
        return recovery, await self.browsers.begin(caller, user, has_code=True)

    async def renew_codes(self, caller: Caller, who: Principal) -> Sequence[str]:
        """Other recovery codes for who asks."""
        if await self.codes.of(who.name) is None:
            raise Refusal("conflict", 409, "there are no one-time codes to recover")
        await self.audit(who.actor, "totp.recovery", who.name, "", caller)
        return await self.codes.renew(who.name)

    async def drop_codes(self, caller: Caller, who: Principal) -> None:
        """No one-time codes any more for who asks."""
        if self.wants_code(who.role):
            raise Refusal("conflict", 409, f"the role {who.role} must have one-time codes (admin.require_totp)")
        if await self.codes.of(who.name) is None:
            raise Refusal("conflict", 409, "there are no one-time codes")
        await self.audit(who.actor, "totp.remove", who.name, "", caller)
        await self.users.factors.remove(who.name)

    async def log_out(self, caller: Caller, principal: Principal) -> str:
        """End the session; the Set-Cookie line that takes the cookie away."""
        await self.browsers.end_own(caller)
        self._ended()
        await self.note(principal.actor, "logout", principal.name, "", caller)
        return caller.cookie(caller.cookie_name, "", 0)

    def forget_sessions(self, name: str) -> None:
        """A user's sessions have ended in the database; what hangs on them ends too."""
        self.browsers.forget(name)
        self.halves.forget(name)
        self._ended()

    async def sessions(self, who: Principal) -> list[tuple[WebSession, float]]:
        """Sessions that somebody may see and end, each with its last use: their own, or all for who gives access."""
        found = await self.browsers.all()
        if who.may("access:write"):
            return found
        return [one for one in found if who.kind == "user" and one[0].user == who.name]

    async def end_sessions(self, change: Change, who: Principal, name: str) -> None:
        """End all of a user's."""
        await self.grants.user(who, name)
        await change("session.end-all", name, "")
        await self.end_all(name)

    async def end_all(self, name: str) -> None:
        """The same, unasked."""
        self.halves.forget(name)
        for one, _ in await self.browsers.all():
            if one.user == name:
                await self.browsers.end(one)
        self._ended()

    async def end_session(self, change: Change, who: Principal, id: str) -> None:
        """End one of them."""
        found = next((one for one, _ in await self.sessions(who) if one.id == id), None)
        if found is None:
            raise Refusal("not-found", 404, f"no session {visible(id, 80)}")
        await change("session.end", id, f"of {found.user}")
        await self.browsers.end(found)
        self._ended()

    def on_end(self, call: Callable[[], None]) -> None:
        """Hear whenever somebody's access may have ended."""
        self._on_end.append(call)

    def _ended(self) -> None:
        for call in self._on_end:
            call()

    async def reset_codes(self, change: Change, who: Principal, name: str) -> None:
        """Somebody lost telephone and recovery codes: no one-time codes any more, and their sessions end."""
        await self.grants.user(who, name)
        if await self.codes.of(name) is None:
            raise Refusal("conflict", 409, f"{visible(name, 80)} has no one-time codes")
        await change("totp.reset", name, "")
        await self.users.factors.remove(name)
        await self.end_all(name)

    # The first owner

    async def needs_setup(self) -> bool:
        """True until an owner exists."""
        if not self._has_owner:
            self._has_owner = await self.users.has_owner()
        return not self._has_owner

    @property
    def _is_code_fresh(self) -> bool:
        # One that would last longer than any is one of before the clock was set back.
        return 0.0 < self._code_until - self._wall() <= CODE_S

    async def offer_setup(self) -> None:
        """Where nobody can log in yet, say a code that lets one person become the owner."""
        if await self.needs_setup() and not self._is_code_fresh:
            self._code = secrets.token_urlsafe(CODE_OCTETS)
            self._code_until = self._wall() + CODE_S
            self._say(self._code)

    async def set_up(self, caller: Caller, code: str, name: str, password: str) -> str:
        """Make the first owner; a Set-Cookie line for the session."""
        if not await self.needs_setup():
            raise Refusal("not-found", 404, "there is nothing here")
        self._throttle.check("\0setup", caller.address)
        is_right = hmac.compare_digest(code.strip().encode("utf-8", "replace"), self._code.encode())
        if not self._code or not is_right or not self._is_code_fresh:
            self._throttle.failed("\0setup", caller.address)
            await self.offer_setup()
            raise Refusal("unauthenticated", 401, "the code is wrong or too old; the newest one stands in the log")
        check_new(name, password)
        # Spent before the hashing begins: a second request must not use it too.
        self._code, self._code_until = "", 0.0
        first = Principal("user", name, "owner")
        await self.grants.add_user(partial(self.audit, first.actor, caller=caller), first, name, "owner", password)
        self._has_owner = True
        caller.made()
        user = await self.users.user(name)
        assert user is not None
        return await self._enter(caller, user)

    # The audit

    async def audit(
        self, actor: Actor, action: str, target: str, detail: str = "", caller: Caller | None = None, **more: Any
    ) -> None:
        """Write a change of users or tokens down; where that cannot be done the change is not made.

        :param more: `before` and `after`, as JSON
        """
        context = {**context_of(caller), **more} if caller is not None else more
        try:
            await self.users.audit(actor, action, target, detail, context)
        except Exception as error:
            self.audit_failures += 1
            self.log.error("the audit cannot be written, {action} is refused: {reason}", action=action, reason=error)
            raise Refusal("audit", 503, "the audit cannot be written, so nothing is changed") from error
        if caller is not None and "result" not in more:
            caller.written.append((actor, action, target))

    async def not_done(self, caller: Caller, error: Exception) -> None:
        """A request failed behind changes that the audit has as done: each has a record more, that it was not made, or
        not whole. Only what was meant for who asked is said of the reason.
        """
        why = str(error) if isinstance(error, Refusal | Refused) else type(error).__name__
        written, caller.written = caller.written, []
        for actor, action, target in written:
            await self.note(actor, action, target, f"not made, or not whole: {why}"[:500], caller, result="failed")

    async def refused(
        self, actor: Actor, action: str, target: str, detail: str, caller: Caller, result: str, **more: Any
    ) -> None:
        """Write down that somebody tried what they may not ("denied"), or failed to log in ("failed"); as far as there
        is room for such rows.
        """
        skipped = self._bounds.admit(actor.kind, actor.name, action, caller.address)
        if skipped is not None:
            more |= {"left_out": skipped} if skipped else {}
            await self.note(actor, action, target, detail, caller, result=result, **more)

    async def note(
        self, actor: Actor, action: str, target: str, detail: str = "", caller: Caller | None = None, **more: Any
    ) -> bool:
        """Write down what goes on all the same: to come in, and to do what keeps mail flowing. False where it is only
        in the log: a disk without room must not keep anybody from draining a server.
        """
        context = {**context_of(caller), **more} if caller is not None else more
        try:
            await self.users.audit(actor, action, target, detail, context)
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
        if caller is not None and "result" not in more:
            caller.written.append((actor, action, target))
        return True
