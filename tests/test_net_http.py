"""Tests of smtpgate.net.http, against real servers of loopback."""

from __future__ import annotations

from typing import Any

import trustme
from OpenSSL import crypto
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import CertificateOptions
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from smtpgate.interfaces import HTTPFailed, IHTTPClient
from smtpgate.net.http import HTTPClient

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-One: a\r\nX-One: b\r\n\r\nok"


class Server(Protocol):
    """Answers each request with what the test put there; "" is silence, a "!" at the end hangs up."""

    def __init__(self, case: HTTPCase) -> None:
        self.case = case
        self.held = b""

    def connectionMade(self) -> None:
        self.case.connections.append(self)

    def connectionLost(self, reason: Any = None) -> None:
        self.case.connections.remove(self)
        self.case.lost += 1

    def dataReceived(self, data: bytes) -> None:
        self.held += data
        head, end, body = self.held.partition(b"\r\n\r\n")
        if not end:
            return
        length = 0
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        if len(body) < length:
            return
        self.held = b""
        self.case.requests.append((head, body))
        answer = self.case.answers.pop(0) if self.case.answers else OK
        self.transport.write(answer.removesuffix(b"!"))
        if answer.endswith(b"!"):
            self.transport.loseConnection()


class HTTPCase(TestCase):
    """A server, and a client."""

    timeout = 20

    def setUp(self) -> None:
        """Both."""
        self.connections: list[Server] = []
        self.requests: list[tuple[bytes, bytes]] = []
        self.answers: list[bytes] = []
        self.lost = 0
        factory = Factory()
        factory.noisy = False
        factory.buildProtocol = lambda addr: Server(self)  # type: ignore[method-assign]
        self.factory = factory
        port: Any = reactor.listenTCP(0, factory, interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(self.gone)
        self.addCleanup(port.stopListening)
        self.url = f"http://127.0.0.1:{port.getHost().port}/check?x=1"
        self.client = HTTPClient(reactor)

    async def gone(self) -> None:
        """Wait until both ends of all connections are closed."""
        if self.client._agents is not None:
            await self.client._agents[0]._pool.closeCachedConnections()
        while self.connections:
            await deferLater(reactor, 0.01)

    def ask(self, body: bytes | None = None, headers: Any = (), method: str = "POST", cap: int = 1000) -> Deferred[Any]:
        """A request."""
        return self.client.request(method, self.url, headers, body, 5.0, cap)

    async def failure(self, asked: Deferred[Any]) -> str:
        """The text with which it fails."""
        return str(await self.assertFailure(asked, HTTPFailed))

    async def test_a_request_and_its_answer(self) -> None:
        """Method, address, headers of one name, body; status, first values, body."""
        verifyObject(IHTTPClient, self.client)
        answer = await self.ask(b"x" * 300_000, [("Rcpt", "a@example.net"), ("Rcpt", "b@example.net")])
        self.assertEqual((answer.status, answer.body, answer.headers["x-one"]), (200, b"ok", "a"))
        head, body = self.requests[0]
        self.assertTrue(head.startswith(b"POST /check?x=1 HTTP/1.1\r\n"), head)
        self.assertEqual(head.count(b"\r\nRcpt: "), 2)
        self.assertEqual(len(body), 300_000)

    async def test_connections_are_kept(self) -> None:
        """A second request goes over the first one's."""
        for _ in range(3):
            await self.ask(b"x")
        self.assertEqual((len(self.connections), self.lost), (1, 0))

    async def test_one_that_was_closed_meanwhile_is_no_failure(self) -> None:
        """The request is asked again over a new one, once."""
        await self.ask(b"first")
        self.answers = [b"!"]
        self.assertEqual((await self.ask(b"second")).body, b"ok")
        self.assertEqual([body for _, body in self.requests], [b"first", b"second", b"second"])
        self.answers = [b"!", b"!", OK]
        self.assertIn("Connection", await self.failure(self.ask(b"third")))
        self.assertEqual(len(self.answers), 1)

    async def test_other_statuses_are_answers(self) -> None:
        """No redirect is followed, no error is raised."""
        for status in (302, 404, 503):
            self.answers = [b"HTTP/1.1 %d X\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n" % status]
            self.assertEqual((await self.ask(b"", method="GET")).status, status)
        self.assertEqual(len(self.requests), 3)

    async def test_nothing_is_remembered(self) -> None:
        """A cookie is not sent back."""
        self.answers = [b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n"]
        await self.ask(b"")
        await self.ask(b"")
        self.assertNotIn(b"cookie", self.requests[1][0].lower())

    async def test_an_answer_is_read_up_to_a_cap(self) -> None:
        """With a length, in chunks, and up to the end of the connection; the connection is given up."""
        for answer in (
            b"HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n" + b"x" * 3000,
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"bb8\r\n" + b"x" * 3000 + b"\r\n0\r\n\r\n",
            b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 3000 + b"!",
        ):
            self.answers = [answer]
            self.assertEqual(await self.failure(self.ask(b"")), "an answer of more than 1000 octets")
        self.answers = [b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 1000 + b"!"]
        self.assertEqual(len((await self.ask(b"")).body), 1000)

    async def test_what_is_no_http_is_a_failure(self) -> None:
        """Garbage, an answer that is cut off, a body that is."""
        for answer in (
            b"220 mail.example.org ESMTP\r\n!",
            b"HTTP/1.1 200 OK\r\nContent-Le!",
            b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort!",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n!",
        ):
            self.answers = [answer, answer]
            self.assertTrue(await self.failure(self.ask(b"")))

    async def test_silence_ends_with_the_time(self) -> None:
        """Before the answer, and in the middle of its body; nothing is left open."""
        for answer in (b"", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort"):
            self.answers = [answer]
            asked = self.client.request("GET", self.url, {}, None, 0.2, 100)
            self.assertEqual(await self.failure(asked), "no answer within 0.2 s")
        await self.gone()

    async def test_cancelled(self) -> None:
        """The connection ends, and it is no HTTPFailed."""
        for answer in (b"", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort"):
            self.answers = [answer]
            asked = self.ask(b"")
            count = len(self.requests)
            while len(self.requests) == count:
                await deferLater(reactor, 0.01)
            await deferLater(reactor, 0.02)
            asked.cancel()
            await self.assertFailure(asked, CancelledError)
        await self.gone()
        connecting = self.client.request("GET", "http://192.0.2.1/", {}, None, 5.0, 10)
        connecting.cancel()
        await self.assertFailure(connecting, CancelledError)

    async def test_what_cannot_be_asked(self) -> None:
        """Each is the one kind of error."""
        for url in ("", "ftp://127.0.0.1/", "http://", "http://ü/", "http://127.0.0.1:1/"):
            self.assertTrue(await self.failure(self.client.request("GET", url, {}, None, 2.0, 10)), url)
        self.assertTrue(await self.failure(self.ask(b"", {"X": "a\r\nY: b"})))
        self.assertTrue(await self.failure(self.ask(b"", {"ü": "a"})))
        self.assertEqual(self.requests, [])

    async def test_a_certificate_that_nobody_vouches_for(self) -> None:
        """TLS is verified."""
        issued = trustme.CA().issue_cert("localhost")
        key = crypto.load_privatekey(crypto.FILETYPE_PEM, issued.private_key_pem.bytes())
        chain = crypto.load_certificate(crypto.FILETYPE_PEM, issued.cert_chain_pems[0].bytes())
        options = CertificateOptions(privateKey=key, certificate=chain)
        port: Any = reactor.listenSSL(0, self.factory, options, interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        url = f"https://localhost:{port.getHost().port}/"
        self.assertIn("certificate verify failed", await self.failure(self.client.request("GET", url, {}, None, 5, 10)))
        self.assertEqual(self.requests, [])
