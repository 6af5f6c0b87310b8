"""PROTOCOL section 11: several recipients, through the running gateway."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks

from smtpgate.policy.verdict import Finding
from smtpgate.proxy.use import Use
from tests.gateway_kit import GatewayCase, TestGateway
from tests.script_kit import EHLO, REFERENCE, Action, Backend, Client, Connection, without_trace

CONTENT = b"Subject: x\r\n\r\nhi\r\n"


class Picky:
    """A filter that takes no recipient whose local part is `never`."""

    def use(self) -> Use:
        """How a chain uses it."""
        return Use("picky", self, frozenset({"rcpt"}), frozenset({"mx", "submission"}), budget_s=5.0)

    def session(self, session: Any) -> Picky:
        """One object serves all sessions."""
        return self

    def transaction(self, transaction: Any) -> Picky:
        """And all transactions."""
        return self

    def rcpt(self, recipient: Any) -> Finding | None:
        """Refuse `never`."""
        if str(recipient.path).startswith("never@"):
            return Finding("policy", "reject", "not this one")
        return None


class RecipientTests(GatewayCase):
    """P-192 to P-202."""

    def talk(
        self,
        script: Callable[[Client, Backend], Any],
        rules: Sequence[tuple[bytes, Action]] = (),
        once: Sequence[tuple[bytes, Action]] = (),
        **config: Any,
    ) -> Deferred[Any]:
        """A script of one client behind EHLO."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                script(client, backend)

        return self.drive(run, Backend(rules, once=once), **config)

    def two(
        self,
        script: Callable[[Client, Backend, Backend], Any],
        first: Sequence[tuple[bytes, Action]] = (),
        second: Sequence[tuple[bytes, Action]] = (),
        split: str = "fanout",
    ) -> Deferred[Any]:
        """The same before two backends; mail for other.example goes to the second."""
        one, other = Backend(first), Backend(second)
        self.addCleanup(one.close)
        self.addCleanup(other.close)
        text = self.config(one.port, listener=f'split = "{split}"').replace(
            '["example.net"]', '["example.net", "other.example"]'
        )
        text = text.replace(
            "[[routes]]",
            f"""[backends.other]
servers = ["127.0.0.1:{other.port}"]
tls = "off"
[[routes]]
recipient = ["other.example"]
backend = "other"
[[routes]]""",
        )

        def run(gateway: TestGateway) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                script(client, one, other)

        return self.run_script(text, run)

    def mail(self, client: Client, params: bytes = b"") -> None:
        """A sender that is taken."""
        self.assertRegex(client.say(b"MAIL FROM:<a@example.org>" + params), rb"^250 2\.1\.0 ")

    def assertReply(self, reply: bytes, code: bytes) -> None:
        """These codes, and the reference at the end of a refusal."""
        self.assertRegex(
            reply, b"^" + code.replace(b".", rb"\.") + b" [^\r]*" + (REFERENCE if code[:1] in b"45" else rb"\r\n$")
        )

    def finish(self, client: Client, backend: Backend, count: int = 1) -> None:
        """DATA works, and the message is at the backend."""
        self.assertRegex(client.say(b"DATA"), rb"^354 ")
        self.assertRegex(client.say(CONTENT + b"."), rb"^250 2\.0\.0 queued" + REFERENCE)
        self.assertEqual([without_trace(message) for message in backend.messages], [CONTENT] * count)

    def test_P_192_each_its_own(self) -> Deferred[Any]:
        """One taken, one refused, one put off: each reply is the backend's, and the message goes to the first."""

        def script(client: Client, backend: Backend) -> None:
            for is_pipelined in (False, True):
                self.mail(client)
                lines = [b"RCPT TO:<good@example.net>", b"RCPT TO:<bad@example.net>", b"RCPT TO:<later@example.net>"]
                if is_pipelined:
                    client.send(b"\r\n".join(lines) + b"\r\n")
                    replies = [client.read() for _ in lines]
                else:
                    replies = [client.say(line) for line in lines]
                self.assertEqual(replies[0], b"250 2.1.5 recipient ok\r\n")
                self.assertRegex(replies[1], rb"^550 5\.1\.1 nobody of that name" + REFERENCE)
                self.assertRegex(replies[2], rb"^450 4\.2\.1 mailbox busy" + REFERENCE)
                self.finish(client, backend, is_pipelined + 1)
            self.assertEqual(len(backend.seen(b"^RCPT")), 6)

        return self.talk(
            script,
            [(b"^RCPT TO:<bad", b"550 5.1.1 nobody of that name"), (b"^RCPT TO:<later", b"450 4.2.1 mailbox busy")],
        )

    def test_P_193_none_taken(self) -> Deferred[Any]:
        """All refused, or all put off: DATA is 554, and the backend hears none."""

        def script(client: Client, backend: Backend) -> None:
            for name, code in ((b"bad", b"550 5.1.1"), (b"later", b"450 4.2.1")):
                self.mail(client)
                for _ in range(2):
                    self.assertReply(client.say(b"RCPT TO:<" + name + b"@example.net>"), code)
                self.assertReply(client.say(b"DATA"), b"554 5.5.1")
                self.assertRegex(client.say(b"RSET"), rb"^250 2\.0\.0 ")
            self.assertEqual((backend.seen(b"^DATA"), backend.messages), ([], []))
            self.mail(client)
            self.assertReply(client.say(b"RCPT TO:<b@example.net>"), b"250 2.1.5")
            self.finish(client, backend)

        return self.talk(script, [(b"^RCPT TO:<bad", b"550 5.1.1 nobody"), (b"^RCPT TO:<later", b"450 4.2.1 busy")])

    def test_P_194_other_backend(self) -> Deferred[Any]:
        """With `split = "defer"` the first taken recipient picks the backend; one for another comes in another
        transaction. The default goes to both at once (test_fanout)."""

        def script(client: Client, one: Backend, other: Backend) -> None:
            self.mail(client)
            self.assertReply(client.say(b"RCPT TO:<b@example.net>"), b"250 2.1.5")
            self.assertReply(client.say(b"RCPT TO:<c@other.example>"), b"452 4.5.3")
            self.assertReply(client.say(b"RCPT TO:<d@example.net>"), b"250 2.1.5")
            self.assertEqual(other.seen(b"^(MAIL|RCPT)"), [])
            self.finish(client, one)
            self.assertEqual(one.seen(b"^RCPT"), [b"RCPT TO:<b@example.net>", b"RCPT TO:<d@example.net>"])
            self.mail(client)
            self.assertReply(client.say(b"RCPT TO:<c@other.example>"), b"250 2.1.5")
            self.finish(client, other)
            self.assertEqual(len(one.messages), 1)

        return self.two(script, split="defer")

    def test_P_194_limits_tell_it(self) -> Deferred[Any]:
        """EHLO says so beforehand where routes differ by domain."""

        def script(client: Client, one: Backend, other: Backend) -> None:
            self.assertRegex(client.hello(), rb"250[ -]LIMITS [^\r]*RCPTDOMAINMAX=1")

        return self.two(script)

    def test_P_195_moved(self) -> Deferred[Any]:
        """Nothing taken at the first: the transaction moves, with the same sender and parameters."""

        def script(client: Client, one: Backend, other: Backend) -> None:
            self.mail(client, b" BODY=8BITMIME RET=HDRS ENVID=id1")
            self.assertReply(client.say(b"RCPT TO:<bad@example.net>"), b"550 5.1.1")
            self.assertReply(client.say(b"RCPT TO:<c@other.example> NOTIFY=NEVER"), b"250 2.1.5")
            self.assertEqual(one.seen(b"^MAIL"), other.seen(b"^MAIL"))
            self.assertRegex(
                other.seen(b"^MAIL")[0],
                rb"^MAIL FROM:<a@example\.org>(?=.* BODY=8BITMIME)(?=.* RET=HDRS)(?=.* ENVID=id1)",
            )
            self.assertEqual(other.seen(b"^RCPT"), [b"RCPT TO:<c@other.example> NOTIFY=NEVER"])
            self.finish(client, other)
            self.assertEqual((one.messages, one.seen(b"^DATA")), ([], []))
            # The first is at rest, or was left: no transaction stands open there.
            said = [
                line[:4]
                for connection in one.connections
                for line in connection.commands
                if line[:4] in (b"MAIL", b"RSET", b"QUIT")
            ]
            self.assertNotEqual(said[-1], b"MAIL")

        return self.two(script, [(b"^RCPT", b"550 5.1.1 nobody")])

    def test_P_196_sender_refused_late(self) -> Deferred[Any]:
        """The backend refuses the sender: the recipient's reply says so, and others are still tried."""

        def script(client: Client, one: Backend, other: Backend) -> None:
            self.mail(client)
            self.assertRegex(client.say(b"RCPT TO:<b@example.net>"), rb"^550 5\.7\.1 not from you" + REFERENCE)
            self.assertReply(client.say(b"RCPT TO:<c@other.example>"), b"250 2.1.5")
            self.finish(client, other)
            self.assertEqual((one.messages, one.seen(b"^DATA")), ([], []))

        return self.two(script, [(b"^MAIL", b"550 5.7.1 not from you"), (b"^RCPT", b"503 5.5.1 MAIL first")])

    def test_P_196_every_class(self) -> Deferred[Any]:
        """The class of the refused sender reaches each recipient unchanged."""

        def script(client: Client, backend: Backend) -> None:
            for code in (b"550 5.7.1", b"451 4.7.1", b"452 4.3.1", b"552 5.3.4"):
                backend.rules[:] = [(b"^MAIL", code + b" sender no"), (b"^RCPT", b"503 5.5.1 MAIL first")]
                for lines in (1, 3):
                    self.mail(client)
                    client.send(b"RCPT TO:<b@example.net>\r\n" * lines)
                    for _ in range(lines):
                        self.assertReply(client.read(), code)
                    self.assertReply(client.say(b"DATA"), b"554 5.5.1")
                    client.say(b"RSET")
            backend.rules.clear()
            self.mail(client)
            self.assertReply(client.say(b"RCPT TO:<b@example.net>"), b"250 2.1.5")
            self.finish(client, backend)

        return self.talk(script)

    def test_P_197_twice(self) -> Deferred[Any]:
        """The same recipient twice: two commands, two replies, both forwarded."""

        def script(client: Client, backend: Backend) -> None:
            self.mail(client)
            self.assertReply(client.say(b"RCPT TO:<b@example.net>"), b"250 2.1.5")
            self.assertReply(client.say(b"RCPT TO:<b@example.net>"), b"250 2.1.5")
            self.assertEqual(backend.seen(b"^RCPT"), [b"RCPT TO:<b@example.net>"] * 2)
            self.finish(client, backend)

        return self.talk(script)

    def test_P_198_many(self) -> Deferred[Any]:
        """A hundred are always taken; past the limit 452, and those taken stay."""

        def script(client: Client, backend: Backend) -> None:
            for is_pipelined in (False, True):
                backend.commands.clear()
                self.mail(client)
                lines = [b"RCPT TO:<b%d@example.net>\r\n" % number for number in range(125)]
                if is_pipelined:
                    client.send(b"".join(lines))
                    replies = [client.read() for _ in lines]
                else:
                    replies = [client.say(line[:-2]) for line in lines]
                for reply in replies[:120]:
                    self.assertReply(reply, b"250 2.1.5")
                for reply in replies[120:]:
                    self.assertReply(reply, b"452 4.5.3")
                self.assertEqual(len(backend.seen(b"^RCPT")), 120)
                self.finish(client, backend, is_pipelined + 1)

        return self.talk(script, limits="recipients = 120")

    def test_P_198_default(self) -> Deferred[Any]:
        """The limit is a thousand where none is set."""

        def script(client: Client, backend: Backend) -> None:
            self.mail(client)
            client.send(b"".join(b"RCPT TO:<b%d@example.net>\r\n" % number for number in range(1003)))
            codes = [int(client.read()[:3]) for _ in range(1003)]
            self.assertEqual(codes, [250] * 1000 + [452] * 3)
            self.finish(client, backend)

        return self.talk(script)

    def test_P_199_backend_full(self) -> Deferred[Any]:
        """The backend's own 452 at one recipient is relayed; the rest go on."""

        def script(client: Client, backend: Backend) -> None:
            self.mail(client)
            for name, code in ((b"one", b"250 2.1.5"), (b"full", b"452 4.5.3"), (b"two", b"250 2.1.5")):
                self.assertReply(client.say(b"RCPT TO:<" + name + b"@example.net>"), code)
            self.finish(client, backend)

        return self.talk(script, [(b"^RCPT TO:<full", b"452 4.5.3 too many")])

    def test_P_200_refused_by_us(self) -> Deferred[Any]:
        """A recipient that is not ours is refused here; the backend never hears of it, others go on."""

        def script(client: Client, backend: Backend) -> None:
            self.mail(client)
            self.assertReply(client.say(b"RCPT TO:<b@example.net>"), b"250 2.1.5")
            self.assertReply(client.say(b"RCPT TO:<c@elsewhere.example>"), b"550 5.7.1")
            self.assertReply(client.say(b"RCPT TO:<d@example.net>"), b"250 2.1.5")
            self.assertEqual(backend.seen(b"elsewhere"), [])
            self.finish(client, backend)

        return self.talk(script)

    def test_P_200_refused_by_filter(self) -> Deferred[Any]:
        """The same for a filter's refusal, with its own words, also in one packet with others."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                self.mail(client)
                client.send(b"RCPT TO:<b@example.net>\r\nRCPT TO:<never@example.net>\r\nRCPT TO:<d@example.net>\r\n")
                replies = [client.read() for _ in range(3)]
                self.assertEqual([reply[:3] for reply in replies], [b"250", b"550", b"250"])
                self.assertReply(replies[1], b"550 5.7.1")
                self.assertEqual(backend.seen(b"never"), [])
                self.finish(client, backend)

        return self.drive(run, Backend(), [Picky().use()])

    def limits(self, client: Client) -> bytes:
        """What EHLO says of LIMITS."""
        (line,) = (line for line in client.say(b"EHLO c.example.com").split(b"\r\n") if line[4:10] == b"LIMITS")
        return line[11:]

    @inlineCallbacks
    def test_P_293_smallest(self) -> Iterator[Deferred[Any]]:
        """The smaller of each, whosever it is."""

        def said(wanted: bytes) -> Callable[[TestGateway, Backend], None]:
            def run(gateway: TestGateway, backend: Backend) -> None:
                with Client(gateway.port()) as client:
                    self.assertEqual(self.limits(client), wanted)

            return run

        words = (*EHLO, "LIMITS RCPTMAX=5 MAILMAX=7")
        yield self.drive(said(b"MAILMAX=7 RCPTMAX=5"), Backend((), words))
        ours = "recipients = 100\nmessages_per_session = 2"
        yield self.drive(said(b"MAILMAX=2 RCPTMAX=100"), Backend((), (*EHLO, "LIMITS RCPTMAX=500")), limits=ours)

    def test_P_293_by_domain(self) -> Deferred[Any]:
        """Where routes part by recipient, one domain a transaction."""

        def run(client: Client, one: Backend, other: Backend) -> None:
            self.assertIn(b"RCPTDOMAINMAX=1", self.limits(client))

        return self.two(run)

    def test_P_293_exceeded(self) -> Deferred[Any]:
        """Ours: 452 for the recipient too many, 421 for the message too many."""

        def script(client: Client, backend: Backend) -> None:
            self.assertEqual(client.say(b"MAIL FROM:<a@example.org>")[:3], b"250")
            for number in range(100):
                self.assertEqual(client.say(b"RCPT TO:<r%d@example.net>" % number)[:3], b"250")
            self.assertReply(client.say(b"RCPT TO:<more@example.net>"), b"452 4.5.3")
            self.assertEqual(client.say(b"RSET")[:3], b"250")
            self.assertReply(client.say(b"MAIL FROM:<a@example.org>"), b"421 4.7.0")
            self.assertTrue(client.is_closed())

        return self.talk(script, limits="recipients = 100\nmessages_per_session = 1")

    def test_P_293_of_the_backend(self) -> Deferred[Any]:
        """A client that goes on past the backend's MAILMAX gets another link there."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                for _ in range(3):
                    self.assertRegex(client.message(CONTENT), rb"^250 ")
            carriers = [one for one in backend.connections if any(line[:4] == b"MAIL" for line in one.commands)]
            self.assertEqual([sum(line[:4] == b"MAIL" for line in one.commands) for one in carriers], [1, 1, 1])

        return self.drive(run, Backend((), (*EHLO, "LIMITS MAILMAX=1")))

    def test_P_201_forwarding(self) -> Deferred[Any]:
        """251 is relayed and counts as taken, 551 as refused."""

        def forwarded(connection: Connection) -> bytes:
            connection.recipients += 1
            return b"251 2.1.5 will forward to <c@example.com>"

        def script(client: Client, backend: Backend) -> None:
            self.mail(client)
            self.assertRegex(
                client.say(b"RCPT TO:<moved@example.net>"), rb"^551 5\.1\.6 try <new@example\.com>" + REFERENCE
            )
            self.assertReply(client.say(b"DATA"), b"554 5.5.1")
            self.assertEqual(
                client.say(b"RCPT TO:<away@example.net>"), b"251 2.1.5 will forward to <c@example.com>\r\n"
            )
            self.finish(client, backend)

        return self.talk(
            script, [(b"^RCPT TO:<moved", b"551 5.1.6 try <new@example.com>"), (b"^RCPT TO:<away", forwarded)]
        )
