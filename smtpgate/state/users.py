"""Who may manage the gateway: users, tokens, and the audit of what they did.

Of a password only its argon2 hash is kept, of a token only a digest. The audit is that of `audit_log`.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import attrs
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError
from twisted.internet.defer import Deferred

from smtpgate.interfaces import Taken
from smtpgate.state.audit_log import AuditLog
from smtpgate.state.database import Database
from smtpgate.state.factors import Factors, forget_factor, forget_invitations
from smtpgate.state.ledger_store import as_store_failure
from smtpgate.state.passwords import Checker, TooBusy, hash_password, is_outdated, is_right
from smtpgate.state.people import People, forget_person
from smtpgate.state.search_store import Searches, forget_searches
from smtpgate.state.tables import tokens, users
from smtpgate.state.web_sessions import WebSessions, end_of

#: A token's use is noted at most so often.
_NOTED_S = 60.0


@attrs.frozen
class User:
    """Somebody who can log in, unless `is_disabled`, and once there is a password.

    :ivar domains: those they are limited to; none for no limit
    :ivar has_password: False for who was invited, and has set none yet, and for who logs in elsewhere
    :ivar issuer: where they log in (`[sso]`); "" for here
    :ivar mark: another one with each password: whether a login that took a while rests on the one of today
    """

    name: str
    role: str
    created: float
    domains: tuple[str, ...] = ()
    is_disabled: bool = False
    has_password: bool = True
    issuer: str = ""
    mark: str = attrs.field(default="", repr=False)


@attrs.frozen
class Token:
    """Something that can.

    :ivar expires: seconds since the epoch; 0: never
    :ivar scopes: what it may do of what its role holds; none for all of it
    :ivar domains: those that it is limited to; none for no limit
    :ivar networks: where it may be used from (CIDR); none for everywhere
    :ivar maker: who made it
    """

    id: str
    name: str
    role: str
    created: float
    expires: float
    last_used: float
    scopes: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    maker: str = ""


class Users:
    """The tables, each call giving an awaitable."""

    def __init__(self, database: Any, in_thread: Callable[..., Any], wall: Callable[[], float] = time.time) -> None:
        self._database = database
        self._checker = Checker(in_thread)
        self._wall = wall
        self.sessions = WebSessions(database)
        self.factors = Factors(database)
        self.searches = Searches(database)
        self.persons = People(database, wall)
        self.log = AuditLog(database, wall)

    # Users

    def has_owner(self) -> Deferred[bool]:
        """Whether anybody can log in who may do everything."""
        return self._database.run(_has_owner).addErrback(as_store_failure)

    async def verify(self, name: str, password: str) -> User | None:
        """The user, or None; an unknown name costs the same time. A hash of other costs than today's is made anew."""
        row = await self._database.run(_user, name)
        right = await self._checker.run(is_right, (row["password"] or None) if row is not None else None, password)
        if not right or row is None or row["is_disabled"]:
            return None
        if is_outdated(row["password"]):
            # A disk without room, or many logins, lock nobody out; it is made anew another time.
            with suppress(SQLAlchemyError, TooBusy):
                fresh = await self._checker.run(hash_password, password)
                if await self._database.run(_refresh_hash, name, row["password"], fresh):
                    row["password"] = fresh
        return _as_user(row)

    async def user(self, name: str) -> User | None:
        """One of them; None where there is none."""
        row = await self._database.run(_user, name)
        return _as_user(row) if row is not None else None

    def users(self) -> Deferred[Sequence[User]]:
        """All of them."""
        return self._database.run(_users).addErrback(as_store_failure)

    async def add_user(self, name: str, role: str, password: str, domains: Sequence[str] = ()) -> None:
        """A new one; without a password nobody can log in by it yet. Raises Taken."""
        hashed = await self._checker.run(hash_password, password) if password else ""
        await self._database.run(_add_user, name, role, hashed, " ".join(domains), self._wall())

    def by_subject(self, issuer: str, subject: str) -> Deferred[User | None]:
        """Who logs in elsewhere as somebody; None where nobody here does."""
        return self._database.run(_by_subject, issuer, subject)

    def add_subject(self, name: str, role: str, domains: Sequence[str], issuer: str, subject: str) -> Deferred[None]:
        """A user who logs in elsewhere, and has no password. Raises Taken."""
        return self._database.run(_add_user, name, role, "", " ".join(domains), self._wall(), issuer, subject)

    def change_user(
        self, name: str, role: str | None, domains: Sequence[str] | None, is_disabled: bool | None
    ) -> Deferred[None]:
        """Other rights; the sessions of that user end. None: as it is, whatever the caller read before."""
        joined = " ".join(domains) if domains is not None else None
        changed: dict[str, Any] = {"role": role, "domains": joined, "is_disabled": is_disabled}
        return self._database.run(_change_user, name, {key: one for key, one in changed.items() if one is not None})

    async def set_password(self, name: str, password: str) -> User | None:
        """Another password; the sessions of that user end. The user with it; None where there is none any more."""
        hashed = await self._checker.run(hash_password, password)
        row = await self._database.run(_set_password, name, hashed)
        return _as_user(row) if row is not None else None

    def remove_user(self, name: str) -> Deferred[None]:
        """One less."""
        return self._database.run(_remove_user, name)

    # Tokens

    async def check_token(self, text: str, address: str) -> Token | None:
        """Whose token it is; None where it is nobody's, revoked or expired, or not for use from there. That it was used
        is noted where it can be: a disk without room must not lock anybody out.
        """
        now = self._wall()
        found: Token | None = await self._database.run(_check_token, text, now)
        if found is not None and found.networks and not is_within(address, found.networks):
            return None
        if found is not None and now - found.last_used > _NOTED_S:
            with suppress(SQLAlchemyError):
                await self._database.run(_note_use, found.id, now)
        return found

    def tokens(self) -> Deferred[Sequence[Token]]:
        """Those in force."""
        return self._database.run(_tokens, self._wall()).addErrback(as_store_failure)

    async def add_token(
        self,
        name: str,
        role: str,
        expires: float,
        scopes: Sequence[str] = (),
        domains: Sequence[str] = (),
        networks: Sequence[str] = (),
        maker: str = "",
    ) -> str:
        """A new one: its text, which is shown once and not kept."""
        id, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
        row = {
            "id": id,
            "name": name,
            "role": role,
            "digest": _digest(secret),
            "created": self._wall(),
            "expires": expires,
            "last_used": 0.0,
            "scopes": " ".join(scopes),
            "domains": " ".join(domains),
            "networks": " ".join(networks),
            "maker": maker,
        }
        await self._database.run(_add_token, row)
        return f"sgt_{id}_{secret}"

    def revoke_token(self, id: str) -> Deferred[None]:
        """One less."""
        return self._database.run(_revoke_token, id)

    # Audit

    def audit(
        self, actor: Any, action: str, target: str, detail: str, context: Mapping[str, Any] | None = None
    ) -> Deferred[None]:
        """Write down a change (`audit_log.AuditLog.write`); it is on the disk when this fires."""
        return self.log.write(actor.kind, actor.name, action, target, detail, context or {})


class InlineDatabase:
    """A database for a command without reactor: each call is done at once, and given as a fired Deferred."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def run(self, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        """Run over a connection."""
        done: Deferred[Any] = Deferred()
        done.callback(self._database.now(function, *args))
        return done

    #: There is nobody whom a long look would keep waiting.
    read = run


def _digest(secret: str) -> str:
    # A token is 256 bits of chance: a plain digest cannot be guessed back.
    return hashlib.sha256(secret.encode("utf-8")).hexdigest()


def is_within(address: str, networks: Sequence[str]) -> bool:
    """Whether an address is in one of some networks; what is no address is in none."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return any(parsed in ipaddress.ip_network(network) for network in networks)


def _has_owner(connection: sa.Connection) -> bool:
    # One who logs in elsewhere is none that can be counted on.
    query = sa.select(users.c.name).where(users.c.role == "owner", ~users.c.is_disabled, users.c.issuer == "")
    return connection.execute(query.limit(1)).first() is not None


def _as_user(row: Mapping[str, Any]) -> User:
    domains, is_disabled = tuple(row["domains"].split()), bool(row["is_disabled"])
    has_password, mark = bool(row["password"]), _digest(row["password"])[:16]
    return User(row["name"], row["role"], row["created"], domains, is_disabled, has_password, row["issuer"], mark)


def _user(connection: sa.Connection, name: str) -> dict[str, Any] | None:
    row = connection.execute(sa.select(users).where(users.c.name == name)).first()
    return dict(row._mapping) if row is not None else None


def _users(connection: sa.Connection) -> list[User]:
    rows = connection.execute(sa.select(users).order_by(users.c.name))
    return [_as_user(dict(row._mapping)) for row in rows]


def _by_subject(connection: sa.Connection, issuer: str, subject: str) -> User | None:
    row = connection.execute(sa.select(users).where(users.c.issuer == issuer, users.c.subject == subject)).first()
    return _as_user(dict(row._mapping)) if row is not None and issuer and subject else None


def _add_user(
    connection: sa.Connection,
    name: str,
    role: str,
    password: str,
    domains: str,
    now: float,
    issuer: str = "",
    subject: str = "",
) -> None:
    if _user(connection, name) is not None:
        raise Taken(f"there is a user {name} already")
    row = {"name": name, "role": role, "password": password, "created": now, "domains": domains, "is_disabled": False}
    connection.execute(sa.insert(users).values({**row, "issuer": issuer, "subject": subject}))


def _change_user(connection: sa.Connection, name: str, changed: Mapping[str, Any]) -> None:
    if changed:
        connection.execute(sa.update(users).where(users.c.name == name).values(changed))
    end_of(connection, name)


def _set_password(connection: sa.Connection, name: str, password: str) -> dict[str, Any] | None:
    # Who logs in elsewhere never has a password, whoever calls.
    mine = (users.c.name == name) & (users.c.issuer == "")
    connection.execute(sa.update(users).where(mine).values(password=password))
    forget_invitations(connection, name)
    forget_searches(connection, f"user {name}")
    end_of(connection, name)
    return _user(connection, name)


def _refresh_hash(connection: sa.Connection, name: str, former: str, fresh: str) -> bool:
    """The same password: sessions go on. Unless another one was set meanwhile."""
    same = (users.c.name == name) & (users.c.password == former)
    return connection.execute(sa.update(users).where(same).values(password=fresh)).rowcount > 0


def _remove_user(connection: sa.Connection, name: str) -> None:
    connection.execute(sa.delete(users).where(users.c.name == name))
    forget_factor(connection, name)
    forget_invitations(connection, name)
    forget_person(connection, name)
    end_of(connection, name)


def _token(row: Any) -> Token:
    return Token(
        row.id,
        row.name,
        row.role,
        row.created,
        row.expires,
        row.last_used,
        tuple(row.scopes.split()),
        tuple(row.domains.split()),
        tuple(row.networks.split()),
        row.maker,
    )


def _check_token(connection: sa.Connection, text: str, now: float) -> Token | None:
    prefix, _, rest = text.partition("_")
    id, _, secret = rest.partition("_")
    if prefix != "sgt" or not id or not secret:
        return None
    row = connection.execute(sa.select(tokens).where(tokens.c.id == id)).first()
    if row is None or not hmac.compare_digest(row.digest, _digest(secret)) or row.expires and row.expires <= now:
        return None
    return _token(row)


def _note_use(connection: sa.Connection, id: str, now: float) -> None:
    connection.execute(sa.update(tokens).where(tokens.c.id == id).values(last_used=now))


def _tokens(connection: sa.Connection, now: float) -> list[Token]:
    found = connection.execute(sa.select(tokens).order_by(tokens.c.created))
    return [_token(row) for row in found if not row.expires or row.expires > now]


def _add_token(connection: sa.Connection, row: Mapping[str, Any]) -> None:
    connection.execute(sa.insert(tokens).values(row))


def _revoke_token(connection: sa.Connection, id: str) -> None:
    connection.execute(sa.delete(tokens).where(tokens.c.id == id))
