"""PROTOCOL section 17: LMTP behind us and before us, through the running gateway."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from smtpgate.config.loader import loads
from smtpgate.config.problem import ConfigErrors
from smtpgate.policy.event import DeliveryUnknown, TransactionEnded
from smtpgate.policy.verdict import Finding
from smtpgate.proxy.use import Use
from tests.gateway_kit import GatewayCase, TestGateway
from tests.script_kit import DROP, REFERENCE, Action, Backend, Client, Connection, without_trace

MAIL = b"MAIL FROM:<a@example.org>"
CONTENT = b"From: <a@example.org>\r\nMessage-ID: <1@example.org>\r\nSubject: x\r\n\r\nhi\r\n"
FRONT = 'protocol = "lmtp"'


def rcpt(name: str) -> bytes:
    """RCPT to a local user."""
    return f"RCPT TO:<{name}@example.net>".encode()


def by_recipient(**answers: Action) -> Action:
    """An answer to the end of data that depends on the recipient of this transaction."""

    def answer(connection: Connection) -> bytes:
        line = next(line for line in reversed(connection.commands) if line.startswith(b"RCPT"))
        return answers[line.split(b"<")[1].split(b"@")[0].decode()]  # type: ignore[return-value]

    return answer


class Refuse:
    """A filter that refuses every message at its end."""

    def use(self) -> Use:
        """How a chain uses it."""
        return Use("refuse", self, frozenset({"end"}), frozenset({"mx", "submission"}))

    def transaction(self, transaction: Any) -> Refuse:
        """One object will do."""
        return self

    def end(self) -> Finding:
        """No."""
        return Finding("never", "reject", public="Not wanted")


class LmtpCase(GatewayCase):
    """LMTP on either side."""

    def behind(
        self,
        script: Callable[[TestGateway, Backend], None],
        backend: Backend | None = None,
        *,
        listener: str = "",
        uses: tuple[Use, ...] = (),
        **config: str,
    ) -> Deferred:
        """A script with an LMTP backend, or with the given one."""
        server = backend or Backend(lmtp=True)
        self.addCleanup(server.close)
        word = 'protocol = "lmtp"' if server.lmtp else ""
        text = self.config(server.port, backend=word, listener=listener, **config)
        return self.run_script(text, lambda gateway: script(gateway, server), uses)

    def envelope(self, client: Client, *names: str, mail: bytes = MAIL) -> list[bytes]:
        """MAIL and recipients; the replies to RCPT."""
        self.assertRegex(client.say(mail), rb"\A250 2\.1\.0 ")
        return [client.say(rcpt(name)) for name in names]

    def send(self, client: Client, *names: str, mail: bytes = MAIL, content: bytes = CONTENT) -> bytes:
        """A message; the reply to its end."""
        for reply in self.envelope(client, *names, mail=mail):
            self.assertRegex(reply, rb"\A250 2\.1\.5 ")
        self.assertRegex(client.say(b"DATA"), rb"\A354 ")
        return client.say(content + b".")


class LmtpBackendTests(LmtpCase):
    """P-271, P-272, P-275, P-276."""

    def test_P_271_one_recipient(self) -> Deferred:
        """LHLO is used, one reply is read and relayed."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                self.assertRegex(self.send(client, "b"), rb"\A250 2\.0\.0 queued" + REFERENCE)
                backend.once.append((b"^DOT", b"452 4.2.2 full"))
                self.assertRegex(self.send(client, "c"), rb"\A452 4\.2\.2 full" + REFERENCE)
                self.assertRegex(client.say(b"NOOP"), rb"\A250 ")
            self.assertEqual((backend.seen(b"^EHLO|^HELO"), len(backend.messages)), ([], 2))
            self.assertEqual(set(backend.seen(b"^LHLO")), {b"LHLO gate.example.com"})
            self.assertEqual(without_trace(backend.messages[0]), CONTENT)

        return self.behind(run)

    def test_P_272_same_class(self) -> Deferred:
        """N recipients are N transactions side by side, all before their dot when the first is ended; one reply."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                backend.commands.clear()
                self.assertRegex(self.send(client, "b", "c", "d"), rb"\A250 2\.0\.0 queued" + REFERENCE)
                self.assertEqual([without_trace(message) for message in backend.messages], [CONTENT] * 3)
                self.assertEqual(sorted(backend.seen(b"^RCPT")), [rcpt("b"), rcpt("c"), rcpt("d")])
                self.assertEqual(len(backend.seen(b"^MAIL")), 3)
                steps = [line for line in backend.commands if line in (b"DATA", b"DOT")]
                self.assertEqual(steps, [b"DATA"] * 3 + [b"DOT"] * 3)
                backend.rules = [(b"^DOT", b"550 5.2.1 closed")]
                self.assertRegex(self.send(client, "b", "c", "d"), rb"\A550 5\.2\.1 closed" + REFERENCE)
                backend.rules = [(b"^DOT", b"452 4.2.2 full")]
                self.assertRegex(self.send(client, "b", "c", "d"), rb"\A452 4\.2\.2 full" + REFERENCE)
                self.assertRegex(client.say(b"NOOP"), rb"\A250 ")

        return self.behind(run)

    def test_P_272_mixed(self) -> Deferred:
        """A mix is 451; on the retry the delivered are not sent again, and the refused hear their own 5yz at RCPT."""
        mail = MAIL + b" SIZE=%d" % len(CONTENT)

        def run(gateway: TestGateway, backend: Backend) -> None:
            backend.rules = [(b"^DOT", by_recipient(b=b"250 2.0.0 stored", c=b"550 5.2.1 closed", d=b"452 4.2.2 full"))]
            with Client(gateway.port()) as client:
                client.hello()
                self.assertRegex(self.send(client, "b", "c", "d", mail=mail), rb"\A451 4\.3\.0 [^\r\n]*" + REFERENCE)
                self.assertRegex(client.say(b"NOOP"), rb"\A250 ")
            self.assertEqual(len(backend.messages), 3)
            backend.rules = [(b"^DOT", by_recipient(b=b"250 2.0.0 again", c=b"250 2.0.0 again", d=b"250 2.0.0 stored"))]
            with Client(gateway.port()) as client:
                client.hello()
                replies = self.envelope(client, "b", "c", "d", mail=mail)
                self.assertRegex(replies[0], rb"\A250 2\.1\.5 ")
                self.assertRegex(replies[1], rb"\A550 5\.2\.1 closed" + REFERENCE)
                self.assertRegex(replies[2], rb"\A250 2\.1\.5 ")
                self.assertRegex(client.say(b"DATA"), rb"\A354 ")
                self.assertRegex(client.say(CONTENT + b"."), rb"\A250 2\.0\.0 [^\r\n]*" + REFERENCE)
            self.assertEqual(len(backend.messages), 4)
            (link,) = [link for link in backend.connections if b"DATA" in link.commands][3:]
            self.assertIn(rcpt("d"), link.commands)

        return self.behind(run)

    def test_P_272_mixed_without_size(self) -> Deferred:
        """Without SIZE the refused one shows at the end of data only: alone, so that nobody else is bounced with it."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            backend.rules = [
                (b"^DOT", by_recipient(b=b"250 2.0.0 stored", c=b"550 5.2.1 closed", d=b"250 2.0.0 stored"))
            ]
            for order, first in (("bcd", "bd"), ("cbd", "c")):
                mail = b"MAIL FROM:<%s@example.org>" % order.encode()
                heard: dict[str, bytes] = {}
                with Client(gateway.port()) as client:
                    client.hello()
                    self.assertRegex(self.send(client, *order, mail=mail), rb"\A451 4\.3\.0 ")
                    taken = len(backend.messages)
                    for waiting in (order, [name for name in order if name not in first]):
                        replies = self.envelope(client, *waiting, mail=mail)
                        accepted = [name for name, reply in zip(waiting, replies, strict=True) if reply[:3] == b"250"]
                        self.assertEqual(accepted, list(first) if not heard else list(waiting))
                        self.assertEqual({reply[:9] for reply in replies} - {b"250 2.1.5", b"452 4.5.3"}, set())
                        self.assertRegex(client.say(b"DATA"), rb"\A354 ")
                        heard.update(dict.fromkeys(accepted, client.say(CONTENT + b".")[:3]))
                self.assertEqual(heard, {"b": b"250", "c": b"550", "d": b"250"})
                # The backend got the refused one again, and nobody else's.
                self.assertEqual(len(backend.messages) - taken, 1)

        return self.behind(run)

    def test_P_272_refused_beside_one_who_has_it(self) -> Deferred:
        """Who was deferred at RCPT and is refused at the end of the retry takes nobody along who has the message."""
        mail = MAIL + b" SIZE=%d" % len(CONTENT)

        def run(gateway: TestGateway, backend: Backend) -> None:
            answers = by_recipient(b=b"250 2.0.0 stored", c=b"452 4.2.2 full", d=b"250 2.0.0 stored")
            backend.rules = [(b"^DOT", answers)]
            with Client(gateway.port()) as client:
                client.hello()
                self.assertRegex(self.send(client, "b", "c", "d", mail=mail), rb"\A451 4\.3\.0 ")
                backend.rules = [(b"^DOT", by_recipient(c=b"550 5.2.1 closed"))]
                # One reply for b, c and d: not a refusal, for b and d have it.
                self.assertRegex(self.send(client, "b", "c", "d", mail=mail), rb"\A451 4\.3\.0 ")
                replies = self.envelope(client, "b", "c", "d", mail=mail)
                self.assertEqual([reply[:3] for reply in replies], [b"250", b"550", b"250"])
                self.assertRegex(client.say(b"DATA"), rb"\A354 ")
                self.assertRegex(client.say(CONTENT + b"."), rb"\A250 2\.0\.0 ")
            self.assertEqual(len(backend.messages), 4)

        return self.behind(run)

    def test_P_272_another_message_of_the_same_size(self) -> Deferred:
        """It is not refused for what an earlier one held: it goes to the backend, whose word it is."""
        mail = MAIL + b" SIZE=%d" % len(CONTENT)

        def run(gateway: TestGateway, backend: Backend) -> None:
            backend.rules = [(b"^DOT", by_recipient(b=b"250 2.0.0 stored", c=b"550 5.7.1 content refused"))]
            with Client(gateway.port()) as client:
                client.hello()
                self.assertRegex(self.send(client, "b", "c", mail=mail), rb"\A451 4\.3\.0 ")
                backend.rules = []
                other = CONTENT.replace(b"Subject: ", b"Subjekt: ")
                self.assertNotEqual(other, CONTENT)
                self.assertRegex(self.send(client, "c", mail=mail, content=other), rb"\A250 2\.0\.0 queued")

        return self.behind(run)

    def test_P_272_nobody_waits_for_who_was_not_accepted(self) -> Deferred:
        """The refused one of an earlier try is not accepted now: the others need not go without it."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            backend.rules = [(b"^DOT", by_recipient(b=b"250 2.0.0 stored", c=b"550 5.2.1 closed"))]
            with Client(gateway.port()) as client:
                client.hello()
                self.assertRegex(self.send(client, "b", "c"), rb"\A451 4\.3\.0 ")
                backend.rules = [(b"^" + rcpt("c"), b"452 4.2.2 over quota")]
                replies = self.envelope(client, "c", "b")
                self.assertEqual([reply[:9] for reply in replies], [b"452 4.2.2", b"250 2.1.5"])
                self.assertRegex(client.say(b"DATA"), rb"\A354 ")
                self.assertRegex(client.say(CONTENT + b"."), rb"\A250 2\.0\.0 ")
            self.assertEqual(len(backend.messages), 2)

        return self.behind(run)

    def test_P_275_no_recipient(self) -> Deferred:
        """DATA without an accepted recipient never brings a 354; LMTP on the front says 503 5.5.1."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                client.say(b"LHLO c.example")
                self.assertRegex(self.envelope(client, "b")[0], rb"\A550 5\.1\.1 nobody" + REFERENCE)
                self.assertRegex(client.say(b"DATA"), rb"\A503 5\.5\.1 [^\r\n]*" + REFERENCE)
                client.say(b"RSET")
                self.assertRegex(client.say(b"DATA"), rb"\A503 5\.5\.1 [^\r\n]*" + REFERENCE)
            self.assertEqual(backend.seen(b"^DATA"), [])

        return self.behind(run, Backend([(b"^RCPT", b"550 5.1.1 nobody")], lmtp=True), listener=FRONT)

    def test_P_276_missing_reply(self) -> Deferred:
        """A reply that is missing counts as 451 4.4.2 and unknown; one too many drops the connection."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            backend.rules = [(b"^DOT", by_recipient(b=b"250 2.0.0 stored", c=DROP))]
            with Client(gateway.port()) as client:
                client.hello()
                self.assertRegex(self.send(client, "c"), rb"\A451 4\.4\.2 [^\r\n]*" + REFERENCE)
                self.assertEqual(gateway.told(TransactionEnded)[-1].transaction.outcome, "unknown")
                self.assertEqual(len(gateway.told(DeliveryUnknown)), 1)
                self.assertRegex(self.send(client, "b", "c", content=b"Subject: two\r\n\r\n"), rb"\A451 4\.[34]\.[02] ")
                self.assertEqual(len(gateway.told(DeliveryUnknown)), 2)
                self.assertRegex(client.say(b"NOOP"), rb"\A250 ")
                backend.rules = [(b"^DOT", b"250 2.0.0 one\r\n250 2.0.0 two")]
                self.assertRegex(self.send(client, "e"), rb"\A451 4\.3\.0 [^\r\n]*" + REFERENCE)
                backend.rules = []
                links = len(backend.connections)
                self.assertRegex(self.send(client, "f"), rb"\A250 2\.0\.0 queued" + REFERENCE)
                self.assertEqual(len(backend.connections), links + 1)

        return self.behind(run)


class LmtpFrontTests(LmtpCase):
    """P-273, P-274, P-277."""

    def replies(self, client: Client, count: int) -> list[bytes]:
        """The replies to an end of data; after them the session is in step."""
        replies = [client.read() for _ in range(count)]
        self.assertRegex(client.say(b"NOOP"), rb"\A250 2\.0\.0 Ok\r\n\Z")
        return replies

    def content(self, client: Client, *names: str, octets: bytes = CONTENT + b".\r\n") -> None:
        """A message up to its end of data."""
        for reply in self.envelope(client, *names):
            self.assertRegex(reply, rb"\A250 ")
        self.assertRegex(client.say(b"DATA"), rb"\A354 ")
        client.send(octets)

    def test_P_273_front(self) -> Deferred:
        """EHLO and HELO are 500 5.5.1, LHLO works; a reply for each recipient in order, repeats included."""
        answer = by_recipient(b=b"250 2.0.0 for b", c=b"550 5.2.1 for c", d=b"452 4.2.2 for d")

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port(), greet=False) as client:
                self.assertRegex(client.read(), rb"\A220 gate\.example\.com LMTP")
                for line in (b"EHLO c.example", b"HELO c.example"):
                    self.assertRegex(client.say(line), rb"\A500 5\.5\.1 ")
                self.assertRegex(client.say(MAIL), rb"\A503 5\.5\.1 ")
                self.assertRegex(client.say(b"LHLO c.example"), rb"\A250-gate\.example\.com[^\n]*\r\n(?s:.*)PIPELINING")
                backend.rules = [(b"^DOT", answer)]
                self.content(client, "d", "b", "c", "b")
                expected = [rb"452 4\.2\.2 for d", rb"250 2\.0\.0 for b", rb"550 5\.2\.1 for c", rb"250 2\.0\.0 for b"]
                for reply, pattern in zip(self.replies(client, 4), expected, strict=True):
                    self.assertRegex(reply, rb"\A" + pattern + REFERENCE)
            self.assertRegex(backend.messages[0], rb"with LMTP id")
            text = self.config(25, listener=FRONT).replace("tcp:0:", "tcp:25:")
            self.assertRaises(ConfigErrors, loads, text, "/nowhere/gate.toml")

        return self.behind(run, listener=FRONT)

    def test_P_274_smtp_behind(self) -> Deferred:
        """The one reply of an SMTP backend is said once for each recipient."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                client.say(b"LHLO c.example")
                for said, expected in (
                    (b"250 2.0.0 queued", rb"250 2\.0\.0 queued"),
                    (b"550 5.7.1 no", rb"550 5\.7\.1 no"),
                    (b"452 4.2.2 full", rb"452 4\.2\.2 full"),
                    (DROP, rb"451 4\.4\.2 [^\r\n]*"),
                ):
                    backend.once.append((b"^DOT", said))
                    self.content(client, "b", "c", "b")
                    for reply in self.replies(client, 3):
                        self.assertRegex(reply, rb"\A" + expected + REFERENCE)
            self.assertEqual(len(backend.messages), 4)
            self.assertEqual(backend.seen(b"^LHLO"), [])

        return self.behind(run, Backend(), listener=FRONT)

    def test_P_274_our_refusal(self) -> Deferred:
        """A refusal of our own is said once for each recipient."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                client.say(b"LHLO c.example")
                self.content(client, "b", "c", "b")
                for reply in self.replies(client, 3):
                    self.assertRegex(reply, rb"\A550 5\.7\.1 Not wanted" + REFERENCE)
            self.assertEqual(backend.messages, [])

        return self.behind(run, Backend(), listener=FRONT, uses=(Refuse().use(),))

    def test_P_277_chunks(self) -> Deferred:
        """LMTP by BDAT: one reply for each earlier chunk, and one for each recipient behind LAST."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                client.say(b"LHLO c.example")
                for last in (b"BDAT 4 LAST\r\nhi\r\n", b"BDAT 4\r\nhi\r\nBDAT 0 LAST\r\n"):
                    self.envelope(client, "b", "c", "b")
                    client.send(b"BDAT 14\r\nSubject: x\r\n\r\n")
                    self.assertRegex(client.read(), rb"\A250 2\.\d\.\d ")
                    client.send(last)
                    if b"BDAT 0" in last:
                        self.assertRegex(client.read(), rb"\A250 2\.\d\.\d ")
                    for reply in self.replies(client, 3):
                        self.assertRegex(reply, rb"\A250 2\.0\.0 queued" + REFERENCE)
                    self.assertEqual(without_trace(backend.messages[-1]), b"Subject: x\r\n\r\nhi\r\n")

        def both(kind: bool) -> Deferred:
            return self.behind(run, Backend(lmtp=kind), listener=FRONT)

        return both(False).addCallback(lambda _: both(True))
