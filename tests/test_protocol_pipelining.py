"""PROTOCOL section 3: pipelining and synchronisation, through the running gateway."""

from __future__ import annotations

import base64
import select
import threading
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import blockingCallFromThread

from smtpgate.net.front import READ_AHEAD
from tests.gateway_kit import GatewayCase, TestGateway
from tests.script_kit import EHLO, PATIENCE_S, REFERENCE, Backend, Client, Connection, without_trace

MAIL = b"MAIL FROM:<a@example.org>\r\n"
ENVELOPE = MAIL + b"RCPT TO:<b@example.net>\r\nRCPT TO:<c@example.net>\r\nDATA\r\n"
CONTENT = b"Subject: x\r\n\r\nhi\r\n"
PLAIN = base64.b64encode(b"\0user\0secret")


class Held:
    """A backend's reply that the script lets go."""

    def __init__(self, reply: bytes) -> None:
        self.reply = reply
        self.asked = threading.Event()
        self.go = threading.Event()

    def __call__(self, connection: Connection) -> bytes:
        self.asked.set()
        self.go.wait(PATIENCE_S)
        return self.reply


class Careful(Backend):
    """A backend that looks, before it answers a command, whether the next one is there already."""

    def __init__(self, **given: Any) -> None:
        self.early: list[bytes] = []
        self.settle: Callable[[], None] = lambda: None
        super().__init__(**given)

    def _rule(self, line: bytes) -> Any:
        for connection in self.connections:
            # Behind QUIT comes the end of the connection.
            if line != b"QUIT" and connection.commands and connection.commands[-1] is line:
                self.settle()
                if connection.buffer or select.select([connection.sock], [], [], 0)[0]:
                    self.early.append(line)
        return super()._rule(line)


class PipeliningTests(GatewayCase):
    """P-054 to P-070."""

    def talk(self, script: Callable[[Client, Backend], None], **config: Any) -> Deferred[Any]:
        """A script that gets a client that has said EHLO, and the backend."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                script(client, backend)

        return self.drive(run, **config)

    def expect(self, client: Client, *patterns: bytes) -> None:
        """So many replies, in that order, and nothing behind them but the answer to one more NOOP."""
        self.each(client, *patterns)
        client.send(b"NOOP\r\n")
        self.each(client, rb"^250 2\.0\.0 Ok\r\n$")

    def each(self, client: Client, *patterns: bytes) -> None:
        """So many replies, in that order."""
        for number, pattern in enumerate(patterns):
            self.assertRegex(client.read(), pattern, f"reply {number}")

    def test_P_054_slow_mail(self) -> Deferred[Any]:
        """Commands in one segment wait for a slow backend: 250 250 250 354, in that order."""
        held = Held(b"250 2.1.0 ok at last")

        def run(gateway: TestGateway, backend: Backend) -> None:
            def mail(connection: Connection) -> bytes:
                connection.has_mail = True
                return held(connection)

            backend.once.append((b"^MAIL", mail))
            with Client(gateway.port()) as client:
                client.hello()
                client.send(ENVELOPE)
                held.asked.wait(PATIENCE_S)
                gateway.settle()
                held.go.set()
                self.each(client, rb"^250 2\.1\.0 ", rb"^250 2\.1\.5 ", rb"^250 2\.1\.5 ", rb"^354 ")
                self.assertRegex(client.say(CONTENT + b"."), rb"^250 2\.0\.0 queued" + REFERENCE)
                self.expect(client)

        return self.drive(run)

    def test_P_055_every_split(self) -> Deferred[Any]:
        """The same replies and the same backend transcript wherever the stream is cut."""
        wanted = [MAIL.strip(), b"RCPT TO:<b@example.net>", b"RCPT TO:<c@example.net>", b"DATA", b"DOT"]

        def run(gateway: TestGateway, backend: Backend) -> None:
            def once(*pieces: bytes) -> None:
                del backend.commands[:]
                with Client(gateway.port()) as client:
                    client.hello()
                    for piece in pieces:
                        client.send(piece)
                        gateway.settle()
                    self.each(client, rb"^250 2\.1\.0 ", rb"^250 2\.1\.5 ", rb"^250 2\.1\.5 ", rb"^354 ")
                    self.assertRegex(client.say(CONTENT + b"."), rb"^250 2\.0\.0 queued" + REFERENCE)
                self.assertEqual(backend.seen(b"^MAIL|^RCPT|^DATA|^DOT"), wanted, pieces)
                self.assertEqual(without_trace(backend.messages[-1]), CONTENT)

            for offset in range(1, len(ENVELOPE)):
                once(ENVELOPE[:offset], ENVELOPE[offset:])
            once(*(ENVELOPE[at : at + 1] for at in range(len(ENVELOPE))))

        return self.drive(run)

    def test_P_056_all_recipients_refused(self) -> Deferred[Any]:
        """Every RCPT refused: DATA is 554 5.5.1, the backend sees none, the session goes on."""

        def script(client: Client, backend: Backend) -> None:
            client.send(ENVELOPE)
            refused = rb"^550 5\.1\.1 nobody" + REFERENCE
            self.expect(client, rb"^250 2\.1\.0 ", refused, refused, rb"^554 5\.5\.1 .*" + REFERENCE[1:])
            self.assertEqual(backend.seen(b"^DATA"), [])
            client.say(b"RSET")
            del backend.rules[:]
            self.assertRegex(client.message(), rb"^250 2\.0\.0 ")

        return self.talk(script, backend=Backend([(b"^RCPT", b"550 5.1.1 nobody")]))

    def test_P_057_mail_refused(self) -> Deferred[Any]:
        """MAIL refused and RCPT, DATA behind it: the backend's code, 503, 503 with an open link; else at the RCPT."""
        once = [(b"^MAIL", b"550 5.7.1 not you")]
        stream = MAIL + b"RCPT TO:<b@example.net>\r\nDATA\r\n"

        def lazy(client: Client, backend: Backend) -> None:
            client.send(stream)
            self.expect(client, rb"^250 2\.1\.0 ", rb"^550 5\.7\.1 not you" + REFERENCE, rb"^(503|554) 5\.5\.1 ")
            self.assertEqual(backend.seen(b"^DATA"), [])

        def pinned(client: Client, backend: Backend) -> None:
            self.assertRegex(client.say(b"AUTH PLAIN " + PLAIN), rb"^235 ")
            client.send(stream)
            self.expect(client, rb"^550 5\.7\.1 not you" + REFERENCE, rb"^503 5\.5\.1 ", rb"^503 5\.5\.1 ")
            self.assertEqual(backend.seen(b"^DATA|^RCPT"), [])

        async def both() -> None:
            await self.talk(lazy, backend=Backend(once=once))
            await self.talk(
                pinned,
                role="submission",
                listener='auth = "relay"\nauth_requires_tls = false',
                backend=Backend(once=once, ehlo=(*EHLO, "AUTH PLAIN")),
            )

        return Deferred.fromCoroutine(both())

    def test_P_058_backend_takes_data_for_nobody(self) -> Deferred[Any]:
        """A backend that refused every RCPT and would answer 354 gets no content; the client gets 554."""

        def script(client: Client, backend: Backend) -> None:
            client.send(ENVELOPE)
            self.expect(client, rb"^250 ", rb"^550 5\.1\.1 ", rb"^550 5\.1\.1 ", rb"^554 5\.5\.1 ")
            client.say(b"QUIT")
            self.assertTrue(backend.all_closed())
            self.assertEqual(backend.seen(b"^(?!EHLO|MAIL|RCPT|RSET|QUIT|DATA$|\\.$)"), [])

        return self.talk(script, backend=Backend([(b"^RCPT", b"550 5.1.1 nobody"), (b"^DATA", b"354 go on")]))

    def test_P_059_quit_behind_the_dot(self) -> Deferred[Any]:
        """QUIT behind the dot: the backend's final reply, then 221, then closed; a second QUIT does no harm."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            for tail in (b"QUIT\r\n", b"QUIT\r\nQUIT\r\n"):
                held = Held(b"250 2.0.0 queued late")
                backend.once.append((b"^DOT", held))
                with Client(gateway.port()) as client:
                    client.hello()
                    client.send(ENVELOPE)
                    self.each(client, rb"^250 ", rb"^250 ", rb"^250 ", rb"^354 ")
                    client.send(CONTENT + b".\r\n" + tail)
                    held.asked.wait(PATIENCE_S)
                    gateway.settle()
                    held.go.set()
                    self.each(client, rb"^250 2\.0\.0 queued late" + REFERENCE, rb"^221 2\.0\.0 ")
                    self.assertTrue(client.is_closed())

        return self.drive(run)

    def test_P_060_next_message_waits(self) -> Deferred[Any]:
        """A second MAIL behind the dot waits for the first verdict, and the backend sees it only then."""
        held = Held(b"250 2.0.0 first")

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                client.send(ENVELOPE)
                self.each(client, rb"^250 ", rb"^250 ", rb"^250 ", rb"^354 ")
                client.send(CONTENT + b".\r\nMAIL FROM:<second@example.org>\r\nRCPT TO:<b@example.net>\r\n")
                held.asked.wait(PATIENCE_S)
                gateway.settle()
                self.assertEqual(backend.seen(b"^MAIL"), [MAIL.strip()])
                held.go.set()
                self.expect(client, rb"^250 2\.0\.0 first" + REFERENCE, rb"^250 2\.1\.0 ", rb"^250 2\.1\.5 ")
                self.assertEqual(backend.seen(b"^MAIL|^DOT"), [MAIL.strip(), b"DOT", b"MAIL FROM:<second@example.org>"])

        return self.drive(run, Backend(once=[(b"^DOT", held)]))

    def test_P_061_mail_behind_quit(self) -> Deferred[Any]:
        """Nothing behind QUIT is answered."""

        def script(client: Client, backend: Backend) -> None:
            client.send(b"QUIT\r\nMAIL FROM:<x@example.org>\r\n")
            self.each(client, rb"^221 2\.0\.0 ")
            self.assertTrue(client.is_closed())
            self.assertEqual(backend.seen(b"^MAIL"), [])

        return self.talk(script)

    def test_P_062_content_behind_data(self) -> Deferred[Any]:
        """Content behind DATA in one segment: 554 5.5.0 and closed, or content with strict_sync off; never commands."""
        content = b"Subject: x\r\n\r\nNOOP\r\nRSET\r\n"

        def strict(client: Client, backend: Backend) -> None:
            client.say(MAIL.strip())
            client.say(b"RCPT TO:<b@example.net>")
            client.send(b"DATA\r\n" + content + b".\r\n")
            self.each(client, rb"^554 5\.5\.0 .*" + REFERENCE[1:])
            self.assertTrue(client.is_closed())
            self.assertTrue(backend.all_closed())
            self.assertEqual(backend.messages, [])

        def loose(client: Client, backend: Backend) -> None:
            client.say(MAIL.strip())
            client.say(b"RCPT TO:<b@example.net>")
            client.send(b"DATA\r\n" + content + b".\r\n")
            self.expect(client, rb"^354 ", rb"^250 2\.0\.0 queued" + REFERENCE)
            self.assertEqual(without_trace(backend.messages[-1]), content)

        async def both() -> None:
            await self.talk(strict)
            await self.talk(loose, listener="strict_sync = false")

        return Deferred.fromCoroutine(both())

    def test_P_063_behind_ehlo(self) -> Deferred[Any]:
        """Commands behind EHLO in one segment are answered in order."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                client.send(b"EHLO c.example\r\nQUIT\r\n")
                self.each(client, rb"^250-gate\.example\.com\r\n", rb"^221 2\.0\.0 ")
                self.assertTrue(client.is_closed())
            with Client(gateway.port()) as client:
                client.send(b"EHLO c.example\r\n" + MAIL)
                self.expect(client, rb"^250-gate\.example\.com\r\n", rb"^250 2\.1\.0 ")

        return self.drive(run, role="submission", listener='relay_from = ["127.0.0.0/8"]')

    def test_P_064_no_reply_is_held_back(self) -> Deferred[Any]:
        """Replies come without further input."""

        def script(client: Client, backend: Backend) -> None:
            client.send(MAIL + b"RCPT TO:<b@example.net>\r\n")
            self.each(client, rb"^250 2\.1\.0 ", rb"^250 2\.1\.5 ")

        return self.talk(script)

    def test_P_065_failure_keeps_the_queue(self) -> Deferred[Any]:
        """A failed command never throws away what is queued behind it."""

        def script(client: Client, backend: Backend) -> None:
            client.send(b"BADCMD\r\nNOOP\r\n")
            self.expect(client, rb"^500 5\.5\.1 ", rb"^250 2\.0\.0 ")

        return self.talk(script)

    def test_P_066_rset_in_the_stream(self) -> Deferred[Any]:
        """An envelope, RSET and another in one segment: only the second is delivered."""

        def script(client: Client, backend: Backend) -> None:
            client.send(
                MAIL + b"RCPT TO:<b@example.net>\r\nRSET\r\nMAIL FROM:<a2@example.org>\r\n"
                b"RCPT TO:<b2@example.net>\r\nDATA\r\n"
            )
            self.each(
                client,
                rb"^250 2\.1\.0 ",
                rb"^250 2\.1\.5 ",
                rb"^250 2\.0\.0 ",
                rb"^250 2\.1\.0 ",
                rb"^250 2\.1\.5 ",
                rb"^354 ",
            )
            client.send(CONTENT + b".\r\n")
            self.expect(client, rb"^250 2\.0\.0 queued" + REFERENCE)
            (link,) = [link for link in backend.connections if b"DATA" in link.commands]
            last = link.commands[link.commands.index(b"MAIL FROM:<a2@example.org>") :]
            self.assertEqual(last[:3], [b"MAIL FROM:<a2@example.org>", b"RCPT TO:<b2@example.net>", b"DATA"])
            before = link.commands[: link.commands.index(b"MAIL FROM:<a2@example.org>")]
            self.assertTrue(b"RSET" in before or MAIL.strip() not in before, link.commands)

        return self.talk(script)

    def test_P_067_client_that_does_not_read(self) -> Deferred[Any]:
        """Ten thousand RCPT of a client that does not read: the gateway stops reading, and goes on when it reads."""
        count = 10_000
        filler = b"b" * 180

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                self.assertRegex(client.say(MAIL.strip()), rb"^250 ")
                stream = b"".join(b"RCPT TO:<%s%d@example.net>\r\n" % (filler, number) for number in range(count))
                sender = threading.Thread(target=client.send, args=(stream,), daemon=True)
                sender.start()
                sizes = []
                for _ in range(50):
                    gateway.settle()
                    (session,) = gateway.control.reception.sessions.values()
                    sizes.append(blockingCallFromThread(reactor, lambda: session.front.wire.buffered))
                self.assertLessEqual(max(sizes), READ_AHEAD * 5)
                replies = [client.read()[:10] for _ in range(count)]
                sender.join(PATIENCE_S)
                self.assertEqual(replies[:1000], [b"250 2.1.5 "] * 1000)
                self.assertEqual(replies[1000:], [b"452 4.5.3 "] * (count - 1000))
                self.expect(client)

        return self.drive(run)

    def test_P_068_backend_without_pipelining(self) -> Deferred[Any]:
        """A backend without PIPELINING sees each command only after its reply to the one before."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            assert isinstance(backend, Careful)
            backend.settle = gateway.settle
            with Client(gateway.port()) as client:
                client.hello()
                client.send(ENVELOPE)
                self.each(client, rb"^250 ", rb"^250 ", rb"^250 ", rb"^354 ")
                client.send(CONTENT + b".\r\n")
                self.expect(client, rb"^250 2\.0\.0 queued" + REFERENCE)
            self.assertEqual(backend.early, [])
            self.assertEqual(
                backend.seen(b"^RCPT|^DATA"), [b"RCPT TO:<b@example.net>", b"RCPT TO:<c@example.net>", b"DATA"]
            )

        return self.drive(run, Careful(ehlo=("SIZE 50000000", "8BITMIME")))

    def test_P_069_one_of_three_refused(self) -> Deferred[Any]:
        """Each status is mapped to its own RCPT, and DATA goes out only behind an accepted one."""
        held = Held(b"550 5.1.1 nobody")

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                client.send(
                    MAIL + b"RCPT TO:<b1@example.net>\r\nRCPT TO:<b2@example.net>\r\n"
                    b"RCPT TO:<b3@example.net>\r\nDATA\r\n"
                )
                held.asked.wait(PATIENCE_S)
                gateway.settle()
                (link,) = [link for link in backend.connections if MAIL.strip() in link.commands]
                self.assertNotIn(b"DATA", link.buffer)
                held.go.set()
                self.each(
                    client,
                    rb"^250 2\.1\.0 ",
                    rb"^250 2\.1\.5 ",
                    rb"^550 5\.1\.1 nobody" + REFERENCE,
                    rb"^250 2\.1\.5 ",
                    rb"^354 ",
                )
                client.send(CONTENT + b".\r\n")
                self.expect(client, rb"^250 2\.0\.0 queued" + REFERENCE)
                self.assertEqual(len(backend.messages), 1)

        return self.drive(run, Backend(once=[(b"^RCPT TO:<b2@", held)]))

    def test_P_070_extra_reply(self) -> Deferred[Any]:
        """A reply that nothing asked for: the link is dropped, 451 4.3.0, and no later command gets it."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            extra = b"\r\n250 2.0.0 unasked"

            def mail(connection: Connection) -> bytes:
                connection.has_mail = True
                return b"250 2.1.0 ok" + extra

            def rcpt(connection: Connection) -> bytes:
                connection.recipients += 1
                return b"250 2.1.5 ok" + extra

            for pattern, action in ((b"^MAIL", mail), (b"^RCPT", rcpt), (b"^RSET|^DATA", b"451 4.3.0 x" + extra)):
                backend.once[:] = [(pattern, action)]
                with Client(gateway.port()) as client:
                    client.hello()
                    client.say(MAIL.strip())
                    replies = [client.say(b"RCPT TO:<b@example.net>"), client.say(b"DATA")]
                    self.assertTrue(any(reply[:10] == b"451 4.3.0 " for reply in replies), (pattern, replies))
                    self.assertEqual(backend.messages, [])
                    client.say(b"RSET")
                    links = len(backend.connections)
                    self.assertRegex(client.message(), rb"^250 2\.0\.0 queued" + REFERENCE)
                    self.assertEqual(len(backend.connections), links + 1, pattern)
                    del backend.messages[:]
            backend.once[:] = [(b"^DOT", b"250 2.0.0 mine" + extra)]
            with Client(gateway.port()) as client:
                client.hello()
                self.assertRegex(client.message(), rb"^451 4\.3\.0 .*" + REFERENCE[1:])
                links = len(backend.connections)
                self.assertRegex(client.message(), rb"^250 2\.0\.0 queued" + REFERENCE)
                self.assertEqual(len(backend.connections), links + 1)

        return self.drive(run, Backend(ehlo=("SIZE 50000000", "8BITMIME")))
