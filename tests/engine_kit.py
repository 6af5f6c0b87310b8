"""Engines for tests: scripted ones in memory, and a bench on which real ones are asked.

`Network` stands for the network of a gateway in memory (`smtpgate.testing.Gateway`): a test says who listens where, and
the filters' streams are the real ones of `smtpgate.net.stream`, over a wire that carries octets in turns. `Bench` has
the services of a running gateway on trial's reactor, real sockets and real time, and leads a message through the stages
of a chain; what is around a message in a gateway is not there.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure
from twisted.trial.unittest import SkipTest

from smtpgate.filters.base import faults
from smtpgate.interfaces import StreamClosed
from smtpgate.message.header import HeaderReader
from smtpgate.net.http import HTTPClient
from smtpgate.net.stream import _Edge, connect
from smtpgate.policy.transaction import Recipient, Session, TLSFacts, Transaction
from smtpgate.policy.verdict import Verdict
from smtpgate.proxy.pipeline import Chain
from smtpgate.proxy.reputation import Reputation
from smtpgate.proxy.services import Examination, FilterSettings, Ports, Services
from smtpgate.proxy.shared import Memory
from smtpgate.proxy.use import Use
from smtpgate.smtp.address import Path as Address
from smtpgate.tasks import Task
from smtpgate.testing import Gateway, _settings, use
from smtpgate.testing.ports import Children, Table
from smtpgate.testing.resolver import FakeResolver

#: The two strings that all scanners know, put together here so that no scanner takes this file for one.
EICAR = b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR-" + b"STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
GTUBE = b"XJS*C4JDBQADN1.NSBN3*2IDNEN*" + b"GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"


class Peer:
    """An engine at the other end of a wire. A test overrides `met` and `heard`, and says what it likes.

    :ivar octets: all that it heard
    :ivar is_lost: our side has hung up
    """

    def __init__(self) -> None:
        self.octets = bytearray()
        self.is_lost = False
        self.wire: Wire

    def met(self) -> None:
        """A connection stands."""

    def heard(self, octets: bytes) -> None:
        """Octets came; they are in `octets` already."""

    def say(self, octets: bytes) -> None:
        """Send octets."""
        self.wire.turn(self.wire.deliver, octets)

    def hang_up(self, is_reset: bool = False) -> None:
        """End the connection behind all that was said."""
        self.wire.turn(self.wire.end, ConnectionLost() if is_reset else ConnectionDone())

    def stall(self) -> None:
        """Take no more octets."""
        self.wire.producer.pauseProducing()
        self.wire.is_stalled = True


class Wire:
    """The transport of one stream in memory."""

    def __init__(self, peer: Peer, turns: Any) -> None:
        self.peer = peer
        self.turns = turns
        self.edge: Any = None
        self.producer: Any = None
        self.is_open = True
        self.is_stalled = False
        self.unheard = 0
        self.is_paused = False
        self.waiting: list[bytes] = []

    def turn(self, call: Callable[..., object], *args: object) -> None:
        """Do something when whoever is at work has returned."""
        self.turns.append(lambda: call(*args))

    def deliver(self, octets: bytes) -> None:
        if self.is_paused:
            self.waiting.append(octets)
        elif self.is_open:
            self.edge.dataReceived(octets)

    def end(self, reason: Exception) -> None:
        if self.is_open:
            self.is_open = False
            self.edge.connectionLost(Failure(reason))

    def _hear(self, octets: bytes) -> None:
        self.unheard -= 1
        self.peer.octets += octets
        self.peer.heard(octets)
        if not self.unheard and not self.is_stalled and self.producer is not None:
            self.producer.resumeProducing()

    def _leave(self) -> None:
        self.peer.is_lost = True
        self.end(ConnectionDone())

    # What a stream calls

    def write(self, octets: bytes) -> None:
        if self.producer is not None and len(octets) > 1000:
            self.producer.pauseProducing()
        if not self.is_stalled:
            self.unheard += 1
            self.turn(self._hear, octets)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def pauseProducing(self) -> None:
        self.is_paused = True

    def resumeProducing(self) -> None:
        self.is_paused = False
        waiting, self.waiting = self.waiting, []
        for octets in waiting:
            self.turn(self.deliver, octets)

    def loseConnection(self) -> None:
        self.turn(self._leave)

    abortConnection = loseConnection


class Network:
    """Who listens where, for one gateway in memory.

    :ivar met: every peer that was connected to, in order
    :ivar places: endpoint to what makes a peer; what is not in it refuses connections; None: it never answers
    """

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.places: dict[str, Callable[[], Peer] | None] = {}
        self.met: list[Peer] = []
        self.asked: list[str] = []
        gateway.connect_to = self.connect

    def connect(self, endpoint: str, timeout_s: float) -> Deferred[Any]:
        """As `services.connect`."""
        self.asked.append(endpoint)
        if endpoint not in self.places:
            return fail(StreamClosed(f"{endpoint}: refused"))
        make = self.places[endpoint]
        if make is None:
            return Deferred()
        peer = make()
        self.met.append(peer)
        wire = peer.wire = Wire(peer, self.gateway._turns)
        wire.edge = _Edge(self.gateway.clock)
        wire.edge.makeConnection(wire)
        wire.turn(peer.met)
        return succeed(wire.edge.stream)


class Content:
    """The content of one message on the bench (`interfaces.IContent`)."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self.octets = len(octets)
        self.digest = hashlib.sha256(octets).hexdigest()

    async def pieces(self) -> AsyncIterator[bytes]:
        for start in range(0, self.octets, 262144):
            yield self._octets[start : start + 262144]

    async def read(self) -> bytes:
        return self._octets

    async def descriptor(self) -> int:
        descriptor = os.memfd_create("bench")
        os.write(descriptor, self._octets)
        return descriptor


class _NoKeeper:
    """Stages have no deadlines on the bench."""

    def add(self, task: Any) -> None:
        """Nothing."""

    remove = add


_NO_KEEPER: Any = _NoKeeper()


class Bench:
    """A chain of one filter, with the services of a running gateway.

    :ivar events: what it told
    :ivar services: what the filter was built with
    """

    def __init__(self, factory: Any, options: str, on_error: str | None = None, children: Any = None) -> None:
        """
        :param options: the filter's table, in TOML
        :param children: real ones, in place of this process
        """
        assert not faults(factory)
        self.events: list[Any] = []
        role = min(factory.roles)
        settings = _settings([use(factory, options)], role, ("example.net",), "")
        clock: Any = reactor
        table = Table(clock.seconds)
        ports = Ports(
            clock,
            self.events.append,
            maybeDeferred,
            FakeResolver({}, clock),
            children or Children(),
            HTTPClient(reactor),
            lambda endpoint, timeout_s: connect(reactor, endpoint, timeout_s),
            lambda name: table,
            Memory(clock),
            Reputation(clock.seconds, lambda: settings),
        )
        self.services = Services(ports, FilterSettings("gate.example.com"), Examination({}))
        self.filter = factory.build(settings.filters[0].options, self.services)
        made = Use.of(factory, factory.name, self.filter, frozenset({role}), "enforce", on_error)
        self.chain = Chain([made], role, clock, self.events.append)
        self.role = role
        self.findings: list[Any] = []
        self.number = 0

    def session(self, client: str = "192.0.2.7", helo: str = "mail.example.org", user: str = "") -> Session:
        """The facts of a client."""
        session = Session("0123456789ABCDEFGHJKMNPQRS", "front", self.role)
        session.client_ip, session.client_port, session.helo = client, 50000, helo
        session.user, session.mechanism = user, "PLAIN" if user else ""
        session.is_extended, session.protocol = True, "ESMTP"
        session.tls = TLSFacts("TLSv1.3", "TLS_AES_256_GCM_SHA384", 256)
        session.local_ip, session.local_port = "192.0.2.25", 25
        session.started = session.begun = self.services.clock.seconds()
        return session

    def run(self, run: Any, stage: str, *args: object, **more: Any) -> Deferred[Any]:
        """Call a stage as a session does."""
        done: Deferred[Any] = Deferred()
        Task(run.run(stage, *args, **more), _NO_KEEPER, done.callback, done.errback).start()
        return done

    async def message(
        self,
        content: bytes,
        sender: str = "alice@example.org",
        recipients: tuple[str, ...] = ("bob@example.net",),
        session: Session | None = None,
        pieces: int = 65536,
    ) -> Verdict:
        """Lead a message through all stages; the verdict. `findings` and `transaction` say more."""
        session = session or self.session()
        run = self.chain.session(session)
        await self.run(run, "connect")
        await self.run(run, "helo", session.helo)
        verdict = await self.transaction(run, session, content, sender, recipients, pieces)
        run.close()
        return verdict

    async def transaction(
        self,
        session_run: Any,
        session: Session,
        content: bytes,
        sender: str = "alice@example.org",
        recipients: tuple[str, ...] = ("bob@example.net",),
        pieces: int = 65536,
    ) -> Verdict:
        """One message of a session that is there; the verdict of the first stage that refuses it, or of the end."""
        self.number += 1
        transaction = Transaction(f"{session.id}.{self.number}", session, address(sender), {})
        transaction.begun = self.services.clock.seconds()
        self.transaction_facts = transaction
        run = self.chain.transaction(transaction, session_run)
        try:
            await self.run(run, "mail")
            for index, to in enumerate(recipients):
                recipient = Recipient(address(to), {})
                found = await self.run(run, "rcpt", recipient, recipient=index)
                recipient.state = "refused" if run.verdict(found).is_refusal else "accepted"
                transaction.recipients.append(recipient)
            transaction.accepted = sum(one.state == "accepted" for one in transaction.recipients)
            await self.run(run, "data")
            reader = HeaderReader(1 << 20)
            if reader.feed(content) is None:
                reader.finish()
            transaction.header = reader.section
            await self.run(run, "header", reader.section)
            for start in range(0, len(content), pieces):
                run.feed(content[start : start + pieces])
            transaction.content = Content(content)
            await self.run(run, "end", seconds=45.0)
            return run.last_verdict(False)
        finally:
            self.findings = list(session_run.findings) + list(run.findings)
            run.close()
            for call in transaction.at_end:
                call()

    def close(self) -> None:
        """The filter's revision ends."""
        self.filter.close()


def address(text: str) -> Address:
    """An envelope address; "" is the null sender."""
    local, _, domain = text.rpartition("@")
    return Address(text.encode(), local, domain)


class Stalling:
    """A server in threads that is no engine: it listens, says something or nothing, and answers nobody."""

    def __init__(self, says: bytes = b"", is_deaf: bool = False) -> None:
        """
        :param says: said to each client that connects, and nothing more
        :param is_deaf: nothing is read either
        """
        self._says = says
        self._is_deaf = is_deaf
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(client)
            if self._says:
                client.sendall(self._says)
            if not self._is_deaf:
                threading.Thread(target=self._read, args=(client,), daemon=True).start()

    def _read(self, client: socket.socket) -> None:
        try:
            while client.recv(65536):
                pass
        except OSError:
            pass

    def close(self) -> None:
        """End it."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for client in self._open:
            client.close()
        self._thread.join(10)


#: Where the programs of real engines are, and their Debian packages.
_REAL = {
    "clamd": "clamav-daemon",
    "rspamd": "rspamd",
    "spamd": "spamd",
    "opendkim": "opendkim",
    "c-icap": "c-icap",
}
VIRUS_SCAN = Path("/usr/lib/x86_64-linux-gnu/c_icap/virus_scan.so")


def need(*programs: str) -> None:
    """Skip, or fail where the real things are required, when an engine is not installed or we are not root."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    missing = [_REAL[program] for program in programs if shutil.which(program, path=path) is None]
    if "c-icap" in programs and not VIRUS_SCAN.exists():
        missing.append("libc-icap-mod-virus-scan")
    lines = [f"missing: Debian package {package}" for package in missing]
    if not lines and os.geteuid() != 0:
        lines = ["must run as root: engines change their user"]
    if lines and os.environ.get("SMTPGATE_REQUIRE_REAL") == "1":
        raise AssertionError(lines[0])
    if lines:
        raise SkipTest(lines[0])
