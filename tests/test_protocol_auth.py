"""PROTOCOL section 9: AUTH carried to the backend, through the running gateway."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.logger import globalLogPublisher

from smtpgate.config.problem import ConfigErrors
from smtpgate.policy import event as told
from tests.gateway_kit import GatewayCase, TestGateway
from tests.script_kit import DROP, REFERENCE, STALL, Action, Backend, Client, Connection

WORDS = ("PIPELINING", "8BITMIME", "AUTH PLAIN LOGIN SCRAM-SHA-256 XOAUTH2")
CLEAR = 'auth = "relay"\nauth_requires_tls = false'
TRUSTED = '\nrelay_from = ["127.0.0.0/8"]'
PLAIN = base64.b64encode(b"\0alice\0s3cret-word")
OK = b"235 2.7.0 welcome\r\n"


class Exchange:
    """The server's side of an exchange: so many challenges, then the answer.

    :ivar heard: the client's lines
    """

    def __init__(self, *challenges: bytes, final: Action = b"235 2.7.0 welcome") -> None:
        self.challenges = challenges
        self.final = final
        self.heard: list[bytes] = []

    def __call__(self, connection: Connection) -> Any:
        for challenge in self.challenges:
            connection.say(b"334 " + challenge)
            self.heard.append(connection.line())
            if self.heard[-1] == b"*":
                return b"501 5.7.0 cancelled"
        return self.final(connection) if callable(self.final) else self.final


def _refusals(facts: Any) -> list[str]:
    """Whose doing each login that came to nothing was."""
    return [who for _, who, what, _ in facts.timeline if what == "AUTH refused"]


class Login(GatewayCase):
    """A submission listener that carries AUTH."""

    def relay(
        self,
        script: Callable[[TestGateway, Backend], Any],
        rules: Sequence[tuple[bytes, Action]] = (),
        words: Sequence[str] = WORDS,
        once: Sequence[tuple[bytes, Action]] = (),
        listener: str = CLEAR,
        **config: str,
    ) -> Deferred[Any]:
        """A gateway before a backend that knows AUTH; without rules it takes every login."""
        return self.drive(script, Backend(rules, words, once=once), role="submission", listener=listener, **config)

    def talk(self, script: Callable[[Client, Backend], Any], **more: Any) -> Deferred[Any]:
        """The same with one client behind EHLO."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                script(client, backend)

        return self.relay(run, **more)

    def assertReply(self, reply: bytes, code: bytes) -> None:
        """One line with these codes, once, and the reference at its end."""
        self.assertRegex(
            reply, b"^" + code.replace(b".", rb"\.") + b" (?!" + code[:3] + b"|\\d\\.\\d)[^\r]*" + REFERENCE
        )

    def assertWorks(self, client: Client) -> None:
        """Login and a message."""
        self.assertRegex(client.say(b"AUTH PLAIN " + PLAIN), rb"^235 2\.7\.0 ")
        self.assertRegex(client.message(), rb"^250 2\.0\.0 queued" + REFERENCE)


class AuthTests(Login):
    """P-164 to P-176."""

    def test_P_164_offer(self) -> Deferred[Any]:
        """Only mechanisms that can be carried are offered, and under TLS only."""
        words = ["AUTH PLAIN LOGIN GSSAPI SCRAM-SHA-256-PLUS EXTERNAL", "AUTH SCRAM-SHA-256 XOAUTH2 OAUTHBEARER"]

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                self.assertNotIn(b"AUTH", client.hello())
                self.assertEqual(client.say(b"STARTTLS")[:3], b"220")
                client.starttls()
                self.assertRegex(client.hello(), rb"250[ -]AUTH PLAIN LOGIN SCRAM-SHA-256 XOAUTH2 OAUTHBEARER\r\n")

        listener = f'auth = "relay"\ncertificates = ["{self.certificate()}"]'
        return self.relay(run, words=words, listener=listener, tls="optional")

    def test_P_164_in_clear(self) -> Deferred[Any]:
        """In clear where that is allowed; nothing where the backend offers nothing."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                self.assertRegex(client.hello(), rb"250[ -]AUTH LOGIN\r\n")

        return self.relay(run, words=["AUTH=LOGIN EXTERNAL"])

    def test_P_164_nothing_behind(self) -> Deferred[Any]:
        """A backend without AUTH: none is offered."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                self.assertNotIn(b"AUTH", client.hello())

        return self.relay(run, words=["AUTH GSSAPI SCRAM-SHA-1-PLUS"])

    def test_P_165_plain(self) -> Deferred[Any]:
        """PLAIN with an initial response, with a challenge, and with an empty initial response."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            asked = Exchange(b"")
            backend.rules += [(rb"^AUTH PLAIN$", asked), (rb"^AUTH", OK)]
            for lines, replies in (
                ([b"AUTH PLAIN " + PLAIN], [OK]),
                ([b"AUTH PLAIN", PLAIN], [b"334 \r\n", OK]),
                ([b"AUTH PLAIN ="], [OK]),
            ):
                with Client(gateway.port()) as client:
                    client.hello()
                    self.assertEqual([client.say(line) for line in lines], replies)
                    self.assertRegex(client.message(), rb"^250 2\.0\.0 ")
            self.assertEqual(backend.seen(b"^AUTH"), [b"AUTH PLAIN " + PLAIN, b"AUTH PLAIN", b"AUTH PLAIN ="])
            self.assertEqual(asked.heard, [PLAIN])

        return self.relay(run)

    def test_P_166_login(self) -> Deferred[Any]:
        """LOGIN: the challenges are the backend's own, octet for octet."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            user, password = base64.b64encode(b"alice"), base64.b64encode(b"s3cret-word")
            both, one = Exchange(b"VXNlcm5hbWU6", b"UGFzc3dvcmQ6"), Exchange(b"UGFzc3dvcmQA")
            backend.rules += [(rb"^AUTH LOGIN$", both), (rb"^AUTH LOGIN ", one)]
            with Client(gateway.port()) as client:
                client.hello()
                replies = [client.say(line) for line in (b"AUTH LOGIN", user, password)]
                self.assertEqual(replies, [b"334 VXNlcm5hbWU6\r\n", b"334 UGFzc3dvcmQ6\r\n", OK])
            with Client(gateway.port()) as client:
                client.hello()
                replies = [client.say(line) for line in (b"AUTH LOGIN " + user, password)]
                self.assertEqual(replies, [b"334 UGFzc3dvcmQA\r\n", OK])
            self.assertEqual((both.heard, one.heard), ([user, password], [password]))

        return self.relay(run)

    def test_P_166_failed_xoauth2(self) -> Deferred[Any]:
        """XOAUTH2 that fails: a challenge with the reason, an empty line, and the refusal."""
        exchange = Exchange(b"eyJzdGF0dXMiOiI0MDEifQ==", final=b"535 5.7.8 token expired")

        def script(client: Client, backend: Backend) -> None:
            self.assertEqual(client.say(b"AUTH XOAUTH2 " + PLAIN), b"334 eyJzdGF0dXMiOiI0MDEifQ==\r\n")
            self.assertReply(client.say(b""), b"535 5.7.8")
            self.assertEqual(exchange.heard, [b""])
            self.assertRegex(client.say(b"NOOP"), rb"^250 ")

        return self.talk(script, rules=[(b"^AUTH", exchange)])

    def test_P_167_cancel(self) -> Deferred[Any]:
        """`*` at any challenge: 501, the backend hears it, and the next line is a command."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            for number in (0, 1):
                exchange = Exchange(b"VXNlcm5hbWU6", b"UGFzc3dvcmQ6")
                backend.rules[:] = [(rb"^AUTH LOGIN", exchange)]
                with Client(gateway.port()) as client:
                    client.hello()
                    client.say(b"AUTH LOGIN")
                    for _ in range(number):
                        self.assertEqual(client.say(b"YWxpY2U=")[:3], b"334")
                    self.assertReply(client.say(b"*"), b"501 5.7.0")
                    self.assertEqual(exchange.heard[-1], b"*")
                    self.assertRegex(client.say(b"NOOP"), rb"^250 2\.0\.0 ")
                    self.assertWorks(client)
            self.assertTrue(gateway.idle())
            # It is the client's doing, and no failure.
            for ended in gateway.told(told.SessionEnded):
                self.assertEqual(_refusals(ended.session), ["client"])

        return self.relay(run)

    def test_P_168_malformed(self) -> Deferred[Any]:
        """What is no base64: 501, the state is clean, and the backend is left in step."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            backend.rules[:] = [(rb"^AUTH PLAIN$", Exchange(b""))]
            for junk in (b"###", b"AGEAYg=", b"AGEA Yg==", b"AGEAYg==="):
                with Client(gateway.port()) as client:
                    client.hello()
                    self.assertReply(client.say(b"AUTH PLAIN " + junk), b"501 5.5.2")
                    self.assertEqual(client.say(b"AUTH PLAIN"), b"334 \r\n")
                    self.assertReply(client.say(junk), b"501 5.5.2")
                    self.assertRegex(client.say(b"NOOP"), rb"^250 2\.0\.0 ")
                    self.assertWorks(client)
            self.assertEqual(backend.seen(rb"^AUTH.*(#|g=$| Yg|===)"), [])

        return self.relay(run)

    def test_P_169_long_line(self) -> Deferred[Any]:
        """A response of 12 288 octets is carried; one of 20 000 is thrown away whole."""
        exchange = Exchange(b"")

        def script(client: Client, backend: Backend) -> None:
            self.assertEqual(client.say(b"AUTH XOAUTH2"), b"334 \r\n")
            self.assertReply(client.say(b"QUFB" * 5000), b"500 5.5.6")
            self.assertRegex(client.say(b"NOOP"), rb"^250 2\.0\.0 ")
            self.assertEqual(client.say(b"AUTH XOAUTH2"), b"334 \r\n")
            self.assertEqual(client.say(b"QUFB" * 3072), OK)
            self.assertEqual(exchange.heard, [b"*", b"QUFB" * 3072])

        return self.talk(script, rules=[(b"^AUTH", exchange)])

    def told(self, gateway: TestGateway) -> str:
        """Everything that a listener of the events could write."""
        out = []
        for event in gateway.events:
            out.append(repr(event))
            for name in ("session", "transaction"):
                facts = getattr(event, name, None)
                if facts is not None:
                    out += [repr(getattr(facts, slot, "")) for slot in dir(facts) if not slot.startswith("__")]
        return "\n".join(out)

    @inlineCallbacks
    def test_P_170_in_clear(self) -> Iterator[Deferred[Any]]:
        """AUTH in clear where TLS is required: refused, the response goes nowhere."""
        for tls, code in (("optional", b"538 5.7.11"), ("required", b"530 5.7.0")):

            def run(gateway: TestGateway, backend: Backend, code: bytes = code) -> None:
                with Client(gateway.port()) as client:
                    client.hello()
                    self.assertReply(client.say(b"AUTH PLAIN " + PLAIN), code)
                    self.assertRegex(client.say(b"NOOP"), rb"^250 ")
                gateway.settle()
                self.assertEqual(backend.seen(b"AUTH"), [])
                self.assertNotIn(PLAIN.decode(), self.told(gateway))

            listener = f'auth = "relay"\ncertificates = ["{self.certificate()}"]'
            yield self.relay(run, listener=listener, tls=tls)

    def test_P_171_twice(self) -> Deferred[Any]:
        """AUTH behind a 235: 503."""

        def script(client: Client, backend: Backend) -> None:
            self.assertRegex(client.say(b"AUTH PLAIN " + PLAIN), rb"^235 2\.7\.0 ")
            self.assertReply(client.say(b"AUTH PLAIN " + PLAIN), b"503 5.5.1")
            self.assertNotIn(b"AUTH", client.hello())
            self.assertReply(client.say(b"AUTH PLAIN " + PLAIN), b"503 5.5.1")
            self.assertEqual(len(backend.seen(b"^AUTH")), 1)
            self.assertRegex(client.message(), rb"^250 2\.0\.0 ")

        return self.talk(script)

    def test_P_172_wrong_password(self) -> Deferred[Any]:
        """535 is relayed once; another try is welcome, the third failure ends the session."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                for _ in range(3):
                    self.assertRegex(client.say(b"AUTH PLAIN " + PLAIN), rb"^535 5\.7\.8 no such login" + REFERENCE)
                self.assertRegex(client.read(), rb"^421 4\.7\.0 ")
                self.assertTrue(client.is_closed())
            backend.rules.clear()
            backend.once += [(b"^AUTH", b"535 5.7.8 no such login")] * 2
            with Client(gateway.port()) as client:
                client.hello()
                for _ in range(2):
                    self.assertReply(client.say(b"AUTH PLAIN " + PLAIN), b"535 5.7.8")
                self.assertWorks(client)
            self.assertTrue(gateway.idle())
            self.assertEqual(_refusals(gateway.told(told.SessionEnded)[0].session), ["backend"] * 3)

        return self.relay(run, rules=[(b"^AUTH", b"535 5.7.8 no such login")])

    def test_P_173_backend_fails(self) -> Deferred[Any]:
        """454, a lost connection or silence in the exchange: 454, and MAIL still needs a login."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            for final in (b"454 4.7.0 try later", b"421 4.3.2 going down", DROP, STALL):
                for challenges in ((), (b"",)):
                    backend.rules[:] = [(b"^AUTH", Exchange(*challenges, final=final))]
                    with Client(gateway.port()) as client:
                        client.hello()
                        reply = client.say(b"AUTH PLAIN" + (b"" if challenges else b" " + PLAIN))
                        if challenges:
                            self.assertEqual(reply, b"334 \r\n")
                            reply = client.say(PLAIN)
                        self.assertReply(reply, b"454 4.7.0")
                        self.assertReply(client.say(b"MAIL FROM:<a@example.org>"), b"530 5.7.0")
                    self.assertEqual(backend.seen(b"^MAIL"), [])

        return self.relay(run, timeouts='backend = "1s"')

    def test_P_173_backend_down(self) -> Deferred[Any]:
        """No connection to the backend at all: 454 too."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            backend.greeting = DROP
            with Client(gateway.port()) as client:
                client.hello()
                self.assertReply(client.say(b"AUTH PLAIN " + PLAIN), b"454 4.7.0")
                self.assertReply(client.say(b"MAIL FROM:<a@example.org>"), b"530 5.7.0")

        return self.relay(run)

    def test_P_174_misplaced(self) -> Deferred[Any]:
        """An unknown mechanism, none, AUTH before EHLO and after HELO."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                self.assertReply(client.say(b"AUTH PLAIN " + PLAIN), b"503 5.5.1")
                client.say(b"HELO client.example.com")
                self.assertRegex(client.say(b"AUTH PLAIN " + PLAIN), rb"^50[23] 5\.5\.1 .*" + REFERENCE)
                client.hello()
                self.assertReply(client.say(b"AUTH FOO"), b"504 5.5.4")
                self.assertReply(client.say(b"AUTH FOO " + PLAIN), b"504 5.5.4")
                self.assertReply(client.say(b"AUTH"), b"501 5.5.4")
                self.assertEqual(backend.seen(b"^AUTH"), [])
                self.assertWorks(client)

        return self.relay(run)

    def test_P_175_no_secret_told(self) -> Deferred[Any]:
        """No form of a credential in log or events, whether the login works, fails or breaks."""
        logged: list[str] = []

        def observe(event: Any) -> None:
            logged.append(repr(event))

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)

        def crash(connection: Connection) -> Any:
            connection.say(b"334 not base64 at all\r\n250 2.0.0 nobody asked")
            return None

        def run(gateway: TestGateway, backend: Backend) -> None:
            password = base64.b64encode(b"s3cret-word")
            for final in (OK, b"535 5.7.8 no", b"454 4.7.0 later", DROP, b"what?", crash):
                backend.rules[:] = [
                    (rb"^AUTH PLAIN$", Exchange(b"", final=final)),
                    (rb"^AUTH LOGIN", Exchange(b"VXNlcm5hbWU6", b"UGFzc3dvcmQ6", final=final)),
                    (b"^AUTH", final),
                ]
                for lines in (
                    (b"AUTH PLAIN " + PLAIN,),
                    (b"AUTH PLAIN", PLAIN),
                    (b"AUTH LOGIN", b"YWxpY2U=", password),
                    (b"AUTH PLAIN " + PLAIN + b"=",),
                    (b"AUTH PLAIN", PLAIN + b"="),
                    (b"AUTH FOO " + PLAIN,),
                    (b"AUTH PLAIN " + PLAIN + b" " + password,),
                    (b"AUTH LOGIN", b"YWxpY2U=", password, password),
                ):
                    with Client(gateway.port()) as client:
                        client.hello()
                        for line in lines:
                            reply = client.say(line)
                            for secret in (b"s3cret", PLAIN, password):
                                self.assertFalse(secret in reply, reply)
            while gateway.control.reception.sessions:
                gateway.settle()
            written = self.told(gateway) + "\n".join(logged)
            self.assertIn("SessionEnded", written)
            for secret in (b"s3cret-word", PLAIN, password):
                at = written.find(secret.decode())
                self.assertEqual(written[max(0, at - 300) : at + 20] if at >= 0 else "", "")

        return self.relay(run, limits="auth_failures = 100\nerrors = 100")

    def test_P_176_mail_without_auth(self) -> Deferred[Any]:
        """MAIL without a login where one is required: 530, the backend sees nothing."""

        def script(client: Client, backend: Backend) -> None:
            self.assertReply(client.say(b"MAIL FROM:<a@example.org>"), b"530 5.7.0")
            self.assertReply(client.say(b"RCPT TO:<b@example.net>"), b"503 5.5.1")
            self.assertEqual(backend.seen(b"^(MAIL|RCPT|AUTH)"), [])
            self.assertWorks(client)

        return self.talk(script)


class IdentityTests(Login):
    """P-177 to P-182."""

    def two(
        self, script: Callable[[TestGateway, Backend, Backend], Any], routes: str, listener: str = CLEAR, keys: str = ""
    ) -> Deferred[Any]:
        """A gateway with the backends `mail` and `other`; a route to `mail` stands behind the given ones."""
        words = [*WORDS, "XCLIENT NAME ADDR LOGIN"]
        mail, other = Backend((), words), Backend((), words)
        self.addCleanup(mail.close)
        self.addCleanup(other.close)
        text = self.config(mail.port, role="submission", listener=listener, backend=keys)
        text = text.replace(
            "[[routes]]",
            f"""[backends.other]
servers = ["127.0.0.1:{other.port}"]
tls = "off"
{routes}
[[routes]]""",
        )
        return self.run_script(text, lambda gateway: script(gateway, mail, other))

    def test_P_177_pinned(self) -> Deferred[Any]:
        """A login at one backend never carries mail to another, also where the client's address changes behind it."""

        def run(gateway: TestGateway, mail: Backend, other: Backend) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                self.assertRegex(client.say(b"AUTH PLAIN " + PLAIN), rb"^235 2\.7\.0 ")
                self.assertRegex(client.say(b"XCLIENT ADDR=192.0.2.7"), rb"^220 ")
                client.hello()
                self.assertReply(client.say(b"MAIL FROM:<a@example.org>"), b"421 4.4.2")
                self.assertTrue(client.is_closed())
            self.assertEqual(other.seen(b"^(MAIL|RCPT|DATA)"), [])
            self.assertEqual(mail.seen(b"^(MAIL|RCPT|DATA)"), [])

        routes = '[[routes]]\nclient = ["192.0.2.0/24"]\nbackend = "other"'
        return self.two(run, routes, CLEAR + '\nxclient_from = ["127.0.0.1"]\n')

    def test_P_174_broken_exchange_and_broken_link(self) -> Deferred[Any]:
        """The client sends what is no base64, the server hangs up on our cancel: one reply, and a new try is good."""

        def run(gateway: TestGateway, mail: Backend, other: Backend) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                mail.once.append((b"^AUTH", self.hangs_up))
                self.assertEqual(client.say(b"AUTH PLAIN")[:3], b"334")
                self.assertReply(client.say(b"!!!"), b"501 5.5.2")
                self.assertRegex(client.say(b"AUTH PLAIN " + PLAIN), rb"^235 ")
            self.assertEqual([one for one in gateway.told(told.Happened) if one.name == "session.crashed"], [])

        return self.two(run, "")

    @staticmethod
    def hangs_up(connection: Connection) -> Any:
        """A challenge, and no patience with the answer."""
        connection.say(b"334 ")
        connection.line()
        return DROP

    def test_P_172_failed_login_is_told(self) -> Deferred[Any]:
        """Who, from where, and never with what."""

        def run(gateway: TestGateway, mail: Backend, other: Backend) -> None:
            mail.rules.append((b"^AUTH", Exchange(final=b"535 5.7.8 no")))
            with Client(gateway.port()) as client:
                client.hello()
                self.assertReply(client.say(b"AUTH PLAIN " + PLAIN), b"535 5.7.8")
            (event,) = (one for one in gateway.told(told.Happened) if one.name == "auth.failed")
            fields = dict(event.fields)
            self.assertEqual((fields["client_ip"], fields["auth_user"]), ("127.0.0.1", "alice"))
            self.assertNotIn("s3cret", str(event))

        return self.two(run, "")

    def test_P_177_by_user(self) -> None:
        """A listener that carries AUTH and routes by user is refused at load: the backend comes before the name."""
        routes = '[[routes]]\nuser = ["alice"]\nbackend = "other"'
        self.failureResultOf(self.two(lambda *_: None, routes), ConfigErrors)

    def test_P_177_by_recipient(self) -> None:
        """A listener that carries AUTH and routes by recipient is refused at load."""
        routes = '[[routes]]\nrecipient = ["other.example"]\nbackend = "other"'
        self.failureResultOf(self.two(lambda *_: None, routes), ConfigErrors)

    def test_P_178_auth_parameter(self) -> Deferred[Any]:
        """AUTH= at MAIL: never passed for a client without a login; bad xtext is refused."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            for parameter in (b"e+3Dmc2", b"<>"):
                for has_login in (False, True):
                    backend.commands.clear()
                    with Client(gateway.port()) as client:
                        client.hello()
                        if has_login:
                            self.assertRegex(client.say(b"AUTH PLAIN " + PLAIN), rb"^235 ")
                        self.assertRegex(client.say(b"MAIL FROM:<a@example.org> AUTH=" + parameter), rb"^250 ")
                        self.assertRegex(client.say(b"RCPT TO:<b@example.net>"), rb"^250 ")
                        (line,) = backend.seen(b"^MAIL")
                        welcome = [b"MAIL FROM:<a@example.org>", b"MAIL FROM:<a@example.org> AUTH=<>"]
                        if has_login:
                            welcome.append(b"MAIL FROM:<a@example.org> AUTH=" + parameter)
                        self.assertIn(line, welcome)
            for junk in (b"e=mc2", b"e+3", b"e+3d", b"e+zz", b""):
                with Client(gateway.port()) as client:
                    client.hello()
                    reply = client.say(b"MAIL FROM:<a@example.org> AUTH=" + junk)
                    self.assertRegex(reply, rb"^501 5\.5\.4 .*" + REFERENCE, junk)

        return self.relay(run, listener=CLEAR + TRUSTED)

    def test_P_178_not_offered(self) -> Deferred[Any]:
        """AUTH= where AUTH is not offered: 555."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                self.assertReply(client.say(b"MAIL FROM:<a@example.org> AUTH=<>"), b"555 5.5.4")

        return self.drive(run)

    def test_P_179_pipelined(self) -> Deferred[Any]:
        """MAIL in the segment of AUTH is judged after its result."""
        stream = b"AUTH PLAIN " + PLAIN + b"\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.net>\r\n"

        def run(gateway: TestGateway, backend: Backend) -> None:
            for once, codes in ((OK, [235, 250, 250]), (b"535 5.7.8 no", [535, 530, 503])):
                for at in range(0, len(stream), 7):
                    backend.once.append((b"^AUTH", once))
                    with Client(gateway.port()) as client:
                        client.hello()
                        client.send(stream[:at])
                        gateway.settle()
                        self.assertEqual(client.codes(stream[at:], 3), codes)

        return self.relay(run)

    def test_P_181_no_ride(self) -> Deferred[Any]:
        """A connection that carried one client's login never carries another client's mail."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            for _ in range(3):
                with Client(gateway.port()) as client:
                    client.hello()
                    self.assertRegex(client.say(b"AUTH PLAIN " + PLAIN), rb"^235 ")
                    self.assertRegex(client.message(sender=b"x@example.org"), rb"^250 ")
                    client.say(b"QUIT")
                with Client(gateway.port()) as client:
                    client.hello()
                    self.assertRegex(client.message(sender=b"y@example.org"), rb"^250 ")
                    client.say(b"QUIT")
            for connection in backend.connections:
                said = b" ".join(connection.commands)
                self.assertFalse(b"AUTH PLAIN" in said and b"<y@example.org>" in said, said)
                self.assertLessEqual(said.count(b"AUTH PLAIN"), 1)
                self.assertFalse(b"<x@example.org>" in said and b"AUTH PLAIN" not in said, said)

        return self.relay(run, listener=CLEAR + TRUSTED)

    def test_P_182_failed_login_is_forgotten(self) -> Deferred[Any]:
        """The name of a failed login is used nowhere: not for the route, not in XCLIENT, not in the records."""

        def run(gateway: TestGateway, mail: Backend, other: Backend) -> None:
            mail.rules.append((b"^AUTH", Exchange(b"", final=b"535 5.7.8 no")))
            with Client(gateway.port()) as client:
                client.hello()
                self.assertEqual(client.say(b"AUTH PLAIN")[:3], b"334")
                self.assertReply(client.say(PLAIN), b"535 5.7.8")
                self.assertRegex(client.message(), rb"^250 2\.0\.0 ")
                client.say(b"QUIT")
                self.assertTrue(client.is_closed())
            while gateway.control.reception.sessions:
                gateway.settle()
            self.assertEqual((len(mail.messages), other.messages), (1, []))
            self.assertEqual(mail.seen(b"alice"), [])
            self.assertNotIn(b"alice", mail.messages[0])
            (ended,) = gateway.told(told.TransactionEnded)
            self.assertEqual((ended.transaction.session.user, ended.transaction.session.mechanism), ("", ""))

        routes = '[[routes]]\nclient = ["192.0.2.0/24"]\nbackend = "other"'
        return self.two(run, routes, CLEAR + TRUSTED, 'client_info = "xclient"')
