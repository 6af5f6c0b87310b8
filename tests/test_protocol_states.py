"""PROTOCOL section 2: the state machine, through the running gateway."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from smtpgate.policy.verdict import Finding
from smtpgate.proxy.use import Use
from tests.gateway_kit import GatewayCase, TestGateway
from tests.script_kit import EHLO, REFERENCE, Backend, Client, without_trace

PLAIN = base64.b64encode(b"\0user\0secret")


class BadWord:
    """A filter that refuses each message with a certain word in it."""

    def __init__(self, word: bytes) -> None:
        self.word = word

    def use(self) -> Use:
        """How a chain uses it."""
        return Use("badword", self, frozenset({"body", "end"}), frozenset({"mx", "submission"}))

    def transaction(self, transaction: Any) -> _Look:
        """A look at one message."""
        return _Look(self.word)


class _Look:
    def __init__(self, word: bytes) -> None:
        self.word = word
        self.seen = b""

    def body(self, chunk: bytes) -> None:
        self.seen += chunk

    def end(self) -> Finding | None:
        return Finding("bad-word", "reject", public="Bad word") if self.word in self.seen else None


class StateTests(GatewayCase):
    """P-038 to P-053."""

    def talk(
        self, script: Callable[[Client, Backend], None], hello: bool = True, goes_on: bool = True, **config: Any
    ) -> Deferred[Any]:
        """A script that gets a client and the backend; afterwards a whole transaction must succeed."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                if hello:
                    client.hello()
                script(client, backend)
                if goes_on:
                    self.complete(client, backend)

        return self.drive(run, **config)

    def complete(self, client: Client, backend: Backend) -> None:
        """One well-formed transaction from the state that a RSET leaves."""
        self.assertRegex(client.say(b"RSET"), rb"^250 2\.0\.0 ")
        self.assertRegex(client.message(b"Subject: last\r\n\r\nlast\r\n"), rb"^250 2\.0\.0 queued" + REFERENCE)
        self.assertEqual(without_trace(backend.messages[-1]), b"Subject: last\r\n\r\nlast\r\n")

    def begin(self, client: Client) -> None:
        """MAIL and one RCPT."""
        self.assertRegex(client.say(b"MAIL FROM:<a@example.org>"), rb"^250 2\.1\.0 ")
        self.assertRegex(client.say(b"RCPT TO:<b@example.net>"), rb"^250 2\.1\.5 ")

    def refused(self, client: Client, *lines: bytes) -> None:
        """503 5.5.1 to each."""
        for line in lines:
            self.assertRegex(client.say(line), rb"^503 5\.5\.1 ", line)

    def test_P_038_mail_before_ehlo(self) -> Deferred[Any]:
        """MAIL before EHLO is 503 5.5.1."""

        def script(client: Client, backend: Backend) -> None:
            self.assertRegex(client.say(b"MAIL FROM:<a@example.org>"), rb"^503 5\.5\.1 [^\r]*[0-9A-V]{26}\r\n")
            self.assertEqual(backend.seen(b"^MAIL"), [])
            client.hello()

        return self.talk(script, hello=False)

    def test_P_039_out_of_order(self) -> Deferred[Any]:
        """RCPT and DATA out of order are 503 5.5.1, and the backend sees no DATA."""

        def script(client: Client, backend: Backend) -> None:
            self.refused(client, b"RCPT TO:<b@example.net>", b"DATA")
            self.assertRegex(client.say(b"MAIL FROM:<a@example.org>"), rb"^250 ")
            self.assertRegex(client.say(b"DATA"), rb"^(503|554) 5\.5\.1 ")
            self.assertEqual(backend.seen(b"^DATA|^RCPT"), [])

        return self.talk(script)

    def test_P_040_second_mail(self) -> Deferred[Any]:
        """A second MAIL is 503 5.5.1, and the first envelope stands."""

        def script(client: Client, backend: Backend) -> None:
            self.begin(client)
            self.refused(client, b"MAIL FROM:<other@example.org>")
            self.assertRegex(client.say(b"DATA"), rb"^354 ")
            self.assertRegex(client.say(b"x\r\n."), rb"^250 2\.0\.0 ")
            self.assertEqual(backend.seen(b"^MAIL|^RCPT"), [b"MAIL FROM:<a@example.org>", b"RCPT TO:<b@example.net>"])

        return self.talk(script)

    def test_P_041_rset(self) -> Deferred[Any]:
        """RSET anywhere is 250 2.0.0, and nothing from before it survives."""

        def script(client: Client, backend: Backend) -> None:
            reset = rb"^250 2\.0\.0 "
            self.assertRegex(client.say(b"RSET"), reset)
            client.hello()
            client.say(b"MAIL FROM:<a1@example.org>")
            self.assertRegex(client.say(b"RSET"), reset)
            self.refused(client, b"RCPT TO:<b1@example.net>")
            self.begin(client)
            self.assertRegex(client.say(b"RSET"), reset)
            self.assertRegex(client.say(b"RSET"), reset)
            self.refused(client, b"DATA")
            self.begin(client)
            client.send(b"BDAT 6\r\nfirst\n")
            self.assertRegex(client.read(), rb"^250 ")
            self.assertRegex(client.say(b"RSET"), reset)
            self.assertEqual(backend.messages, [])
            self.assertRegex(client.message(b"x\r\n", b"a2@example.org", (b"b2@example.net",)), rb"^250 2\.0\.0 ")
            self.assertEqual(len(backend.messages), 1)
            self.assertNotIn(b"first", backend.messages[0])
            (link,) = [link for link in backend.connections if b"RCPT TO:<b2@example.net>" in link.commands]
            last = link.commands[link.commands.index(b"MAIL FROM:<a2@example.org>") :]
            self.assertEqual([line for line in last if line[:4] == b"RCPT"], [b"RCPT TO:<b2@example.net>"])
            self.assert_reset(backend)

        return self.talk(script, hello=False)

    def assert_reset(self, backend: Backend) -> None:
        """On no link does a MAIL follow another without RSET, EHLO or an end of data between."""
        for link in backend.connections:
            is_open = False
            for line in link.commands:
                verb = line[:4].upper()
                if verb == b"MAIL":
                    self.assertFalse(is_open, link.commands)
                    is_open = True
                elif verb in (b"RSET", b"EHLO", b"DATA") or line.upper().endswith(b"LAST"):
                    is_open = False

    def test_P_042_ehlo_resets(self) -> Deferred[Any]:
        """EHLO inside a transaction ends it, here and at the backend."""

        def script(client: Client, backend: Backend) -> None:
            self.begin(client)
            self.assertRegex(client.say(b"EHLO c2.example"), rb"^250-gate\.example\.com\r\n")
            self.refused(client, b"RCPT TO:<c@example.net>")
            self.complete(client, backend)
            self.assert_reset(backend)

        return self.talk(script)

    def test_P_043_failed_ehlo(self) -> Deferred[Any]:
        """A malformed EHLO changes nothing."""

        def script(client: Client, backend: Backend) -> None:
            client.say(b"MAIL FROM:<a@example.org>")
            self.assertRegex(client.say(b"EHLO"), rb"^501 ")
            self.assertRegex(client.say(b"RCPT TO:<b@example.net>"), rb"^250 2\.1\.5 ")
            self.assertRegex(client.say(b"DATA"), rb"^354 ")
            self.assertRegex(client.say(b"x\r\n."), rb"^250 2\.0\.0 ")

        return self.talk(script)

    def test_P_044_after_a_message(self) -> Deferred[Any]:
        """The envelope is gone after an accepted message."""

        def script(client: Client, backend: Backend) -> None:
            self.assertRegex(client.message(), rb"^250 2\.0\.0 ")
            before = len(backend.seen(b"^RCPT|^DATA"))
            self.refused(client, b"RCPT TO:<b@example.net>", b"DATA")
            self.assertEqual(len(backend.seen(b"^RCPT|^DATA")), before)

        return self.talk(script)

    def test_P_045_after_a_refused_message(self) -> Deferred[Any]:
        """The envelope is gone after a refusal by the backend and by a filter."""

        def script(client: Client, backend: Backend) -> None:
            self.assertRegex(client.message(), rb"^550 5\.7\.1 backend" + REFERENCE)
            self.refused(client, b"RCPT TO:<b@example.net>", b"DATA")
            self.assertRegex(client.message(b"Subject: x\r\n\r\nvirus\r\n"), rb"^550 5\.7\.1 Bad word" + REFERENCE)
            self.refused(client, b"RCPT TO:<b@example.net>", b"DATA")
            self.assertEqual(len(backend.messages), 1)

        return self.talk(
            script, backend=Backend(once=[(b"^DOT", b"550 5.7.1 backend")]), uses=[BadWord(b"virus").use()]
        )

    def test_P_046_after_a_refused_chunk(self) -> Deferred[Any]:
        """The envelope is gone after a refused BDAT."""

        def script(client: Client, backend: Backend) -> None:
            for _ in range(2):
                self.begin(client)
                client.send(b"BDAT 7 LAST\r\nvirus\r\n")
                self.assertRegex(client.read(), rb"^55\d 5\.")
                self.refused(client, b"DATA", b"RCPT TO:<b@example.net>")
            self.assertEqual(backend.seen(b"^DATA"), [])

        return self.talk(
            script, backend=Backend(once=[(b"^BDAT", b"554 5.6.0 no chunk")]), uses=[BadWord(b"virus").use()]
        )

    def test_P_047_backend_refuses_mail(self) -> Deferred[Any]:
        """The backend's refusal of MAIL is the answer to RCPT (with AUTH relay to MAIL), of the same class."""

        def at_rcpt(gateway: TestGateway, backend: Backend) -> None:
            for reply in (b"550 5.7.1", b"451 4.7.1", b"452 4.3.1", b"552 5.3.4"):
                backend.once.append((b"^MAIL", reply + b" not you"))
                with Client(gateway.port()) as client:
                    client.hello()
                    self.assertRegex(client.say(b"MAIL FROM:<a@example.org>"), rb"^250 2\.1\.0 ")
                    self.assertRegex(client.say(b"RCPT TO:<b@example.net>"), rb"^" + reply + rb" not you" + REFERENCE)
                    self.assertRegex(client.say(b"DATA"), rb"^(503|554) 5\.5\.1 ")
                    self.complete(client, backend)
            self.assertEqual(len(backend.messages), 4)

        def at_mail(client: Client, backend: Backend) -> None:
            self.assertRegex(client.say(b"AUTH PLAIN " + PLAIN), rb"^235 ")
            for reply in (b"550 5.7.1", b"451 4.7.1", b"452 4.3.1", b"552 5.3.4"):
                backend.once.append((b"^MAIL", reply + b" not you"))
                self.assertRegex(client.say(b"MAIL FROM:<a@example.org>"), rb"^" + reply + rb" not you" + REFERENCE)
                self.refused(client, b"RCPT TO:<b@example.net>")

        async def both() -> None:
            await self.drive(at_rcpt)
            await self.talk(
                at_mail,
                role="submission",
                listener='auth = "relay"\nauth_requires_tls = false',
                backend=Backend(ehlo=(*EHLO, "AUTH PLAIN")),
            )

        return Deferred.fromCoroutine(both())

    def test_P_048_quit_in_a_transaction(self) -> Deferred[Any]:
        """QUIT inside a transaction: 221, closed, the backend let go without DATA or dot."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            for lines in ((), (b"RCPT TO:<b@example.net>",), (b"RCPT TO:<b@example.net>", b"DATA")):
                with Client(gateway.port()) as client:
                    client.hello()
                    client.say(b"MAIL FROM:<a@example.org>")
                    for line in lines:
                        reply = client.say(line)
                    if b"DATA" in lines:
                        self.assertRegex(reply, rb"^451 4\.3\.2 not now" + REFERENCE)
                    self.assertRegex(client.say(b"QUIT"), rb"^221 2\.0\.0 ")
                    self.assertTrue(client.is_closed())
                self.assertTrue(backend.all_closed())
            self.assertEqual(len(backend.seen(b"^DATA")), 1)
            self.assertEqual(backend.seen(b"^DOT"), [])

        return self.drive(run, Backend([(b"^DATA", b"451 4.3.2 not now")]))

    def test_P_049_auth_and_starttls_in_a_transaction(self) -> Deferred[Any]:
        """AUTH and STARTTLS behind MAIL are 503 5.5.1, and the transaction is intact."""

        def script(client: Client, backend: Backend) -> None:
            client.say(b"MAIL FROM:<a@example.org>")
            self.refused(client, b"AUTH PLAIN " + PLAIN, b"STARTTLS")
            self.assertRegex(client.say(b"RCPT TO:<b@example.net>"), rb"^250 2\.1\.5 ")
            self.refused(client, b"AUTH PLAIN " + PLAIN, b"STARTTLS")
            self.assertRegex(client.say(b"DATA"), rb"^354 ")
            self.assertRegex(client.say(b"x\r\n."), rb"^250 2\.0\.0 ")
            self.assertEqual(backend.seen(b"^AUTH|^STARTTLS"), [])

        return self.talk(
            script,
            tls="optional",
            role="submission",
            backend=Backend(ehlo=(*EHLO, "AUTH PLAIN")),
            listener='auth = "relay"\nauth_requires_tls = false\nrelay_from = ["127.0.0.0/8"]\n'
            f'certificates = ["{self.certificate()}"]',
        )

    def test_P_050_helo_withdraws(self) -> Deferred[Any]:
        """HELO behind EHLO withdraws the extensions: a parameter is 555 5.5.4."""

        def script(client: Client, backend: Backend) -> None:
            self.assertRegex(client.say(b"HELO c.example"), rb"^250 gate\.example\.com\r\n$")
            for params in (b"SIZE=10", b"BODY=8BITMIME", b"RET=HDRS"):
                self.assertRegex(client.say(b"MAIL FROM:<a@example.org> " + params), rb"^555 5\.5\.4 ")

        return self.talk(script)

    def test_P_051_hundred_transactions(self) -> Deferred[Any]:
        """A hundred transactions, accepted, refused and reset in turn, never mix."""

        def script(client: Client, backend: Backend) -> None:
            expected, references = [], set()
            for number in range(100):
                name = b"%d" % number
                content = b"Subject: " + name + b"\r\n\r\n" + b"x" * number + b"\r\n"
                backend.once[:] = [(b"^DOT", b"550 5.7.1 no " + name)] if number % 4 == 1 else []
                sender, recipient = b"a" + name + b"@example.org", b"b" + name + b"@example.net"
                if number % 4 == 2:
                    self.assertRegex(client.say(b"MAIL FROM:<" + sender + b">"), rb"^250 ")
                    self.assertRegex(client.say(b"RCPT TO:<" + recipient + b">"), rb"^250 ")
                    self.assertRegex(client.say(b"RSET"), rb"^250 ")
                    continue
                if number % 4 == 3:
                    content += b"virus\r\n"
                reply = client.message(content, sender, (recipient,))
                wanted = {0: rb"^250 2\.0\.0 queued", 1: rb"^550 5\.7\.1 no " + name, 3: rb"^550 5\.7\.1 Bad word"}
                self.assertRegex(reply, wanted[number % 4] + REFERENCE)
                references.add(reply.split()[-1])
                if number % 4 != 3:
                    expected.append(content)
                    self.assertEqual(backend.seen(b"^MAIL")[-1], b"MAIL FROM:<" + sender + b">")
                    self.assertEqual(backend.seen(b"^RCPT")[-1], b"RCPT TO:<" + recipient + b">")
            self.assertEqual([without_trace(message) for message in backend.messages], expected)
            self.assertEqual(len(references), 75)
            self.assert_reset(backend)

        return self.talk(script, uses=[BadWord(b"virus").use()], limits="errors = 1000\njunk = 1000")

    def test_P_052_rset_keeps_the_session(self) -> Deferred[Any]:
        """After RSET the client is still under TLS, logged in, and who XCLIENT said it is."""

        def login(client: Client, backend: Backend) -> None:
            self.assertRegex(client.say(b"STARTTLS"), rb"^220 ")
            client.starttls()
            client.hello()
            self.assertRegex(client.say(b"MAIL FROM:<a@example.org>"), rb"^530 5\.7\.0 ")
            self.assertRegex(client.say(b"AUTH PLAIN " + PLAIN), rb"^235 ")
            self.assertRegex(client.say(b"RSET"), rb"^250 2\.0\.0 ")
            self.begin(client)
            self.assertRegex(client.say(b"RSET"), rb"^250 2\.0\.0 ")
            self.refused(client, b"AUTH PLAIN " + PLAIN, b"STARTTLS")
            self.assertRegex(client.message(), rb"^250 2\.0\.0 ")
            self.assertEqual(len(backend.seen(b"^AUTH")), 1)

        def xclient(client: Client, backend: Backend) -> None:
            self.assertRegex(client.say(b"XCLIENT ADDR=192.0.2.7 NAME=far.example"), rb"^220 ")
            client.hello()
            self.begin(client)
            self.assertRegex(client.say(b"RSET"), rb"^250 2\.0\.0 ")
            self.assertRegex(client.message(), rb"^250 2\.0\.0 ")
            self.assertIn(b"[192.0.2.7]", backend.messages[-1].split(b"\r\n")[0])

        async def both() -> None:
            await self.talk(
                login,
                tls="required",
                role="submission",
                backend=Backend(ehlo=(*EHLO, "AUTH PLAIN")),
                listener=f'auth = "relay"\ncertificates = ["{self.certificate()}"]',
            )
            await self.talk(xclient, listener='xclient_from = ["127.0.0.0/8"]')

        return Deferred.fromCoroutine(both())

    def test_P_053_rset_never_closes(self) -> Deferred[Any]:
        """Repeated RSET between mail never ends the session."""

        def script(client: Client, backend: Backend) -> None:
            for _ in range(99):
                self.assertRegex(client.say(b"RSET"), rb"^250 2\.0\.0 ")

        return self.talk(script)
