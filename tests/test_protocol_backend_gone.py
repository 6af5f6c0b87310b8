"""PROTOCOL section 13: the backend vanishes, by FIN and by RST, through the running gateway.

The client hears 4yz at that command, never 2yz and never 5yz, and its session goes on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from twisted.internet.defer import Deferred, ensureDeferred

from smtpgate.policy.event import DeliveryUnknown, TransactionEnded
from smtpgate.proxy.ledger import UNKNOWN
from tests.gateway_kit import GatewayCase, TestGateway
from tests.script_kit import DROP, EHLO, REFERENCE, RESET, Action, Backend, Client, Connection
from tests.test_protocol_data import CORPUS

GONE = (DROP, RESET)
LOST = rb"\A451 4\.4\.2 [^\r\n]*" + REFERENCE
MAIL, RCPT = b"MAIL FROM:<a@example.org>", b"RCPT TO:<b@example.net>"


def then(octets: bytes, end: bytes) -> Action:
    """Write these octets as they are, and vanish."""

    def write(connection: Connection) -> bytes:
        connection.sock.sendall(octets)
        return end

    return write


class BackendGoneTests(GatewayCase):
    """P-218 to P-232."""

    def each(
        self, script: Callable[[Client, Backend, bytes], None], backend: Backend | None = None, **config: str
    ) -> Deferred:
        """A script for each way to vanish, with a session of its own; at its end a message must go through."""

        def run(gateway: TestGateway, behind: Backend) -> None:
            for end in GONE:
                with Client(gateway.port()) as client:
                    client.hello()
                    script(client, behind, end)
                    self.assertEqual(behind.once, [])
                    self.assertRegex(client.say(b"NOOP"), rb"\A250 2\.0\.0 [^\r\n]*\r\n\Z")
                    self.assertRegex(client.reply_at("DOT", b"last@example.net"), rb"\A250 2\.0\.0 queued" + REFERENCE)

        return self.drive(run, backend, **config)

    def test_P_218_no_connection(self) -> Deferred:
        """A backend that refuses connections, or never answers, is 451 4.4.1."""
        with Backend() as closed:
            port = closed.port
        texts = [self.config(port), self.config(1, timeouts="greeting = 1").replace("127.0.0.1:1", "192.0.2.1:25")]

        def run(gateway: TestGateway) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                for _ in range(2):
                    self.assertRegex(client.reply_at("RCPT"), rb"\A451 4\.4\.1 [^\r\n]*" + REFERENCE)
                    self.assertRegex(client.say(b"NOOP"), rb"^250 ")

        async def both() -> None:
            for text in texts:
                await self.run_script(text, run)

        return ensureDeferred(both())

    def test_P_219_before_banner(self) -> Deferred:
        """Gone before its banner, or within it: 451 4.4.2."""

        def script(client: Client, backend: Backend, end: bytes) -> None:
            greeting = backend.greeting
            for octets in (b"", b"22", b"220-backend.example.net\r\n"):
                backend.greeting = then(octets, end)
                self.assertRegex(client.reply_at("RCPT"), LOST)
            backend.greeting = greeting

        return self.each(script)

    def test_P_220_at_ehlo(self) -> Deferred:
        """Gone before or within its reply to EHLO: 451 4.4.2."""

        def script(client: Client, backend: Backend, end: bytes) -> None:
            for octets in (b"", b"25", b"250-backend.example.net\r\n", b"250-backend.example.net\r\n250 PIPELINING"):
                backend.once.append((b"^EHLO", then(octets, end)))
                self.assertRegex(client.reply_at("RCPT"), LOST)

        return self.each(script)

    def test_P_221_at_starttls(self) -> Deferred:
        """Gone at STARTTLS or in the handshake: 451 4.7.5, and nothing goes in clear where TLS is required."""
        backend = Backend(ehlo=(*EHLO, "STARTTLS"), certificate=self.certificate())  # type: ignore[arg-type]

        def script(client: Client, backend: Backend, end: bytes) -> None:
            for octets in (b"", b"220 go\r\n", b"220 go\r\n\x16\x03\x03"):
                backend.once.append((b"^STARTTLS", then(octets, end)))
                self.assertRegex(client.reply_at("RCPT"), rb"\A451 4\.(7\.5|4\.2) [^\r\n]*" + REFERENCE)
            for link in backend.connections:
                self.assertEqual([line for line in link.in_clear if line[:4] in (b"MAIL", b"RCPT")], [])

        return self.each(script, backend, backend_tls="required")

    def test_P_222_at_auth(self) -> Deferred:
        """Gone in an AUTH exchange: 454 4.7.0."""

        def script(client: Client, backend: Backend, end: bytes) -> None:
            for octets in (b"", b"235"):
                backend.once.append((b"^AUTH", then(octets, end)))
                self.assertRegex(client.say(b"AUTH PLAIN AGEAYg=="), rb"\A454 4\.7\.0 [^\r\n]*" + REFERENCE)
            self.assertRegex(client.say(b"AUTH PLAIN AGEAYg=="), rb"\A235 2\.7\.0 ")

        return self.each(
            script,
            Backend(ehlo=(*EHLO, "AUTH PLAIN")),
            role="submission",
            listener='auth = "relay"\nauth_requires_tls = false',
        )

    def test_P_223_at_mail(self) -> Deferred:
        """Gone on MAIL: 451 4.4.2 (to RCPT, with which MAIL goes out)."""

        def script(client: Client, backend: Backend, end: bytes) -> None:
            backend.once.append((b"^MAIL", end))
            self.assertRegex(client.reply_at("MAIL"), LOST)
            self.assertRegex(client.say(b"DATA"), rb"\A(451|503|554) ")

        return self.each(script)

    def test_P_224_at_rcpt(self) -> Deferred:
        """Gone on the first RCPT, or on the second when one was accepted: nothing of the envelope goes elsewhere."""

        def script(client: Client, backend: Backend, end: bytes) -> None:
            backend.rules = [(b"^RCPT", end)]
            client.say(MAIL)
            for _ in range(2):
                self.assertRegex(client.say(RCPT), LOST)
            self.assertRegex(client.say(b"DATA"), rb"\A(451 4\.4\.2|554 5\.5\.1) ")
            backend.rules = [(b"^RCPT TO:<gone@", end)]
            for one_segment in (False, True):
                client.say(b"RSET")
                seen = len(backend.seen(b"^MAIL"))
                lines = [MAIL, RCPT, b"RCPT TO:<gone@example.net>", b"RCPT TO:<c@example.net>", b"DATA"]
                if one_segment:
                    client.send(b"\r\n".join(lines[:2]) + b"\r\n")
                    replies = [client.read(), client.read()]
                    client.send(b"\r\n".join(lines[2:]) + b"\r\n")
                    replies += [client.read() for _ in lines[2:]]
                else:
                    replies = [client.say(line) for line in lines]
                self.assertEqual([reply[:9] for reply in replies[:2]], [b"250 2.1.0", b"250 2.1.5"])
                for reply in replies[2:]:
                    self.assertRegex(reply, LOST)
                self.assertEqual(len(backend.seen(b"^MAIL")), seen + 1)
            backend.rules = []

        return self.each(script)

    def test_P_225_before_data(self) -> Deferred:
        """Gone between RCPT and DATA: DATA is 451 4.4.2 without a 354."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            for end in GONE:
                with Client(gateway.port()) as client:
                    client.hello()
                    backend.once.append((b"^RCPT", then(b"250 2.1.5 ok\r\n", end)))
                    self.assertRegex(client.reply_at("RCPT"), rb"^250 2\.1\.5 ok")
                    backend.all_closed()
                    gateway.settle()
                    self.assertRegex(client.say(b"DATA"), LOST)
                    self.assertRegex(client.reply_at("DOT"), rb"^250 2\.0\.0 queued" + REFERENCE)

        return self.drive(run)

    def test_P_226_at_data(self) -> Deferred:
        """Gone on DATA: 451 4.4.2 without a 354."""

        def script(client: Client, backend: Backend, end: bytes) -> None:
            for octets in (b"", b"35", b"354-go\r\n"):
                backend.once.append((b"^DATA", then(octets, end)))
                self.assertRegex(client.reply_at("DATA"), LOST)

        return self.each(script)

    def test_P_227_in_content(self) -> Deferred:
        """Gone within the content, wherever: the client is read to its end of data, and told 451 4.4.2 once."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                for offset in range(len(CORPUS)):
                    end = GONE[offset % 2]
                    go, gone = threading.Event(), threading.Event()

                    def vanish(
                        connection: Connection, end: bytes = end, go: threading.Event = go, gone: threading.Event = gone
                    ) -> bytes | None:
                        connection.say(b"354 go on")
                        go.wait(15)
                        backend._act(connection, end)
                        connection.sock.close()
                        gone.set()
                        return end

                    backend.once.append((b"^DATA", vanish))
                    self.assertRegex(client.reply_at("DATA"), rb"^354 ")
                    client.send(CORPUS[:offset])
                    gateway.settle()
                    go.set()
                    gone.wait(15)
                    gateway.settle()
                    client.send(CORPUS[offset:] + b".\r\n")
                    self.assertRegex(client.read(), LOST, offset)
                    self.assertRegex(client.say(b"NOOP"), rb"^250 ", offset)
                self.assertEqual(backend.messages, [])
                ended = gateway.told(TransactionEnded)
                self.assertEqual({event.transaction.outcome for event in ended}, {"deferred"})
                self.assertEqual(len(ended), len(CORPUS))
                self.assertRegex(client.reply_at("DOT"), rb"^250 2\.0\.0 queued" + REFERENCE)

        return self.drive(run, limits="junk = 10000")

    def unknown(self, *answers: bytes) -> Deferred:
        """The backend vanishes behind the dot with these octets for an answer."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            count = 0
            for end in GONE:
                for answer in answers:
                    with Client(gateway.port()) as client:
                        client.hello()
                        backend.once.append((b"^DOT", then(answer, end)))
                        recipient = b"b%d@example.net" % count
                        count += 1
                        self.assertRegex(client.reply_at("DOT", recipient), LOST)
                        self.assertRegex(client.say(b"NOOP"), rb"^250 ")
                        self.assertEqual(len(backend.messages), count, "delivered again on our own account")
                        told = gateway.told(TransactionEnded)[-1].transaction
                        self.assertEqual(told.outcome, "unknown")
                        self.assertIs(gateway.told(DeliveryUnknown)[-1].transaction, told)
                        self.assertEqual(told.session.client_ip, "127.0.0.1")
                        self.assertEqual(told.server, f"127.0.0.1:{backend.port}")
                        self.assertEqual(told.sender.raw, b"a@example.org")
                        self.assertEqual([item.path.raw for item in told.recipients], [recipient])
                        self.assertEqual(told.octets, len(b"Subject: x\r\n\r\nhi\r\n"))
                        self.assertGreater(told.end_at, 0)
                        (row,) = [row for row in gateway.store.rows if row.recipient == recipient.decode()]
                        self.assertEqual((row.state, row.transaction_id), (UNKNOWN, told.id))
                        self.assertTrue(row.key)

        return self.drive(run)

    def test_P_228_behind_dot(self) -> Deferred:
        """Gone behind the dot without a reply: 451 4.4.2, the outcome is unknown, and nothing is sent again."""
        return self.unknown(b"")

    def test_P_229_half_reply(self) -> Deferred:
        """An unfinished reply to the dot is no reply."""
        return self.unknown(b"25", b"250-x\r\n", b"250 ok", b"250 ok\r", b"250-x\r\n250 o")

    def test_P_230_behind_reply(self) -> Deferred:
        """A whole 250 stands, though the connection ends right behind it."""

        def script(client: Client, backend: Backend, end: bytes) -> None:
            for _ in range(10):
                backend.once.append((b"^DOT", then(b"250 2.0.0 taken\r\n", end)))
                self.assertRegex(client.reply_at("DOT"), rb"\A250 2\.0\.0 taken" + REFERENCE)

        return self.each(script)

    def test_P_231_pooled(self) -> Deferred:
        """A resting connection that ends as MAIL is written is replaced once, unseen; a fresh one that ends is 451."""

        def script(client: Client, backend: Backend, end: bytes) -> None:
            for pattern in (b"^MAIL", b"^RCPT"):
                self.assertRegex(client.reply_at("DOT"), rb"^250 2\.0\.0 queued")
                backend.once.append((pattern, end))
                links, messages = len(backend.connections), len(backend.messages)
                self.assertRegex(client.reply_at("DOT"), rb"^250 2\.0\.0 queued" + REFERENCE)
                self.assertEqual((len(backend.connections), len(backend.messages)), (links + 1, messages + 1))
                backend.rules = [(pattern, end)]
                links = len(backend.connections)
                self.assertRegex(client.reply_at("RCPT"), LOST)
                self.assertLessEqual(len(backend.connections), links + 1)
                backend.rules = []

        return self.each(script)

    def test_drained(self) -> Deferred:
        """A server that is drained gets no further transaction, of a session that has a link there neither."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            pool = gateway.control.revision.pools["mail"]  # type: ignore[union-attr]
            (server,) = pool.servers
            with Client(gateway.port()) as resting, Client(gateway.port()) as running:
                resting.hello()
                self.assertRegex(resting.reply_at("DOT"), rb"^250 ")
                running.hello()
                self.assertRegex(running.reply_at("DATA"), rb"^354 ")
                gateway.in_reactor(pool.drain, server, "why not")
                running.send(b"Subject: x\r\n\r\nx\r\n.\r\n")
                self.assertRegex(running.read(), rb"\A250 2\.0\.0 queued")
                for client in (resting, running):
                    self.assertRegex(client.reply_at("RCPT"), rb"^451 4\.4\.1 ")
                    self.assertRegex(client.say(b"RSET"), rb"\A250 ")
                self.assertTrue(backend.all_closed())
                self.assertEqual(server.links, 0)
                gateway.in_reactor(pool.ready, server)
                self.assertRegex(resting.reply_at("DOT"), rb"^250 ")
            self.assertEqual(len(backend.messages), 3)

        return self.drive(run)

    def test_P_232_at_quit(self) -> Deferred:
        """What a backend does on QUIT has no effect on the client."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            def silent(connection: Connection) -> None:
                return None

            for action in (DROP, RESET, silent, b"500 what"):
                backend.once.append((b"^QUIT", action))
                with Client(gateway.port()) as client:
                    client.hello()
                    self.assertRegex(client.reply_at("DOT"), rb"^250 2\.0\.0 queued" + REFERENCE)
                    self.assertRegex(client.say(b"QUIT"), rb"\A221 2\.0\.0 [^\r\n]*\r\n\Z")
                    self.assertTrue(client.is_closed())
                backend.all_closed()
            self.assertEqual(len(backend.messages), 4)
            self.assertEqual(backend.once, [])

        return self.drive(run)
