"""PROTOCOL section 1: connection opening and command syntax, through the running gateway."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred

from smtpgate.policy.verdict import Finding
from smtpgate.proxy.use import Use
from tests.gateway_kit import GatewayCase, TestGateway
from tests.script_kit import Backend, Client

#: A submission listener that the loopback may use without a login.
OPEN = 'relay_from = ["127.0.0.0/8"]'
MANY_ERRORS = "errors = 10000\njunk = 10000"


class Doorkeeper:
    """A filter with a word on every new connection: it waits for `release`, then gives `finding`."""

    def __init__(self, finding: Finding | None = None) -> None:
        self.finding = finding
        self.waiting: list[Deferred[Any]] = []
        self.is_held = False

    def use(self) -> Use:
        """How a chain uses it."""
        return Use("doorkeeper", self, frozenset({"connect"}), frozenset({"mx", "submission"}), budget_s=20.0)

    def session(self, session: Any) -> Doorkeeper:
        """One object serves all sessions."""
        return self

    def connect(self) -> Any:
        """Held back until `release`."""
        if not self.is_held:
            return self.finding
        deferred: Deferred[Any] = Deferred()
        self.waiting.append(deferred)
        return deferred

    def release(self) -> None:
        """From a script's thread: let everybody in who waits."""

        def go() -> None:
            waiting, self.waiting = self.waiting, []
            for deferred in waiting:
                deferred.callback(self.finding)

        reactor.callFromThread(go)


class OpeningTests(GatewayCase):
    """P-001 to P-037."""

    def talk(self, script: Callable[[Client, Backend], None], **config: Any) -> Deferred[Any]:
        """A script that gets a client and the backend."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                script(client, backend)

        return self.drive(run, **config)

    def alive(self, client: Client) -> None:
        """The session goes on."""
        self.assertRegex(client.say(b"NOOP"), rb"^250 2\.0\.0 ")

    def test_P_001_greeting(self) -> Deferred[Any]:
        """One 220 with our own name first and no enhanced code."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port(), greet=False) as client:
                self.assertRegex(client.read(), rb"^220 gate\.example\.com ESMTP\r\n$")

        return self.drive(run, Backend(greeting=b"220 secret.internal very old server"))

    def test_P_002_early_talker(self) -> Deferred[Any]:
        """Octets before the greeting: 554 and closed on mx, answered in order behind the 220 on submission."""
        keeper = Doorkeeper()
        keeper.is_held = True

        def early(gateway: TestGateway) -> Client:
            client = Client(gateway.port(), greet=False)
            self.addCleanup(client.close)
            client.send(b"EHLO c.example\r\n")
            gateway.settle()
            keeper.release()
            return client

        def refused(gateway: TestGateway, backend: Backend) -> None:
            before = len(backend.connections)
            client = early(gateway)
            self.assertRegex(client.read(), rb"^554 5\.5\.0 ")
            self.assertTrue(client.is_closed())
            self.assertEqual(len(backend.connections), before)

        def queued(gateway: TestGateway, backend: Backend) -> None:
            client = early(gateway)
            self.assertRegex(client.read(), rb"^220 gate\.example\.com ESMTP\r\n$")
            self.assertRegex(client.read(), rb"^250-gate\.example\.com\r\n")
            self.alive(client)

        async def both() -> None:
            await self.drive(refused, uses=[keeper.use()])
            await self.drive(queued, uses=[keeper.use()], role="submission", listener=OPEN)
            await self.drive(queued, uses=[keeper.use()], listener='early_talker = "queue"')

        return Deferred.fromCoroutine(both())

    def test_P_003_bad_address(self) -> Deferred[Any]:
        """A client refused at the door: 554, then 503 to all but QUIT, and nothing of it at the backend."""
        keeper = Doorkeeper(Finding("listed", "reject", public="You are listed"))

        def run(gateway: TestGateway, backend: Backend) -> None:
            before = len(backend.connections)
            with Client(gateway.port(), greet=False) as client:
                self.assertRegex(client.read(), rb"^554 5\.7\.1 You are listed")
                for line in (b"EHLO c.example", b"MAIL FROM:<a@example.org>", b"FOO"):
                    self.assertRegex(client.say(line), rb"^503 5\.5\.1 ")
                self.assertRegex(client.say(b"QUIT"), rb"^221 2\.0\.0 ")
                self.assertTrue(client.is_closed())
            self.assertEqual(len(backend.connections), before)

        return self.drive(run, uses=[keeper.use()])

    def test_P_004_quit_first(self) -> Deferred[Any]:
        """QUIT at once: 221, closed, and the backend never heard MAIL."""

        def script(client: Client, backend: Backend) -> None:
            self.assertRegex(client.say(b"QUIT"), rb"^221 2\.0\.0 ")
            self.assertTrue(client.is_closed())
            self.assertEqual(backend.seen(b"^MAIL"), [])
            self.assertTrue(backend.all_closed())

        return self.talk(script)

    def test_P_005_case(self) -> Deferred[Any]:
        """Verbs in any case; the local part's case reaches the backend."""

        def script(client: Client, backend: Backend) -> None:
            self.assertRegex(client.say(b"sTaRtTlS"), rb"^503 5\.5\.1 ")
            client.say(b"eHlO c.example")
            self.assertRegex(client.say(b"StArTtLs"), rb"^220 ")
            client.starttls()
            client.say(b"eHlO c.example")
            self.assertTrue(client.say(b"mAiL fRoM:<A.b@example.org>").startswith(b"250"))
            self.assertTrue(client.say(b"rCpT tO:<Bo.B@example.net>").startswith(b"250"))
            self.assertTrue(client.say(b"dAtA").startswith(b"354"))
            self.assertTrue(client.say(b"x\r\n.").startswith(b"250"))
            self.assertEqual(backend.seen(b"^MAIL"), [b"MAIL FROM:<A.b@example.org>"])
            self.assertEqual(backend.seen(b"^RCPT"), [b"RCPT TO:<Bo.B@example.net>"])
            client.say(b"MAIL FROM:<A.b@example.org>")
            client.say(b"RCPT TO:<Bo.B@example.net>")
            client.send(b"bDaT 3 lAsT\r\nx\r\n")
            self.assertTrue(client.read().startswith(b"250 2.0.0 "))
            self.assertEqual(len(backend.messages), 2)

        return self.talk(script, tls="optional", listener=f'certificates = ["{self.certificate()}"]')

    def test_P_006_trailing_blanks(self) -> Deferred[Any]:
        """Blanks at the end of a line are not there, and do not go on."""

        def script(client: Client, backend: Backend) -> None:
            client.hello()
            self.assertRegex(client.say(b"NOOP  "), rb"^250 2\.0\.0 ")
            self.assertRegex(client.say(b"RSET "), rb"^250 2\.0\.0 ")
            self.assertRegex(client.say(b"MAIL FROM:<a@example.org> "), rb"^250 2\.1\.0 ")
            self.assertRegex(client.say(b"RCPT TO:<b@example.net> \t"), rb"^250 2\.1\.5 ")
            self.assertRegex(client.say(b"DATA \t"), rb"^354 ")
            self.assertRegex(client.say(b"x\r\n."), rb"^250 2\.0\.0 ")
            self.assertEqual([line for line in backend.commands if line != line.rstrip()], [])

        return self.talk(script)

    def test_P_007_leading_blanks(self) -> Deferred[Any]:
        """A blank before a verb: one 500 5.5.2 each, whatever the verb."""

        def script(client: Client, backend: Backend) -> None:
            for line in (b" NOOP", b"\tEHLO c.example", b" MAIL FROM:<a@example.org>", b" QUIT"):
                self.assertRegex(client.say(line), rb"^500 5\.5\.2 ")
            self.alive(client)

        return self.talk(script)

    def test_P_008_blank_before_path(self) -> Deferred[Any]:
        """A blank behind the colon is tolerated and does not go on; with strict_paths it is 501 5.5.4."""

        def loose(client: Client, backend: Backend) -> None:
            client.hello()
            self.assertRegex(client.say(b"MAIL FROM: <a@example.org>"), rb"^250 2\.1\.0 ")
            self.assertRegex(client.say(b"RCPT TO: <b@example.net>"), rb"^250 2\.1\.5 ")
            self.assertEqual(backend.seen(b"^MAIL|^RCPT"), [b"MAIL FROM:<a@example.org>", b"RCPT TO:<b@example.net>"])

        def strict(client: Client, backend: Backend) -> None:
            client.hello()
            self.assertRegex(client.say(b"MAIL FROM: <a@example.org>"), rb"^501 5\.5\.4 ")
            self.assertRegex(client.say(b"MAIL FROM:<a@example.org>"), rb"^250 ")
            self.assertRegex(client.say(b"RCPT TO: <b@example.net>"), rb"^501 5\.5\.4 ")
            self.assertEqual(backend.seen(b"^MAIL|^RCPT"), [])

        async def both() -> None:
            await self.talk(loose)
            await self.talk(strict, listener="strict_paths = true")

        return Deferred.fromCoroutine(both())

    def test_P_009_malformed_keyword(self) -> Deferred[Any]:
        """MAIL without a proper FROM: is 501 5.5.4 and opens no transaction."""

        def script(client: Client, backend: Backend) -> None:
            client.hello()
            for line in (
                b"MAIL FROM :<a@example.org>",
                b"MAIL  FROM<a@example.org>",
                b"MAIL FROM<a@example.org>",
                b"MAIL <a@example.org>",
                b"MAIL FRM:<a@example.org>",
                b"MAIL",
            ):
                self.assertRegex(client.say(line), rb"^501 5\.5\.4 [^\r]+ [0-9A-V]{26}\r\n$")
                self.assertRegex(client.say(b"RCPT TO:<b@example.net>"), rb"^503 5\.5\.1 ")
            self.assertEqual(backend.seen(b"^MAIL|^RCPT"), [])

        return self.talk(script)

    def test_P_010_no_brackets(self) -> Deferred[Any]:
        """An address without brackets is refused, or gets them with require_brackets = false."""

        def strict(client: Client, backend: Backend) -> None:
            client.hello()
            self.assertRegex(client.say(b"MAIL FROM:a@example.org"), rb"^501 5\.1\.7 ")
            client.say(b"MAIL FROM:<a@example.org>")
            self.assertRegex(client.say(b"RCPT TO:b@example.net"), rb"^501 5\.1\.3 ")
            self.assertEqual(backend.seen(b"^MAIL|^RCPT"), [])

        def loose(client: Client, backend: Backend) -> None:
            client.hello()
            self.assertRegex(client.say(b"MAIL FROM:a@example.org SIZE=100"), rb"^250 2\.1\.0 ")
            self.assertRegex(client.say(b"RCPT TO:b@example.net"), rb"^250 2\.1\.5 ")
            self.assertRegex(backend.seen(b"^MAIL")[0], rb"^MAIL FROM:<a@example.org> SIZE=\d+$")
            self.assertEqual(backend.seen(b"^RCPT"), [b"RCPT TO:<b@example.net>"])

        async def both() -> None:
            await self.talk(strict)
            await self.talk(loose, listener="require_brackets = false")

        return Deferred.fromCoroutine(both())

    def test_P_011_bad_brackets(self) -> Deferred[Any]:
        """Brackets that do not close, or with octets behind them, are 501 and go nowhere."""

        def script(client: Client, backend: Backend) -> None:
            client.hello()
            forms = ("<{}", "{}>", "<<{}>>", "<{}>>", "<{}>x", "<{}>SIZE=5")
            for form in forms:
                line = b"MAIL FROM:" + form.format("a@example.org").encode()
                self.assertRegex(client.say(line), rb"^501 5\.1\.7 ", line)
            client.say(b"MAIL FROM:<a@example.org>")
            for form in forms:
                line = b"RCPT TO:" + form.format("b@example.net").encode()
                self.assertRegex(client.say(line), rb"^501 5\.1\.3 ", line)
            self.assertEqual(backend.seen(b"^MAIL|^RCPT"), [])

        return self.talk(script)

    def test_P_012_null_sender(self) -> Deferred[Any]:
        """The null sender is sent as <>; a null recipient is 501 5.1.3."""

        def script(client: Client, backend: Backend) -> None:
            client.hello()
            self.assertRegex(client.say(b"MAIL FROM:<>"), rb"^250 2\.1\.0 ")
            self.assertRegex(client.say(b"RCPT TO:<>"), rb"^501 5\.1\.3 ")
            self.assertRegex(client.say(b"RCPT TO:<b@example.net>"), rb"^250 2\.1\.5 ")
            self.assertRegex(client.say(b"DATA"), rb"^354 ")
            self.assertRegex(client.say(b"x\r\n."), rb"^250 2\.0\.0 ")
            self.assertEqual(backend.seen(b"^MAIL|^RCPT"), [b"MAIL FROM:<>", b"RCPT TO:<b@example.net>"])

        return self.talk(script)

    def test_P_013_source_route(self) -> Deferred[Any]:
        """A source route is dropped and never picks the backend."""
        backend, other = Backend(), Backend()
        self.addCleanup(backend.close)
        self.addCleanup(other.close)
        text = self.config(backend.port)
        text = text.replace('["example.net"]', '["example.net", "h1.example", "h2.example"]')
        text = text.replace(
            "[[routes]]",
            f"""
[backends.other]
servers = ["127.0.0.1:{other.port}"]
tls = "off"
[[routes]]
recipient = ["h1.example", "h2.example"]
backend = "other"
[[routes]]""",
            1,
        )

        def run(gateway: TestGateway) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                self.assertRegex(client.say(b"MAIL FROM:<@h1.example,@h2.example:a@example.org>"), rb"^250 2\.1\.0 ")
                self.assertRegex(client.say(b"RCPT TO:<@h1.example,@h2.example:u@example.net>"), rb"^250 2\.1\.5 ")
            self.assertEqual(backend.seen(b"^MAIL|^RCPT"), [b"MAIL FROM:<a@example.org>", b"RCPT TO:<u@example.net>"])
            self.assertEqual(other.seen(b"^MAIL|^RCPT"), [])

        return self.run_script(text, run)

    def test_P_014_quoted_local_part(self) -> Deferred[Any]:
        """Quoted local parts reach to their true end and go on octet for octet."""

        def script(client: Client, backend: Backend) -> None:
            client.hello()
            client.say(b"MAIL FROM:<a@example.org>")
            good = (
                rb'<"a b"@example.net>',
                rb'<"a\"b"@example.net>',
                rb'<"a@b"@example.net>',
                rb'<"a>b"@example.net>',
                rb'<"a\\"@example.net>',
            )
            for path in good:
                self.assertRegex(client.say(b"RCPT TO:" + path), rb"^250 2\.1\.5 ", path)
            self.assertRegex(client.say(b'RCPT TO:<"unterminated@example.net>'), rb"^501 5\.1\.3 ")
            self.assertEqual(backend.seen(b"^RCPT"), [b"RCPT TO:" + path for path in good])

        # On mx a local part that names another host is a question of policy.
        return self.talk(script, role="submission", listener=OPEN)

    def test_P_015_quoted_is_the_same(self) -> Deferred[Any]:
        """A needless quoting takes the route of the plain form."""
        backend = Backend()
        self.addCleanup(backend.close)
        text = self.config(backend.port).replace("[[routes]]", '[[routes]]\nrecipient = ["b@example.net"]', 1)

        def run(gateway: TestGateway) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                client.say(b"MAIL FROM:<a@example.org>")
                self.assertRegex(client.say(b"RCPT TO:<b@example.net>"), rb"^250 2\.1\.5 ")
                self.assertRegex(client.say(b'RCPT TO:<"b"@example.net>'), rb"^250 2\.1\.5 ")
                self.assertRegex(client.say(b"RCPT TO:<c@example.net>"), rb"^550 5\.7\.1 ")
                self.assertRegex(client.say(b'RCPT TO:<"c"@example.net>'), rb"^550 5\.7\.1 ")

        return self.run_script(text, run)

    def test_P_016_address_literals(self) -> Deferred[Any]:
        """Good address literals are no syntax error, bad ones are 501 5.1.3."""

        def script(client: Client, backend: Backend) -> None:
            client.hello()
            self.assertRegex(client.say(b"MAIL FROM:<a@[192.0.2.1]>"), rb"^250 2\.1\.0 ")
            for path in (b"<u@[192.0.2.1]>", b"<u@[IPv6:2001:db8::1]>"):
                self.assertRegex(client.say(b"RCPT TO:" + path), rb"^550 5\.7\.1 ", path)
            for path in (b"<u@[300.1.1.1]>", b"<u@[IPv6:zz]>", b"<u@[192.0.2.1>"):
                self.assertRegex(client.say(b"RCPT TO:" + path), rb"^501 5\.1\.3 ", path)

        return self.talk(script)

    def test_P_017_postmaster(self) -> Deferred[Any]:
        """The bare postmaster is taken in any case, and goes on as <postmaster>."""

        def script(client: Client, backend: Backend) -> None:
            client.hello()
            client.say(b"MAIL FROM:<a@example.org>")
            self.assertRegex(client.say(b"RCPT TO:<Postmaster>"), rb"^250 2\.1\.5 ")
            self.assertRegex(client.say(b"RCPT TO:<POSTMASTER>"), rb"^250 2\.1\.5 ")
            self.assertEqual(backend.seen(b"^RCPT"), [b"RCPT TO:<postmaster>"] * 2)

        return self.talk(script)

    def test_P_018_ehlo_without_name(self) -> Deferred[Any]:
        """EHLO and HELO without a name are 501 and change nothing."""

        def script(client: Client, backend: Backend) -> None:
            self.assertRegex(client.say(b"EHLO"), rb"^501 ")
            self.assertRegex(client.say(b"MAIL FROM:<a@example.org>"), rb"^503 5\.5\.1 ")
            client.hello()
            client.say(b"MAIL FROM:<a@example.org>")
            self.assertRegex(client.say(b"EHLO"), rb"^501 ")
            self.assertRegex(client.say(b"HELO"), rb"^501 ")
            self.assertRegex(client.say(b"RCPT TO:<b@example.net>"), rb"^250 2\.1\.5 ")

        return self.talk(script)

    def test_P_019_odd_names(self) -> Deferred[Any]:
        """Printable names in EHLO are taken and are harmless in the trace field; controls and 8-bit are 501."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            long = b".".join([b"a" * 63] * 3 + [b"b" * 63])
            assert len(long) == 255
            for name in (b"[192.0.2.1]", b"[IPv6:::1]", b"under_score", b"a b c", long, b'x(y)z;\\"<>'):
                with Client(gateway.port()) as client:
                    self.assertRegex(client.say(b"EHLO " + name), rb"^250-gate\.example\.com\r\n", name)
                    self.assertRegex(client.message(), rb"^250 2\.0\.0 ", name)
                lines = backend.messages[-1].split(b"\r\n\r\n")[0].split(b"\r\n")
                self.assertRegex(lines[0], rb"^Received: from ")
                self.assertEqual([line for line in lines[:-1] if line[:1] not in (b"R", b"\t", b" ")], [])
                self.assertRegex(lines[0], rb"^Received: from [A-Za-z0-9.:\[\]_?-]+ \(\[127\.0\.0\.1\]\)$")
            for name in (b"\x1b[31m", b"a\x00b", b"h\xc3\xb6st", b"\xff"):
                with Client(gateway.port()) as client:
                    self.assertRegex(client.say(b"EHLO " + name), rb"^501 ", name)
                    self.assertRegex(client.say(b"MAIL FROM:<a@example.org>"), rb"^503 5\.5\.1 ")

        return self.drive(run)

    def test_P_020_helo(self) -> Deferred[Any]:
        """HELO gets one line without keywords, and no parameter is known behind it."""

        def script(client: Client, backend: Backend) -> None:
            self.assertRegex(client.say(b"HELO c.example"), rb"^250 gate\.example\.com\r\n$")
            self.assertRegex(client.say(b"MAIL FROM:<a@example.org> SIZE=10"), rb"^555 5\.5\.4 ")
            self.assertRegex(client.message(), rb"^250 2\.0\.0 ")

        return self.talk(script)

    def test_P_021_unknown_verb(self) -> Deferred[Any]:
        """An unknown verb is 500 and stays here."""

        def script(client: Client, backend: Backend) -> None:
            self.assertRegex(client.say(b"FOO bar"), rb"^500 5\.5\.[12] ")
            self.alive(client)
            self.assertEqual(backend.seen(b"FOO"), [])

        return self.talk(script)

    def test_P_022_empty_line(self) -> Deferred[Any]:
        """An empty line is 500 5.5.2, one each, and counts as an error."""

        def script(client: Client, backend: Backend) -> None:
            self.assertRegex(client.say(b""), rb"^500 5\.5\.2 ")
            self.alive(client)
            self.assertRegex(client.say(b"   "), rb"^500 5\.5\.2 ")
            self.assertRegex(client.read(), rb"^421 4\.7\.0 ")
            self.assertTrue(client.is_closed())

        return self.talk(script, limits="errors = 2")

    def test_P_023_old_verbs(self) -> Deferred[Any]:
        """Verbs that are known and not done: 502 5.5.1, not forwarded, not in EHLO."""

        def script(client: Client, backend: Backend) -> None:
            offered = client.hello()
            for line in (
                b"EXPN x",
                b"TURN",
                b"SEND FROM:<a@example.org>",
                b"SAML FROM:<a@example.org>",
                b"SOML FROM:<a@example.org>",
                b"ETRN example.net",
            ):
                self.assertRegex(client.say(line), rb"^502 5\.5\.1 ", line)
            for line in (b"ATRN", b"BURL imap://x LAST"):
                self.assertRegex(client.say(line), rb"^50[02] 5\.5\.1 ", line)
            for verb in (b"EXPN", b"TURN", b"SEND", b"SAML", b"SOML", b"ETRN", b"ATRN", b"BURL"):
                self.assertEqual(backend.seen(b"^" + verb), [])
                self.assertNotIn(verb, offered)

        return self.talk(script, backend=Backend(ehlo=("PIPELINING", "ETRN", "EXPN", "TURN", "ATRN", "BURL imap")))

    def test_P_024_vrfy_and_help(self) -> Deferred[Any]:
        """VRFY and HELP are answered here, before EHLO too."""

        def script(client: Client, backend: Backend) -> None:
            for _ in range(2):
                self.assertRegex(client.say(b"VRFY b"), rb"^252 2\.\d\.\d ")
                self.assertRegex(client.say(b"VRFY"), rb"^501 5\.5\.4 ")
                self.assertRegex(client.say(b"HELP"), rb"^214 2\.0\.0 ")
                self.assertRegex(client.say(b"HELP MAIL"), rb"^214 2\.0\.0 ")
                client.hello()
            self.assertEqual(backend.seen(b"^VRFY|^HELP"), [])

        return self.talk(script)

    def test_P_025_noop(self) -> Deferred[Any]:
        """NOOP is 250 2.0.0 anywhere, with any argument, and changes nothing."""

        def script(client: Client, backend: Backend) -> None:
            for line in (b"", b"EHLO c.example", b"MAIL FROM:<a@example.org>", b"RCPT TO:<b@example.net>"):
                if line:
                    self.assertRegex(client.say(line), rb"^250")
                self.alive(client)
                self.assertRegex(client.say(b"NOOP anything here"), rb"^250 2\.0\.0 ")
            self.assertRegex(client.say(b"DATA"), rb"^354 ")
            self.assertRegex(client.say(b"x\r\n."), rb"^250 2\.0\.0 ")

        return self.talk(script)

    def test_P_026_argument_not_allowed(self) -> Deferred[Any]:
        """Verbs without an argument are not executed with one: 501 5.5.4, the transaction intact."""

        def script(client: Client, backend: Backend) -> None:
            client.hello()
            self.assertRegex(client.say(b"STARTTLS x"), rb"^501 5\.5\.4 ")
            client.say(b"MAIL FROM:<a@example.org>")
            client.say(b"RCPT TO:<b@example.net>")
            for line in (b"RSET x", b"DATA x", b"STARTTLS x", b"QUIT x"):
                self.assertRegex(client.say(line), rb"^501 5\.5\.4 ", line)
            self.assertRegex(client.say(b"DATA"), rb"^354 ")
            self.assertRegex(client.say(b"x\r\n."), rb"^250 2\.0\.0 ")
            self.assertEqual(backend.seen(b"^DATA"), [b"DATA"])

        return self.talk(script, tls="optional", listener=f'certificates = ["{self.certificate()}"]')

    def test_P_027_longest_lines(self) -> Deferred[Any]:
        """A line of 512 octets, and a MAIL line of all that the extensions add, are ordinary commands."""

        def script(client: Client, backend: Backend) -> None:
            self.assertIn(b"AUTH PLAIN", client.hello())
            self.assertRegex(client.say(b"NOOP " + b"x" * 505), rb"^250 2\.0\.0 ")
            line = (
                b"MAIL FROM:<" + b"a" * 200 + b"@" + b".".join([b"b" * 60] * 3) + b"> SIZE=00000000000000000010"
                b" BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=" + b"e" * 100 + b" AUTH=" + b"a" * 492 + b"@b.c"
            )
            line += b" " * (512 + 26 + 17 + 500 + 10 + 11 + 500 - 2 - len(line))
            self.assertRegex(client.say(line), rb"^250 2\.1\.0 ")
            orcpt = b"RCPT TO:<" + b"b" * 200 + b"@example.net> NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;"
            self.assertRegex(client.say(orcpt + b"o" * 480), rb"^250 2\.1\.5 ")

        return self.talk(
            script,
            role="submission",
            backend=Backend(ehlo=("PIPELINING", "SIZE 50000000", "8BITMIME", "DSN", "SMTPUTF8", "AUTH PLAIN")),
            listener='auth = "relay"\nauth_requires_tls = false\n' + OPEN,
        )

    def test_P_028_endless_line(self) -> Deferred[Any]:
        """A line without end: one 500 5.5.2, whatever its length and segmentation; past a cap 421 and closed."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            for size in (3000, 70_000, 5_000_000):
                with Client(gateway.port()) as client:
                    client.send(b"NOOP " + b"x" * size)
                    client.send(b"\r\nNOOP\r\n")
                    self.assertRegex(client.read(), rb"^500 5\.5\.2 ")
                    self.assertRegex(client.read(), rb"^250 2\.0\.0 ")
                    self.assertRegex(client.say(b"QUIT"), rb"^221 ")
            line = b"x" * 3000 + b"\r\nNOOP\r\n"
            for offset in (1, 510, 511, 512, 513, *range(2040, 2056), *range(2994, 3010)):
                with Client(gateway.port()) as client:
                    client.send(line[:offset])
                    gateway.settle()
                    client.send(line[offset:])
                    self.assertRegex(client.read(), rb"^500 5\.5\.2 ", str(offset))
                    self.assertRegex(client.read(), rb"^250 2\.0\.0 ", str(offset))
                    self.assertRegex(client.say(b"QUIT"), rb"^221 ", str(offset))
            with Client(gateway.port()) as client:
                try:
                    for _ in range(20):
                        client.send(b"x" * (1 << 20))
                except ConnectionError:
                    pass
                self.assertRegex(client.read(), rb"^421 4\.7\.0 ")
                self.assertTrue(client.is_closed())

        return self.drive(run)

    def test_P_029_eight_bit_verb(self) -> Deferred[Any]:
        """8-bit octets in a verb: 500 5.5.2, and the session goes on."""

        def script(client: Client, backend: Backend) -> None:
            self.assertRegex(client.say(b"\x80\x81 foo"), rb"^500 5\.5\.2 ")
            self.assertRegex(client.say(b"NO\xc3\x96P"), rb"^500 5\.5\.2 ")
            self.alive(client)

        return self.talk(script)

    def test_P_030_nul(self) -> Deferred[Any]:
        """A NUL is refused and never ends a line."""

        def script(client: Client, backend: Backend) -> None:
            client.hello()
            self.assertRegex(client.say(b"MAIL FROM:<a\0b@example.org>"), rb"^501 5\.1\.7 ")
            self.assertRegex(client.say(b"NO\0OP"), rb"^500 5\.5\.2 ")
            self.alive(client)
            self.assertEqual(backend.seen(b"^MAIL"), [])

        return self.talk(script)

    def test_P_031_control_octets(self) -> Deferred[Any]:
        """Control octets in a path or a parameter are 501."""

        def script(client: Client, backend: Backend) -> None:
            client.hello()
            controls = [bytes([octet]) for octet in (*range(1, 32), 127) if octet not in (9, 10, 13)]
            for octet in controls:
                self.assertRegex(client.say(b"MAIL FROM:<a" + octet + b"b@example.org>"), rb"^501 5\.1\.7 ", octet)
                self.assertRegex(client.say(b'MAIL FROM:<"a' + octet + b'b"@example.org>'), rb"^501 5\.1\.7 ", octet)
                self.assertRegex(client.say(b"MAIL FROM:<a@example.org> SIZE=1" + octet), rb"^501 5\.5\.4 ", octet)
            client.say(b"MAIL FROM:<a@example.org>")
            for octet in controls:
                self.assertRegex(client.say(b"RCPT TO:<b@exam" + octet + b"ple.net>"), rb"^501 5\.1\.3 ", octet)
            self.assertEqual(backend.seen(b"^MAIL|^RCPT"), [])

        return self.talk(script, limits=MANY_ERRORS)

    def test_P_032_bare_cr(self) -> Deferred[Any]:
        """A lone CR ends no command: one line, one refusal, and no CR at the backend."""

        def script(client: Client, backend: Backend) -> None:
            self.assertRegex(client.say(b"EHLO a\rb"), rb"^50[01] 5\.5\.[24] ")
            client.hello()
            self.assertRegex(client.say(b"MAIL FROM:<a@example.org>\r"), rb"^50[01] 5\.[15]\.\d ")
            client.say(b"MAIL FROM:<a@example.org>")
            self.assertRegex(client.say(b"RCPT TO:<b@example.net>\rDATA"), rb"^50[01] 5\.[15]\.\d ")
            self.alive(client)
            self.assertEqual([line for line in backend.commands if b"\r" in line or b"DATA" in line], [])

        return self.talk(script)

    def test_P_033_bare_lf(self) -> Deferred[Any]:
        """A lone LF ends no command (500 5.5.2 for the whole line), unless command_bare_lf = accept."""
        lines = (b"NOOP\nNOOP\r\n", b"EHLO x\nMAIL FROM:<a@example.org>\r\n")

        def cut(gateway: TestGateway, line: bytes, *replies: bytes) -> None:
            for offset in range(1, len(line)):
                with Client(gateway.port()) as client:
                    client.send(line[:offset])
                    gateway.settle()
                    client.send(line[offset:])
                    for reply in replies:
                        self.assertRegex(client.read(), reply, f"{line!r} cut at {offset}")
                    self.alive(client)

        def reject(gateway: TestGateway, backend: Backend) -> None:
            for line in lines:
                cut(gateway, line, rb"^500 5\.5\.2 ")
            self.assertEqual(backend.seen(b"^MAIL"), [])

        def accept(gateway: TestGateway, backend: Backend) -> None:
            cut(gateway, lines[0], rb"^250 2\.0\.0 ", rb"^250 2\.0\.0 ")
            cut(gateway, lines[1], rb"^250-gate", rb"^250 2\.1\.0 ")

        async def both() -> None:
            await self.drive(reject)
            await self.drive(accept, role="submission", listener=OPEN + '\ncommand_bare_lf = "accept"')

        return Deferred.fromCoroutine(both())

    def test_P_034_too_many_errors(self) -> Deferred[Any]:
        """The twentieth bad command: 421 4.7.0, closed, and no transaction left at the backend."""

        def script(client: Client, backend: Backend) -> None:
            client.hello()
            client.say(b"MAIL FROM:<a@example.org>")
            client.say(b"RCPT TO:<b@example.net>")
            for _ in range(20):
                self.assertRegex(client.say(b"FOO"), rb"^500 5\.5\.1 ")
            self.assertRegex(client.read(), rb"^421 4\.7\.0 ")
            self.assertTrue(client.is_closed())
            self.assertTrue(backend.all_closed())
            self.assertEqual(backend.seen(b"^DATA"), [])

        return self.talk(script)

    def test_P_035_junk_commands(self) -> Deferred[Any]:
        """Commands without mail count as errors past the junk limit, so 421 4.7.0 follows."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            for line in (b"NOOP", b"RSET", b"VRFY b"):
                with Client(gateway.port()) as client:
                    replies = []
                    while not replies or replies[-1][:1] == b"2":
                        replies.append(client.say(line))
                        self.assertLess(len(replies), 200)
                    self.assertGreater(len(replies), 100)
                    self.assertRegex(replies[-1], rb"^421 4\.7\.0 ")
                    self.assertTrue(client.is_closed())

        return self.drive(run)

    def test_P_036_other_protocols(self) -> Deferred[Any]:
        """HTTP and header lines as commands end the session, and nothing behind them is parsed."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            for lines in (
                b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
                b"POST / HTTP/1.1\r\nHost: x\r\n\r\n",
                b"CONNECT x:25 HTTP/1.1\r\n\r\n",
                b"Subject: x\r\n",
            ):
                with Client(gateway.port()) as client:
                    client.send(lines + b"NOOP\r\n")
                    self.assertRegex(client.read(), rb"^(421 4\.7\.0|221 2\.7\.0) ", lines)
                    self.assertTrue(client.is_closed())

        return self.drive(run)

    def test_P_037_client_hello(self) -> Deferred[Any]:
        """A TLS ClientHello on a port in clear: 500 5.5.2 or closed, without an exception."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="gate.example.com")
            self.assertRaises(ssl.SSLWantReadError, tls.do_handshake)
            with Client(gateway.port()) as client:
                client.send(outgoing.read())
                self.assertRegex(client.read(), rb"^(500 5\.5\.2 |$)")
                self.assertTrue(client.is_closed())
            told = [event for event in gateway.events if getattr(event, "name", "") == "session.crashed"]
            self.assertEqual(told, [])

        return self.drive(run)
