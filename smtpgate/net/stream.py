"""A connection to an engine, read and written by a coroutine (`interfaces.IStream`).

The engine filters speak their protocols over it: `connect` opens one, then the coroutine writes and awaits. Little is
kept on either side: reading pauses while nobody wants the octets, `drained` waits while the other side does not take
them. There are no timers but that of connecting, since the caller has a budget; every wait can be cancelled, and ends
with StreamClosed when the other side is gone.
"""

from __future__ import annotations

from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, UNIXClientEndpoint
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from smtpgate.interfaces import IStream, StreamClosed

#: Octets read ahead of who wants them.
READ_AHEAD_OCTETS: Final = 1 << 20


def connect(reactor: Any, endpoint: str, timeout_s: float) -> Deferred[Stream]:
    """Connect to "host:port", "[v6]:port" or "unix:/path". Fails with StreamClosed; raises ValueError for others."""
    made: Any
    if endpoint.startswith("unix:"):
        made = UNIXClientEndpoint(reactor, endpoint.removeprefix("unix:"), timeout_s)
    else:
        host, colon, port = endpoint.rpartition(":")
        if not colon or not port.isdigit() or not 0 < int(port) < 65536:
            raise ValueError(f"{endpoint!r} is no endpoint; write host:port, [address]:port or unix:/path")
        kind = TCP6ClientEndpoint if host.startswith("[") else TCP4ClientEndpoint
        made = kind(reactor, host.strip("[]"), int(port), timeout_s)
    connected: Deferred[Any] = made.connect(Factory.forProtocol(_Edge))
    return connected.addCallbacks(lambda edge: edge.stream, _closed)


def _closed(failure: Failure) -> Failure:
    from twisted.internet.defer import CancelledError

    if failure.check(CancelledError):
        return failure
    return Failure(StreamClosed(failure.getErrorMessage() or repr(failure.value)))


@implementer(IStream)
class Stream:
    """One connection. One coroutine reads at a time."""

    def __init__(self, edge: _Edge) -> None:
        self.is_open = True
        self.reason = ""
        self._edge = edge
        self._buffer = bytearray()
        self._reader: Deferred[None] | None = None
        self._drain: Deferred[None] | None = None
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
            self._drain = waiter
            await waiter
        if not self.is_open:
            raise StreamClosed(self.reason)

    # Reading

    async def read(self, n_max: int = 65536) -> bytes:
        """Await octets, at most so many; b"" at the end."""
        while not self._buffer:
            if not self.is_open:
                return b""
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
        """Await all octets up to and with `mark`. Raises ValueError past `cap`, StreamClosed where it does not come."""
        searched = 0
        while True:
            at = self._buffer.find(mark, max(0, searched - len(mark) + 1))
            if at >= 0:
                if at + len(mark) > cap:
                    raise ValueError(f"more than {cap} octets before {mark!r}")
                return self._take(at + len(mark))
            searched = len(self._buffer)
            if searched > cap:
                raise ValueError(f"more than {cap} octets before {mark!r}")
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
        waiter: Deferred[None] = Deferred(self._forget)
        self._reader = waiter
        await waiter

    def _forget(self, waiter: Deferred[None]) -> None:
        if self._reader is waiter:
            self._reader = None
        if self._drain is waiter:
            self._drain = None

    # What the edge tells

    def received(self, octets: bytes) -> None:
        """Octets came."""
        self._buffer += octets
        if len(self._buffer) > READ_AHEAD_OCTETS:
            self._edge.pause()
        self._wake_reader()

    def full(self, is_full: bool) -> None:
        """The other side does not take them, or takes them again."""
        self._is_full = is_full
        if not is_full and self._drain is not None:
            waiter, self._drain = self._drain, None
            waiter.callback(None)

    def lost(self, reason: str) -> None:
        """The connection is over."""
        self.is_open, self.reason = False, reason
        self._wake_reader()
        self.full(False)

    def _wake_reader(self) -> None:
        if self._reader is not None:
            waiter, self._reader = self._reader, None
            waiter.callback(None)

    # Ending

    def close(self) -> None:
        """Flush and end."""
        if self.is_open:
            self._edge.out.loseConnection()

    def abort(self) -> None:
        """End at once."""
        if self.is_open:
            self._edge.out.abortConnection()


@implementer(IPushProducer)
class _Edge(Protocol):
    """Moves octets between a transport and its stream."""

    def __init__(self) -> None:
        self.stream = Stream(self)
        self._is_paused = False

    @property
    def out(self) -> Any:
        """The transport."""
        return self.transport

    def connectionMade(self) -> None:
        """The stream hears when the transport is full."""
        if hasattr(self.out, "setTcpNoDelay"):
            self.out.setTcpNoDelay(True)
        self.out.registerProducer(self, True)

    def dataReceived(self, data: bytes) -> None:
        """For the stream."""
        self.stream.received(data)

    def connectionLost(self, reason: Failure = Failure(StreamClosed())) -> None:  # noqa: B008 - Twisted's own signature
        """For the stream."""
        self.out.unregisterProducer()
        self.stream.lost(reason.getErrorMessage())

    def pauseProducing(self) -> None:
        """The transport's buffer is full."""
        self.stream.full(True)

    def resumeProducing(self) -> None:
        """It is empty."""
        self.stream.full(False)

    def stopProducing(self) -> None:
        """It is gone; connectionLost says so."""

    def pause(self) -> None:
        """Read no more."""
        if not self._is_paused:
            self._is_paused = True
            self.out.pauseProducing()

    def resume(self) -> None:
        """Read on."""
        if self._is_paused:
            self._is_paused = False
            self.out.resumeProducing()
