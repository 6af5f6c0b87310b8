"""A connection to an engine, read and written by a coroutine (`interfaces.IStream`).

The engine filters speak their protocols over it: `connect` opens one, then the coroutine writes and awaits. Little is
held on either side: reading pauses while nobody wants the octets, `drained` waits while the other side does not take
them. Octets that came before the end can still be read after it: an engine that refuses says why and hangs up.

Promised: every wait can be cancelled, and ends with StreamClosed when the other side is gone. There are no timers but
that of connecting and a short one behind `close`; the caller has a budget. Refused: half-closed connections, where the
other side is at its end the stream is.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from ipaddress import ip_address
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    UNIXClientEndpoint,
)
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from smtpgate.interfaces import IStream, StreamClosed

#: Octets read ahead of who wants them, about what a socket of Linux holds for reading (tcp(7), tcp_rmem).
READ_AHEAD_OCTETS: Final = 1 << 17
#: What was queued when a stream was closed has so long to leave; Postfix gives a QUIT no more (smtp_quit_timeout).
LINGER_S: Final = 5.0

_QUICKACK: Final[int | None] = getattr(socket, "TCP_QUICKACK", None)


def connect(reactor: Any, endpoint: str, timeout_s: float) -> Deferred[Stream]:
    """Connect to "host:port", "[v6]:port" or "unix:/path".

    :return: fails with StreamClosed, whose text names the endpoint and the reason
    Raises ValueError for what is no endpoint.
    """
    connected = cancellable(_client(reactor, endpoint, timeout_s).connect(_Edges(reactor)))
    return connected.addCallbacks(lambda edge: edge.stream, _unreachable, errbackArgs=(endpoint,))


def cancellable(work: Deferred[Any]) -> Deferred[Any]:
    """A Deferred that fails with CancelledError when it is cancelled, whatever the work makes of that.

    Endpoints of Twisted have errors of their own for it, some of which say that a name does not exist.
    """
    is_over = False

    def cancel(_: Deferred[Any]) -> None:
        nonlocal is_over
        is_over = True
        work.cancel()

    outer: Deferred[Any] = Deferred(cancel)
    work.addCallbacks(
        lambda result: None if is_over else outer.callback(result),
        lambda failure: None if is_over else outer.errback(failure),
    )
    return outer


def _client(reactor: Any, endpoint: str, timeout_s: float) -> Any:
    if endpoint.startswith("unix:/"):
        return UNIXClientEndpoint(reactor, endpoint.removeprefix("unix:"), timeout_s)
    host, colon, port = endpoint.rpartition(":")
    name = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    is_port = port.isascii() and port.isdigit() and 0 < int(port) < 65536
    if not colon or not is_port or not name or name != host and not _version(name) == 6:
        raise ValueError(f"{endpoint!r} is no endpoint; write host:port, [address]:port or unix:/path")
    made = {4: TCP4ClientEndpoint, 6: TCP6ClientEndpoint}.get(_version(name), HostnameEndpoint)
    return made(reactor, name, int(port), timeout_s)


def _version(host: str) -> int:
    try:
        return ip_address(host).version
    except ValueError:
        return 0


def _unreachable(failure: Failure, endpoint: str) -> Failure:
    if failure.check(CancelledError):
        return failure
    return Failure(StreamClosed(f"{endpoint}: {failure.getErrorMessage().rstrip('.')}"))


@implementer(IStream)
class Stream:
    """One connection. One coroutine reads at a time.

    :ivar is_open: until it was closed by either side
    :ivar reason: why it is not open any more
    """

    def __init__(self, edge: _Edge) -> None:
        self.is_open = True
        self.reason = ""
        self._edge = edge
        self._buffer = bytearray()
        self._is_whole = False
        self._reader: Deferred[None] | None = None
        self._writers: list[Deferred[None]] = []
        self._is_full = False

    # Writing

    def write(self, octets: bytes) -> None:
        """Queue octets. Raises StreamClosed."""
        if not self.is_open:
            raise StreamClosed(self.reason)
        self._edge.out.write(octets)

    async def drained(self) -> None:
        """Await that little is queued. Raises StreamClosed."""
        while self._is_full and self.is_open:
            waiter: Deferred[None] = Deferred(self._forget)
            self._writers.append(waiter)
            await waiter
        if not self.is_open:
            raise StreamClosed(self.reason)

    # Reading

    async def read(self, n_max: int = 65536) -> bytes:
        """Await octets, at most so many; b"" at the end. Raises StreamClosed where the connection broke."""
        while not self._buffer:
            if not self.is_open:
                if self._is_whole:
                    return b""
                raise StreamClosed(self.reason)
            await self._more()
        return self._take(min(n_max, len(self._buffer)))

    async def read_exactly(self, n: int) -> bytes:
        """Await so many octets. Raises StreamClosed where fewer come."""
        while len(self._buffer) < n:
            if not self.is_open:
                raise StreamClosed(self.reason)
            await self._more()
        return self._take(n)

    async def read_until(self, mark: bytes, cap: int) -> bytes:
        """Await all octets up to and with `mark`.

        Raises ValueError where that is more than `cap`, StreamClosed where the end comes first.
        """
        searched = 0
        while True:
            at = self._buffer.find(mark, max(0, searched - len(mark) + 1))
            end = at + len(mark)
            searched = len(self._buffer)
            if (end if at >= 0 else searched) > cap:
                raise ValueError(f"more than {cap} octets without {mark!r}")
            if at >= 0:
                return self._take(end)
            if not self.is_open:
                raise StreamClosed(self.reason)
            await self._more()

    def _take(self, n: int) -> bytes:
        taken = bytes(self._buffer[:n])
        del self._buffer[:n]
        return taken

    async def _more(self) -> None:
        assert self._reader is None, "two coroutines read one stream"
        self._edge.resume()
        self._edge.acknowledge()
        waiter: Deferred[None] = Deferred(self._forget)
        self._reader = waiter
        await waiter

    def _forget(self, waiter: Deferred[None]) -> None:
        if self._reader is waiter:
            self._reader = None
        elif waiter in self._writers:
            self._writers.remove(waiter)

    # What the edge tells

    def received(self, octets: bytes) -> None:
        """Octets came."""
        self._buffer += octets
        if len(self._buffer) >= READ_AHEAD_OCTETS:
            self._edge.pause()
        self._wake_reader()

    def full(self, is_full: bool) -> None:
        """The other side does not take them, or takes them again."""
        self._is_full = is_full
        if not is_full:
            self._wake_writers()

    def lost(self, reason: str, is_whole: bool) -> None:
        """The connection is over.

        :param is_whole: the other side ended it in good order, so that nothing of what it said is missing
        """
        self._end(reason)
        self._is_whole = is_whole
        self._wake_reader()
        self._wake_writers()

    def _end(self, reason: str) -> None:
        if self.is_open:
            self.is_open, self.reason = False, reason

    def _wake_reader(self) -> None:
        if self._reader is not None:
            waiter, self._reader = self._reader, None
            waiter.callback(None)

    def _wake_writers(self) -> None:
        writers, self._writers = self._writers, []
        for waiter in writers:
            waiter.callback(None)

    # Ending

    def close(self) -> None:
        """Send what is queued, and end."""
        if self.is_open:
            self._end("closed on this side")
            self._edge.close()

    def abort(self) -> None:
        """End at once."""
        self._end("closed on this side")
        self._edge.abort()


class _Edges(Factory):
    """Makes the protocol of one connection; says nothing of it in the log."""

    noisy = False

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def buildProtocol(self, addr: object) -> _Edge:
        """An edge with its stream."""
        return _Edge(self._reactor)


@implementer(IPushProducer)
class _Edge(Protocol):
    """Moves octets between a transport and its stream."""

    def __init__(self, reactor: Any) -> None:
        self.stream = Stream(self)
        self._reactor = reactor
        self._linger: Any = None
        self._is_paused = False
        self._is_over = False
        self._is_tcp = False
        #: Octets came that the kernel may not have acknowledged yet.
        self._owes = False

    @property
    def out(self) -> Any:
        """The transport."""
        return self.transport

    def connectionMade(self) -> None:
        """The stream hears when the transport is full."""
        self._is_tcp = hasattr(self.out, "setTcpNoDelay")
        if self._is_tcp:
            self.out.setTcpNoDelay(True)
        self.out.registerProducer(self, True)

    def dataReceived(self, data: bytes) -> None:
        """For the stream."""
        self._owes = True
        self.stream.received(data)

    def connectionLost(self, reason: Failure = Failure(ConnectionDone())) -> None:  # noqa: B008 - Twisted's signature
        """For the stream."""
        self._is_over = True
        if self._linger is not None and self._linger.active():
            self._linger.cancel()
        self.stream.lost(reason.getErrorMessage(), reason.check(ConnectionDone) is not None)

    def close(self) -> None:
        """Send what is queued, and end; what does not leave soon is thrown away."""
        # With a producer that is paused, a transport would wait for it for good.
        self.out.unregisterProducer()
        self.out.loseConnection()
        if not self._is_over:
            self._linger = self._reactor.callLater(LINGER_S, self.abort)

    def abort(self) -> None:
        """End at once."""
        if not self._is_over:
            self.out.abortConnection()

    def pauseProducing(self) -> None:
        """The transport's buffer is full."""
        self.stream.full(True)

    def resumeProducing(self) -> None:
        """It is empty."""
        self.stream.full(False)

    def stopProducing(self) -> None:
        """It is gone; connectionLost says so."""

    def acknowledge(self) -> None:
        """Tell the other side that what it said has come, since more of it is waited for.

        An engine that answers in two small writes, as libmilter does, else waits for it with the second, up to the 40
        ms that Linux puts an acknowledgement off (tcp(7), TCP_QUICKACK; RFC 1122 section 4.2.3.2).
        """
        if self._owes and self._is_tcp and not self._is_over and _QUICKACK is not None:
            self._owes = False
            # A connection that is broken says so when it is read.
            with suppress(OSError):
                self.out.getHandle().setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)

    def pause(self) -> None:
        """Read no more."""
        if not self._is_paused:
            self._is_paused = True
            self.out.pauseProducing()

    def resume(self) -> None:
        """Read on."""
        if self._is_paused:
            self._is_paused = False
            if not self._is_over:
                self.out.resumeProducing()
