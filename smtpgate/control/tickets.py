"""Tickets as their managers see them: who asks for what to pass, and the word on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred

from smtpgate.control.views import Actor, Refused, Unavailable, Unknown
from smtpgate.interfaces import StoreFailed
from smtpgate.policy.ticket import GRANTED_S, OPEN_S, SENDER, Ticket

#: Letters of a reason.
REASON: Final = 500


class Tickets:
    """The tickets of the running gateway."""

    def __init__(self, wall: Callable[[], float], did: Callable[[Actor, str, str, str], None]) -> None:
        self._wall = wall
        self._did = did
        #: An `interfaces.ITickets`; set by whoever has the stores.
        self.store: Any = None

    async def _ask(self, asked: Deferred[Any]) -> Any:
        try:
            return await asked
        except StoreFailed as error:
            raise Unavailable(f"tickets cannot be read or written now: {error}") from error

    @property
    def _there(self) -> Any:
        if self.store is None:
            raise Refused("this gateway has no tickets")
        return self.store

    async def recent(self, states: Sequence[str], limit: int, domains: Sequence[str] = ()) -> list[Ticket]:
        """The newest in these states; none: in all. Of all mail, or of that of some domains."""
        found: list[Ticket] = await self._ask(self._there.recent(states, limit, domains))
        return found

    async def ticket(self, id: str) -> Ticket:
        """One. Raises Unknown."""
        found: Ticket | None = await self._ask(self._there.get(id))
        if found is None:
            raise Unknown("no such ticket")
        return found

    async def by_message(self, message: str) -> Ticket:
        """That of a refusal, by its reference id: the id of a ticket is for its sender alone. Raises Unknown."""
        found: Ticket | None = await self._ask(self._there.of_message(message))
        if found is None:
            raise Unknown(f"no ticket of {message}")
        return found

    async def say(self, id: str, reason: str, actor: Actor) -> Ticket:
        """Its sender says why it must go: granted, or asked for, as the rule says. Raises Unknown, and Refused where
        that was said before."""
        ticket = await self.ticket(id)
        state, keep_s = ("granted", GRANTED_S) if ticket.mode == "reason" else ("asked", OPEN_S)
        by = SENDER if state == "granted" else ""
        done = await self._change(ticket, ("open",), state, keep_s, reason, by)
        self._did(actor, f"ticket.{'use' if state == 'granted' else 'ask'}", ticket.message, reason)
        return done

    async def grant(self, ticket: Ticket, actor: Actor) -> Ticket:
        """The message may pass once. Raises Refused where it may already, or did."""
        done = await self._change(ticket, ("open", "asked", "denied"), "granted", GRANTED_S, "", actor.name)
        self._did(actor, "ticket.grant", ticket.message, ticket.rule)
        return done

    async def deny(self, ticket: Ticket, actor: Actor) -> Ticket:
        """It may not."""
        done = await self._change(ticket, ("open", "asked", "granted"), "denied", OPEN_S, "", actor.name)
        self._did(actor, "ticket.deny", ticket.message, ticket.rule)
        return done

    async def _change(
        self, ticket: Ticket, before: Sequence[str], state: str, keep_s: float, reason: str, by: str
    ) -> Ticket:
        expires = self._wall() + keep_s
        done: Ticket | None = await self._ask(
            self._there.change(ticket.id, before, state, expires, reason[:REASON], by)
        )
        if done is None:
            raise Refused("something was decided on it already")
        return done
