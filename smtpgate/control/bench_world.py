"""The world of mail that is tried: what it reads is real, and what it would change is its own.

Filters see what the gateway remembers, the DNS and their engines; what they learn, count or promise is forgotten with
the try. Behind stands a server in memory that takes everything.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from smtpgate.config.model import Backend as BackendSettings
from smtpgate.config.model import Listener, Server, Settings
from smtpgate.config.patterns import NO_NETWORKS
from smtpgate.interfaces import ITable
from smtpgate.policy.protection import Need
from smtpgate.policy.ticket import Ticket
from smtpgate.policy.transaction import TLSFacts
from smtpgate.proxy.guard import Route
from smtpgate.proxy.inmemory import Backend, Connector, NoStore
from smtpgate.proxy.ledger import Ledger
from smtpgate.proxy.memory_vault import MemoryVault, NoOutbox
from smtpgate.proxy.plan import Plan
from smtpgate.proxy.revision import Engine
from smtpgate.tasks import Timekeeper

#: What the leg to the server in memory is protected with: all that a message may ask for is met.
_BEST: Final = TLSFacts("TLSv1.3", "TLS_AES_256_GCM_SHA384", 256, is_verified=True, proof="dane")
#: Its name and port; nothing is ever looked up or connected to.
_SERVER: Final = Server("in-memory:25", "in-memory", 25)
#: Events that are kept of one try.
_EVENTS: Final = 1000


class Shifted:
    """A reactor that says another time: what is tried comes at the time that it was told."""

    def __init__(self, clock: Any, by_s: float) -> None:
        self._clock = clock
        self._by_s = by_s

    def __getattr__(self, name: str) -> Any:
        return getattr(self._clock, name)

    def seconds(self) -> float:
        """Now."""
        return float(self._clock.seconds()) + self._by_s


class Turns:
    """What is to be done in the next turn of the reactor, in its order."""

    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self._calls: deque[Callable[[], object]] = deque()
        self._is_due = False

    def append(self, call: Callable[[], object]) -> None:
        """One more. What comes up meanwhile waits for the turn after, so that the reactor gets round."""
        self._calls.append(call)
        if not self._is_due:
            self._is_due = True
            self._clock.callLater(0, self._run)

    def _run(self) -> None:
        self._is_due = False
        calls, self._calls = self._calls, deque()
        while calls:
            calls.popleft()()


@implementer(ITable)
class _Overlay:
    """What filters remember: read from the gateway, written here."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self._own: dict[str, Any] = {}

    def get(self, key: str) -> Deferred[Any]:
        """The value, or None."""
        if key in self._own or self._real is None:
            return succeed(self._own.get(key))
        found: Deferred[Any] = self._real.get(key)
        return found

    def put(self, key: str, value: Any, keep_s: float) -> Deferred[None]:
        """Keep it until the try is over."""
        self._own[key] = value
        return succeed(None)


class _Tickets:
    """Tickets that are granted hold, and none is made or used."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self.on_way: set[str] = set()

    def key(self, rule: str, sender: str, recipients: Sequence[str], digest: str) -> str:
        """By which a message is known."""
        return str(self._real.key(rule, sender, recipients, digest))

    def fresh_id(self) -> str:
        """Of a ticket that is not made: the link in the reply leads nowhere."""
        return "not-a-ticket"

    def find(self, key: str) -> Deferred[Ticket | None]:
        """The newest ticket of a message."""
        found: Deferred[Ticket | None] = self._real.find(key)
        return found

    def put(self, ticket: Ticket) -> Deferred[None]:
        """Nothing."""
        return succeed(None)

    def change(
        self, id: str, before: Sequence[str], state: str, expires: float, reason: str, decided_by: str
    ) -> Deferred[bool]:
        """Nothing."""
        return succeed(False)


class _Road:
    """Every way is open, and protected as the message asks (`proxy.guard.Guard`)."""

    async def route(self, host: str, port: int, need: Need, tls: Any) -> Route:
        """To the server in memory."""
        return Route([(2, (host, port))], Plan("required" if need else "off", None, need=need), None)

    def opened(self, host: str, route: Route, tls: Any) -> None:
        """Nothing is counted."""

    def failed(self, host: str, policy: Any, fault: str) -> None:
        """Nothing is counted."""


@attrs.define(eq=False)
class World:
    """One try.

    :ivar clock: IReactorTime, which says the time of the try
    :ivar wall: the same in seconds since the epoch
    :ivar events: what was told in it; nobody else hears that
    :ivar backend: the server behind
    """

    clock: Any
    wall: Callable[[], float]
    turns: Turns
    events: list[Any] = attrs.field(factory=list)
    backend: Backend = attrs.field(factory=lambda: Backend(_BEST, keeps=False))
    vault: MemoryVault = attrs.field(factory=MemoryVault)
    keeper: Timekeeper = attrs.field(init=False)
    connector: Connector = attrs.field(init=False)
    road: Any = attrs.field(factory=_Road)
    _tables: dict[str, _Overlay] = attrs.field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self.keeper = Timekeeper(self.clock)
        self.connector = Connector(self.turns, self.backend)

    def tell(self, event: Any) -> None:
        """An event of the try."""
        if len(self.events) < _EVENTS:
            self.events.append(event)

    def table(self, real: Callable[[str], Any]) -> Callable[[str], _Overlay]:
        """What filters remember, by name, over what the gateway does."""
        return lambda name: self._tables.setdefault(name, _Overlay(real(name)))

    def tickets(self, real: Any) -> Any:
        """Tickets over those of the gateway; None where it has none."""
        return _Tickets(real) if real is not None else None

    def engine(self, real: Engine) -> Engine:
        """What its session is served with."""
        ledger = Ledger(os.urandom(32), self.wall, NoStore())
        made = Engine(
            self.clock, self.keeper, self.wall, self.tell, ledger, real.open_spool, real.in_thread, real.start
        )
        made.vault, made.outbox = self.vault, NoOutbox()
        return made


def make_world(engine: Engine, at: float | None = None) -> World:
    """A fresh one.

    :param at: when it is there, seconds since the epoch; None: now
    """
    by_s = at - engine.wall() if at is not None else 0.0
    clock = Shifted(engine.clock, by_s) if by_s else engine.clock
    return World(clock, lambda: engine.wall() + by_s, Turns(engine.clock))


def tried(settings: Settings) -> Settings:
    """Settings as a try wants them: the client is who it says, no greeting waits, each password is right, and all
    backends are the server in memory. Digest, filters, rules, routes and limits are those of the configuration."""
    return attrs.evolve(
        settings,
        listeners={name: _listener(one) for name, one in settings.listeners.items()},
        backends={name: _backend(one) for name, one in settings.backends.items()},
    )


def _listener(one: Listener) -> Listener:
    return attrs.evolve(
        one, auth="local" if one.auth != "off" else "off", proxy_protocol_from=NO_NETWORKS, greet_wait_s=0.0
    )


def _backend(one: BackendSettings) -> BackendSettings:
    return BackendSettings(one.name, (_SERVER,), tls="off", eight_bit=one.eight_bit)


__all__ = ["Shifted", "Turns", "World", "make_world", "tried"]
