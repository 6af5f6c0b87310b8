"""What the office needs of the stores, as small protocols; `state` and `observe` have the real ones.

Each call that may touch the disk gives an awaitable.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Protocol

from smtpgate.control.views import Actor
from smtpgate.policy.found import Counted, Found, Without
from smtpgate.policy.query import Query


class User(Protocol):
    """Somebody who can log in."""

    name: str
    role: str
    created: float
    domains: tuple[str, ...]
    is_disabled: bool
    has_password: bool
    issuer: str
    mark: str


class Token(Protocol):
    """Something that can."""

    id: str
    name: str
    role: str
    created: float
    expires: float
    last_used: float
    scopes: tuple[str, ...]
    domains: tuple[str, ...]
    networks: tuple[str, ...]
    maker: str


class WebSession(Protocol):
    """One login of a browser (`state.web_sessions`)."""

    digest: str
    id: str
    user: str
    csrf: str
    address: str
    agent: str
    login_at: float
    proved_at: float
    seen_at: float
    has_code: bool


class WebSessions(Protocol):
    """All of them."""

    make: Any

    def keep(self, session: WebSession, most: int, began_after: float) -> Awaitable[None]:
        """A new one; the oldest beyond `most` of its user go, and all that began before a time."""

    def find(self, digest: str) -> Awaitable[WebSession | None]:
        """That of a secret."""

    def all(self) -> Awaitable[Sequence[WebSession]]:
        """All, the newest first."""

    def seen(self, digest: str, at: float) -> Awaitable[None]:
        """It was used."""

    def prove(self, digest: str, at: float) -> Awaitable[None]:
        """The password was given again."""

    def end(self, digest: str) -> Awaitable[None]:
        """One less."""


class Factor(Protocol):
    """A user's generator of one-time codes (`state.factors`)."""

    user: str
    secret: bytes
    last_step: int
    made: float
    recovery_left: int


class Factors(Protocol):
    """All of them, and links by which somebody sets a password."""

    def of(self, user: str) -> Awaitable[Factor | None]:
        """A user's; None where there is none."""

    def users(self) -> Awaitable[Sequence[str]]:
        """Who has one."""

    def set(self, user: str, secret: bytes, step: int, recovery: Sequence[str], now: float) -> Awaitable[None]:
        """A new one in place of any before, with digests of recovery codes."""

    def spend_step(self, user: str, step: int) -> Awaitable[bool]:
        """Take a code's step; False where it or a later one was taken already."""

    def spend_recovery(self, user: str, digest: str) -> Awaitable[bool]:
        """Take a recovery code; False where there is none such."""

    def set_recovery(self, user: str, recovery: Sequence[str]) -> Awaitable[None]:
        """Other recovery codes in place of those before."""

    def remove(self, user: str) -> Awaitable[None]:
        """No second factor any more."""

    def invite(self, user: str, digest: str, maker: str, expires: float, now: float) -> Awaitable[None]:
        """A link for a user, in place of any before."""

    def invited(self, digest: str, now: float) -> Awaitable[str | None]:
        """For whom a link is; None where it is for nobody, used or too old."""

    def invitations(self, now: float) -> Awaitable[Mapping[str, float]]:
        """Until when a link holds, by user."""


class Chain(Protocol):
    """What a look at the whole audit found (`state.audit_log`)."""

    reason: str
    rows: int
    steps: tuple[tuple[int, float], ...]


class AuditLog(Protocol):
    """What was written down."""

    def find(
        self, limit: int, before: int = 0, wanted: Mapping[str, Any] | None = None
    ) -> Awaitable[Sequence[Mapping[str, Any]]]:
        """Rows that fit, newest first."""

    def verify(self) -> Awaitable[Chain]:
        """Look at all of it."""


class Searches(Protocol):
    """Searches that somebody keeps (`state.search_store`)."""

    def of(self, owner: str) -> Awaitable[Sequence[Any]]:
        """An owner's, by name."""

    def add(self, owner: str, name: str, query: str, now: float) -> Awaitable[Any]:
        """A new one; None where there are too many."""

    def change(self, owner: str, id: str, name: str, query: str) -> Awaitable[bool]:
        """Other words; False where there is no such one of that owner."""

    def remove(self, owner: str, id: str) -> Awaitable[bool]:
        """One goes; False where there is no such one of that owner."""


class Users(Protocol):
    """Users, their tokens and sessions, and the audit (`state.users`)."""

    sessions: WebSessions
    factors: Factors
    log: AuditLog
    searches: Searches

    def has_owner(self) -> Awaitable[bool]:
        """Whether anybody can log in at all."""

    def verify(self, name: str, password: str) -> Awaitable[User | None]:
        """The user, or None; an unknown name costs the same time."""

    def users(self) -> Awaitable[Sequence[User]]:
        """All of them."""

    def user(self, name: str) -> Awaitable[User | None]:
        """One; None where there is none."""

    def add_user(self, name: str, role: str, password: str, domains: Sequence[str] = ()) -> Awaitable[None]:
        """A new one."""

    def by_subject(self, issuer: str, subject: str) -> Awaitable[User | None]:
        """Who logs in elsewhere as somebody; None where nobody here does."""

    def add_subject(self, name: str, role: str, domains: Sequence[str], issuer: str, subject: str) -> Awaitable[None]:
        """A user who logs in elsewhere, and has no password."""

    def change_user(
        self, name: str, role: str | None, domains: Sequence[str] | None, is_disabled: bool | None
    ) -> Awaitable[None]:
        """Other rights; the sessions of that user end. None: as it is, whatever the caller read before."""

    def set_password(self, name: str, password: str) -> Awaitable[User | None]:
        """Another password; the sessions of that user end. The user with it; None where there is none any more."""

    def remove_user(self, name: str) -> Awaitable[None]:
        """One less; so do its sessions."""

    def check_token(self, text: str, address: str) -> Awaitable[Token | None]:
        """Whose token it is; None where it is nobody's, revoked or expired."""

    def tokens(self) -> Awaitable[Sequence[Token]]:
        """Those in force."""

    def add_token(
        self,
        name: str,
        role: str,
        expires: float,
        scopes: Sequence[str] = (),
        domains: Sequence[str] = (),
        networks: Sequence[str] = (),
        maker: str = "",
    ) -> Awaitable[str]:
        """A new one: its text, which is not kept."""

    def revoke_token(self, id: str) -> Awaitable[None]:
        """One less."""

    def audit(
        self, actor: Actor, action: str, target: str, detail: str, context: Mapping[str, Any] | None = None
    ) -> Awaitable[None]:
        """Write down a change, durably."""


class History(Protocol):
    """Ended sessions (`observe.history`)."""

    def find(self, reference: str) -> Awaitable[Mapping[str, Any] | None]:
        """A session by its id or by the id of one of its messages."""

    def recent(self, limit: int) -> Awaitable[Sequence[Mapping[str, Any]]]:
        """The newest."""

    def search(self, query: Query, limit: int, before: int = 0) -> Awaitable[Found]:
        """Messages that fit, newest first."""

    def count(self, query: Query) -> Awaitable[Counted]:
        """How many fit, and when."""

    def without(self, query: Query) -> Awaitable[tuple[Without, ...]]:
        """How many would fit without each clause."""
