"""What all revisions of the configuration share of one backend: who has slots, who waits, and what its servers have.

A session goes on with the revision that it began with (`proxy.slots`); the servers do not know of revisions. So there
is one line for all, in class order, one count for each server and one for the backend, and the caps are those of the
newest revision.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from smtpgate.config.model import Backend
from smtpgate.proxy.line import Line, Waiter
from smtpgate.proxy.server import Load, ServerState
from smtpgate.tasks import Clock
from smtpgate.traffic.shares import Shares

#: A server in its slow start is looked at so often for those in line.
STARTING_S = 1.0


class Member(Protocol):
    """The slots of one revision, as the others see them."""

    backend: Backend
    servers: tuple[ServerState, ...]

    def occupy(self, server: ServerState, name: str) -> None:
        """Count a slot that a class has taken."""

    def end_idle(self, server: str | None) -> bool:
        """End a link that no session has, to that server or to any; whether there was one."""

    def end_resting(self, server: str | None) -> bool:
        """Have a session give up a link that has no transaction. It may be kept for another."""


class SharedSlots:
    """The slots of one backend, over all revisions that have sessions.

    :ivar shares: how many each class has, and is promised
    :ivar line: who waits; what suits one is a pair of a member and its server
    :ivar is_simple: there is one revision with one server, and no cap for all together
    :ivar is_held: what comes free meanwhile belongs to whoever made it free
    :ivar is_asked: somebody would have been served meanwhile
    """

    __slots__ = (
        "shares",
        "line",
        "is_simple",
        "is_held",
        "is_asked",
        "_clock",
        "_members",
        "_servers",
        "_most",
        "_loads",
        "_call",
    )

    def __init__(self, clock: Clock, shares: Mapping[str, float]) -> None:
        """
        :param shares: the part of them that each class is promised
        """
        self.shares = Shares(0, shares)
        self.line = Line()
        self.is_simple = False
        self.is_held = False
        self.is_asked = False
        self._clock = clock
        self._members: list[Member] = []
        self._servers: tuple[ServerState, ...] = ()
        #: Connections that there may be, in all.
        self._most: int | None = None
        self._loads: dict[str, Load] = {}
        self._call: Any = None

    # Revisions

    def join(self, member: Member) -> None:
        """A newer revision. Its servers have what sessions of the others have of them, and its caps hold for all."""
        self._members.append(member)
        for server in member.servers:
            load = server.load = self._loads.setdefault(server.name, server.load)
            load.most = server.max_links
        self._know()
        # What rests over a cap that was lowered is not waited for.
        for server in member.servers:
            while server.load.links > server.load.most and self._end_one(server.name):
                pass
        while self.is_over_total() and self._end_one(None):
            pass
        self.serve()

    def leave(self, member: Member) -> None:
        """The last session of a revision has ended."""
        if member in self._members:
            self._members.remove(member)
            self._know()

    def _know(self) -> None:
        known: dict[str, ServerState] = {}
        for member in self._members:
            # Of the same server the newest knows best.
            known.update((server.name, server) for server in member.servers)
        self._servers = tuple(known.values())
        if self._members:
            self._most = self._members[-1].backend.total_connections
        self._loads = {name: load for name, load in self._loads.items() if name in known or load.links}
        self.is_simple = len(self._members) == 1 and len(self._servers) == 1 and self._most is None

    # How many there are

    def capacity(self, now: float) -> int:
        """Transactions that the servers may have together now, within the cap of the backend: those at work, and what
        is free. A trial is room for one where there is nothing else; beside servers that work it is none to share."""
        free = trials = 0
        for server in self._servers:
            if server.health.needs_trial:
                trials += free_of(server, now)
            else:
                free += free_of(server, now)
        found, most = self.shares.total + (free or min(1, trials)), self._most
        return found if most is None else min(found, most)

    def _is_over_total(self, further: int) -> bool:
        most = self._most
        return most is not None and sum(load.links for load in self._loads.values()) + further > most

    def is_over_total(self) -> bool:
        """Whether there are more connections than may be in all."""
        return self._is_over_total(0)

    def may_open(self, load: Load) -> bool:
        """Whether one more connection to that server may be opened."""
        return load.links < load.most and not self._is_over_total(1)

    def make_room(self, server: ServerState) -> bool:
        """End a link without a transaction that stands in the way of one more to that server; whether there was one."""
        load = server.load
        return self._end_one(server.name if load.links >= load.most else None)

    def _end_one(self, server: str | None) -> bool:
        before, self.is_held = self.is_held, True
        try:
            members = self._members
            return any(one.end_idle(server) for one in members) or any(one.end_resting(server) for one in members)
        finally:
            self.is_held = before

    # Who waits

    def serve(self) -> None:
        """Give what is free to those in line."""
        if not self.line.count:
            return
        if self.is_held:
            self.is_asked = True
            return
        self.is_held = True
        try:
            while (found := self._next()) is not None or self.is_asked:
                if found is not None:
                    waiter, (member, server) = found
                    member.occupy(server, waiter.name)
                    waiter.signal.fire(server)
        finally:
            self.is_held = False
        if self.line.count:
            self.arm()

    def _next(self) -> tuple[Waiter, Any] | None:
        """Who is served now, and with what."""
        line, shares = self.line, self.shares
        passed: set[str] = set()
        self.is_asked = False
        shares.resize(self.capacity(self._clock.seconds()))
        while (name := shares.next(name for name in line.classes() if name not in passed)) is not None:
            found = line.first(name)
            if found is not None:
                return found
            # What is free suits nobody of that class.
            passed.add(name)
        return None

    def arm(self) -> None:
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

    def close(self) -> None:
        """A revision is gone; the timer stays where somebody waits."""
        if self._call is not None and self._call.active() and not self.line.count:
            self._call.cancel()


def free_of(server: ServerState, now: float) -> int:
    """Further transactions that one server may have now: none where it is out of service, or bears no more than it has;
    one where it must be seen whether it is back."""
    if server.is_drained:
        return 0
    health, load = server.health, server.load
    if health.is_down or health.until:
        return 1 if health.may_try(now) else 0
    capacity = server.capacity(now)
    free = (capacity if capacity < load.most else load.most) - load.busy
    return free if free > 0 else 0
