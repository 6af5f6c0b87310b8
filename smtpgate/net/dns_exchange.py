"""Carries one DNS question to one server and its answer back, by UDP, and by TCP where it does not fit.

`net.resolver` calls `ask`. Promised: for each question a socket with a port of its own, connected, so that the kernel
takes octets from that server only; octets that do not fit the question are passed over and do not end the wait, since a
forger could end it else. Octets are read by `dns_wire`.

RFC 5452 (ports and ids); RFC 6056 (how the kernel chooses ports); RFC 7766 (TCP).
"""

from __future__ import annotations

import socket
from typing import Any, Final

from twisted.internet.defer import Deferred, TimeoutError, ensureDeferred
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.protocol import ClientCreator, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from smtpgate.net.dns_wire import FAILED, Broken, Question, Reading, fits, kind_number, question, read

__all__ = ["FAILED", "Broken", "Silent", "ask", "kind_number"]

Server = tuple[str, int]

#: A message at its largest, and its length before it by TCP (RFC 1035 section 4.2.2).
OCTETS: Final = 65_535
TCP_OCTETS: Final = OCTETS + 2
#: Datagrams read in one go; a server sends one, a forger many.
DATAGRAMS: Final = 16


class Silent(Exception):
    """The server said nothing in time."""


@implementer(IReadDescriptor)
class _Datagrams:
    """A connected socket that waits for the answer to one question.

    Not a port of Twisted's: that writes two lines into the log for each socket, and hears nothing of a refusal that the
    kernel reports as an error alone. Raises OSError where there is no socket, or no way to the server.
    """

    def __init__(self, reactor: Any, server: Server, query: Question) -> None:
        self.answer: Deferred[bytes] = Deferred()
        self._reactor = reactor
        self._query = query
        # The kernel takes a random port of its range that nobody else uses (RFC 6056).
        self._socket = socket.socket(socket.AF_INET6 if ":" in server[0] else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            self._socket.connect(server)
            self._socket.send(query.octets)
        except OSError:
            self._socket.close()
            raise
        reactor.addReader(self)

    def fileno(self) -> int:
        """For the reactor."""
        return self._socket.fileno()

    def logPrefix(self) -> str:
        """For the reactor."""
        return "dns"

    def doRead(self) -> None:
        """Something came; what does not fit is passed over."""
        for _ in range(DATAGRAMS):
            try:
                octets = self._socket.recv(OCTETS)
            except BlockingIOError:
                return
            except OSError as error:
                self._end(error)
                return
            if fits(octets, self._query):
                self._end(octets)
                return

    def connectionLost(self, reason: Failure) -> None:
        """The kernel reports an error."""
        self._end(ConnectionRefusedError("nobody listens there"))

    def _end(self, result: bytes | OSError) -> None:
        self.close()
        if not self.answer.called:
            if isinstance(result, bytes):
                self.answer.callback(result)
            else:
                self.answer.errback(result)

    def close(self) -> None:
        """Wait no longer."""
        if self._socket.fileno() >= 0:
            self._reactor.removeReader(self)
            self._socket.close()


class _Stream(Protocol):
    """One message with its length before it."""

    def __init__(self) -> None:
        self.answer: Deferred[bytes] = Deferred()
        self._came = bytearray()

    def dataReceived(self, data: bytes) -> None:
        self._came += data
        size = int.from_bytes(self._came[:2], "big")
        if len(self._came) > 2 and len(self._came) >= size + 2 and not self.answer.called:
            self.answer.callback(bytes(self._came[2 : size + 2]))
        if len(self._came) > TCP_OCTETS:
            self.abort()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.answer.called:
            self.answer.errback(ConnectionResetError("closed before it answered"))

    def write(self, octets: bytes) -> None:
        """Send a message."""
        self.transport.write(len(octets).to_bytes(2, "big") + octets)  # type: ignore[union-attr]

    def abort(self) -> None:
        """End the connection."""
        self.transport.abortConnection()  # type: ignore[union-attr]


async def ask(reactor: Any, server: Server, name: str, kind: str, timeout_s: float) -> Reading:
    """What a server says.

    Raises Silent where it says nothing in time, OSError where it cannot be reached, Broken where it talks nonsense.

    :param name: as `records.plain_name` makes it
    """
    try:
        reading: Reading = await ensureDeferred(_ask(reactor, server, name, kind)).addTimeout(timeout_s, reactor)
    except TimeoutError:
        raise Silent(f"nothing in {timeout_s:.1f} s") from None
    return reading


async def _ask(reactor: Any, server: Server, name: str, kind: str) -> Reading:
    reading = await _exchange(reactor, server, question(name, kind))
    if reading.status == "no-edns":
        reading = await _exchange(reactor, server, question(name, kind, has_edns=False))
    return FAILED if reading.status == "no-edns" else reading


async def _exchange(reactor: Any, server: Server, query: Question) -> Reading:
    reading = read(await _by_udp(reactor, server, query), query)
    if reading.status == "truncated":
        reading = read(await _by_tcp(reactor, server, query), query)
        if reading.status == "truncated":
            raise Broken("truncated, by TCP")
    return reading


async def _by_udp(reactor: Any, server: Server, query: Question) -> bytes:
    datagrams = _Datagrams(reactor, server, query)
    try:
        return await datagrams.answer
    finally:
        datagrams.close()


async def _by_tcp(reactor: Any, server: Server, query: Question) -> bytes:
    try:
        stream: _Stream = await ClientCreator(reactor, _Stream).connectTCP(*server)
    except ConnectError as error:
        raise OSError(str(error)) from error
    try:
        stream.write(query.octets)
        octets = await stream.answer
    finally:
        stream.abort()
    if not fits(octets, query):
        raise Broken("an answer to another question")
    return octets
