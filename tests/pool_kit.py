"""A backend's pool on a simulated clock, with servers in memory that refuse, stay silent, are slow or die as told."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from smtpgate.config.endpoint import parse_server
from smtpgate.config.model import Backend, Server
from smtpgate.interfaces import ClientGone
from smtpgate.policy.transaction import Session
from smtpgate.proxy import inmemory as memory
from smtpgate.proxy.link import Link, LinkFailed
from smtpgate.proxy.pool import Pool
from smtpgate.smtp.reply import Reply
from smtpgate.tasks import Task, Timekeeper

ACCEPTED = Reply(250, "2.0.0", ("Ok",))


class Connector:
    """Opens legs to servers in memory.

    :ivar refused: hosts whose port refuses; `silent`: hosts that swallow packets
    :ivar opened: hosts, in the order in which they were connected to
    """

    def __init__(self, clock: Clock, turns: memory.Turns) -> None:
        self.refused: set[str] = set()
        self.silent: set[str] = set()
        self.opened: list[str] = []
        self.backends: dict[str, memory.Backend] = {}
        self.legs: dict[str, list[memory.Back]] = {}
        self._turns = turns

    def backend(self, host: str) -> memory.Backend:
        return self.backends.setdefault(host, memory.Backend())

    def connect(self, address: Any, owner: Any, host: str, server_first: bool) -> Any:
        self.opened.append(host)
        if host in self.refused:
            raise ConnectionRefusedError(111, "ECONNREFUSED")
        if host in self.silent:
            return Silence()
        leg = memory.Back(self._turns, self.backend(host), owner)
        self.legs.setdefault(host, []).append(leg)
        return leg

    def resolve(self, host: str, port: int) -> Deferred[Any]:
        return succeed([(2, (host, port))]) if host != "nowhere" else fail(OSError("no such name"))


class Silence:
    """A connection that never comes to stand."""

    is_open = True
    is_full = False
    is_connected = False

    def write(self, octets: bytes) -> None:
        """Into the void."""

    close = abort = lambda self: None


@attrs.define(eq=False)
class Asked:
    """One who asked for a link."""

    link: Link | None = None
    failure: LinkFailed | None = None
    task: Any = None
    session: Any = None

    @property
    def waits(self) -> bool:
        return self.link is None and self.failure is None


class PoolKit:
    """A pool and its world."""

    def __init__(self, *servers: str | Server, **given: Any) -> None:
        self.clock = Clock()
        self.clock.advance(1000.0)
        self.turns: memory.Turns = deque()
        self.keeper = Timekeeper(self.clock, 0.05)
        self.connector = Connector(self.clock, self.turns)
        self.events: list[Any] = []
        made = tuple(one if isinstance(one, Server) else server(one) for one in servers)
        given.setdefault("tls", "off")
        self.pool = self._pool(Backend("mail", made, **given))

    def _pool(self, backend: Backend) -> Pool:
        return Pool(backend, "gate.example", 30.0, self.connector, None, self.keeper, self.events.append)

    def reload(self, servers: Sequence[str] = (), **given: Any) -> Pool:
        """A new revision, with other servers or keys where they are given; the old pool, whose sessions go on."""
        if servers:
            given["servers"] = tuple(server(one) for one in servers)
        old, self.pool = self.pool, self._pool(attrs.evolve(self.pool.backend, **given))
        self.pool.inherit(old)
        old.close()
        self.turn()
        return old

    def ask(self, traffic_class: str = "unknown", key: str = "", pool: Pool | None = None, **given: Any) -> Asked:
        """A session asks for a link."""
        pool = pool or self.pool
        session = Session("id", "mx", "mx")
        session.traffic_class = traffic_class
        for name, value in given.items():
            setattr(session, name, value)
        asked = Asked(session=session)
        deadline = self.clock.seconds() + 30.0

        def got(link: Any) -> None:
            asked.link = link

        def failed(error: BaseException) -> None:
            if not isinstance(error, ClientGone):
                assert isinstance(error, LinkFailed), error
                asked.failure = error

        asked.task = Task(pool.link(session, key, deadline), self.keeper, got, failed).start()
        self.turn()
        return asked

    def turn(self) -> None:
        """Until nobody has more to say."""
        while self.turns:
            self.turns.popleft()()

    def advance(self, seconds: float, step: float = 0.05) -> None:
        """Time passes."""
        end = self.clock.seconds() + seconds
        while self.clock.seconds() < end - 1e-9:
            self.clock.advance(min(step, end - self.clock.seconds()))
            self.turn()

    def answer(self, asked: Asked, seconds: float = 0.01, reply: Reply = ACCEPTED) -> None:
        """The server of a link answers the end of data, after so long."""
        assert asked.link is not None, asked.failure
        asked.link.transactions += 1
        self.pool.answered(asked.link, reply, seconds)

    def done(self, asked: Asked, seconds: float = 0.01) -> None:
        """It answers, and its session ends."""
        self.answer(asked, seconds)
        assert asked.link is not None
        asked.link.quit()
        self.turn()

    def kill(self, host: str) -> None:
        """A server dies, and all connections with it."""
        self.connector.refused.add(host)
        for leg in self.connector.legs.pop(host, []):
            if leg.is_open:
                leg.is_open = False
                leg._owner.lost("ECONNRESET")

    def told(self, name: str) -> list[Any]:
        """Events of a kind."""
        return [event for event in self.events if type(event).__name__ == name]


def server(text: str, weight: int = 1, tier: int = 1) -> Server:
    """A server of a backend."""
    at = parse_server(text if ":" in text else f"{text}:25")
    return Server(text, at.host, at.port, at.path, weight, tier)


Make = Callable[..., PoolKit]
