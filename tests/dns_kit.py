"""A small DNS server on loopback, UDP and TCP, for tests of the real resolver: it answers from a table, or misbehaves.

    server = Server(reactor, {("example.net", "A"): ["192.0.2.1"]})
    self.addCleanup(server.close)
    resolver = Resolver(reactor, [server.address])

What the table does not have is answered NODATA where it has the name, else NXDOMAIN, with an SOA. A value is a list of
records as text, or an `Act`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol
from twisted.internet.task import Clock


@attrs.frozen
class Act:
    """What the server does with a question.

    :ivar records: as text; an alias as "CNAME target."
    :ivar how: "" as it should; drop, truncate (by UDP), wrong-id, wrong-question, garbage, no-edns; by TCP, after a
        truncated answer by UDP: wrong-tcp, silent-tcp, closed-tcp
    :ivar before: datagrams of that kind are sent first, and then the right answer
    :ivar times: after so many questions it behaves
    """

    records: tuple[str, ...] = ()
    how: str = ""
    before: str = ""
    rcode: str = "NOERROR"
    ttl: int = 60
    has_soa: bool = True
    soa_minimum: int = 30
    is_authentic: bool = False
    is_referral: bool = False
    times: int = 1_000_000


class _UDP(DatagramProtocol):
    def __init__(self, server: Server) -> None:
        self.server = server

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        for wire in self.server.answers(datagram, False, addr[1]):
            self.transport.write(wire, addr)  # type: ignore[union-attr]
        self.server.wake()


class _TCP(Protocol):
    server: Server

    def connectionMade(self) -> None:
        self.came = b""
        self.server.connections.append(self)

    def dataReceived(self, data: bytes) -> None:
        self.came += data
        while len(self.came) > 2 and len(self.came) - 2 >= (size := int.from_bytes(self.came[:2], "big")):
            datagram, self.came = self.came[2 : size + 2], self.came[size + 2 :]
            for wire in self.server.answers(datagram, True, 0):
                self.transport.write(len(wire).to_bytes(2, "big") + wire)  # type: ignore[union-attr]
            self.server.wake()


class Server:
    """The server.

    :ivar asked: (name, kind, "udp" or "tcp") of each question, in order
    :ivar ports: from which they came by UDP
    :ivar ids: their ids
    :ivar questions: the messages
    :ivar is_dead: it answers nothing
    """

    def __init__(self, reactor: Any, table: Mapping[tuple[str, str], Any] | None = None) -> None:
        self.table: dict[tuple[str, str], Any] = dict(table or {})
        self.asked: list[tuple[str, str, str]] = []
        self.ports: list[int] = []
        self.ids: list[int] = []
        self.questions: list[dns.message.Message] = []
        self.connections: list[_TCP] = []
        self.is_dead = False
        self.waiting: list[tuple[int, Deferred[None]]] = []
        factory = Factory.forProtocol(type("_Bound", (_TCP,), {"server": self}))
        factory.noisy = False
        while True:
            self._udp = reactor.listenUDP(0, _UDP(self), interface="127.0.0.1")
            port = self._udp.getHost().port
            try:
                self._tcp = reactor.listenTCP(port, factory, interface="127.0.0.1")
                break
            except CannotListenError:
                self._udp.stopListening()
        self.address = ("127.0.0.1", port)

    def heard(self, count: int) -> Deferred[None]:
        """Fires when so many questions have come in all, and were answered."""
        found: Deferred[None] = Deferred()
        self.waiting.append((count, found))
        self.wake()
        return found

    def wake(self) -> None:
        """Tell who waits for questions."""
        for one in [one for one in self.waiting if one[0] <= len(self.asked)]:
            self.waiting.remove(one)
            one[1].callback(None)

    def answers(self, datagram: bytes, is_tcp: bool, port: int) -> list[bytes]:
        """The octets that go back."""
        query = dns.message.from_wire(datagram)
        name, kind = query.question[0].name, dns.rdatatype.to_text(query.question[0].rdtype)
        key = name.to_text(omit_final_dot=True), kind
        self.asked.append((*key, "tcp" if is_tcp else "udp"))
        self.questions.append(query)
        self.ids.append(query.id)
        if port:
            self.ports.append(port)
        if self.is_dead:
            return []
        act = self.table.get(key)
        if act is None:
            is_there = any(one == key[0] for one, _ in self.table)
            act = Act(rcode="NOERROR" if is_there else "NXDOMAIN")
        elif not isinstance(act, Act):
            act = Act(tuple(act))
        if sum(one[:2] == key for one in self.asked) > act.times:
            act = attrs.evolve(act, how="", rcode="NOERROR")
        wires = [_wire(query, act, act.before, is_tcp)] * 3 if act.before else []
        if is_tcp and act.how == "closed-tcp":
            self.connections[-1].transport.abortConnection()  # type: ignore[union-attr]
        elif act.how != "drop" and not (is_tcp and act.how == "silent-tcp"):
            wires.append(_wire(query, act, act.how, is_tcp))
        return wires

    def close(self) -> Deferred[Any]:
        """Listen no more."""
        for connection in self.connections:
            connection.transport.abortConnection()  # type: ignore[union-attr]
        return gatherResults([maybeDeferred(self._udp.stopListening), maybeDeferred(self._tcp.stopListening)])


def _wire(query: dns.message.Message, act: Act, how: str, is_tcp: bool) -> bytes:
    if how == "garbage":
        return query.to_wire()[:2] + b"\x81\x80\x00\x01\xff\xff" + b"\xc0\x0c" * 40
    response = dns.message.make_response(query, recursion_available=not act.is_referral)
    question = query.question[0]
    if how == "no-edns" and query.edns >= 0:
        response.set_rcode(dns.rcode.FORMERR)
        response.use_edns(False)
        return response.to_wire()
    response.set_rcode(dns.rcode.from_text(act.rcode))
    if act.is_authentic:
        response.flags |= dns.flags.AD
    owner = question.name
    for text in act.records:
        head, _, tail = text.partition(" ")
        kind = "CNAME" if head == "CNAME" else dns.rdatatype.to_text(question.rdtype)
        value = tail if head == "CNAME" else text
        response.answer.append(dns.rrset.from_text(owner, act.ttl, "IN", kind, value))
        if head == "CNAME":
            owner = response.answer[-1][0].target
    if act.is_referral:
        response.authority.append(dns.rrset.from_text(".", 60, "IN", "NS", "a.root-servers.net."))
    elif not any(rrset.rdtype == question.rdtype for rrset in response.answer) and act.has_soa and not act.records:
        soa = f"ns.example. root.example. 1 3600 600 86400 {act.soa_minimum}"
        response.authority.append(dns.rrset.from_text(".", 3600, "IN", "SOA", soa))
    if not is_tcp and (how == "truncate" or how.endswith("-tcp")):
        response.flags |= dns.flags.TC
        response.answer.clear()
    if how == "wrong-id" or how == "wrong-tcp" and is_tcp:
        response.id = query.id ^ 1
    if how == "wrong-question":
        response.question = [dns.rrset.RRset(dns.name.from_text("other.example"), 1, question.rdtype)]
    return response.to_wire(max_size=65535)


class Mixed:
    """A reactor whose sockets are real and whose time stands until it is moved."""

    def __init__(self, reactor: Any) -> None:
        self.clock = Clock()
        self.callLater: Callable[..., Any] = self.clock.callLater
        self.seconds: Callable[[], float] = self.clock.seconds
        self.getDelayedCalls = self.clock.getDelayedCalls
        self._reactor = reactor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def advance(self, seconds: float) -> None:
        """Let time pass, a tenth of a second at a time; a little more than that, since tenths do not add up."""
        for _ in range(round(seconds * 10)):
            self.clock.advance(0.1)
        self.clock.advance(0.001)
