"""HTTPS to hosts that strangers name: their certificates and addresses are looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import trustme
from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.ssl import Certificate, PrivateCertificate, trustRootFromCertificates
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import Site

from smtpgate.interfaces import HTTPFailed
from smtpgate.net.public_http import PublicHTTPClient
from smtpgate.policy.addresses import is_public
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
