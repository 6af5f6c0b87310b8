"""The kit for tests of filters: a whole gateway in memory, and a clock that stands until it is moved.

The engine is the real one, with its sessions, pipeline and delivery; only the two sockets are missing. A client says
what a client says and hears what it would hear; the backend keeps what it got. Nothing is waited for, so a test is a
plain `twisted.trial.unittest.SynchronousTestCase`:

    gateway = Gateway(use(factory, 'opens = "07:00"'), now="2026-01-07 03:00")
    client = gateway.connect("192.0.2.7")
    client.helo()
    self.assertEqual(client.message(), "451 4.7.1 Come back at 07:00")
    self.assertEqual([finding.reason for finding in client.findings], ["quiet-hours"])

A filter that breaks the contract in a way that a running gateway cannot see (a method for a stage that its factory does
not name is never called) raises `ContractBroken` here. docs/plugins.md has the whole story.
"""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred, ensureDeferred, maybeDeferred
from twisted.internet.task import Clock
from zope.interface import implementer

from smtpgate.config.loader import ConfigErrors, loads
from smtpgate.filters.base import MAIL_STAGES, SESSION_STAGES, faults
from smtpgate.interfaces import IFilter
from smtpgate.policy.event import FilterFailed
from smtpgate.proxy.inmemory import Backend, Connector, Delivered, Front, NoStore
from smtpgate.proxy.ledger import Ledger
from smtpgate.proxy.memory_vault import MemoryVault, NoOutbox
from smtpgate.proxy.pipeline import Chain
from smtpgate.proxy.pool import Pool
from smtpgate.proxy.reception import Reception
from smtpgate.proxy.reputation import Reputation
from smtpgate.proxy.revision import Door, Engine, Revision, wire_rules
from smtpgate.proxy.router import Router
from smtpgate.proxy.services import Examination, FilterSettings, Ports, Services
from smtpgate.proxy.shared import Memory
from smtpgate.proxy.use import Use
from smtpgate.tasks import Timekeeper
from smtpgate.testing.client import PLAIN, Client
from smtpgate.testing.ports import HTTP, Children, Table, no_connection
from smtpgate.testing.resolver import FakeResolver

__all__ = ["PLAIN", "Backend", "Client", "ContractBroken", "Delivered", "Gateway", "complaints", "use"]


_CONFIG = """
hostname = "gate.example.com"
local_domains = [{domains}]
[listeners.front]
listen = "tcp:25"
role = "{role}"
tls = "off"
greet_wait = "0s"
{auth}
[backends.mail]
servers = "127.0.0.1:26"
tls = "off"
[[routes]]
backend = "mail"
{rest}
"""


class ContractBroken(Exception):
    """A filter does what the contract does not provide for."""


@attrs.frozen
class Used:
    """A factory and how it is used, as a table of `[[filters]]` says it. Made by `use`."""

    factory: Any
    options: str
    keys: str

    def table(self) -> str:
        """The table."""
        return f'[[filters]]\nuse = "{self.factory.name}"\n{self.keys}[filters.options]\n{self.options}\n'


def use(
    factory: Any, options: str = "", *, mode: str = "enforce", on_error: str | None = None, name: str | None = None
) -> Used:
    """A filter for `Gateway`, configured as an operator does.

    :param options: the lines of its options table, in TOML
    :param on_error: its failure policy: tempfail, reject, continue; None: the factory's own
    :param name: another name than the factory's, for one that is used twice
    """
    keys = {"mode": mode, "on_error": on_error, "name": name}
    return Used(factory, options, "".join(f'{key} = "{value}"\n' for key, value in keys.items() if value))


def complaints(factory: Any, options: str) -> list[str]:
    """What `smtpgate check-config` says about an options table: key and message; nothing where it is good."""
    try:
        _settings([use(factory, options)], min(factory.roles), ("example.net",), "")
    except ConfigErrors as errors:
        found = [problem for problem in errors.problems if problem.is_error]
        return [f"{one.key.removeprefix('filters[0].options.')}: {one.message}" for one in found]
    return []


def _settings(used: Iterable[Used], role: str, domains: Iterable[str], config: str) -> Any:
    text = _CONFIG.format(
        role=role,
        domains=", ".join(f'"{domain}"' for domain in domains),
        auth="" if role == "mx" else 'auth = "relay"\nauth_requires_tls = false',
        rest=config + "\n" + "".join(one.table() for one in used),
    )
    return loads(text, Path(tempfile.gettempdir()) / "gate.toml", {one.factory.name: one.factory for one in used})


def _clock(now: str) -> Any:
    when = datetime.fromisoformat(now)
    clock = Clock()
    clock.rightNow = (when if when.tzinfo is not None else when.replace(tzinfo=UTC)).timestamp()
    return clock


class Gateway:
    """One gateway with a listener, a backend, and the filters of a test.

    :ivar clock: the time; `advance` moves it
    :ivar events: all that it told (`policy.event`), in order
    :ivar services: what its filters are built with
    :ivar resolver: answers their look-ups; `children` runs their jobs; `http` hears their requests
    :ivar connect_to: what opens their streams to engines
    :ivar senders: what is known of senders; `senders.records.add(key, reason, points, time)` puts something in
    """

    def __init__(
        self,
        *filters: Used | Use,
        role: str = "mx",
        domains: Iterable[str] = ("example.net",),
        now: str = "2026-01-07 12:00",
        config: str = "",
        zones: Any = None,
    ) -> None:
        """
        :param zones: what the DNS holds, as `smtpgate.testing.resolver.FakeResolver` takes it
        :param filters: what `use` made, or `proxy.use.Use` objects for filters without a factory, in their order
        :param role: of the listener: mx, submission (where `Client.login` is asked for)
        :param now: the time, in UTC where it names no zone
        :param config: further tables of the configuration, as "[limits]\\nrecipients = 3"
        """
        self.clock = _clock(now)
        self.events: list[Any] = []
        self.backend = Backend()
        self.resolver = FakeResolver(zones or {}, self.clock)
        self.children = Children()
        self.http = HTTP()
        self.tables: dict[str, Table] = {}
        self.connect_to: Callable[[str, float], Deferred[Any]] = no_connection
        self._turns: deque[Callable[[], object]] = deque()
        self._broken: list[str] = []
        settings = _settings([one for one in filters if isinstance(one, Used)], role, domains, config)
        self.senders = Reputation(self.clock.seconds, lambda: settings)
        self.services = self._services(settings, is_shadow=False)
        self._shadow = self._services(settings, is_shadow=True)
        tables = iter(settings.filters)
        self._uses = [one if isinstance(one, Use) else self._use(one, next(tables), role) for one in filters]
        listener = settings.listeners["front"]
        if role == "submission":
            listener = attrs.evolve(listener, auth="local")
        keeper = Timekeeper(self.clock)
        tell, seconds = self.events.append, self.clock.seconds
        self._engine = Engine(
            self.clock,
            keeper,
            seconds,
            tell,
            Ledger(bytes(32), seconds, NoStore()),
            tempfile.TemporaryFile,
            maybeDeferred,
            ensureDeferred,
        )
        #: What was held, and what would be sent: `held`, `letters`.
        self.vault = self._engine.vault = MemoryVault()
        self._engine.outbox = NoOutbox()
        chain = Chain(self._uses, role, self.clock, tell, settings.scale, settings.marks and role == "mx")
        door = Door(listener, wire_rules(listener), chain, None, _believe)
        backend = settings.backends["mail"]
        pool = Pool(
            backend,
            settings.hostname,
            settings.timeouts.greeting_s,
            Connector(self._turns, self.backend),
            None,
            keeper,
            tell,
        )
        revision = Revision("test", settings, Router(settings), {"mail": pool}, {"front": door})
        self._pool, self._door = pool, door
        self._reception = Reception(self._engine, lambda: revision)
        pool.start()
        self._settle()

    def _use(self, used: Used, table: Any, role: str) -> Use:
        factory = used.factory
        wrong = faults(factory)
        if wrong:
            raise ContractBroken("; ".join(wrong))
        if role not in factory.roles:
            raise ContractBroken(f"{factory.name} is not made for listeners of role {role}")
        made = factory.build(table.options, self._shadow if table.mode == "shadow" else self.services)
        return Use.of(
            factory, table.name, _Watched(made, factory, self._broken), table.roles, table.mode, table.on_error
        )

    def _services(self, settings: Any, is_shadow: bool) -> Services:
        ports = Ports(
            self.clock,
            self.events.append,
            maybeDeferred,
            self.resolver,
            self.children,
            self.http,
            lambda endpoint, timeout_s: self.connect_to(endpoint, timeout_s),
            self.table,
            Memory(self.clock),
            self.senders,
        )
        known = FilterSettings(settings.hostname, settings.local_domains, settings.trusted_relays)
        return Services(ports, known, Examination({"limits": attrs.asdict(settings.content)}), is_shadow)

    def table(self, name: str) -> Table:
        """What filters of a name remember."""
        return self.tables.setdefault(name, Table(self.clock.seconds))

    def connect(self, ip: str = "192.0.2.1", port: int = 50000) -> Client:
        """A client, greeted."""
        front = Front(self._door.rules, (ip, port))
        client = Client(self._settle, front, self._reception.begin("front", front))
        self._settle()
        client.greeting = client.read()
        return client

    def advance(self, seconds: float) -> None:
        """Let time pass; 0 lets what is due now happen."""
        self._settle()
        while seconds > 0:
            step = min(seconds, 1.0)
            seconds -= step
            self.clock.advance(step)
            self._settle()

    @property
    def failures(self) -> list[FilterFailed]:
        """Where filters failed, with the kind: raised, timeout, wrong type."""
        return [event for event in self.events if isinstance(event, FilterFailed)]

    @property
    def sessions(self) -> int:
        """How many sessions run."""
        return len(self._reception.sessions)

    def close(self) -> None:
        """End what runs, as a gateway does that stops; every object of a filter hears `closed`."""
        for session in list(self._reception.sessions.values()):
            session.front.hang_up()
        self._pool.close()
        for one in self._uses:
            one.filter.close()
        self._settle()

    def _settle(self) -> None:
        """Carry octets to and fro until nobody has more to say."""
        while self._turns:
            self._turns.popleft()()
        if self._broken:
            raise ContractBroken("; ".join(self._broken))


@implementer(IFilter)
class _Watched:
    """A filter whose objects are held against the stages that its factory names."""

    def __init__(self, made: Any, factory: Any, broken: list[str]) -> None:
        self._filter = made
        self._factory = factory
        self._broken = broken

    def session(self, session: Any) -> Any:
        """The filter's object for a session."""
        return self._held(self._filter.session(session), SESSION_STAGES)

    def transaction(self, transaction: Any) -> Any:
        """The filter's object for a transaction."""
        return self._held(self._filter.transaction(transaction), MAIL_STAGES)

    def _held(self, made: Any, stages: tuple[str, ...]) -> Any:
        if made is not None:
            has = {stage for stage in stages if callable(getattr(made, stage, None))}
            unnamed = has - self._factory.stages
            if unnamed:
                self._broken.append(
                    f"{self._factory.name}: {type(made).__name__} has {', '.join(sorted(unnamed))}, which the stages "
                    "of its factory do not name: it would never be called"
                )
        return made

    def close(self) -> None:
        """For the filter."""
        self._filter.close()


async def _believe(user: str, password: str) -> bool:
    return True
