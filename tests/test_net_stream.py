"""Tests of smtpgate.net.stream, over real sockets of loopback."""

from __future__ import annotations

import shutil
import socket
import struct
import tempfile
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred, gatherResults
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from smtpgate.interfaces import IStream, StreamClosed
from smtpgate.net.stream import READ_AHEAD_OCTETS, Stream, connect


class Peer(Protocol):
    """The other side: keeps what it heard, and tells of its beginning and end."""

    def __init__(self, case: StreamCase) -> None:
        self.case = case
        self.heard = bytearray()
        self.is_lost = False
        self.waiting: list[tuple[int, Deferred[None]]] = []
        self.ended: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        self.case.met.callback(self)

    def dataReceived(self, data: bytes) -> None:
        self.heard += data
        for wanted in list(self.waiting):
            if len(self.heard) >= wanted[0]:
                self.waiting.remove(wanted)
                wanted[1].callback(None)

    def hears(self, octets: int) -> Deferred[None]:
        """Fires when so much came."""
        done: Deferred[None] = Deferred()
        self.waiting.append((octets, done))
        self.dataReceived(b"")
        return done

    def connectionLost(self, reason: Any = None) -> None:
        self.is_lost = True
        self.ended.callback(None)


class StreamCase(TestCase):
    """A server for one connection, and a stream to it."""

    timeout = 20

    def setUp(self) -> None:
        """A server."""
        self.met: Deferred[Peer] = Deferred()
        factory = Factory()
        factory.noisy = False
        factory.buildProtocol = lambda addr: Peer(self)  # type: ignore[method-assign]
        self.port: Any = reactor.listenTCP(0, factory, interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(self.port.stopListening)

    async def pair(self) -> tuple[Stream, Peer]:
        """Both ends, closed with the test."""
        stream = await connect(reactor, f"127.0.0.1:{self.port.getHost().port}", 5.0)
        peer = await self.met
        self.addCleanup(lambda: peer.ended)
        self.addCleanup(stream.abort)
        self.addCleanup(lambda: peer.transport.resumeProducing() if not peer.is_lost else None)
        return stream, peer


class ReadTests(StreamCase):
    """`read`, `read_exactly`, `read_until`."""

    async def test_pieces_are_put_together_however_they_come(self) -> None:
        """One octet at a time gives the same as all at once."""
        stream, peer = await self.pair()
        verifyObject(IStream, stream)
        reading = ensureDeferred(stream.read_until(b"\r\n", 20))
        for octet in b"OK\r\nrest":
            peer.transport.write(bytes([octet]))
            await deferLater(reactor, 0)
        self.assertEqual(await reading, b"OK\r\n")
        self.assertEqual(await stream.read_exactly(3), b"res")
        self.assertEqual(await stream.read(10), b"t")

    async def test_what_came_before_the_end_is_still_read(self) -> None:
        """B-186: an engine that refuses says why and hangs up at once."""
        stream, peer = await self.pair()
        peer.transport.write(b"too large\0")
        peer.transport.loseConnection()
        await peer.ended
        while stream.is_open:
            await deferLater(reactor, 0.01)
        self.assertRaises(StreamClosed, stream.write, b"more")
        self.assertEqual(await stream.read_until(b"\0", 100), b"too large\0")
        self.assertEqual(await stream.read(), b"")
        await self.assertFailure(ensureDeferred(stream.read_exactly(1)), StreamClosed)
        await self.assertFailure(ensureDeferred(stream.read_until(b"\0", 9)), StreamClosed)
        await self.assertFailure(ensureDeferred(stream.drained()), StreamClosed)

    async def test_every_wait_ends_with_the_connection(self) -> None:
        """A reset is no end in good order: `read` fails too."""
        for name, arguments in (("read", (10,)), ("read_exactly", (1,)), ("read_until", (b"\n", 10))):
            self.met = Deferred()
            stream, peer = await self.pair()
            waiting = ensureDeferred(getattr(stream, name)(*arguments))
            linger = struct.pack("ii", 1, 0)
            peer.transport.getHandle().setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            peer.transport.abortConnection()
            await self.assertFailure(waiting, StreamClosed)

    async def test_a_cap_holds_wherever_the_mark_is(self) -> None:
        """Found behind it, or not found at all."""
        stream, peer = await self.pair()
        peer.transport.write(b"abcdef\n")
        self.assertEqual(await stream.read_until(b"\n", 7), b"abcdef\n")
        peer.transport.write(b"abcdef\n")
        await self.assertFailure(ensureDeferred(stream.read_until(b"\n", 6)), ValueError)
        self.assertEqual(await stream.read_exactly(7), b"abcdef\n")
        peer.transport.write(b"x" * 11)
        await self.assertFailure(ensureDeferred(stream.read_until(b"\n", 10)), ValueError)

    async def test_a_wait_that_is_cancelled_loses_nothing(self) -> None:
        """The next one reads what came."""
        stream, peer = await self.pair()
        waiting = ensureDeferred(stream.read_exactly(4))
        peer.transport.write(b"ab")
        await deferLater(reactor, 0.01)
        waiting.cancel()
        await self.assertFailure(waiting, CancelledError)
        peer.transport.write(b"cd")
        self.assertEqual(await stream.read_exactly(4), b"abcd")

    async def test_little_is_read_ahead(self) -> None:
        """What nobody wants stays with the other side; then all of it comes."""
        stream, peer = await self.pair()
        whole = 64 * READ_AHEAD_OCTETS
        peer.transport.write(b"x" * whole)
        for _ in range(20):
            await deferLater(reactor, 0.005)
        self.assertLess(len(stream._buffer), 3 * READ_AHEAD_OCTETS)
        self.assertEqual(len(await stream.read_exactly(whole)), whole)


class WriteTests(StreamCase):
    """`write`, `drained`, `close`, `abort`."""

    async def test_drained_waits_for_a_slow_peer(self) -> None:
        """Two who wait are both woken."""
        stream, peer = await self.pair()
        peer.transport.pauseProducing()
        whole = b"y" * (16 << 20)
        stream.write(whole)
        waiting = [ensureDeferred(stream.drained()) for _ in range(2)]
        await deferLater(reactor, 0.05)
        self.assertEqual([one.called for one in waiting], [False, False])
        peer.transport.resumeProducing()
        await gatherResults(waiting)
        await peer.hears(len(whole))

    async def test_drained_ends_with_the_connection(self) -> None:
        """A peer that stalls and dies leaves nobody waiting."""
        stream, peer = await self.pair()
        peer.transport.pauseProducing()
        stream.write(b"y" * (16 << 20))
        waiting = ensureDeferred(stream.drained())
        peer.transport.abortConnection()
        await self.assertFailure(waiting, StreamClosed)

    async def test_close_sends_what_is_queued(self) -> None:
        """Also where it was queued because the peer was slow."""
        stream, peer = await self.pair()
        peer.transport.pauseProducing()
        stream.write(b"z" * (8 << 20))
        stream.close()
        self.assertFalse(stream.is_open)
        self.assertRaises(StreamClosed, stream.write, b"more")
        peer.transport.resumeProducing()
        await peer.ended
        self.assertEqual(len(peer.heard), 8 << 20)

    async def test_close_does_not_wait_for_ever(self) -> None:
        """A peer that takes nothing keeps no descriptor of ours."""
        self.patch(__import__("smtpgate.net.stream", fromlist=["stream"]), "LINGER_S", 0.05)
        stream, peer = await self.pair()
        peer.transport.pauseProducing()
        stream.write(b"z" * (16 << 20))
        stream.close()
        await deferLater(reactor, 0.2)
        peer.transport.resumeProducing()
        await peer.ended
        self.assertLess(len(peer.heard), 16 << 20)

    async def test_abort_ends_every_wait(self) -> None:
        """Of our own side too."""
        stream, peer = await self.pair()
        waiting = ensureDeferred(stream.read_exactly(1))
        stream.abort()
        await self.assertFailure(waiting, StreamClosed)
        stream.abort()
        stream.close()
        await peer.ended


class ConnectTests(StreamCase):
    """`connect`."""

    async def test_nobody_there(self) -> None:
        """Refused, and no such socket; the text names the place."""
        port = self.port.getHost().port
        await self.port.stopListening()
        for endpoint in (f"127.0.0.1:{port}", f"[::1]:{port}", f"localhost:{port}", f"unix:{self.place()}"):
            error = await self.assertFailure(connect(reactor, endpoint, 2.0), StreamClosed)
            self.assertTrue(str(error).startswith(f"{endpoint}: "), error)

    def place(self) -> str:
        """Of a socket: its path may have 107 octets at most, wherever the tests run."""
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        return f"{folder}/socket"

    async def test_a_name_and_a_unix_socket(self) -> None:
        """Both kinds of endpoint that are no address."""
        stream = await connect(reactor, f"localhost:{self.port.getHost().port}", 5.0)
        peer = await self.met
        stream.close()
        await peer.ended
        self.met = Deferred()
        path = self.place()
        factory = Factory()
        factory.noisy = False
        factory.buildProtocol = lambda addr: Peer(self)  # type: ignore[method-assign]
        port: Any = reactor.listenUNIX(path, factory)  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        stream = await connect(reactor, f"unix:{path}", 5.0)
        peer = await self.met
        stream.write(b"hello")
        await peer.hears(5)
        stream.abort()
        await peer.ended

    async def test_cancelled(self) -> None:
        """Nothing is left of it."""
        for endpoint in ("192.0.2.1:25", "mail.example.net:25"):
            connecting = connect(reactor, endpoint, 60.0)
            connecting.cancel()
            await self.assertFailure(connecting, CancelledError)

    def test_what_is_no_endpoint(self) -> None:
        """Told at once, with what would be right."""
        for endpoint in ("", "host", "host:0", "host:65536", ":25", "[]:25", "[host]:25", "unix:relative", "host:x"):
            error = self.assertRaises(ValueError, connect, reactor, endpoint, 1.0)
            self.assertIn("write host:port", str(error))
