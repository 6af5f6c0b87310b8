"""Second factors of users, and links by which they set passwords. Of recovery codes and links only digests are kept;
each is taken once, in the transaction that finds it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import sqlalchemy as sa
from twisted.internet.defer import Deferred

from smtpgate.state.ledger_store import as_store_failure
from smtpgate.state.tables import factors, invitations, recovery_codes


@attrs.frozen
class Factor:
    """A user's generator of one-time codes.

    :ivar secret: 160 bits; `last_step`: no code of it or before is taken any more
    :ivar recovery_left: how many recovery codes are left
    """

    user: str
    secret: bytes = attrs.field(repr=False)
    last_step: int
    made: float
    recovery_left: int


class Factors:
    """The tables, each call giving an awaitable."""

    def __init__(self, database: Any) -> None:
        self._database = database

    def of(self, user: str) -> Deferred[Factor | None]:
        """A user's; None where there is none."""
        return self._database.run(_of, user)

    def users(self) -> Deferred[Sequence[str]]:
        """Who has one."""
        return self._database.run(_users).addErrback(as_store_failure)

    def set(self, user: str, secret: bytes, step: int, recovery: Sequence[str], now: float) -> Deferred[None]:
        """A new one in place of any before, with digests of recovery codes; the user's sessions are ended by others."""
        return self._database.run(_set, user, secret, step, tuple(recovery), now)

    def spend_step(self, user: str, step: int) -> Deferred[bool]:
        """Take a code's step; False where it or a later one was taken already."""
        return self._database.run(_spend_step, user, step)

    def spend_recovery(self, user: str, digest: str) -> Deferred[bool]:
        """Take a recovery code; False where there is none such."""
        return self._database.run(_spend_recovery, user, digest)

    def set_recovery(self, user: str, recovery: Sequence[str]) -> Deferred[None]:
        """Other recovery codes in place of those before."""
        return self._database.run(_set_recovery, user, tuple(recovery))

    def remove(self, user: str) -> Deferred[None]:
        """No second factor any more."""
        return self._database.run(forget_factor, user)

    # Links

    def invite(self, user: str, digest: str, maker: str, expires: float, now: float) -> Deferred[None]:
        """A link for a user, in place of any before; links past their time go."""
        return self._database.run(_invite, user, digest, maker, expires, now)

    def invited(self, digest: str, now: float) -> Deferred[str | None]:
        """For whom a link is; None where it is for nobody, used or too old."""
        return self._database.run(_invited, digest, now)

    def invitations(self, now: float) -> Deferred[dict[str, float]]:
        """Until when a link holds, by user."""
        return self._database.run(_invitations, now).addErrback(as_store_failure)


def _of(connection: sa.Connection, user: str) -> Factor | None:
    row = connection.execute(sa.select(factors).where(factors.c.user == user)).first()
    if row is None:
        return None
    counted = sa.select(sa.func.count()).select_from(recovery_codes).where(recovery_codes.c.user == user)
    return Factor(row.user, bytes(row.secret), row.last_step, row.made, int(connection.execute(counted).scalar() or 0))


def _users(connection: sa.Connection) -> list[str]:
    return list(connection.execute(sa.select(factors.c.user)).scalars())


def _set(connection: sa.Connection, user: str, secret: bytes, step: int, recovery: tuple[str, ...], now: float) -> None:
    forget_factor(connection, user)
    connection.execute(sa.insert(factors).values(user=user, secret=secret, last_step=step, made=now))
    _set_recovery(connection, user, recovery)


def _spend_step(connection: sa.Connection, user: str, step: int) -> bool:
    fresh = (factors.c.user == user) & (factors.c.last_step < step)
    return bool(connection.execute(sa.update(factors).where(fresh).values(last_step=step)).rowcount)


def _spend_recovery(connection: sa.Connection, user: str, digest: str) -> bool:
    columns = recovery_codes.c
    return bool(
        connection.execute(
            sa.delete(recovery_codes).where((columns.user == user) & (columns.digest == digest))
        ).rowcount
    )


def _set_recovery(connection: sa.Connection, user: str, recovery: tuple[str, ...]) -> None:
    connection.execute(sa.delete(recovery_codes).where(recovery_codes.c.user == user))
    connection.execute(sa.insert(recovery_codes), [{"digest": one, "user": user} for one in recovery])


def forget_factor(connection: sa.Connection, user: str) -> None:
    """A user's second factor goes: within the transaction that takes the user away, too."""
    connection.execute(sa.delete(factors).where(factors.c.user == user))
    connection.execute(sa.delete(recovery_codes).where(recovery_codes.c.user == user))


def forget_invitations(connection: sa.Connection, user: str) -> None:
    """A user's links go: they were used, or the password has come by another way, or the user goes."""
    connection.execute(sa.delete(invitations).where(invitations.c.user == user))


def _invite(connection: sa.Connection, user: str, digest: str, maker: str, expires: float, now: float) -> None:
    forget_invitations(connection, user)
    connection.execute(sa.delete(invitations).where(invitations.c.expires <= now))
    connection.execute(sa.insert(invitations).values(user=user, digest=digest, maker=maker, expires=expires))


def _invited(connection: sa.Connection, digest: str, now: float) -> str | None:
    columns = invitations.c
    query = sa.select(columns.user).where((columns.digest == digest) & (columns.expires > now))
    found: str | None = connection.execute(query).scalar()
    return found


def _invitations(connection: sa.Connection, now: float) -> dict[str, float]:
    columns = invitations.c
    rows = connection.execute(sa.select(columns.user, columns.expires).where(columns.expires > now))
    return {row.user: row.expires for row in rows}
