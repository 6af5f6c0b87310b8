"""PROTOCOL section 7: STARTTLS and implicit TLS on the client's leg, through the running gateway."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from typing import Any

from OpenSSL import SSL
from twisted.internet.defer import Deferred

from tests.gateway_kit import GatewayCase, TestGateway
from tests.script_kit import REFERENCE, Backend, Client

EHLO = b"EHLO client.example.com\r\n"
EVIL = b"MAIL FROM:<evil@example.org>\r\n"


def client_hello(version: bytes, ciphers: bytes) -> bytes:
    """A ClientHello without extensions, as an old client says it."""
    hello = version + bytes(32) + b"\0" + len(ciphers).to_bytes(2, "big") + ciphers + b"\x01\0"
    shake = b"\x01" + len(hello).to_bytes(3, "big") + hello
    return b"\x16\x03\x01" + len(shake).to_bytes(2, "big") + shake


def rest(sock: socket.socket) -> bytes:
    """All that still comes, up to the end of the connection."""
    out = b""
    while True:
        try:
            data = sock.recv(65536)
        except ConnectionError:
            return out
        if not data:
            return out
        out += data


class FrontTLSTests(GatewayCase):
    """P-138 to P-152."""

    def secure(
        self,
        script: Callable[[TestGateway, Backend], Any],
        backend: Backend | None = None,
        tls: str = "optional",
        listener: str = "",
        **config: str,
    ) -> Deferred[Any]:
        """A gateway with a certificate."""
        listener += f'\ncertificates = ["{self.certificate()}"]'
        return self.drive(script, backend, tls=tls, listener=listener, **config)

    def talk(self, script: Callable[[Client, Backend], Any], **config: Any) -> Deferred[Any]:
        """The same with one client."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                script(client, backend)

        return self.secure(run, **config)

    def upgrade(self, client: Client) -> None:
        """EHLO, STARTTLS and the handshake."""
        client.hello()
        self.assertRegex(client.say(b"STARTTLS"), rb"^220 2\.0\.0 [^\r]*\r\n$")
        client.starttls()

    def assertNothingMore(self, client: Client, gateway: TestGateway) -> None:
        """The connection is over, without a word that a mail client could read, and its slot is free."""
        said = client.buffer + rest(client.sock)
        self.assertNotRegex(said, rb"\d\d\d[ -]")
        while gateway.control.reception.sessions:
            gateway.settle()

    def assertWorks(self, client: Client) -> None:
        """A whole session's start and a message."""
        client.hello()
        self.assertRegex(client.message(), rb"^250 2\.0\.0 queued" + REFERENCE)

    def test_P_138_offer(self) -> Deferred[Any]:
        """STARTTLS is offered in clear, not inside TLS."""

        def script(client: Client, backend: Backend) -> None:
            self.assertRegex(client.hello(), rb"\r\n250[- ]STARTTLS\r\n")
            self.assertEqual(client.say(b"STARTTLS")[:3], b"220")
            client.starttls()
            self.assertNotIn(b"STARTTLS", client.hello())

        return self.talk(script)

    def test_how_long_a_handshake_took(self) -> Deferred[Any]:
        """Is counted, once."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                self.upgrade(client)
                client.hello()
            self.assertTrue(gateway.idle())
            counted = gateway.engine.meter.times["tls_handshake_seconds", "client"]
            self.assertEqual(sum(counted.counts), 1)
            self.assertGreater(counted.total, 0)

        return self.secure(run)

    def test_P_138_no_certificate(self) -> Deferred[Any]:
        """Without a usable certificate it is not offered."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                self.assertNotIn(b"STARTTLS", client.hello())

        return self.drive(run, tls="optional")

    def test_P_139_begin_anew(self) -> Deferred[Any]:
        """After the handshake only a new EHLO opens the way to MAIL; the old name is forgotten."""

        def script(client: Client, backend: Backend) -> None:
            self.assertEqual(client.say(b"EHLO old.example.com")[:3], b"250")
            self.assertRegex(client.say(b"STARTTLS"), rb"^220 2\.0\.0 ")
            client.starttls()
            self.assertRegex(client.say(b"MAIL FROM:<a@example.org>"), rb"^503 5\.5\.1 .*" + REFERENCE)
            self.assertEqual(backend.seen(b"^MAIL"), [])
            self.assertEqual(client.say(b"EHLO new.example.com")[:3], b"250")
            self.assertEqual(client.message()[:3], b"250")
            self.assertIn(b"from new.example.com", backend.messages[0])
            self.assertNotIn(b"old.example.com", backend.messages[0])

        return self.talk(script)

    def test_P_140_injected_commands(self) -> Deferred[Any]:
        """Commands behind STARTTLS never run: 554 and the end, or a handshake that fails."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                client.send(b"STARTTLS\r\nNOOP\r\n" + EVIL)
                self.assertRegex(client.read(), rb"^554 5\.5\.0 ")
                self.assertTrue(client.is_closed())
            with Client(gateway.port()) as client:
                client.hello()
                client.say(b"STARTTLS")
                client.send(b"NOOP\r\n" + EVIL)
                self.assertNothingMore(client, gateway)
            with Client(gateway.port()) as client:
                self.upgrade(client)
                self.assertEqual(client.codes(EHLO + b"VRFY b\r\n", 2), [250, 252])
            self.assertEqual(backend.seen(b"evil"), [])

        return self.secure(run)

    def test_P_141_stub(self) -> Deferred[Any]:
        """Half a command behind STARTTLS, cut anywhere, never opens a command inside TLS."""
        stream = b"STARTTLS\r\nMAIL FR"

        def run(gateway: TestGateway, backend: Backend) -> None:
            for at in range(len(stream)):
                with Client(gateway.port()) as client:
                    client.hello()
                    client.send(stream[:at])
                    gateway.settle()
                    client.send(stream[at:])
                    if at != len(b"STARTTLS\r\n"):
                        self.assertRegex(client.read(), rb"^554 5\.5\.0 ", at)
                        self.assertTrue(client.is_closed())
                        continue
                    self.assertRegex(client.read(), rb"^220 2\.0\.0 ")
                    self.assertNothingMore(client, gateway)
            for size in range(1, 8):
                with Client(gateway.port()) as client:
                    client.hello()
                    client.say(b"STARTTLS")
                    client.send(b"MAIL FR"[:size])
                    gateway.settle()
                    with self.assertRaises(OSError):
                        client.starttls()
                        client.hello()
                        self.fail("TLS began behind clear text")
            self.assertEqual(backend.seen(b"^MAIL"), [])

        return self.secure(run)

    def test_P_142_argument(self) -> Deferred[Any]:
        """STARTTLS with an argument: 501, no TLS, and it works without."""

        def script(client: Client, backend: Backend) -> None:
            client.hello()
            self.assertRegex(client.say(b"STARTTLS now"), rb"^501 5\.5\.4 ")
            self.assertRegex(client.say(b"NOOP"), rb"^250 2\.0\.0 ")
            self.upgrade(client)
            self.assertWorks(client)

        return self.talk(script)

    def test_P_143_inside_tls(self) -> Deferred[Any]:
        """STARTTLS inside TLS: 503, and TLS goes on."""

        def script(client: Client, backend: Backend) -> None:
            self.upgrade(client)
            self.assertRegex(client.say(b"STARTTLS"), rb"^503 5\.5\.1 ")
            client.hello()
            self.assertRegex(client.say(b"STARTTLS"), rb"^503 5\.5\.1 ")
            self.assertWorks(client)

        return self.talk(script)

    def test_P_144_first_command(self) -> Deferred[Any]:
        """STARTTLS before EHLO: 503."""

        def script(client: Client, backend: Backend) -> None:
            self.assertRegex(client.say(b"STARTTLS"), rb"^503 5\.5\.1 ")
            self.upgrade(client)
            self.assertWorks(client)

        return self.talk(script)

    def test_P_145_bad_handshake(self) -> Deferred[Any]:
        """Garbage, TLS 1.0 or an alert for a ClientHello: the end, no way back to clear text, all given up."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            for octets in (
                b"\xff\x00garbage\r\nNOOP\r\n",
                b"NOOP\r\nNOOP\r\n",
                client_hello(b"\x03\x01", b"\xc0\x13\0\x2f"),
                b"\x15\x03\x01\x00\x02\x02\x28",
            ):
                with Client(gateway.port()) as client:
                    client.hello()
                    client.message()
                    self.assertRegex(client.say(b"STARTTLS"), rb"^220 2\.0\.0 ")
                    client.send(octets)
                    self.assertNothingMore(client, gateway)
            self.assertTrue(backend.all_closed())
            self.assertEqual(len(backend.messages), 4)

        return self.secure(run)

    def test_P_146_silence(self) -> Deferred[Any]:
        """Silence behind the 220: closed in time, the slot is free."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            for opening in (b"", b"\x16\x03\x01"):
                with Client(gateway.port()) as client:
                    client.hello()
                    self.assertRegex(client.say(b"STARTTLS"), rb"^220 2\.0\.0 ")
                    client.send(opening)
                    self.assertNothingMore(client, gateway)

        return self.secure(run, timeouts='tls = "1s"')

    def test_P_147_required(self) -> Deferred[Any]:
        """TLS required: 530 to all but EHLO, NOOP, STARTTLS and QUIT; AUTH is not offered."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            backend.commands.clear()
            with Client(gateway.port()) as client:
                for when in ("before EHLO", "after EHLO"):
                    for line in (
                        b"MAIL FROM:<a@example.org>",
                        b"RCPT TO:<b@example.net>",
                        b"AUTH PLAIN AGEAYg==",
                        b"VRFY b",
                        b"RSET",
                        b"HELO client.example.com",
                        b"FOO",
                        b"DATA",
                        b"HELP",
                        b"MAIL nonsense",
                    ):
                        self.assertRegex(client.say(line), rb"^530 5\.7\.0 ", (line, when))
                    client.send(b"BDAT 6 LAST\r\nQUIT\r\n")
                    self.assertRegex(client.read(), rb"^530 5\.7\.0 ")
                    self.assertRegex(client.say(b"NOOP"), rb"^250 2\.0\.0 ")
                    reply = client.hello()
                    self.assertIn(b"STARTTLS", reply)
                    self.assertNotIn(b"AUTH", reply)
                self.assertEqual(backend.seen(b"^(MAIL|RCPT|AUTH|VRFY|FOO|BDAT|DATA)"), [])
                self.upgrade(client)
                self.assertRegex(client.hello(), rb"250[ -]AUTH PLAIN")
                self.assertRegex(client.say(b"AUTH PLAIN AGEAYg=="), rb"^235 2\.7\.0 ")
                self.assertEqual(client.message()[:3], b"250")
            with Client(gateway.port()) as client:
                self.assertRegex(client.say(b"QUIT"), rb"^221 2\.0\.0 ")

        backend = Backend(ehlo=["PIPELINING", "AUTH PLAIN"])
        return self.secure(
            run, backend, tls="required", role="submission", listener='auth = "relay"', limits="errors = 100"
        )

    def test_P_148_no_certificate(self) -> Deferred[Any]:
        """No usable certificate: 454, and mail goes on in clear."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                self.assertRegex(client.say(b"STARTTLS"), rb"^454 4\.7\.0 ")
                self.assertWorks(client)

        return self.drive(run, tls="optional")

    def test_P_148_required(self) -> Deferred[Any]:
        """The same where TLS is required: 454, and no mail."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                self.assertRegex(client.say(b"STARTTLS"), rb"^454 4\.7\.0 ")
                self.assertRegex(client.say(b"MAIL FROM:<a@example.org>"), rb"^530 5\.7\.0 ")

        return self.drive(run, tls="required")

    def test_P_149_implicit(self) -> Deferred[Any]:
        """Implicit TLS: the greeting after the handshake, no STARTTLS; a client in clear is closed."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port(), greet=False) as client:
                client.starttls()
                self.assertRegex(client.read(), rb"^220 gate\.example\.com ESMTP\r\n$")
                self.assertNotIn(b"STARTTLS", client.hello())
                self.assertRegex(client.say(b"STARTTLS"), rb"^503 5\.5\.1 ")
                self.assertWorks(client)
            with Client(gateway.port(), greet=False) as client:
                client.send(EHLO + EVIL)
                self.assertNothingMore(client, gateway)
            self.assertEqual(backend.seen(b"evil"), [])

        return self.secure(run, tls="implicit")

    def test_P_149_implicit_silence(self) -> Deferred[Any]:
        """A client that waits for a greeting in clear is closed in time."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port(), greet=False) as client:
                self.assertNothingMore(client, gateway)

        return self.secure(run, tls="implicit", timeouts='tls = "1s"')

    def test_P_150_cut_in_data(self) -> Deferred[Any]:
        """The TLS connection is cut, or closed, in the middle of DATA: no dot."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            for way in ("cut", "reset", "close_notify"):
                with Client(gateway.port()) as client:
                    self.upgrade(client)
                    client.hello()
                    client.say(b"MAIL FROM:<a@example.org>")
                    client.say(b"RCPT TO:<b@example.net>")
                    self.assertEqual(client.say(b"DATA")[:3], b"354")
                    client.send(b"Subject: x\r\n\r\nhalf\r\n.\r")
                    if way == "reset":
                        client.reset()
                    elif way == "close_notify":
                        client.sock.unwrap()
                while gateway.control.reception.sessions:
                    gateway.settle()
            for pool in gateway.control.revision.pools.values():
                pool.close()
            self.assertTrue(backend.all_closed())
            self.assertEqual((backend.messages, backend.seen(b"DOT"), len(backend.unfinished)), ([], [], 3))

        return self.secure(run)

    def test_P_151_old_versions(self) -> Deferred[Any]:
        """TLS 1.0, 1.1 and export ciphers are refused."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            for hello in (
                client_hello(b"\x03\x01", b"\xc0\x13\xc0\x14\0\x2f"),
                client_hello(b"\x03\x02", b"\xc0\x13\xc0\x14\0\x2f"),
                client_hello(b"\x03\x03", b"\0\x03\0\x06\0\x08\0\x14"),
                client_hello(b"\x03\x03", b"\0\x2f\0\x35\0\x0a"),
            ):
                with Client(gateway.port()) as client:
                    client.hello()
                    client.say(b"STARTTLS")
                    client.send(hello)
                    said = rest(client.sock)
                    # A fatal alert, or nothing: no ServerHello.
                    self.assertIn(said[:1], (b"", b"\x15"), said)

        return self.secure(run)

    def test_P_151_renegotiation(self) -> Deferred[Any]:
        """A client cannot renegotiate."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                client.say(b"STARTTLS")
                client.sock.settimeout(None)
                context = SSL.Context(SSL.TLSv1_2_METHOD)
                connection = SSL.Connection(context, client.sock)
                connection.set_connect_state()
                connection.do_handshake()
                connection.sendall(b"EHLO client.example.com\r\n")
                self.assertEqual(connection.recv(3), b"250")
                while not connection.recv(65536).endswith(b"HELP\r\n"):
                    pass
                self.assertTrue(connection.renegotiate())
                with self.assertRaises(SSL.Error):
                    connection.do_handshake()
                    # Where the library lets it hang, the server's next words show what became of it.
                    connection.sendall(b"NOOP\r\n")
                    connection.recv(65536)
                    self.assertEqual(connection.total_renegotiations(), 0)

        return self.secure(run)

    def test_P_152_no_resumption(self) -> Deferred[Any]:
        """A session or ticket is not resumed."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                context.minimum_version = context.maximum_version = version
                session = None
                for _ in range(2):
                    with Client(gateway.port()) as client:
                        client.hello()
                        client.say(b"STARTTLS")
                        client.sock = context.wrap_socket(client.sock, session=session)
                        client.hello()
                        session = client.sock.session
                        self.assertFalse(client.sock.session_reused, version)

        return self.secure(run)
