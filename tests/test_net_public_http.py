"""HTTPS to hosts that strangers name: their certificates and addresses are looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import trustme
from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.ssl import Certificate, PrivateCertificate, trustRootFromCertificates
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.resource import Resource
from twisted.web.server import Site

from smtpgate.config.patterns import NetworkList
from smtpgate.interfaces import HTTPFailed
from smtpgate.net.public_http import PublicHTTPClient
from smtpgate.policy.addresses import is_public, may_be_called
from smtpgate.testing.resolver import FakeResolver

HOST = "mta-sts.example.org"


class Page(Resource):
    """Says what it was asked for."""

    isLeaf = True

    def render_GET(self, request: Any) -> bytes:
        """The path."""
        if request.path == b"/moved":
            request.redirect(b"/elsewhere")
        request.setHeader(b"content-type", b"text/plain")
        return bytes(request.path)


class PublicTests(TestCase):
    """`PublicHTTPClient`, against a server on loopback."""

    timeout = 30

    def setUp(self) -> None:
        self.ca = trustme.CA()
        self.root = trustRootFromCertificates([Certificate.loadPEM(self.ca.cert_pem.bytes())])

    def serve(self, name: str, ca: trustme.CA | None = None) -> int:
        """A server with a certificate; its port."""
        issued = (ca or self.ca).issue_cert(name)
        pem = issued.private_key_pem.bytes() + issued.cert_chain_pems[0].bytes()
        site = Site(Page())
        port = reactor.listenSSL(0, site, PrivateCertificate.loadPEM(pem).options(), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return int(port.getHost().port)

    def client(self, port: int, zones: Any = None, allowed: Callable[[str], bool] = lambda _: True) -> PublicHTTPClient:
        """A client that believes our authority."""
        resolver = FakeResolver(zones or {HOST: {"A": "127.0.0.1"}})
        client = PublicHTTPClient(reactor, resolver, allowed, self.root, port)

        def close() -> Any:
            made = client._agents
            return made[0]._pool.closeCachedConnections() if made is not None else None

        self.addCleanup(close)
        return client

    def get(self, client: PublicHTTPClient, path: str = "/x", scheme: str = "https") -> Deferred[Any]:
        """Ask."""
        return client.request("GET", f"{scheme}://{HOST}{path}", {}, None, 10.0, 1000)

    @inlineCallbacks
    def test_an_answer(self) -> Iterator[Deferred[Any]]:
        """Over a certificate that is right; redirects are answers like others."""
        client = self.client(self.serve(HOST))
        answer: Any = yield self.get(client)
        self.assertEqual((answer.status, answer.body), (200, b"/x"))
        answer = yield self.get(client, "/moved")
        self.assertEqual(answer.status, 302)

    @inlineCallbacks
    def test_S_27_certificates(self) -> Iterator[Deferred[Any]]:
        """Of another name, or of an authority that nobody knows: a failure that says so."""
        for port in (self.serve("other.example.org"), self.serve(HOST, trustme.CA())):
            error: Any = yield self.assertFailure(self.get(self.client(port)), HTTPFailed)
            self.assertTrue(error.is_certificate, error)

    @inlineCallbacks
    def test_S_27_addresses_of_inside(self) -> Iterator[Deferred[Any]]:
        """Nobody is connected to there, whatever the DNS says; where one address is public, that one is."""
        for zones in (
            {HOST: {"A": "127.0.0.1"}},
            {HOST: {"A": ["10.0.0.1", "192.168.1.1"], "AAAA": "::1"}},
            {HOST: {"TXT": "x"}},
            {HOST: "servfail"},
        ):
            error: Any = yield self.assertFailure(self.get(self.client(self.serve(HOST), zones, is_public)), HTTPFailed)
            self.assertIn("address", str(error))
            self.assertFalse(error.is_certificate)
        # Of several the allowed one, and of those that do not answer the next.
        port = self.serve(HOST)
        zones = {HOST: {"A": ["127.0.0.9", "127.0.0.8", "127.0.0.1"]}}
        client = self.client(port, zones, lambda address: address != "127.0.0.9")
        answer: Any = yield self.get(client)
        self.assertEqual(answer.status, 200)

    @inlineCallbacks
    def test_S_27_nothing_but_https(self) -> Iterator[Deferred[Any]]:
        """No question in clear."""
        error: Any = yield self.assertFailure(self.get(self.client(self.serve(HOST)), scheme="http"), HTTPFailed)
        self.assertIn("https", str(error))

    @inlineCallbacks
    def test_an_address_in_place_of_a_name(self) -> Iterator[Deferred[Any]]:
        """It is looked at as what the DNS would say; with the port that stands behind it, and in clear where that is
        meant."""
        port: Any = reactor.listenTCP(0, Site(Page()), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        listed = NetworkList(["127.0.0.0/8"])
        url = f"http://127.0.0.1:{port.getHost().port}/x"
        for is_listed, in_clear in ((lambda _: False, True), (listed.contains, False)):
            client = self.plain(is_listed, in_clear)
            yield self.assertFailure(client.request("GET", url, {}, None, 10.0, 1000), HTTPFailed)
        client = self.plain(listed.contains, True)
        answer: Any = yield client.request("GET", url, {}, None, 10.0, 1000)
        self.assertEqual(answer.body, b"/x")
        for other in ("http://[::ffff:10.0.0.1]/", "http://169.254.169.254/latest", "http://[64:ff9b::a00:1]/"):
            error: Any = yield self.assertFailure(client.request("GET", other, {}, None, 10.0, 1000), HTTPFailed)
            self.assertIn("no public address", str(error))

    def plain(self, is_listed: Callable[[str], bool], in_clear: bool) -> PublicHTTPClient:
        """A client for what the configuration names."""
        allowed = lambda address: may_be_called(address, is_listed)  # noqa: E731
        client = PublicHTTPClient(reactor, FakeResolver({}), allowed, self.root, 0, in_clear)

        def close() -> Any:
            made = client._agents
            return made[0]._pool.closeCachedConnections() if made is not None else None

        self.addCleanup(close)
        return client


#: Of each kind that the registries of IANA name (RFC 6890 and after), and of what holds an address of IPv4.
INSIDE = """
10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 127.0.0.1 127.255.255.255 169.254.169.254 100.64.0.1
100.127.255.255 0.0.0.0 0.1.2.3 192.0.0.1 192.0.2.1 192.88.99.1 198.18.0.1 198.51.100.1 203.0.113.1 224.0.0.1
240.0.0.1 255.255.255.255 :: ::1 fe80::1 fe80::1%eth0 fc00::1 fd00:ec2::254 fec0::1 ff02::1 100::1 2001:2::1
2001:20::1 2001:db8::1 3fff::1 5f00::1 ::ffff:10.0.0.1 ::ffff:127.0.0.1 ::10.0.0.1 ::127.0.0.1 ::8.8.8.8
::ffff:0:10.0.0.1 2002:a00:1:: 2002:7f00:1:: 64:ff9b::a00:1 64:ff9b::7f00:1 64:ff9b:1::a00:1
64:ff9b:1::808:808 2001:0:808:808::f5ff:fffe
""".split()
OUTSIDE = "8.8.8.8 1.1.1.1 ::ffff:8.8.8.8 2606:4700::1111 2a00:1450::1 2002:808:808:: 64:ff9b::808:808".split()


class AddressTests(SynchronousTestCase):
    """`policy.addresses`, address by address."""

    def test_S_27_each(self) -> None:
        """Those of the Internet, and no other."""
        for text in INSIDE:
            self.assertFalse(is_public(text), text)
        for text in OUTSIDE:
            self.assertTrue(is_public(text), text)

    def test_S_27_listed(self) -> None:
        """One inside that somebody has listed, however it is written; and no other."""
        contains = NetworkList(["10.0.0.0/8", "fd00::/8"]).contains
        for text in ("10.9.8.7", "::ffff:10.9.8.7", "fd00::1", "8.8.8.8"):
            self.assertTrue(may_be_called(text, contains), text)
        for text in INSIDE:
            if not text.startswith(("10.", "::ffff:10.", "fd00:")):
                self.assertFalse(may_be_called(text, contains), text)
