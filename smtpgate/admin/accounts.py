"""Who may come in: logins, the first owner, tokens, and the sessions of browsers.

`site` asks `principal` for every request; pages and API call the rest. Passwords are hashed behind a narrow
gate and in threads; failed logins are delayed. Sessions are those of `browsers`. Nobody gives more than they
have: whoever makes or changes users and tokens must hold all that these hold.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import partial

from twisted.logger import Logger

from smtpgate.admin.browsers import Browsers
from smtpgate.admin.entries import check_domains, check_name, check_networks, check_new, check_role
from smtpgate.admin.guard import Caller, Refusal
from smtpgate.admin.permission import SCOPES, Principal, held_by
from smtpgate.admin.ports import User, Users, WebSession
from smtpgate.admin.text import visible
from smtpgate.admin.throttle import Gate, Throttle, TooMany
from smtpgate.control.views import Actor

#: Length of a setup code in octets of chance (192 bits), and how long it holds.
CODE_OCTETS = 24
CODE_S = 1800.0
#: A token holds for so many days at most, and without a word (GitHub's fine-grained tokens: a year at most).
TOKEN_DAYS = 365
TOKEN_DAYS_DEFAULT = 90
#: Writes a change down: its action, target and detail.
Change = Callable[[str, str, str], Awaitable[None]]


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
        self.browsers = Browsers(users, wall)
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
            if found is None:
                return None
            scopes = held_by(found.role, found.scopes)
            return Principal("token", found.name, found.role, found.id, scopes=scopes, domains=tuple(found.domains))
        if caller.request.header("authorization"):
            return None
        browser = await self.browsers.find(caller)
        if browser is None:
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
        )

    async def is_valid(self, principal: Principal) -> bool:
        """Whether a principal may still be served (asked while a stream is open)."""
        if principal.kind == "user":
            return self.browsers.holds(principal.id)
        if principal.kind == "token":
            return any(one.id == principal.id and one.role == principal.role for one in await self.users.tokens())
        return True

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
        return await self._enter(caller, user)

    async def _enter(self, caller: Caller, user: User) -> str:
        cookie = await self.browsers.begin(caller, user)
        await self.note(Actor("user", user.name), "login", caller.address)
        return cookie

    async def log_out(self, caller: Caller, principal: Principal) -> str:
        """End the session; the Set-Cookie line that takes the cookie away."""
        await self.browsers.end_own(caller)
        self._ended()
        await self.note(principal.actor, "logout", principal.name)
        return caller.cookie(caller.cookie_name, "", 0)

    def forget_sessions(self, name: str) -> None:
        """A user's sessions have ended in the database; what hangs on them ends too."""
        self.browsers.forget(name)
        self._ended()

    async def sessions(self, who: Principal) -> list[tuple[WebSession, float]]:
        """Sessions that somebody may see and end, each with its last use: their own, or all for who gives access."""
        found = await self.browsers.all()
        if who.may("access:write"):
            return found
        return [one for one in found if who.kind == "user" and one[0].user == who.name]

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
        first = Principal("user", name, "owner")
        await self.add_user(partial(self.audit, first.actor), first, name, "owner", password)
        self._has_owner = True
        user = await self.users.user(name)
        assert user is not None
        return await self._enter(caller, user)

    # Changes. Each is given what writes it down (`routes.Ask.guarded_change`), and calls that when all is checked.

    async def add_user(
        self, change: Change, by: Principal, name: str, role: str, password: str, domains: Sequence[str] = ()
    ) -> None:
        """A new user; raises Refusal where name, role, domains or password will not do."""
        check_new(name, password)
        check_role(role)
        wanted = check_domains(domains, role)
        _must_cover(by, held_by(role), wanted)
        if await self.users.user(name) is not None:
            raise Refusal("conflict", 409, f"there is a user {name} already")
        await change("user.add", name, _rights(role, domains=wanted))
        await self._gate.run(self.users.add_user, name, role, password, wanted)

    async def _user(self, by: Principal, name: str) -> User:
        """One who holds no more than whoever is about to change something of them."""
        user = await self.users.user(name)
        if user is None:
            raise Refusal("not-found", 404, f"no user {visible(name, 80)}")
        _must_cover(by, held_by(user.role), user.domains)
        return user

    async def change_user(
        self,
        change: Change,
        by: Principal,
        name: str,
        role: str | None = None,
        domains: Sequence[str] | None = None,
        is_disabled: bool | None = None,
    ) -> None:
        """Other rights; the sessions of that user end. None: as it was."""
        user = await self._user(by, name)
        role = user.role if role is None else role
        check_role(role)
        wanted = check_domains(user.domains if domains is None else domains, role)
        _must_cover(by, held_by(role), wanted)
        is_off = user.is_disabled if is_disabled is None else is_disabled
        if user.role == "owner" and (role != "owner" or is_off):
            await self._spare_last_owner(user)
        before = _rights(user.role, user.domains, user.is_disabled)
        await change("user.change", name, f"{before} -> {_rights(role, wanted, is_off)}")
        await self.users.change_user(name, role, wanted, is_off)
        self.forget_sessions(name)

    async def _spare_last_owner(self, user: User) -> None:
        others = [one for one in await self.users.users() if one.role == "owner" and not one.is_disabled]
        if [one.name for one in others] == [user.name]:
            raise Refusal("conflict", 409, "the last owner cannot be taken away; add another owner first")

    async def set_password(self, change: Change, by: Principal, name: str, password: str) -> None:
        """A new password; the sessions of that user end."""
        check_new(name, password)
        await self._user(by, name)
        await change("user.password", name, "")
        await self._gate.run(self.users.set_password, name, password)
        self.forget_sessions(name)

    async def remove_user(self, change: Change, by: Principal, name: str) -> None:
        """A user goes; the last owner cannot."""
        user = await self._user(by, name)
        if user.role == "owner":
            await self._spare_last_owner(user)
        await change("user.remove", name, _rights(user.role, user.domains))
        await self.users.remove_user(name)
        self.forget_sessions(name)

    async def end_sessions(self, change: Change, by: Principal, name: str) -> None:
        """All of a user's end."""
        await self._user(by, name)
        await change("session.end-all", name, "")
        for one, _ in await self.browsers.all():
            if one.user == name:
                await self.browsers.end(one)
        self._ended()

    async def add_token(
        self,
        change: Change,
        by: Principal,
        name: str,
        role: str = "",
        scopes: Sequence[str] = (),
        domains: Sequence[str] = (),
        networks: Sequence[str] = (),
        days: int = TOKEN_DAYS_DEFAULT,
    ) -> str:
        """A new token, of a role or with scopes; the text is in the answer and nowhere else."""
        check_name(name)
        if not 1 <= days <= TOKEN_DAYS:
            raise Refusal("validation", 422, f"a token holds for 1 to {TOKEN_DAYS} days")
        if bool(role) is bool(scopes):
            raise Refusal("validation", 422, "give a role, or scopes")
        if role:
            check_role(role)
        wrong = [one for one in scopes if one not in SCOPES]
        if wrong:
            raise Refusal("validation", 422, f"no scope {visible(wrong[0], 80)}; known: {', '.join(SCOPES)}")
        given = list(dict.fromkeys(scopes))
        wanted, places = check_domains(domains, ""), check_networks(networks)
        _must_cover(by, held_by(role, given), wanted)
        what = role and f"role {role}" or f"scopes {' '.join(given)}"
        limits = [f"domains {' '.join(wanted)}"] * bool(wanted) + [f"networks {' '.join(places)}"] * bool(places)
        await change("token.add", name, ", ".join([what, *limits, f"{days} days"]))
        expires = self._wall() + days * 86400
        maker = f"{by.kind} {by.name}"
        return await self.users.add_token(name, role, expires, given, wanted, places, maker)

    async def revoke_token(self, change: Change, by: Principal, id: str) -> None:
        """A token holds no more."""
        token = next((one for one in await self.users.tokens() if one.id == id), None)
        if token is None:
            raise Refusal("not-found", 404, f"no token {visible(id, 80)}")
        await change("token.revoke", id, f"name {token.name}")
        await self.users.revoke_token(id)
        self._ended()

    # The audit

    async def audit(self, actor: Actor, action: str, target: str, detail: str = "") -> None:
        """Write a change of users or tokens down; where that cannot be done the change is not made."""
        try:
            await self.users.audit(actor, action, target, detail)
        except Exception as error:
            self.log.error("the audit cannot be written, {action} is refused: {reason}", action=action, reason=error)
            raise Refusal("audit", 503, "the audit cannot be written, so nothing is changed") from error

    async def note(self, actor: Actor, action: str, target: str, detail: str = "") -> bool:
        """Write down what goes on all the same: to come in, and to do what keeps mail flowing. False where it is only
        in the log: a disk without room must not keep anybody from draining a server.
        """
        try:
            await self.users.audit(actor, action, target, detail)
        except Exception as error:
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


def _must_cover(by: Principal, scopes: Collection[str], domains: Collection[str]) -> None:
    """Raises Refusal where somebody gives, or takes from somebody who has, more than they have themselves."""
    if not by.covers(scopes, domains):
        raise Refusal("forbidden", 403, "that is more than you hold yourself")


def _rights(role: str, domains: Sequence[str] = (), is_disabled: bool = False) -> str:
    """For the audit."""
    where = f", domains {' '.join(domains)}" if domains else ""
    return f"role {role}{where}{', disabled' if is_disabled else ''}"


__all__ = ["Accounts", "TooMany"]
