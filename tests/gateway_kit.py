"""A running gateway for tests: the engine, both legs and a listener on a real socket, without files.

The gateway lives in trial's reactor; clients and backends are blocking scripts in threads, so a test reads from top
to bottom. Stores are held in memory; everything between the two sockets is the product.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable
from inspect import iscoroutine
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.internet.threads import blockingCallFromThread, deferToThread
from twisted.trial.unittest import TestCase

from smtpgate.config.loader import loads
from smtpgate.config.model import Settings
from smtpgate.control import Control
from smtpgate.interfaces import ClientGone
from smtpgate.net import selfsigned
from smtpgate.net.back import Connector
from smtpgate.net.front import Acceptor, FrontEdge
from smtpgate.net.poller import make_poller
from smtpgate.net.ports import Ports
from smtpgate.net.tls import ClientTLS, ServerTLS
from smtpgate.proxy.ledger import Ledger
from smtpgate.proxy.limit_memory import Limiter
from smtpgate.proxy.pipeline import Chain
from smtpgate.proxy.pool import Pool
from smtpgate.proxy.revision import Door, Engine, Revision, wire_rules
from smtpgate.proxy.router import Router
from smtpgate.proxy.use import Use
from smtpgate.tasks import Timekeeper
from smtpgate.testing.ports import Table
from smtpgate.wiring import Roads
from tests.script_kit import Backend


class MemoryStore:
    """A ledger store that keeps what it was given."""

    def __init__(self) -> None:
        self.rows: list[Any] = []

    def put(self, rows: Iterable[Any]) -> Deferred[None]:
        """Keep rows."""
        self.rows += rows
        return succeed(None)


class TestGateway:
    """One gateway. `events` has all that it told."""

    def __init__(
        self, text: str, uses: Iterable[Use] = (), tick: float = 0.1, resolver: Any = None, http: Any = None
    ) -> None:
        """
        :param resolver: for backends whose servers the DNS names; `http`: where their policies are fetched
        """
        self.resolver, self.http = resolver, http
        self.table = Table(time.time)
        self.events: list[Any] = []
        self.settings = loads(text, "/nowhere/gate.toml")
        self.uses = tuple(uses)
        self.store = MemoryStore()
        self.poller = make_poller(reactor)
        self.keeper = Timekeeper(reactor, tick)
        self.connector = Connector(self.poller, reactor)
        self.ledger = Ledger(bytes(32), time.time, self.store)
        #: Makes a spool file; a script may put one in that fails.
        self.open_spool: Callable[[], Any] = tempfile.TemporaryFile
        self.spools: list[Any] = []
        self.engine = Engine(
            reactor, self.keeper, time.time, self.tell, self.ledger, self._spool, deferToThread, ensureDeferred
        )
        self.limiter = Limiter(reactor)
        self.control = Control(self.engine, "/nowhere/gate.toml", {}, {}, self._build, self._bind, None, None)
        self.ports = Ports(reactor, self._acceptor)

    def tell(self, event: Any) -> None:
        """Keep what is told; the warden listens too."""
        self.events.append(event)
        self.control.reception.warden.hear(event)

    async def start(self) -> None:
        """Listen."""
        await self.control.start(self.settings)

    async def stop(self) -> None:
        """End everything that still runs."""
        await self.ports.close()
        for session in list(self.control.reception.sessions.values()):
            session.front.abort()
            if session.task is not None:
                session.task.throw(ClientGone("the test is over"))
        revision = self.control.revision
        if revision is not None:
            for pool in revision.pools.values():
                pool.close()
            for destinations in revision.destinations.values():
                destinations.close()
        self.poller.close()
        for call in reactor.getDelayedCalls():
            if getattr(call.func, "__self__", None) in (self.keeper,) or "smtpgate" in str(call.func):
                call.cancel()

    def _spool(self) -> Any:
        file = self.open_spool()
        self.spools.append(file)
        return file

    def _build(self, settings: Settings, old: Revision | None) -> Revision:
        tell = self.tell
        chains = {role: Chain(self.uses, role, reactor, tell) for role in ("mx", "submission")}
        doors = {}
        for name, listener in settings.listeners.items():
            tls = ServerTLS(listener.certificates, listener.client_ca) if listener.certificates else None
            doors[name] = Door(listener, wire_rules(listener), chains[listener.role], tls)
        contexts: dict[str, Any] = {}
        for name, backend in settings.backends.items():
            tls_back = (
                None
                if backend.tls == "off"
                else ClientTLS(
                    verifies=backend.tls == "verify",
                    name=backend.tls_name,
                    ca=backend.tls_ca,
                    pins=backend.tls_pins,
                    certificate=backend.tls_certificate,
                )
            )
            contexts[name] = tls_back

        def pool(backend: Any, guard: Any = None) -> Pool:
            return Pool(
                backend,
                settings.hostname,
                settings.timeouts.greeting_s,
                self.connector,
                contexts[backend.name],
                self.keeper,
                tell,
                {name: one.share for name, one in settings.classes.items()},
                {name: one.wait_s for name, one in settings.classes.items()},
                guard,
            )

        pools = {name: pool(backend) for name, backend in settings.backends.items() if backend.kind == "servers"}
        roads = Roads(self.control.tls.reports, time.time, reactor)
        destinations = roads.destinations(settings, self.resolver, self.http, self.table, pool)
        limits = self.limiter.limits(settings)
        return Revision(
            settings.digest[:12], settings, Router(settings), pools, doors, limits, destinations=destinations
        )

    async def _bind(self, settings: Settings) -> None:
        await self.ports.change(
            {(name, endpoint) for name, listener in settings.listeners.items() for endpoint in listener.listen}
        )

    def _acceptor(self, name: str, sock: Any) -> Acceptor:
        reception = self.control.reception

        def admit(peer: str) -> bytes | None:
            refusal = reception.refusal(name, peer)
            return refusal.octets() if refusal is not None else None

        def begin(sock: Any, peer: tuple[str, int]) -> None:
            revision = self.control.revision
            assert revision is not None
            reception.begin(name, FrontEdge(sock, peer, self.poller, reactor, revision.doors[name].rules))

        return Acceptor(sock, self.poller, reactor, admit, begin, lambda reason: None)

    def port(self, listener: str = "front") -> int:
        """Where a listener listens."""
        return next(int(host.port) for name, _, host in self.ports.addresses() if name == listener)

    def settle(self) -> None:
        """From a script's thread: come back when the reactor has read all that lies in the sockets now."""
        # The first call may run before the reactor looks at its sockets again; behind the third it has done so.
        for _ in range(3):
            blockingCallFromThread(reactor, succeed, None)

    def in_reactor(self, call: Callable[..., Any], *args: Any) -> Any:
        """From a script's thread: call something in the reactor's; a coroutine or Deferred is waited for."""

        def begin() -> Any:
            made = call(*args)
            return ensureDeferred(made) if iscoroutine(made) else made

        return blockingCallFromThread(reactor, begin)

    def until(self, holds: Callable[[], Any]) -> bool:
        """From a script's thread: wait until this holds; False when it never does."""
        end = time.monotonic() + 15
        while not holds():
            if time.monotonic() > end:
                return False
            self.settle()
        return True

    def idle(self) -> bool:
        """From a script's thread: wait until no session is left; False when one stays."""
        return self.until(lambda: not self.control.reception.sessions)

    def told(self, kind: type) -> list[Any]:
        """Events of one kind."""
        return [event for event in self.events if type(event) is kind]


class GatewayCase(TestCase):
    """Tests that drive a gateway: `run_script` calls a blocking function in a thread."""

    timeout = 30
    #: What is started.
    kind: type[TestGateway] = TestGateway

    def config(
        self,
        backend_port: int,
        *,
        listener: str = "",
        backend: str = "",
        top: str = "",
        limits: str = "",
        timeouts: str = "",
        role: str = "mx",
        tls: str = "off",
        backend_tls: str = "off",
    ) -> str:
        """A configuration of one listener, one backend and one route."""
        return f"""
hostname = "gate.example.com"
local_domains = ["example.net"]
{top}
[limits]
{limits}
[timeouts]
{timeouts}
[listeners.front]
listen = ["tcp:0:interface=127.0.0.1"]
role = "{role}"
tls = "{tls}"
{listener}
[backends.mail]
servers = ["127.0.0.1:{backend_port}"]
tls = "{backend_tls}"
{backend}
[[routes]]
backend = "mail"
"""

    def drive(
        self,
        script: Callable[[TestGateway, Backend], Any],
        backend: Backend | None = None,
        uses: Iterable[Use] = (),
        **config: str,
    ) -> Deferred[Any]:
        """Run a script against a gateway with one backend; the rest goes to `config`."""
        behind = Backend() if backend is None else backend
        self.addCleanup(behind.close)
        return self.run_script(self.config(behind.port, **config), lambda gateway: script(gateway, behind), uses)

    def certificate(self) -> str:
        """A fresh certificate with its key, in one file."""
        folder = Path(self.mktemp())
        folder.mkdir()
        return str(selfsigned.ensure(folder, "gate.example.com").absolute())

    def run_script(
        self, text: str, script: Callable[[TestGateway], Any], uses: Iterable[Use] = (), **given: Any
    ) -> Deferred[Any]:
        """Start a gateway, run the script against it in a thread, stop it; the rest goes to `TestGateway`."""
        return ensureDeferred(self._with_gateway(text, script, uses, given))

    async def _with_gateway(
        self, text: str, script: Callable[[TestGateway], Any], uses: Iterable[Use], given: Any
    ) -> Any:
        gateway = self.kind(text, uses, **given)
        await gateway.start()
        try:
            for pool in gateway.control.revision.pools.values():  # type: ignore[union-attr]
                from smtpgate.tasks import Task

                done: Deferred[None] = Deferred()
                Task(pool.known(), gateway.keeper, done.callback, done.errback).start()
                await done
            return await deferToThread(script, gateway)
        finally:
            await gateway.stop()
