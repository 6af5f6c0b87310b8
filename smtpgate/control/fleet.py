"""All servers of all backends, for those who manage them: what was said of them, what happens when one goes, how far a
message would come."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Literal

import attrs
from twisted.internet.defer import Deferred

from smtpgate.config.endpoint import parse_server
from smtpgate.config.model import Backend, Server
from smtpgate.control.ribbons import Ribbons, Stretch
from smtpgate.control.views import Actor, Invalid, Refused, Unavailable, Unknown, lasting
from smtpgate.policy.asked import Asked
from smtpgate.policy.question import recipient_path
from smtpgate.proxy.asking import ask
from smtpgate.proxy.drains import Drains, Weights
from smtpgate.proxy.link import Link
from smtpgate.proxy.opener import Opener
from smtpgate.proxy.pool import Pool
from smtpgate.proxy.revision import Engine, Revision
from smtpgate.proxy.server import OUT, ServerState
from smtpgate.smtp.address import Path
from smtpgate.tasks import Task

#: How long a server may take for all that it is asked.
ASK_S: Final = 20.0
#: Of servers that are asked at a time.
ASKED: Final = 4
#: Weights that a server may have (`servers.weight`).
MOST_WEIGHT: Final = 1000
KINDS: Final = ("service", "weight")


@attrs.frozen
class Override:
    """What holds otherwise than the configuration says. Times are seconds since the epoch.

    :ivar kind: service: it is drained or in maintenance; weight
    :ivar until: 0 until it is taken back
    :ivar is_known: there is such a server now
    """

    kind: str
    backend: str
    server: str
    value: str
    reason: str
    since: float
    until: float
    is_known: bool


@attrs.frozen
class Headroom:
    """What if this server goes, as it stands now.

    :ivar left: transactions that the others may have together
    :ivar busy: transactions at work at all servers now; `most`: the most that each has had, together
    :ivar others: servers that would take its mail: those of its tier, or of the next where there are none
    """

    server: str
    left: int
    busy: int
    most: int
    others: int

    @property
    def verdict(self) -> Literal["fits", "tight", "none"]:
        """Whether they can: "tight": not what there was at the busiest."""
        if not self.others or self.left < self.busy:
            return "none"
        return "fits" if self.left >= self.most else "tight"


@attrs.frozen
class Figures:
    """What a server did so far, beside `ServerView`. Times are seconds since the epoch, 0 for never.

    :ivar rate: answers to the end of data a second
    :ivar own_weight: somebody's word; 0: as configured
    :ivar check: how the last look ended: "", "ok", or where and why it failed
    :ivar downtime_s: seconds that it was down or put out since the start
    """

    state: str
    most_links: int
    rate: float
    octets: int
    retries: int
    last_reply: str
    replied_at: float
    check: str
    downtime_s: float
    own_weight: int
    weight_until: float
    weight_reason: str
    headroom: Headroom
    ribbon: tuple[Stretch, ...]


@attrs.frozen
class Destination:
    """A domain that mail goes to by the DNS, now."""

    backend: str
    domain: str
    servers: tuple[str, ...]
    state: str
    links: int
    busy: int
    why: str


class Fleet:
    """Of one gateway.

    :ivar opener: makes what opens links to a backend that is not configured; set by whoever has sockets
    """

    def __init__(
        self,
        engine: Engine,
        current: Callable[[], Revision],
        pools: Callable[[], list[Mapping[str, Pool]]],
        drains: Drains,
        did: Callable[[Actor, str, str, str], None],
    ) -> None:
        self.opener: Callable[[Backend], Opener] | None = None
        self.drains = drains
        self.weights = Weights(engine.clock, engine.wall, pools, engine.tell)
        self.ribbons = Ribbons(engine.wall, lambda: current().pools.values())
        self._engine = engine
        self._current = current
        self._did = did
        self._asking = 0

    # Look

    def find(self, backend: str, name: str) -> tuple[Pool, ServerState]:
        """A server at work; raises Unknown."""
        pool = self._current().pools.get(backend)
        server = pool.server(name) if pool is not None else None
        if pool is None or server is None:
            raise Unknown(f"no server {name} in backend {backend}")
        return pool, server

    def figures(self, backend: str, name: str) -> Figures:
        """Of one server; raises Unknown."""
        pool, server = self.find(backend, name)
        now = self._engine.clock.seconds()
        offset = self._engine.wall() - now
        weight = self.weights.find(backend, name)
        ribbon = tuple(self.ribbons.of(backend, name))
        return Figures(
            ribbon[-1].state if ribbon else server.state,
            server.most_links,
            server.rate.value(now),
            server.octets,
            server.retries,
            server.last_reply,
            server.replied_at + offset if server.replied_at else 0.0,
            server.check,
            server.downtime_s(now),
            server.own_weight,
            weight.until if weight is not None else 0.0,
            weight.reason if weight is not None else "",
            headroom(pool, server, now),
            ribbon,
        )

    def overrides(self) -> list[Override]:
        """All that holds otherwise than the configuration says."""
        return [
            *(self._override("service", place, one.kind, one) for place, one in self.drains.all()),
            *(self._override("weight", place, str(one.weight), one) for place, one in self.weights.all()),
        ]

    def override(self, kind: str, backend: str, server: str) -> Override:
        """One of them; raises Unknown."""
        for one in self.overrides():
            if (one.kind, one.backend, one.server) == (kind, backend, server):
                return one
        raise Unknown(f"nothing is said of the {kind} of {backend}/{server}")

    def _override(self, kind: str, place: tuple[str, str], value: str, one: Any) -> Override:
        pool = self._current().pools.get(place[0])
        is_known = pool is not None and pool.server(place[1]) is not None
        return Override(kind, *place, value, one.reason, one.since, one.until, is_known)

    def destinations(self, backend: str, most: int) -> list[Destination]:
        """Domains that a backend of kind mx has links or servers for, those with links first."""
        found = self._current().destinations.get(backend)
        rows = []
        for domain, pool in found.pools if found is not None else ():
            links = sum(server.links for server in pool.servers)
            busy = sum(server.busy for server in pool.servers)
            states = {server.state for server in pool.servers}
            state = next((word for word in ("up", "unknown", "ejected", "down") if word in states), "unknown")
            why = next((server.why for server in pool.servers if server.why), "") if state in OUT else ""
            names = tuple(server.name for server in pool.servers)
            rows.append(Destination(backend, domain, names, state, links, busy, why))
        rows.sort(key=lambda row: (-row.busy, -row.links, row.state == "up", row.domain))
        return rows[:most]

    # Do

    def maintain(self, backend: str, name: str, actor: Actor, reason: str = "", minutes: int = 0) -> None:
        """No new sessions for a server, and no looks at it: for so long, or until somebody says ready (0)."""
        self.find(backend, name)
        self.drains.drain(backend, name, reason, minutes * 60.0, "maint")
        self.ribbons.look()
        self._did(actor, "server.maint", f"{backend}/{name}", lasting(reason, minutes))

    def weigh(self, backend: str, name: str, weight: int, actor: Actor, reason: str = "", minutes: int = 0) -> None:
        """Another weight: for so long, or until it is taken back (0)."""
        self.find(backend, name)
        if not 1 <= weight <= MOST_WEIGHT:
            raise Invalid(f"a weight is a number from 1 to {MOST_WEIGHT}; use drain for none")
        self.weights.set(backend, name, weight, reason, minutes * 60.0)
        self._did(actor, "server.weight", f"{backend}/{name}", lasting(f"{weight} {reason}".strip(), minutes))

    def take_back(self, kind: str, backend: str, name: str, actor: Actor) -> None:
        """As configured again; raises Unknown where nothing was said."""
        self.override(kind, backend, name)
        (self.drains if kind == "service" else self.weights).take_back((backend, name))
        self.ribbons.look()
        verb = "ready" if kind == "service" else "weight"
        self._did(actor, f"server.{verb}", f"{backend}/{name}", "as configured")

    # Check

    async def ask(self, backend: str, name: str, recipient: str) -> Asked:
        """How far a message for a recipient would come with a server; nothing is sent. Raises Refused."""
        pool, server = self.find(backend, name)
        pool.probe(server)
        return await self._ask(pool.opener, pool.backend, server, path_of(recipient))

    async def ask_stranger(self, address: str, protocol: Any, tls: Any, recipient: str) -> Asked:
        """The same with a server that is not configured.

        :param address: as `backends.servers` has it
        """
        backend = stranger(address, protocol, tls)
        if self.opener is None:
            raise Unavailable("this gateway cannot open links")
        server = ServerState(backend.servers[0], 1, 0.0)
        return await self._ask(self.opener(backend), backend, server, path_of(recipient))

    async def _ask(self, opener: Opener, backend: Backend, server: ServerState, recipient: Path) -> Asked:
        if self._asking >= ASKED:
            raise Refused(f"{ASKED} servers are asked already; try again in a moment")
        clock = self._engine.clock
        deadline = clock.seconds() + ASK_S
        link = Link(backend, server.name, clock)

        async def work() -> Asked:
            return await ask(lambda: opener.open(link, server, None, deadline), link, recipient, deadline, clock)

        told: Deferred[Asked] = Deferred()
        self._asking += 1
        try:
            Task(work(), self._engine.keeper, told.callback, told.errback).start()
            return await told
        finally:
            self._asking -= 1


def stranger(address: str, protocol: Any, tls: Any) -> Backend:
    """A backend with one server as it would be configured; raises Invalid."""
    try:
        at = parse_server(address)
    except ValueError as error:
        raise Invalid(f"server: {error}") from None
    return Backend("probe", (Server(address, at.host, at.port, at.path),), protocol, tls)


def path_of(recipient: str) -> Path:
    """An address as it is asked for; raises Invalid."""
    try:
        return recipient_path(recipient)
    except ValueError as error:
        raise Invalid(f"recipient: {error}") from None


def headroom(pool: Pool, server: ServerState, now: float) -> Headroom:
    """What if this server goes."""

    def in_service() -> Iterator[ServerState]:
        for other in pool.servers:
            if other is not server and not other.is_drained and other.state not in OUT:
                yield other

    others = list(in_service())
    tier = min((other.config.tier for other in others), default=0)
    takers = [other for other in others if other.config.tier == tier]
    busy = sum(other.busy for other in pool.servers)
    most = sum(other.most_busy for other in pool.servers)
    return Headroom(server.name, sum(other.capacity(now) for other in takers), busy, max(busy, most), len(takers))
