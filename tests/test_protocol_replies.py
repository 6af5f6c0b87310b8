"""PROTOCOL section 12: what a backend may answer, through the running gateway."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable

from twisted.internet.defer import Deferred, ensureDeferred

from smtpgate.policy.event import LinkFailed
from tests.gateway_kit import GatewayCase, TestGateway
from tests.script_kit import DROP, REFERENCE, STALL, Action, Backend, Client, Connection

STAGES = ("MAIL", "RCPT", "DATA", "DOT")


class ReplyTests(GatewayCase):
    """P-203 to P-217."""

    number = 0

    def talk(self, script: Callable[[Backend], None], backend: Backend | None = None, **config: str) -> Deferred:
        """A script that gets the backend; it talks by `at`."""

        def run(gateway: TestGateway, behind: Backend) -> None:
            self.gateway = gateway
            script(behind)

        return self.drive(run, backend, **config)

    def client(self) -> Client:
        """A session of its own, whose first message has a new connection to the backend."""
        client = Client(self.gateway.port())
        client.hello()
        return client

    def at(self, backend: Backend, stage: str, action: Action) -> bytes:
        """The client's reply where the backend does this once at that stage. Every line of it is well formed, the
        session is in step afterwards and the next message goes through."""
        backend.once.append((b"^" + stage.encode(), action))
        messages = len(backend.messages)
        with self.client() as client:
            # A recipient of its own each time: after a lost answer the ledger has what it must look at first.
            self.number += 1
            reply = client.reply_at(stage, b"b%d@example.net" % self.number)
            self.assertEqual(backend.once, [], (stage, reply, backend.commands[-9:]))
            self.well_formed(reply)
            self.assertRegex(client.say(b"NOOP"), rb"^250 2\.0\.0 [^\r\n]*\r\n$", (stage, action))
            self.links = [len(backend.connections)]
            self.assertRegex(client.reply_at("DOT"), rb"^250 2\.0\.0 queued" + REFERENCE, (stage, action))
            self.links.append(len(backend.connections))
        self.assertEqual(len(backend.messages), messages + 1 + (stage == "DOT"))
        return reply

    def well_formed(self, reply: bytes) -> None:
        """CRLF lines of at most 512 octets, all printable."""
        lines = reply.split(b"\r\n")
        self.assertEqual(lines.pop(), b"")
        for line in lines:
            self.assertLessEqual(len(line), 510)
            self.assertRegex(line, rb"\A[2-5][0-9][0-9][ -][\x20-\x7e]*\Z")

    def all_malformed(self, backend: Backend, action: Action, *stages: str) -> None:
        """451 4.3.0 at each stage, and that connection is used no more."""
        for stage in stages or STAGES:
            reply = self.at(backend, stage, action)
            self.assertRegex(reply, rb"\A451 4\.3\.0 [^\r\n]*" + REFERENCE, (stage, action))
            self.assertEqual(self.links[1], self.links[0] + 1, (stage, action))

    def test_P_203_lines(self) -> Deferred:
        """All lines of a reply are relayed, with the right mark and CRLF."""

        def script(backend: Backend) -> None:
            for stage in STAGES:
                reply = self.at(backend, stage, b"550-a\r\n550-b\r\n550 c\r\n")
                self.assertRegex(reply, rb"\A550-5\.0\.0 a\r\n550-5\.0\.0 b\r\n550 5\.0\.0 c" + REFERENCE, stage)

        return self.talk(script)

    def test_P_204_long_line(self) -> Deferred:
        """A reply line of 2000 octets is taken, and cut to 512 for the client."""

        def script(backend: Backend) -> None:
            for stage in STAGES:
                reply = self.at(backend, stage, b"550 5.7.1 " + b"x" * 1988)
                self.assertRegex(reply, rb"\A550[ -]5\.7\.1 xxx", stage)
                self.assertRegex(reply, rb"x" + REFERENCE, stage)
                reply = self.at(backend, stage, b"550-5.7.1 " + b"x" * 1988 + b"\r\n550 5.7.1 end")
                self.assertRegex(reply, rb"\A550-5\.7\.1 x+\r\n(?:.*\r\n)*550 5\.7\.1 end" + REFERENCE, stage)

        return self.talk(script)

    def test_P_205_endless(self) -> Deferred:
        """Endless lines, and a line without end, are cut off with 451 4.3.0; a reply that stops is 451 4.4.2."""

        def endless(piece: bytes) -> Action:
            def write(connection: Connection) -> None:
                while True:
                    connection.sock.sendall(piece)

            return write

        def script(backend: Backend) -> None:
            for piece in (b"250-x\r\n" * 1000, b"250 " + b"x" * 60000):
                self.all_malformed(backend, endless(piece))
            for stage in ("RCPT", "DATA", "DOT"):
                self.assertRegex(self.at(backend, stage, half), rb"\A451 4\.4\.2 [^\r\n]*" + REFERENCE)

        def half(connection: Connection) -> bytes:
            connection.sock.sendall(b"250-2.0.0 so far\r\n250 2.0")
            return STALL

        return self.talk(script, timeouts="backend = 1\ndata_init = 1\ndata_done = 1")

    def test_P_206_two_codes(self) -> Deferred:
        """A reply whose lines disagree is malformed, whichever line one would believe."""

        def script(backend: Backend) -> None:
            for reply in (b"550-no\r\n250 ok\r\n", b"250-ok\r\n550 no\r\n", b"250-ok\r\n251 ok\r\n"):
                self.all_malformed(backend, reply)

        return self.talk(script)

    def test_P_207_bare_codes(self) -> Deferred:
        """A bare code, with or without blank, on one line or two, is a reply."""

        def script(backend: Backend) -> None:
            for reply in (b"250\r\n", b"250-\r\n250\r\n", b"250 \r\n"):
                for stage in ("MAIL", "RCPT", "DOT"):
                    self.assertRegex(self.at(backend, stage, reply), rb"\A250[ -]2\.", (stage, reply))
                self.assertRegex(
                    self.at(backend, "RCPT", b"550" + reply[3:].replace(b"250", b"550")),
                    rb"\A(?:550-5\.0\.0 ?\r\n)?550 5\.0\.0 *" + REFERENCE,
                )

        return self.talk(script)

    def test_P_208_no_replies(self) -> Deferred:
        """What is no SMTP reply is 451 4.3.0 and drops the connection."""

        def script(backend: Backend) -> None:
            for reply in (b"ok", b"25 x", b"2500 x", b"150 x", b"650 x", b"+OK", b"\r\n", b"HTTP/1.1 400"):
                self.all_malformed(backend, reply)

        return self.talk(script)

    def test_P_209_line_ends(self) -> Deferred:
        """Lone LF and CR in a backend's reply never reach the client: it sees CRLF lines only, in its class or 451."""

        def script(backend: Backend) -> None:
            for stage in STAGES:
                for reply in (b"550-one\n550 two\n", b"550 on\re\r\n", b"550-one\r\r\n550 two\r\n"):
                    self.assertRegex(self.at(backend, stage, reply), rb"\A(550[ -]5\.0\.0|451 4\.3\.0) ")

        return self.talk(script)

    def test_P_210_injection(self) -> Deferred:
        """Octets that are not printable are replaced, and text cannot grow into a reply of its own."""

        def script(backend: Backend) -> None:
            for stage in STAGES:
                reply = self.at(backend, stage, b"550 5.7.1 \xc3\xa4\xff\x00\x1b[31m\x07\x7f\x85 no")
                self.assertRegex(reply, rb"\A550 5\.7\.1 [^\r\n]*no" + REFERENCE, stage)
            self.all_malformed(backend, b"550 no\r\n250 ok", "RCPT", "DATA", "DOT")

        return self.talk(script)

    def test_P_211_wrong_kind(self) -> Deferred:
        """A reply of the wrong kind for its command is a protocol error; 250 to DATA is no delivery."""

        def script(backend: Backend) -> None:
            for reply in (b"354 go", b"334 abc", b"235 2.7.0 ok"):
                self.all_malformed(backend, reply, "MAIL", "RCPT")
            self.all_malformed(backend, b"334 abc", "DATA", "DOT")
            self.all_malformed(backend, b"250 2.0.0 ok", "DATA")
            self.all_malformed(backend, b"354 go", "DOT")
            with self.client() as client:
                client.reply_at("RCPT")
                backend.once.append((b"^RSET", b"354 go"))
                links = len(backend.connections)
                self.assertRegex(client.reply_at("DOT"), rb"^250 2\.0\.0 queued")
                self.assertEqual((backend.once, len(backend.connections)), ([], links + 1))

        return self.talk(script)

    def test_P_212_goodbye(self) -> Deferred:
        """421 from the backend is 451 with its text, the session lives, and the next message has a new connection."""

        def script(backend: Backend) -> None:
            for stage in STAGES:
                reply = self.at(backend, stage, b"421 4.3.2 going down")
                self.assertRegex(reply, rb"\A451 4\.\d\.\d going down" + REFERENCE, stage)
                self.assertEqual(self.links[1], self.links[0] + 1, stage)
            # Unasked, behind the reply to RCPT and between two messages.
            with self.client() as client:
                backend.once.append((b"^RCPT", b"250 2.1.5 ok\r\n421 4.3.2 going down"))
                self.assertRegex(client.reply_at("RCPT"), rb"^250 2\.1\.5 |^451 4\.3\.2 going down")
                self.assertRegex(client.say(b"DATA"), rb"^(451 4|554 5)\.\d\.\d ")
                backend.once.append((b"^DOT", b"250 2.0.0 queued\r\n421 4.3.2 going down"))
                self.assertRegex(client.reply_at("DOT"), rb"^250 2\.0\.0 queued" + REFERENCE)
                self.assertRegex(client.reply_at("DOT"), rb"^250 2\.0\.0 queued" + REFERENCE)

        return self.talk(script)

    def test_P_213_rare_codes(self) -> Deferred:
        """Codes that are not in the book count by their first digit, and their class reaches the client."""

        def script(backend: Backend) -> None:
            for stage in ("MAIL", "RCPT", "DOT"):
                self.assertRegex(self.at(backend, stage, b"299 fine"), rb"\A2\d\d 2\.\d\.\d ", stage)
            for stage in STAGES:
                for code in (b"499", b"599", b"555", b"556", b"521"):
                    reply = self.at(backend, stage, code + b" text")
                    self.assertRegex(reply, b"\\A" + code + b" " + code[:1] + rb"\.0\.0 text" + REFERENCE, stage)

        return self.talk(script)

    def test_P_214_replies_in_advance(self) -> Deferred:
        """Replies that come before their commands drop the connection, and no success comes from them."""
        rest = [
            b"220 backend.example.net",
            b"250 PIPELINING",
            b"250 sender",
            b"250 recipient",
            b"354 go",
            b"250 queued",
        ]

        def script(backend: Backend) -> None:
            for number, pattern in ((0, b""), (1, b"^EHLO"), (2, b"^MAIL"), (3, b"^RCPT"), (4, b"^DATA")):
                early = b"\r\n".join(rest[number:]) + b"\r\n"
                greeting = backend.greeting
                with self.client() as client:
                    if pattern:
                        backend.once.append((pattern, early))
                    else:
                        backend.greeting = early
                    replies = [client.say(line) for line in lines]
                    if replies[-1].startswith(b"354"):
                        replies.append(client.say(b"Subject: x\r\n\r\nhi\r\n."))
                    first = next(reply for reply in replies if reply[:1] > b"3")
                    self.assertRegex(first, rb"^451 4\.\d\.\d ", pattern)
                    self.assertRegex(replies[-1], rb"^[45]\d\d ", pattern)
                    self.assertEqual(backend.messages, [])
                backend.greeting = greeting

        lines = (b"MAIL FROM:<a@example.org>", b"RCPT TO:<b@example.net>", b"DATA")
        return self.talk(script)

    def test_P_215_split_replies(self) -> Deferred:
        """Replies in two pieces at every offset, and octet by octet, give the same outcome."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            def pieces(*parts: bytes) -> Action:
                def write(connection: Connection) -> None:
                    for part in parts[:-1]:
                        connection.sock.sendall(part)
                        gateway.settle()
                    connection.sock.sendall(parts[-1])

                return write

            def data(cut: int) -> Action:
                def write(connection: Connection) -> bytes | None:
                    pieces(b"354 go on\r\n"[:cut], b"354 go on\r\n"[cut:])(connection)
                    return None if backend.take_data(connection) else DROP

                return write

            with Client(gateway.port()) as client:
                client.hello()
                good, bad = b"250-2.6.1 one\r\n250 2.6.1 two\r\n", b"550-5.6.1 one\r\n550 5.6.1 two\r\n"
                for cut in (*range(1, len(good)), 0):
                    for stage, reply in ((b"MAIL", good), (b"RCPT", good), (b"DOT", good), (b"RCPT", bad)):
                        parts = (reply[:cut], reply[cut:]) if cut else tuple(bytes((octet,)) for octet in reply)
                        backend.once.append((b"^" + stage, pieces(*parts)))
                    backend.once.append((b"^DATA", data(cut % 10 + 1)))
                    self.assertRegex(client.reply_at("DOT"), rb"\A250-2\.6\.1 one\r\n250 2\.6\.1 two" + REFERENCE, cut)
                    self.assertRegex(client.reply_at("RCPT"), rb"\A550-5\.6\.1 one\r\n550 5\.6\.1 two" + REFERENCE, cut)
                    self.assertEqual(backend.once, [])
                self.assertEqual(len(backend.messages), len(good))

        return self.drive(run)

    def test_P_216_greeting(self) -> Deferred:
        """A backend that greets with a refusal is 451; a slow 220 is waited for, and the budget's end is 451 4.4.1."""
        begun, go = threading.Event(), threading.Event()

        def slow(connection: Connection) -> bytes:
            begun.set()
            go.wait(15)
            return b"220 backend.example.net at last"

        def run(gateway: TestGateway, backend: Backend) -> None:
            self.assertEqual(gateway.settings.timeouts.greeting_s, 2.0)
            with Client(gateway.port()) as client:
                client.hello()
                for greeting in (b"554 no", b"421 later", b"450 later", b"554-no\r\n554 no"):
                    backend.greeting = greeting
                    self.assertRegex(client.reply_at("RCPT"), rb"\A451 4\.(4\.1|3\.2) [^\r\n]*" + REFERENCE)
                backend.greeting = slow
                client.send(b"RSET\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.net>\r\n")
                begun.wait(15)
                go.set()
                self.assertEqual([client.read()[:3] for _ in range(3)], [b"250"] * 3)
                client.say(b"RSET")
            with Client(gateway.port()) as client:
                client.hello()
                backend.greeting = STALL
                self.assertRegex(client.reply_at("RCPT"), rb"\A451 4\.4\.1 [^\r\n]*" + REFERENCE)
                backend.release.set()

        return self.drive(run, timeouts="greeting = 2")

    def test_P_216_next_server(self) -> Deferred:
        """Where one server greets with a refusal, the next of the group takes the mail."""
        first, second = Backend(), Backend()
        for backend in (first, second):
            self.addCleanup(backend.close)

        def run(gateway: TestGateway) -> None:
            for greeting in (b"554 no", b"421 later", b"450 later"):
                first.greeting = greeting
                with Client(gateway.port()) as client:
                    client.hello()
                    self.assertRegex(client.reply_at("DOT"), rb"^250 2\.0\.0 queued" + REFERENCE)
            self.assertEqual((len(first.messages), len(second.messages)), (0, 3))

        text = self.config(first.port, backend='balance = "failover"')
        text = text.replace(f'"127.0.0.1:{first.port}"', f'"127.0.0.1:{first.port}", "127.0.0.1:{second.port}"')
        return self.run_script(text, run)

    def test_P_217_no_internal_names(self) -> Deferred:
        """The client is told nothing of host names and addresses behind us; the events hold them."""

        def run(gateway: TestGateway) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                reply = client.reply_at("RCPT")
                self.assertRegex(reply, rb"\A451 4\.4\.1 [^\r\n]*" + REFERENCE)
                self.assertIsNone(re.search(rb"secret|invalid|127\.0|:1\b", reply))
            (failed,) = {event.server for event in gateway.told(LinkFailed)}
            self.assertIn(server.split(":")[0], failed)

        async def both() -> None:
            nonlocal server
            for server in ("127.0.0.1:1", "mx.secret.invalid:25"):
                text = self.config(1).replace("127.0.0.1:1", server)
                await self.run_script(text, run)

        server = ""
        return ensureDeferred(both())
