"""PROTOCOL section 22: enhanced status codes, and what is told of each transaction, through the running gateway."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from smtpgate.observe.journal import Journal
from smtpgate.policy.event import SessionEnded, TransactionEnded
from smtpgate.smtp import status
from smtpgate.smtp.reply import Reply
from tests.gateway_kit import GatewayCase, TestGateway
from tests.script_kit import DROP, EHLO, REFERENCE, Action, Backend, Client

MAIL, RCPT = b"MAIL FROM:<a@example.org>", b"RCPT TO:<b@example.net>"
CONTENT = b"Subject: topsecretsubject\r\n\r\nwhispered words\r\n"
WITHOUT = tuple(word for word in EHLO if word != "ENHANCEDSTATUSCODES")


class StatusTests(GatewayCase):
    """P-308 to P-310."""

    def test_P_308_list(self) -> None:
        """Each reply in the list of our own has an enhanced code of its class; a 3yz has none."""
        replies = [value for value in vars(status).values() if isinstance(value, Reply)]
        self.assertGreater(len(replies), 50)
        for reply in replies:
            if 300 <= reply.code < 400:
                self.assertEqual(reply.enhanced, "")
            else:
                self.assertRegex(reply.enhanced, rf"\A{reply.code // 100}\.\d{{1,3}}\.\d{{1,3}}\Z", reply)

    def test_P_308_spoken(self) -> Deferred:
        """So it is on the wire, on each line; none on the greeting, on the EHLO list and on 3yz."""

        def check(line: bytes, reply: bytes) -> None:
            for part in reply.split(b"\r\n")[:-1]:
                if line[:4] in (b"EHLO", b"HELO") and part[:1] == b"2" or part[:1] == b"3":
                    self.assertNotRegex(part, rb"\A\d{3}[ -]\d\.\d", line)
                else:
                    self.assertRegex(part, rb"\A([245])\d\d[ -]\1\.\d{1,3}\.\d{1,3} ", line)

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port(), greet=False) as client:
                self.assertNotRegex(client.read(), rb"\A220[ -]\d\.\d")
                for line in (
                    b"MAIL FROM:<a@example.org>",
                    b"HELO c.example",
                    b"EHLO",
                    b"EHLO c.example",
                    b"NOOP",
                    b"RSET",
                    b"VRFY b",
                    b"VRFY",
                    b"HELP",
                    b"FOO",
                    b"",
                    b"EXPN x",
                    b"STARTTLS",
                    b"AUTH PLAIN AGEAYg==",
                    b"RCPT TO:<b@example.net>",
                    b"DATA",
                    b"MAIL FROM:bad",
                    b"MAIL FROM:<a@example.org> FOO=1",
                    b"MAIL FROM:<a@example.org> SIZE=999999999999",
                    MAIL,
                    MAIL,
                    b"RCPT TO:<b@elsewhere.example>",
                    b"RCPT TO:<b",
                    b"DATA",
                    b"DATA x",
                    RCPT,
                    b"RCPT TO:<c@example.net> X=1",
                    b"DATA",
                    b"x\r\n.",
                    b"XCLIENT ADDR=192.0.2.1",
                    b"x" * 3000,
                    b"\x80\x81",
                    b"QUIT",
                ):
                    check(line, client.say(line))
            backend.greeting = DROP
            with Client(gateway.port()) as client:
                client.hello()
                check(RCPT, client.reply_at("RCPT"))

        return self.drive(run, limits="errors = 1000")

    def enhanced(self, client: Client, backend: Backend, said: bytes, expected: bytes) -> None:
        """What the client hears where the backend says this at RCPT, DATA and DOT."""
        stages = ("RCPT", "DOT") if said[:1] == b"2" else ("RCPT", "DATA", "DOT")
        for stage in stages:
            backend.once.append((b"^" + stage.encode(), said))
            reply = client.reply_at(stage)
            self.assertEqual(reply[: len(expected)], expected, (stage, said, reply))
            self.assertRegex(reply[len(expected) :], rb"\A(" + REFERENCE[:-1] + rb")?\r\n\Z|\A" + REFERENCE)

    def test_P_309_missing(self) -> Deferred:
        """A backend that gives no enhanced code gets the generic one; one that is there is not doubled."""
        cases = (
            (b"550 no", b"550 5.0.0 no"),
            (b"451 later", b"451 4.0.0 later"),
            (b"250 fine", b"250 2.0.0 fine"),
            (b"550 5.7.1 no", b"550 5.7.1 no"),
            (b"451 4.7.1 later", b"451 4.7.1 later"),
            (b"250 2.6.0 fine", b"250 2.6.0 fine"),
            (b"550 1.2.3.4 is listed", b"550 5.0.0 1.2.3.4 is listed"),
            (b"550 5.2.3.4 is listed", b"550 5.0.0 5.2.3.4 is listed"),
            (b"550 5.7 is old", b"550 5.0.0 5.7 is old"),
            (b"550 5.7.1234 is odd", b"550 5.0.0 5.7.1234 is odd"),
            (b"550 5.7.1x", b"550 5.0.0 5.7.1x"),
        )

        def run(gateway: TestGateway, backend: Backend) -> None:
            for words in (EHLO, WITHOUT):
                backend.ehlo = list(words)
                with Client(gateway.port()) as client:
                    self.assertIn(b"ENHANCEDSTATUSCODES", client.hello())
                    for said, expected in cases:
                        self.enhanced(client, backend, said, expected)

        return self.drive(run, Backend(ehlo=WITHOUT), limits="errors = 1000\njunk = 1000")

    def test_P_310_contradiction(self) -> Deferred:
        """Where the enhanced code contradicts the reply code, the reply code stands."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                self.enhanced(client, backend, b"550 4.7.1 no", b"550 5.0.0 no")
                self.enhanced(client, backend, b"250 5.0.0 fine", b"250 2.0.0 fine")
                self.enhanced(client, backend, b"451 5.7.1 later", b"451 4.0.0 later")
                self.enhanced(client, backend, b"451 2.0.0 later", b"451 4.0.0 later")

        return self.drive(run, limits="errors = 1000")


class RecordTests(GatewayCase):
    """P-311 to P-313."""

    def journal(self, gateway: TestGateway, level: str = "info", format: str = "json") -> list[str]:
        """The lines of the log for all that was told."""
        path = self.mktemp()
        journal = Journal(format, level, path)
        for event in gateway.events:
            journal.hear(event)
        journal.close()
        with open(path, encoding="ascii", newline="") as file:
            text = file.read()
        self.assertTrue(text.endswith("\n"))
        return text[:-1].split("\n")

    def test_P_311_one_record(self) -> Deferred:
        """One record for each transaction: client, login, backend, envelope, size, codes, times and outcome."""
        login = b"AUTH PLAIN " + base64.b64encode(b"\0user\0hidden-word")

        def at(stage: bytes, action: Action) -> Callable[[Client, Backend], None]:
            def script(client: Client, backend: Backend) -> None:
                backend.once.append((b"^" + stage, action))
                client.reply_at(stage.decode())

            return script

        def leave(client: Client, backend: Backend) -> None:
            client.reply_at("DATA")
            client.send(b"Subject: x\r\n\r\nhalf")
            client.reset()

        def rset(client: Client, backend: Backend) -> None:
            client.reply_at("RCPT")
            client.say(b"RSET")

        cases: list[tuple[Callable[[Client, Backend], Any], str, int | None]] = [
            (lambda client, backend: client.reply_at("DOT"), "delivered", 250),
            (at(b"DOT", b"550 5.7.1 no"), "refused", 550),
            (at(b"DOT", b"451 4.7.1 later"), "deferred", 451),
            (at(b"DATA", b"554 5.7.1 no"), "refused", 554),
            (at(b"DATA", b"451 4.7.1 later"), "deferred", 451),
            (at(b"DOT", DROP), "unknown", 451),
            (leave, "aborted", None),
            (rset, "aborted", None),
        ]

        def run(gateway: TestGateway, backend: Backend) -> None:
            for number, (script, outcome, code) in enumerate(cases):
                with Client(gateway.port()) as client:
                    client.hello()
                    self.assertRegex(client.say(login), rb"\A235 ")
                    script(client, backend)
                self.assertTrue(gateway.idle())
                ended = gateway.told(TransactionEnded)
                self.assertEqual(len(ended), number + 1, outcome)
                told = ended[-1].transaction
                self.assertEqual(told.outcome, outcome, number)
                session = told.session
                self.assertEqual((session.client_ip, session.user, session.mechanism), ("127.0.0.1", "user", "PLAIN"))
                self.assertEqual((told.backend, told.server), ("mail", f"127.0.0.1:{backend.port}"))
                self.assertEqual(told.sender.raw, b"a@example.org")
                self.assertEqual([(one.path.raw, one.reply.code) for one in told.recipients], [(b"b@example.net", 250)])
                self.assertEqual(told.reply.code if told.reply is not None else None, code)
                self.assertRegex(told.id, r"\A[0-9A-V]{26}\.\d+\Z")
                self.assertGreaterEqual(told.ended, told.begun)
                if code is not None and outcome != "unknown" and told.end_at:
                    self.assertEqual(told.octets, len(b"Subject: x\r\n\r\nhi\r\n"))
            lines = self.journal(gateway, "debug")
            self.assertEqual(len([line for line in lines if '"event":"message.done"' in line]), len(cases))
            for line in lines:
                self.assertNotIn("hidden-word", line)
                self.assertNotIn(login.split()[-1].decode(), line)

        return self.drive(
            run,
            Backend(ehlo=(*EHLO, "AUTH PLAIN")),
            role="submission",
            listener='auth = "relay"\nauth_requires_tls = false',
        )

    def test_P_312_escaped(self) -> Deferred:
        """Controls and 8-bit octets of clients and backends are escaped; one event is one line of printable ASCII."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            backend.once += [
                (b"^RCPT", b"550 5.7.1 \x1b[31m\xff\xc3\xa4\x00 no"),
                (b"^DOT", b"250 2.0.0 \x1b[0m\x9b ok\x07"),
            ]
            with Client(gateway.port()) as client:
                client.say(b"EHLO \x1b[31m\xff")
                client.say(b"EHLO c.\"{}'\\u000a,\\n")
                client.say(b'MAIL FROM:<"x\\\x1b"@example.org>')
                client.say("MAIL FROM:<jö\u2028ran@example.org> SMTPUTF8".encode())
                client.say(RCPT)
                client.say("RCPT TO:<grü\u0085ß@example.net>".encode())
                client.say(b"DATA")
                client.say("Subject: a\u2028b\r\nMessage-ID: <\x1b[31m\x0c\u0085@x>\r\n\r\nhi\r\n.".encode())
                client.say(b"\x1b]0;title\x07\xff\r")
                client.say(b"FOO\x00BAR")
                backend.greeting = b"554 \x1b[2J\xff\x00 go away"
            with Client(gateway.port()) as client:
                client.hello()
                client.reply_at("RCPT")
            self.assertTrue(gateway.idle())
            self.assertEqual(len(gateway.told(SessionEnded)), 2)
            for session in (event.session for event in gateway.told(SessionEnded)):
                self.assertRegex(session.helo, r"\A[\x20-\x7e]*\Z")
            for format in ("json", "text"):
                lines = self.journal(gateway, "debug", format)
                for line in lines:
                    self.assertRegex(line, r"\A[\x20-\x7e]+\Z")
                    if format == "json":
                        self.assertIsInstance(json.loads(line)["event"], str)
                self.assertLessEqual(len(lines), len(gateway.events))
                self.assertGreater(len(lines), 3)

        return self.drive(run)

    def test_P_313_no_content(self) -> Deferred:
        """No content in the log, whatever becomes of the message."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            for action in (b"250 2.0.0 ok", b"550 5.7.1 no", b"451 4.7.1 later", DROP):
                backend.once.append((b"^DOT", action))
                with Client(gateway.port()) as client:
                    client.hello()
                    client.message(CONTENT)
            with Client(gateway.port()) as client:
                client.hello()
                client.reply_at("DATA")
                client.send(CONTENT)
                client.reset()
            self.assertTrue(gateway.idle())
            for format in ("json", "text"):
                text = "\n".join(self.journal(gateway, "info", format))
                self.assertIn("a@example.org", text)
                self.assertNotIn("whispered", text)
                self.assertNotIn("topsecretsubject", text)

        return self.drive(run)
