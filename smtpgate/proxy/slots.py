"""The slots of one backend: transactions at work, who waits for one, and the links that have none just now.

A transaction has a slot from the moment its link is chosen until the link rests or is gone. The number of slots is what
the servers bear now (`ServerState.capacity`); who gets the next free one is decided by class (`traffic.shares`). A link
that rests keeps its connection, and gives it up as soon as another needs that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from smtpgate.config.model import Backend
from smtpgate.policy.protection import NO_NEED, Need
from smtpgate.policy.transaction import Session
from smtpgate.proxy.idle import IdleLinks
from smtpgate.proxy.link import Link
from smtpgate.proxy.server import ServerState
from smtpgate.proxy.shared_slots import SharedSlots, free_of
from smtpgate.tasks import Clock, TimeUp


class Slots:
    """The slots of one backend, as the sessions of one revision have them.

    :ivar shared: what all revisions share of them
    :ivar shares: how many each class has, and is promised
    :ivar line: who waits
    """

    def __init__(
        self,
        backend: Backend,
        servers: Sequence[ServerState],
        clock: Clock,
        shares: Mapping[str, float],
        waits: Mapping[str, float],
    ) -> None:
        """
        :param shares: the part of them that each class is promised
        :param waits: how long each class waits for one, seconds
        """
        self.backend = backend
        self.servers = tuple(servers)
        self.waits = waits
        self._by_name = {server.name: server for server in servers}
        self._clock = clock
        self._resting: dict[Link, Callable[[], None]] = {}
        self._idle = IdleLinks(backend, clock)
        self._join(SharedSlots(clock, shares))

    def _join(self, shared: SharedSlots) -> None:
        self.shared = shared
        self.shares = shared.shares
        self.line = shared.line
        shared.join(self)

    def inherit(self, old: Slots, shares: Mapping[str, float]) -> None:
        """Share with the slots of the revision before."""
        old.shares.divide(shares)
        self._join(old.shared)

    def gone(self) -> None:
        """The last session of its revision has ended."""
        self.shared.leave(self)

    @property
    def idle_links(self) -> int:
        """How many links no session has."""
        return len(self._idle)

    def capacity(self, now: float) -> int:
        """Transactions that its servers may have together now (`SharedSlots.capacity`)."""
        return self.shared.capacity(now)

    def part(self, now: float) -> float:
        """The part of the slots that is in use; 1.0 only where somebody waits: all at work is how it should be."""
        return 1.0 if self.line.count else min(0.99, self.shares.total / max(1, self.capacity(now)))

    async def take(
        self,
        session: Session,
        servers: Sequence[ServerState],
        deadline: float,
        others: Callable[[], Sequence[ServerState]] | None,
    ) -> ServerState:
        """A slot of one of these servers; raises TimeUp where none came free by the deadline.

        :param others: gives those that would do too, and may come into service while it waits; None: it does not wait
        """
        shared, name = self.shared, session.traffic_class
        if shared.line.count:
            # Time may have made room for them.
            shared.serve()
        now = self._clock.seconds()
        self.shares.resize(shared.capacity(now))
        server = self._free_one(servers, session, now) if self.shares.may(name) else None
        if server is not None:
            self.occupy(server, name)
            if shared.is_asked:
                shared.serve()
            return server
        if others is None or deadline <= now:
            raise TimeUp

        def suits() -> tuple[Slots, ServerState] | None:
            found = self._free_one((*servers, *others()), session, self._clock.seconds())
            return None if found is None else (self, found)

        began = now
        shared.arm()
        server = await self.line.wait(name, suits, deadline)
        session.note(self._clock.seconds(), "backend", "waited", f"{self._clock.seconds() - began:.1f} s for a slot")
        assert server is not None
        return server

    def _free_one(self, servers: Sequence[ServerState], session: Session, now: float) -> ServerState | None:
        for server in servers:
            if free_of(server, now) and self._has_room(server, session):
                return server
        return None

    def _has_room(self, server: ServerState, session: Session) -> bool:
        """Whether there is a link for it, or one may be opened; for that others without a transaction are ended. One
        that a session gives up goes over to this one where it is the same for it."""
        shared = self.shared
        while not self._idle.has(server.name, session) and not shared.may_open(server.load):
            if not shared.make_room(server):
                return False
        return True

    def occupy(self, server: ServerState, name: str) -> None:
        """Count a slot that is taken. The link is counted when it is opened, or is there already."""
        load = server.load
        load.busy += 1
        if load.busy > server.most_busy:
            server.most_busy = load.busy
        self.shares.take(name)
        health = server.health
        if health.is_down or health.until:
            health.has_trial = True

    def leave(self, server: ServerState, name: str) -> None:
        """A slot is free again: whoever waits and deserves it most has it."""
        server.load.busy -= 1
        self.shares.give_back(name)
        if self.line.count:
            self.shared.serve()

    def serve(self) -> None:
        """Give what is free to those in line."""
        self.shared.serve()

    # Links that have no transaction

    def rest(self, link: Link, give_up: Callable[[], None] | None) -> None:
        """A session keeps this link for its next transaction.

        :param give_up: called when others need it; None for a link that must stay. To a server that is drained no
            further transaction goes, and where a cap was lowered it is one too many
        """
        if give_up is not None:
            self._resting[link] = give_up
        self._set_down(link)
        server = self._by_name.get(link.server)
        if give_up is not None and link.failure is None and server is not None:
            load = server.load
            if server.is_drained or load.links > load.most or not self.shared.is_simple and self.shared.is_over_total():
                give_up()

    def _set_down(self, link: Link) -> None:
        name = link.end()
        server = self._by_name.get(link.server)
        if server is None:
            return
        if link.is_trial:
            # It rests, and nobody knows more of the server than before.
            link.is_trial = False
            server.health.trial_ended()
        if name:
            self.leave(server, name)

    def wake(self, link: Link, name: str, must: bool = False) -> bool:
        """It is to be at work again; False where it may not: others deserve the slot more, or the server has enough.

        :param must: no other link would do
        """
        self._resting.pop(link, None)
        server, shares = self._by_name[link.server], self.shares
        now = self._clock.seconds()
        free, shared = free_of(server, now), self.shared
        capacity = shares.total + free if shared.is_simple else shared.capacity(now)
        if capacity != shares.capacity:
            shares.resize(capacity)
        if must or free and shares.may(name):
            self.occupy(server, name)
            link.begin(name, now)
            link.is_trial = server.health.is_down or server.health.until > 0.0
            return True
        return False

    def park(self, link: Link) -> bool:
        """A session is over, or needs its link no more: keep it for another where that is safe; else it must end."""
        self._resting.pop(link, None)
        server = self._by_name.get(link.server)
        if server is None or server.is_drained or not self._idle.park(link):
            return False
        # Now that it is there: whoever is in line for the slot takes the link too.
        self._set_down(link)
        return True

    def end_idle(self, server: str | None) -> bool:
        """End a link that no session has, to that server or to any; whether there was one."""
        names = (server,) if server is not None else tuple(self._by_name)
        return any(self._idle.drop(name) for name in names)

    def end_resting(self, server: str | None) -> bool:
        """Have a session give up a link that has no transaction. It may be kept for another."""
        for link, give_up in self._resting.items():
            if server is None or link.server == server:
                give_up()
                return True
        return False

    def closed(self, link: Link) -> None:
        """A link is over."""
        self._resting.pop(link, None)
        self._idle.forget(link)
        server = self._by_name[link.server]
        server.load.links -= 1
        if link.is_trial:
            server.health.trial_ended()
        name = link.end()
        if name:
            self.leave(server, name)
        elif self.line.count:
            self.shared.serve()

    def idle(self, server: str, session: Session, need: Need = NO_NEED) -> Link | None:
        """A link to that server that no session has, and that is the same for this one. What comes free where one is
        found that the server has closed, or that has less than is needed, belongs to who asks."""
        shared = self.shared
        before, shared.is_held = shared.is_held, True
        try:
            link = self._idle.take(server, session)
            if link is not None and not need.is_met(link.tls, link.need):
                link.quit()
                return None
            return link
        finally:
            shared.is_held = before

    def drain(self, server: ServerState) -> None:
        """No further transaction goes there: end the links that have none."""
        while self._idle.drop(server.name):
            pass
        for link, give_up in list(self._resting.items()):
            if link.server == server.name:
                give_up()

    def close(self) -> None:
        """The revision is gone; links that sessions have live on with them."""
        self._idle.close()
        self.shared.close()
