"""Tickets on disk (`interfaces.ITickets`): what a sender was refused, and may do something about."""

from __future__ import annotations

import hmac
import json
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Final

import attrs
import sqlalchemy as sa
from twisted.internet.defer import Deferred
from zope.interface import implementer

from smtpgate.interfaces import ITickets
from smtpgate.policy.reach import unicode_domain
from smtpgate.policy.ticket import Ticket
from smtpgate.state.database import Database
from smtpgate.state.ledger_store import as_store_failure
from smtpgate.state.tables import storable, tickets

#: Rows that go in one go.
_SLICE: Final = 1000


@implementer(ITickets)
class TicketStore:
    """All tickets of one gateway.

    :ivar on_way: ids of those with which a message is on its way: no other passes by them
    """

    def __init__(self, database: Database, secret: bytes, wall: Callable[[], float] = time.time) -> None:
        self._database = database
        self._key = hmac.digest(secret, b"tickets", "sha256")
        self._wall = wall
        self.on_way: set[str] = set()

    def key(self, rule: str, sender: str, recipients: Sequence[str], digest: str) -> str:
        """By which a message is known when it comes again; says nothing without our secret."""
        said = "\n".join((rule, sender, *sorted({one.lower() for one in recipients}), digest))
        return hmac.digest(self._key, said.encode("utf-8", "replace"), "sha256").hex()

    def fresh_id(self) -> str:
        """Of a new one."""
        return secrets.token_urlsafe(16)

    def find(self, key: str) -> Deferred[Ticket | None]:
        """The newest ticket of a message that holds still."""
        return self._database.run(_find, key, self._wall()).addErrback(as_store_failure)

    def put(self, ticket: Ticket) -> Deferred[None]:
        """Write one, anew or changed."""
        return self._database.run(_put, ticket).addErrback(as_store_failure)

    def get(self, id: str) -> Deferred[Ticket | None]:
        """One that holds still."""
        return self._database.run(_get, id, self._wall()).addErrback(as_store_failure)

    def of_message(self, message: str) -> Deferred[Ticket | None]:
        """That of a refusal that holds still, by the reference id of the refusal: no refusal has two."""
        return self._database.run(_of_message, message, self._wall()).addErrback(as_store_failure)

    def change(
        self, id: str, before: Sequence[str], state: str, expires: float, reason: str, decided_by: str
    ) -> Deferred[Ticket | None]:
        """Another state, where it is in one of these now; the ticket as it is then, or None.

        :param reason: what is said with it; "": what was said before stays, and so does who decided
        """
        done = self._database.run(_change, id, tuple(before), state, expires, reason, decided_by, self._wall())
        return done.addErrback(as_store_failure)

    def recent(self, states: Sequence[str], limit: int, domains: Sequence[str] = ()) -> Deferred[list[Ticket]]:
        """The newest in these states that hold still; of all, or of the mail of some domains."""
        return self._database.read(_recent, tuple(states), limit, tuple(domains), self._wall()).addErrback(
            as_store_failure
        )

    def expire(self, now: float) -> Deferred[None]:
        """Forget those past their time."""
        return self._database.run(_expire, now).addErrback(as_store_failure)


def _ticket(row: sa.RowMapping) -> Ticket:
    try:
        recipients = tuple(map(str, json.loads(row["recipients"])))
    except (TypeError, ValueError, RecursionError) as error:
        # They are for people to read; the message is known by the key.
        recipients = (f"(the row is damaged: {error})",)
    return Ticket(**(dict(row) | {"recipients": recipients}))


def _find(connection: sa.Connection, key: str, now: float) -> Ticket | None:
    where = (tickets.c.key == key) & (tickets.c.expires > now)
    query = sa.select(tickets).where(where).order_by(tickets.c.at.desc()).limit(1)
    found = connection.execute(query).mappings().first()
    return _ticket(found) if found is not None else None


def _of_message(connection: sa.Connection, message: str, now: float) -> Ticket | None:
    where = (tickets.c.message == storable(message)) & (tickets.c.expires > now)
    found = connection.execute(sa.select(tickets).where(where)).mappings().first()
    return _ticket(found) if found is not None else None


def _put(connection: sa.Connection, ticket: Ticket) -> None:
    row = attrs.asdict(ticket) | {"recipients": json.dumps(ticket.recipients)}
    row = {name: storable(value) if isinstance(value, str) else value for name, value in row.items()}
    connection.execute(sa.insert(tickets).prefix_with("OR REPLACE"), [row])


def _get(connection: sa.Connection, id: str, now: float) -> Ticket | None:
    where = (tickets.c.id == storable(id)) & (tickets.c.expires > now)
    found = connection.execute(sa.select(tickets).where(where)).mappings().first()
    return _ticket(found) if found is not None else None


def _change(
    connection: sa.Connection,
    id: str,
    before: tuple[str, ...],
    state: str,
    expires: float,
    reason: str,
    decided_by: str,
    now: float,
) -> Ticket | None:
    found = _get(connection, id, now)
    if found is None or found.state not in before:
        return None
    changed = attrs.evolve(
        found,
        state=state,
        expires=expires,
        reason=reason or found.reason,
        decided_by=decided_by or found.decided_by,
    )
    _put(connection, changed)
    return changed


def _recent(
    connection: sa.Connection, states: tuple[str, ...], limit: int, domains: tuple[str, ...], now: float
) -> list[Ticket]:
    query = sa.select(tickets).where(tickets.c.expires > now)
    if domains:
        names = [name for domain in domains for name in dict.fromkeys((domain, unicode_domain(domain)))]
        sender, recipients = (sa.func.lower(column) for column in (tickets.c.sender, tickets.c.recipients))
        # Recipients are a list in JSON: a name ends where the text does.
        query = query.where(
            sa.or_(
                *(sender.endswith(f"@{name}", autoescape=True) for name in names),
                *(recipients.contains(f"@{json.dumps(name)[1:]}", autoescape=True) for name in names),
            )
        )
    if states:
        query = query.where(tickets.c.state.in_(states))
    return [_ticket(row) for row in connection.execute(query.order_by(tickets.c.at.desc()).limit(limit)).mappings()]


def _expire(connection: sa.Connection, now: float) -> None:
    gone = sa.select(tickets.c.id).where(tickets.c.expires <= now).limit(_SLICE)
    connection.execute(sa.delete(tickets).where(tickets.c.id.in_(gone)))
