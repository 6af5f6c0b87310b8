"""The slots of one backend: transactions at work, who waits for one, and the links that have none just now.

A transaction has a slot from the moment its link is chosen until the link rests or is gone. The number of slots is what
the servers bear now (`ServerState.capacity`); who gets the next free one is decided by class (`traffic.shares`). A link
that rests keeps its connection, and gives it up as soon as another needs that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from smtpgate.config.model import Backend
from smtpgate.policy.transaction import Session
from smtpgate.proxy.idle import IdleLinks
from smtpgate.proxy.line import Line
from smtpgate.proxy.link import Link
from smtpgate.proxy.server import Load, ServerState
from smtpgate.tasks import Clock, TimeUp
from smtpgate.traffic.shares import Shares

#: A server in its slow start is looked at so often for those in line.
STARTING_S = 1.0


class Slots:
    """The slots of one backend.

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
        self.shares = Shares(0, shares)
        self.line = Line()
        self.waits = waits
        self._backend = backend
        self._servers = servers
        self._by_name = {server.name: server for server in servers}
        self._clock = clock
        self._resting: dict[Link, Callable[[], None]] = {}
        self._idle = IdleLinks(backend, clock)
        self._call: Any = None
        #: What comes free meanwhile is seen by whoever serves, or belongs to whoever made it free.
        self._is_serving = False
        for server in servers:
            server.load.slots.append(self)

    def inherit(self, old: Slots, shares: Mapping[str, float]) -> None:
        """Share with the slots of the revision before what its sessions have of the same servers."""
        self.shares = old.shares
        self.shares.divide(shares)
        for name, server in self._by_name.items():
            known = old._by_name.get(name)
            if known is not None:
                server.load = known.load
                server.load.slots.append(self)

    def gone(self) -> None:
        """The last session of its revision has ended."""
        for server in self._servers:
            server.load.slots.remove(self)

    @property
    def idle_links(self) -> int:
        """How many links no session has."""
        return len(self._idle)

    def capacity(self, now: float) -> int:
        """Transactions that its servers may have together now: those at work, wherever, and what is free. A trial is
        room for one where there is nothing else; beside servers that work it is no room to be shared out."""
        free = trials = 0
        for server in self._servers:
            if server.health.needs_trial:
                trials += self._free(server, now)
            else:
                free += self._free(server, now)
        return self._with_free(free or min(1, trials))

    def _with_free(self, free: int) -> int:
        most = self._backend.total_connections
        return self.shares.total + free if most is None else min(self.shares.total + free, most)

    @staticmethod
    def _free(server: ServerState, now: float) -> int:
        """Further transactions that one server may have now: none where it is out of service, or bears no more than it
        has; one where it must be seen whether it is back."""
        if server.is_drained:
            return 0
        health = server.health
        if health.is_down or health.until:
            return 1 if health.may_try(now) else 0
        free = server.capacity(now) - server.load.busy
        return free if free > 0 else 0

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
        now = self._clock.seconds()
        self.shares.resize(self.capacity(now))
        name = session.traffic_class
        server = self._free_one(servers, session, now) if self.shares.may(name) else None
        if server is not None:
            self._occupy(server, name)
            return server
        if others is None or deadline <= now:
            raise TimeUp

        def suits() -> ServerState | None:
            return self._free_one((*servers, *others()), session, self._clock.seconds())

        self._arm()
        began = now
        server = await self.line.wait(name, suits, deadline)
        session.note(self._clock.seconds(), "backend", "waited", f"{self._clock.seconds() - began:.1f} s for a slot")
        assert server is not None
        return server

    def _free_one(self, servers: Sequence[ServerState], session: Session, now: float) -> ServerState | None:
        for server in servers:
            if not self._free(server, now):
                continue
            if self._idle.has(server.name, session) or self._is_in_caps(server) or self._reclaim(server, session):
                return server
        return None

    def _is_in_caps(self, server: ServerState) -> bool:
        """Whether one more connection to it may be opened."""
        return server.load.links < server.max_links and self._is_in_total()

    def _is_in_total(self) -> bool:
        most = self._backend.total_connections
        return most is None or sum(server.load.links for server in self._servers) < most

    def _occupy(self, server: ServerState, name: str) -> None:
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
        load = server.load
        load.busy -= 1
        self.shares.give_back(name)
        if self.line.count:
            self.serve()
        if len(load.slots) > 1:
            self._tell_others(load)

    def _tell_others(self, load: Load) -> None:
        """Something is free there: those in line of other revisions may have it too."""
        for other in load.slots:
            if other is not self:
                other.serve()

    def _arm(self) -> None:
        """See to those in line when time itself makes room: a server may be tried again, or bears more as it starts."""
        now = self._clock.seconds()
        waits = [wait_s for server in self._servers if (wait_s := server.health.wait_s(now)) > 0]
        if any(server.health.is_starting(now) for server in self._servers):
            waits.append(STARTING_S)
        if not waits:
            return
        seconds = min(waits)
        if self._call is not None and self._call.active():
            if self._call.getTime() <= now + seconds:
                return
            self._call.cancel()
        self._call = self._clock.callLater(seconds, self.serve)

    def serve(self) -> None:
        """Give what is free to those in line."""
        if self.line.count and not self._is_serving:
            self._is_serving = True
            try:
                self._serve()
            finally:
                self._is_serving = False
            if self.line.count:
                self._arm()

    def _serve(self) -> None:
        line, shares = self.line, self.shares
        shares.resize(self.capacity(self._clock.seconds()))
        passed: set[str] = set()
        while True:
            name = shares.next(name for name in line.classes() if name not in passed)
            if name is None:
                return
            found = line.first(name)
            if found is None:
                # What is free suits nobody of that class.
                passed.add(name)
                continue
            waiter, server = found
            self._occupy(server, name)
            waiter.signal.fire(server)

    # Links that have no transaction

    def rest(self, link: Link, give_up: Callable[[], None] | None) -> None:
        """A session keeps this link for its next transaction.

        :param give_up: called when others need it; None for a link that must stay. To a server that is drained no
            further transaction goes
        """
        if give_up is not None:
            self._resting[link] = give_up
        self._set_down(link)
        server = self._by_name.get(link.server)
        if give_up is not None and link.failure is None and server is not None and server.is_drained:
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
        free = self._free(server, now)
        capacity = self._with_free(free) if len(self._servers) == 1 else self.capacity(now)
        if capacity != shares.capacity:
            shares.resize(capacity)
        if must or free and shares.may(name):
            self._occupy(server, name)
            link.begin(name, now)
            link.is_trial = server.health.needs_trial
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

    def _reclaim(self, server: ServerState, session: Session) -> bool:
        """Have a link without a transaction given up, so that there is room for another: one of that server, or where
        only the backend has too many, of any. Where it is the same for this session it goes over to it."""
        before, self._is_serving = self._is_serving, True
        try:
            return self._make_room(server, session)
        finally:
            self._is_serving = before

    def _make_room(self, server: ServerState, session: Session) -> bool:
        is_full = server.load.links >= server.max_links
        for one in (server,) if is_full else self._servers:
            if self._idle.drop(one.name):
                return True
        for link, give_up in self._resting.items():
            if link.server == server.name or not is_full:
                give_up()
                if not self._idle.has(server.name, session) and not self._is_in_caps(server):
                    # It was kept, but not for this one.
                    self._idle.drop(link.server)
                return True
        for one in (server,) if is_full else self._servers:
            for other in one.load.slots:
                if other is not self and other.give_up(one.name):
                    return True
        return False

    def give_up(self, server: str) -> bool:
        """Another revision needs room at that server: end a link without a transaction; whether there was one."""
        before, self._is_serving = self._is_serving, True
        try:
            if self._idle.drop(server):
                return True
            for link, give_up in self._resting.items():
                if link.server == server:
                    give_up()
                    self._idle.drop(server)
                    return True
            return False
        finally:
            self._is_serving = before

    def closed(self, link: Link) -> None:
        self._resting.pop(link, None)
        self._idle.forget(link)
        server = self._by_name[link.server]
        server.load.links -= 1
        if link.is_trial:
            server.health.trial_ended()
        name = link.end()
        if name:
            self.leave(server, name)
            return
        self.serve()
        if len(server.load.slots) > 1:
            self._tell_others(server.load)

    def idle(self, server: str, session: Session) -> Link | None:
        """A link to that server that no session has, and that is the same for this one. What comes free where one is
        found that the server has closed belongs to who asks."""
        before, self._is_serving = self._is_serving, True
        try:
            return self._idle.take(server, session)
        finally:
            self._is_serving = before

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
        if self._call is not None and self._call.active() and not self.line.count:
            self._call.cancel()
