"""PROTOCOL sections 18 and 19: SMTPUTF8, DSN and other parameters, through the running gateway."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred, ensureDeferred

from tests.gateway_kit import GatewayCase, TestGateway
from tests.script_kit import EHLO, REFERENCE, Backend, Client, without_trace

MAIL, RCPT = b"MAIL FROM:<a@example.org>", b"RCPT TO:<b@example.net>"
WITHOUT_UTF8 = tuple(word for word in EHLO if word != "SMTPUTF8")
WITHOUT_DSN = tuple(word for word in EHLO if word != "DSN")
JORAN, JUERGEN = "jöran@example.org".encode(), "jürgen@example.net".encode()


class ParameterCase(GatewayCase):
    """A script with a client behind EHLO."""

    def talk(self, script: Callable[[Client, Backend], None], words: Sequence[str] = EHLO, **config: str) -> Deferred:
        """A script that gets a client behind EHLO and the backend; a message must go through at its end."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                self.ehlo = client.hello()
                backend.commands.clear()
                script(client, backend)
                self.assertRegex(client.reply_at("DOT"), rb"\A250 2\.0\.0 queued" + REFERENCE)

        return self.drive(run, Backend(ehlo=words), **config)

    def each(self, client: Client, reply: bytes, *lines: bytes) -> None:
        """The same reply to each line, RSET and MAIL before each RCPT."""
        for line in lines:
            client.say(b"RSET")
            if line.startswith(b"RCPT"):
                client.say(MAIL)
            pattern = rb"\A" + reply.replace(b".", rb"\.") + b" [^\r\n]*" + (REFERENCE if reply[:1] != b"2" else b"")
            self.assertRegex(client.say(line), pattern, line)


class Utf8Tests(ParameterCase):
    """P-278 to P-285."""

    def test_P_278_forwarded(self) -> Deferred:
        """SMTPUTF8 and UTF-8 addresses reach the backend octet for octet; 8BITMIME is offered too."""

        def script(client: Client, backend: Backend) -> None:
            self.assertRegex(self.ehlo, rb"\r\n250[- ]SMTPUTF8\r\n")
            self.assertRegex(self.ehlo, rb"\r\n250[- ]8BITMIME\r\n")
            lines = [b"MAIL FROM:<" + JORAN + b"> SMTPUTF8 BODY=8BITMIME", b"RCPT TO:<" + JUERGEN + b">"]
            self.assertRegex(client.say(lines[0]), rb"\A250 2\.1\.0 ")
            self.assertRegex(client.say(lines[1]), rb"\A250 2\.1\.5 ")
            self.assertRegex(client.say(b"DATA"), rb"\A354 ")
            content = "From: Jöran <jöran@example.org>\r\nSubject: grüß\r\n\r\nüber\r\n".encode()
            self.assertRegex(client.say(content + b"."), rb"\A250 2\.0\.0 queued" + REFERENCE)
            mail, rcpt = backend.seen(b"^MAIL|^RCPT")
            self.assertEqual(mail.split(b">")[0], lines[0].split(b">")[0])
            self.assertEqual(set(mail.split(b"> ")[1].split()), {b"SMTPUTF8", b"BODY=8BITMIME"})
            self.assertEqual(rcpt, lines[1])
            self.assertEqual(without_trace(backend.messages[0]), content)

        return self.talk(script)

    def test_P_279_not_offered(self) -> Deferred:
        """A backend without SMTPUTF8: it is not offered, and parameter and addresses are refused, never changed."""

        def script(client: Client, backend: Backend) -> None:
            self.assertNotIn(b"SMTPUTF8", self.ehlo)
            self.each(
                client,
                b"550 5.6.7",
                MAIL + b" SMTPUTF8",
                b"MAIL FROM:<" + JORAN + b">",
                b"MAIL FROM:<" + JORAN + b"> SMTPUTF8",
            )
            self.each(client, b"553 5.6.7", b"RCPT TO:<" + JUERGEN + b">")
            self.assertEqual(backend.seen(b"^MAIL|^RCPT"), [])

        return self.talk(script, WITHOUT_UTF8)

    def test_P_280_union(self) -> Deferred:
        """With the union of the backends' words: the recipient whose backend lacks it is 553 5.6.7, others go on."""
        good, bad = Backend(), Backend(ehlo=WITHOUT_UTF8)
        for backend in (good, bad):
            self.addCleanup(backend.close)
        text = self.config(good.port, listener='capability_mode = "union"')
        text = text.replace('["example.net"]', '["example.net", "old.example"]')
        text = text.replace(
            "[[routes]]",
            f"""[backends.old]
servers = ["127.0.0.1:{bad.port}"]
tls = "off"
[[routes]]
recipient = ["old.example"]
backend = "old"
[[routes]]""",
        )

        def run(gateway: TestGateway) -> None:
            old, new = b"RCPT TO:<x@old.example>", b"RCPT TO:<" + JUERGEN + b">"
            for order in ((old, new), (new, old)):
                with Client(gateway.port()) as client:
                    self.assertIn(b"SMTPUTF8", client.hello())
                    client.say(b"MAIL FROM:<" + JORAN + b"> SMTPUTF8")
                    for line in order:
                        expected = rb"\A250 " if line is new else rb"\A(553 5\.6\.7|452 4\.5\.3) [^\r\n]*" + REFERENCE
                        if line is old and order[0] is old:
                            expected = rb"\A553 5\.6\.7 [^\r\n]*" + REFERENCE
                        self.assertRegex(client.say(line), expected)
                    self.assertRegex(client.say(b"DATA"), rb"\A354 ")
                    self.assertRegex(client.say(b"x\r\n."), rb"\A250 ")
            self.assertEqual((len(good.messages), bad.seen(b"^MAIL")), (2, []))

        return self.run_script(text, run)

    def test_P_281_bad_utf8(self) -> Deferred:
        """What is no UTF-8 in a path is 501 5.1.7 or 501 5.1.3."""
        bad = [
            b"\xff",
            b"\xc0\x80",
            b"\xc1\xbf",
            b"\xe0\x80\xaf",
            b"\xed\xa0\x80",
            b"\xed\xb0\x80",
            b"\xc3",
            b"\xe2\x82",
            b"\x80",
            b"\xf4\x90\x80\x80",
            b"\xf8\x88\x80\x80\x80",
        ]

        def script(client: Client, backend: Backend) -> None:
            for octets in bad:
                for path in (b"x" + octets + b"@example.net", b"x@" + octets + b".example.net"):
                    self.each(client, b"501 5.1.7", b"MAIL FROM:<" + path + b"> SMTPUTF8")
                    client.say(b"RSET")
                    client.say(MAIL + b" SMTPUTF8")
                    self.assertRegex(client.say(b"RCPT TO:<" + path + b">"), rb"\A501 5\.1\.3 ", path)
            self.assertEqual(backend.seen(b"^MAIL|^RCPT"), [])

        return self.talk(script, limits="errors = 1000\njunk = 1000")

    def test_P_282_u_label(self) -> Deferred:
        """A domain in U-labels goes on as it was sent, and is routed like its A-labels."""
        other, behind = Backend(), Backend()
        for backend in (other, behind):
            self.addCleanup(backend.close)
        forms = [
            "bücher.example".encode(),
            b"xn--bcher-kva.example",
            "BÜCHER.example".encode(),
            b"XN--BCHER-KVA.example",
        ]

        async def both() -> None:
            for written in ("bücher.example", "xn--bcher-kva.example"):
                text = self.config(other.port).replace('["example.net"]', f'["example.net", "{written}"]')
                text = text.replace(
                    "[[routes]]",
                    f"""[backends.books]
servers = ["127.0.0.1:{behind.port}"]
tls = "off"
[[routes]]
recipient = ["{written}"]
backend = "books"
[[routes]]""",
                )
                await self.run_script(text, run)

        def run(gateway: TestGateway) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                for form in forms:
                    client.say(b"RSET")
                    client.say(MAIL + b" SMTPUTF8")
                    self.assertRegex(client.say(b"RCPT TO:<u@" + form + b">"), rb"\A250 ", form)
                    self.assertEqual(behind.seen(b"^RCPT")[-1:], [b"RCPT TO:<u@" + form + b">"])
            self.assertEqual(other.seen(b"^RCPT"), [])

        return ensureDeferred(both())

    def test_P_283_forms(self) -> Deferred:
        """A value is 501, a repeat is tolerated, RCPT takes none (555), VRFY does (252)."""

        def script(client: Client, backend: Backend) -> None:
            self.each(client, b"501 5.5.4", MAIL + b" SMTPUTF8=1")
            self.each(client, b"250 2.1.0", MAIL + b" SMTPUTF8 SMTPUTF8")
            self.each(client, b"555 5.5.4", RCPT + b" SMTPUTF8")
            self.assertRegex(client.say(b"VRFY x SMTPUTF8"), rb"\A252 2\.\d\.\d ")

        return self.talk(script)

    def test_P_284_headers(self) -> Deferred:
        """UTF-8 in header fields without the parameter is 8-bit content, and goes through."""
        content = "Fröm: x\r\nFrom: Jöran <a@example.org>\r\nSubject: grüß\r\n\r\nüber\r\n".encode()

        def script(client: Client, backend: Backend) -> None:
            for params in (b"", b" BODY=8BITMIME"):
                client.say(MAIL + params)
                client.say(RCPT)
                self.assertRegex(client.say(b"DATA"), rb"\A354 ")
                self.assertRegex(client.say(content + b"."), rb"\A250 2\.0\.0 queued" + REFERENCE)
                self.assertEqual(without_trace(backend.messages[-1]), content)

        return self.talk(script)

    def test_P_285_vrfy(self) -> Deferred:
        """VRFY with a UTF-8 name in the middle of a transaction: an answer, and the transaction is intact."""

        def script(client: Client, backend: Backend) -> None:
            client.say(MAIL)
            for line in (b"VRFY j\xc3\xb6ran", b"VRFY <" + JUERGEN + b">"):
                self.assertRegex(client.say(line), rb"\A(252 2|553 5)\.\d\.\d ")
                self.assertRegex(client.say(RCPT), rb"\A250 ")
            self.assertRegex(client.say(b"DATA"), rb"\A354 ")
            self.assertRegex(client.say(b"x\r\n."), rb"\A250 ")

        return self.talk(script)


class DsnTests(ParameterCase):
    """P-286 to P-292."""

    def test_P_286_forwarded(self) -> Deferred:
        """DSN parameters reach the backend octet for octet, each recipient with its own."""

        def script(client: Client, backend: Backend) -> None:
            self.assertRegex(self.ehlo, rb"\r\n250[- ]DSN\r\n")
            lines = [
                MAIL + b" RET=HDRS ENVID=a+2Bb",
                RCPT + b" NOTIFY=SUCCESS,DELAY ORCPT=rfc822;b+40example.net",
                b"RCPT TO:<c@example.net> NOTIFY=NEVER",
                b"RCPT TO:<d@example.net>",
            ]
            for line in lines:
                self.assertRegex(client.say(line), rb"\A250 ")
            self.assertEqual(backend.seen(b"^MAIL|^RCPT"), lines)

        return self.talk(script)

    def test_P_287_not_offered(self) -> Deferred:
        """Without DSN behind us each of its parameters is 555 5.5.4."""

        def script(client: Client, backend: Backend) -> None:
            self.assertNotIn(b"DSN", self.ehlo)
            self.each(
                client,
                b"555 5.5.4",
                MAIL + b" RET=HDRS",
                MAIL + b" ENVID=a",
                RCPT + b" NOTIFY=NEVER",
                RCPT + b" ORCPT=rfc822;b@example.net",
            )
            self.assertEqual(backend.seen(b"^MAIL|^RCPT"), [])

        return self.talk(script, WITHOUT_DSN)

    def test_P_288_malformed(self) -> Deferred:
        """Malformed DSN parameters are 501 5.5.4."""

        def script(client: Client, backend: Backend) -> None:
            self.each(
                client,
                b"501 5.5.4",
                RCPT + b" NOTIFY=NEVER,SUCCESS",
                RCPT + b" NOTIFY=",
                MAIL + b" RET=BODY",
                MAIL + b" ENVID=" + b"x" * 101,
                MAIL + b" ENVID=a+4",
                RCPT + b" ORCPT=b@example.net",
                MAIL + b" RET=HDRS RET=FULL",
                MAIL + b" ENVID=a ENVID=b",
                RCPT + b" NOTIFY=DELAY NOTIFY=DELAY",
                RCPT + b" ORCPT=rfc822;a ORCPT=rfc822;b",
                RCPT + b" NOTIFY=SUCCESS,",
                RCPT + b" NOTIFY=SOMETIMES",
                MAIL + b" RET",
                MAIL + b" ENVID",
                MAIL + b" ENVID=a+ZZ",
                RCPT + b" ORCPT=rfc822;a+4",
            )
            self.each(client, b"250 2.1.0", MAIL + b" ENVID=" + b"x" * 100, MAIL + b" ret=hdrs")
            self.assertEqual(backend.seen(b"^MAIL|^RCPT"), [])

        return self.talk(script, limits="errors = 100")

    def test_P_289_none_invented(self) -> Deferred:
        """A client that gives no parameters: none goes out."""

        def script(client: Client, backend: Backend) -> None:
            self.assertRegex(client.reply_at("DOT"), rb"\A250 ")
            self.assertEqual(backend.seen(b"^MAIL|^RCPT"), [MAIL, RCPT])

        return self.talk(script)

    def test_P_290_unknown(self) -> Deferred:
        """Parameters that are not known are 555 5.5.4, and the backend sees nothing."""

        def script(client: Client, backend: Backend) -> None:
            self.each(client, b"555 5.5.4", MAIL + b" FOO=BAR", MAIL + b" FOO", RCPT + b" FOO", RCPT + b" FOO=BAR")
            self.assertEqual(backend.seen(b"^MAIL|^RCPT"), [])

        return self.talk(script)

    def test_P_291_grammar(self) -> Deferred:
        """Parameters that are none are 501 5.5.4; further blanks and lower case are fine."""

        def script(client: Client, backend: Backend) -> None:
            self.each(
                client,
                b"501 5.5.4",
                MAIL + b" =x",
                MAIL + b" A==b",
                MAIL + b" A=b=c",
                MAIL + b" -A=b",
                RCPT + b" =x",
                MAIL + b" SIZE=",
            )
            self.each(client, b"250 2.1.0", MAIL + b"  SIZE=10   BODY=8BITMIME", MAIL + b" size=10 body=8bitmime")
            self.assertRegex(client.say(RCPT), rb"\A250 ")
            (line,) = backend.seen(b"^MAIL")
            self.assertRegex(line, rb"(?i)\AMAIL FROM:<a@example\.org>( SIZE=\d+| BODY=8BITMIME){2}\Z")

        return self.talk(script)

    def test_P_292_other_extensions(self) -> Deferred:
        """Parameters of extensions that are not enabled are 555 5.5.4, though the backend offers them."""

        def script(client: Client, backend: Backend) -> None:
            self.each(
                client,
                b"555 5.5.4",
                MAIL + b" BY=120;R",
                MAIL + b" MT-PRIORITY=3",
                MAIL + b" HOLDFOR=60",
                MAIL + b" MTRK=abc",
                MAIL + b" SOLICIT=org.example:ADV",
                RCPT + b" RRVS=2014-04-03T23:01:00Z",
            )
            self.assertEqual(backend.seen(b"^MAIL|^RCPT"), [])

        return self.talk(script, (*EHLO, "DELIVERBY", "MT-PRIORITY", "FUTURERELEASE 600 2030-01-01T00:00:00Z", "RRVS"))
