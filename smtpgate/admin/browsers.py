"""The sessions of browsers: begun at a login, found by the cookie, ended by time, by their user or by an owner.

They stand in the state database, so a restart logs nobody out; what is in use stands here too, so that a page does not
wait for the disk. What they rest on, a password, a role, a domain, ends them in the same transaction that changes it.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from typing import Any, Final

import attrs
from twisted.internet.defer import ensureDeferred
from twisted.logger import Logger

from smtpgate.admin.guard import Caller, Refusal
from smtpgate.admin.ports import User, Users, WebSession

#: A session ends after so long without a request, and after so long altogether.
IDLE_S: Final = 1800.0
LIFE_S: Final = 12 * 3600.0
#: Sessions of one user; the oldest makes room.
SESSIONS_PER_USER: Final = 20
#: That a session is in use is written at most so often; a restart forgets no more.
NOTED_S: Final = 60.0


@attrs.define
class Browser:
    """A session at work, and whose it is."""

    session: WebSession
    user: User
    seen_at: float
    noted_at: float


class Browsers:
    """All sessions."""

    log = Logger(namespace="smtpgate.admin")

    def __init__(self, users: Users, wall: Callable[[], float]) -> None:
        """
        :param wall: seconds since the epoch
        """
        self._users = users
        self._wall = wall
        #: By digest.
        self._known: dict[str, Browser] = {}
        #: Ended, and the disk does not know it.
        self._dead: set[str] = set()
        #: How often something ended: what was read before may not hold any more.
        self._ends = 0

    async def find(self, caller: Caller) -> Browser | None:
        """The session of a request's cookie, and note that it is in use; None where there is none, or it is over."""
        secret = caller.sent_cookie(caller.cookie_name)
        if not secret:
            return None
        digest = digest_of(secret)
        found = self._known.get(digest) or await self._load(digest)
        if found is None:
            return None
        now = self._wall()
        if not is_fresh(found.session, found.seen_at, now):
            await self._end(digest)
            return None
        found.seen_at = now
        if now - found.noted_at > NOTED_S:
            found.noted_at = now
            # Nobody waits for that, and a disk without room locks nobody out.
            ensureDeferred(self._note(digest, now))
        return found

    async def _load(self, digest: str) -> Browser | None:
        while digest not in self._dead:
            ends = self._ends
            session = await self._users.sessions.find(digest)
            user = await self._users.user(session.user) if session is not None else None
            if ends != self._ends:
                continue
            if session is None or user is None or user.is_disabled:
                return None
            return self._known.setdefault(digest, Browser(session, user, session.seen_at, session.seen_at))
        return None

    async def _note(self, digest: str, now: float) -> None:
        try:
            await self._users.sessions.seen(digest, now)
        except Exception as error:
            self.log.warn("that a session is in use cannot be written: {reason}", reason=error)

    async def begin(self, caller: Caller, user: User, has_code: bool = False, since: float = 0.0) -> str:
        """A new session with a new id; the Set-Cookie line. One that the browser had ends. Raises Refusal where the
        user is gone or shut out by now, or has another password.

        :param since: when the login was that it goes on with; 0.0: now
        """
        await self.end_own(caller)
        now = self._wall()
        secret = secrets.token_urlsafe(32)
        agent = caller.request.header("user-agent").encode("ascii", "replace").decode()
        session = self._users.sessions.make(
            digest=digest_of(secret),
            id=secrets.token_hex(8),
            user=user.name,
            csrf=secrets.token_urlsafe(32),
            address=caller.address,
            agent="".join(c for c in agent if c.isprintable())[:200],
            login_at=since or now,
            proved_at=now,
            seen_at=now,
            has_code=has_code,
        )
        for digest in [digest for digest, one in self._known.items() if not is_fresh(one.session, one.seen_at, now)]:
            del self._known[digest]
        own = [digest for digest, one in self._known.items() if one.user.name == user.name]
        for digest in own[: max(0, len(own) - SESSIONS_PER_USER + 1)]:
            del self._known[digest]
        self._known[session.digest] = Browser(session, user, now, now)
        try:
            await self._users.sessions.keep(session, SESSIONS_PER_USER, now - LIFE_S)
        except Exception as error:
            self.log.error("a session cannot be written, and ends with this process: {reason}", reason=error)
        await self._look_again(session.digest, user)
        return caller.cookie(caller.cookie_name, secret)

    async def _look_again(self, digest: str, before: User) -> None:
        """A session stands now, so that whoever changes its user ends it; what changed on the way here did not."""
        is_whole = False
        try:
            ends = -1
            while ends != self._ends:
                ends = self._ends
                user = await self._users.user(before.name)
            is_whole = user is not None and not user.is_disabled and user.mark == before.mark
        finally:
            if not is_whole:
                await self._end(digest)
        if user is None or not is_whole:
            raise Refusal("unauthenticated", 401, "this account is gone, shut out, or has another password by now")
        if digest in self._known:
            self._known[digest].user = user

    async def prove(self, id: str) -> None:
        """The password was given again in a session."""
        now = self._wall()
        for digest, one in self._known.items():
            if one.session.id == id:
                session: Any = one.session
                one.session = attrs.evolve(session, proved_at=now)
                try:
                    await self._users.sessions.prove(digest, now)
                except Exception as error:
                    self.log.warn("that a password was given again cannot be written: {reason}", reason=error)
                return

    async def end_own(self, caller: Caller) -> None:
        """End the session of a request's cookie, if there is one."""
        secret = caller.sent_cookie(caller.cookie_name)
        if secret:
            await self._end(digest_of(secret))

    async def _end(self, digest: str) -> None:
        self._ends += 1
        self._known.pop(digest, None)
        try:
            await self._users.sessions.end(digest)
        except Exception as error:
            self._dead.add(digest)
            self.log.error(
                "the end of a session cannot be written; it holds until the next start: {reason}", reason=error
            )

    def forget(self, name: str) -> None:
        """A user's sessions have ended in the database."""
        self._ends += 1
        for digest in [digest for digest, one in self._known.items() if one.user.name == name]:
            del self._known[digest]

    def holds(self, id: str) -> bool:
        """Whether a session goes on, by its id; for one that was in use since the start."""
        now = self._wall()
        return any(one.session.id == id and is_fresh(one.session, one.seen_at, now) for one in self._known.values())

    @property
    def count(self) -> int:
        """Those that were in use since the start and go on."""
        now = self._wall()
        return sum(is_fresh(one.session, one.seen_at, now) for one in self._known.values())

    async def all(self) -> list[tuple[WebSession, float]]:
        """All that go on, the newest first, each with when it was in use last."""
        now = self._wall()
        found = []
        for session in await self._users.sessions.all():
            known = self._known.get(session.digest)
            seen_at = known.seen_at if known is not None else session.seen_at
            if session.digest not in self._dead and is_fresh(session, seen_at, now):
                found.append((session, seen_at))
        return found

    async def end(self, session: WebSession) -> None:
        """End one."""
        await self._end(session.digest)


def is_fresh(session: Any, seen_at: float, now: float) -> bool:
    """Whether a session goes on; one that begins long after now is of a clock that was wrong."""
    return now - seen_at < IDLE_S and -IDLE_S < now - session.login_at < LIFE_S


def digest_of(secret: str) -> str:
    """What is kept of a secret of 256 bits."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()
