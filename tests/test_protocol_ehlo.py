"""PROTOCOL section 10: what EHLO offers, through the running gateway."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks

from tests.gateway_kit import GatewayCase, TestGateway
from tests.script_kit import DROP, REFERENCE, Backend, Client, Connection

#: What the gateway offers before any backend.
OWN = {
    "PIPELINING": "",
    "SIZE": "52428800",
    "ENHANCEDSTATUSCODES": "",
    "CHUNKING": "",
    "PRDR": "",
    "LIMITS": "MAILMAX=1000 RCPTMAX=1000",
    "HELP": "",
}
#: (line of the backend, what of it is offered): keyword and value, or nothing.
OFFERS: list[tuple[str, dict[str, str]]] = [
    ("PIPELINING", {}),
    ("SIZE 1000", {"SIZE": "1000"}),
    ("SIZE 99999999999", {}),
    ("8BITMIME", {"8BITMIME": ""}),
    ("DSN", {"DSN": ""}),
    ("CHUNKING", {}),
    ("BINARYMIME", {}),
    ("ENHANCEDSTATUSCODES", {}),
    ("LIMITS RCPTMAX=50 MAILMAX=5000", {"LIMITS": "MAILMAX=1000 RCPTMAX=50"}),
    *(
        (line, {})
        for line in (
            "AUTH PLAIN",
            "REQUIRETLS",
            "STARTTLS",
            "DELIVERBY 240",
            "MT-PRIORITY MIXER",
            "RRVS",
            "FUTURERELEASE 864000 2030-01-01T00:00:00Z",
            "MTRK",
            "CONPERM",
            "CONNEG",
            "BURL imap",
            "CHECKPOINT",
            "NO-SOLICITING",
            "ETRN",
            "EXPN",
            "XCLIENT NAME ADDR",
            "XFORWARD NAME ADDR",
            "HELP",
            "X-EXPS GSSAPI",
            "X-ANONYMOUSTLS",
            "XOORG",
        )
    ),
]


def offered(reply: bytes) -> dict[str, str]:
    """The keywords of an EHLO reply; a keyword said twice is an error."""
    words: dict[str, str] = {}
    for line in reply.decode("ascii").split("\r\n")[1:-1]:
        keyword, _, value = line[4:].partition(" ")
        assert keyword not in words, reply
        words[keyword] = value
    return words


class EhloTests(GatewayCase):
    """P-183 to P-191."""

    def before(
        self, script: Callable[[TestGateway, Backend], Any], words: Sequence[str], **config: str
    ) -> Deferred[Any]:
        """A gateway before a backend with these keywords."""
        return self.drive(script, Backend((), words), **config)

    def two(
        self,
        script: Callable[[TestGateway, Backend, Backend], Any],
        first: Sequence[str],
        second: Sequence[str],
        listener: str = "",
    ) -> Deferred[Any]:
        """A gateway before two backends; mail for second@ goes to the second."""
        one, other = Backend((), first), Backend((), second)
        self.addCleanup(one.close)
        self.addCleanup(other.close)
        text = self.config(one.port, listener=listener).replace(
            "[[routes]]",
            f"""[backends.second]
servers = ["127.0.0.1:{other.port}"]
tls = "off"
[[routes]]
recipient = ["second@"]
backend = "second"
[[routes]]""",
        )
        return self.run_script(text, lambda gateway: script(gateway, one, other))

    @inlineCallbacks
    def test_P_183_each_keyword(self) -> Iterator[Deferred[Any]]:
        """Each keyword alone behind: what is ours, what passes, what never does."""
        for line, wanted in [("", {}), *OFFERS]:

            def run(gateway: TestGateway, backend: Backend, line: str = line, wanted: dict[str, str] = wanted) -> None:
                with Client(gateway.port()) as client:
                    self.assertEqual(offered(client.hello()), {**OWN, **wanted}, line)

            yield self.before(run, [line] if line else [])

    def test_P_183_only_backends_that_are_reached(self) -> Deferred[Any]:
        """A backend behind a route that takes all of a listener's mail has no say in what that listener offers."""
        one, other = Backend((), ["DSN", "8BITMIME"]), Backend((), ["8BITMIME"])
        for backend in (one, other):
            self.addCleanup(backend.close)
        text = self.config(one.port).replace(
            "[backends.mail]",
            f"""[listeners.side]
listen = ["tcp:0:interface=127.0.0.1"]
role = "mx"
tls = "off"
[backends.second]
servers = ["127.0.0.1:{other.port}"]
tls = "off"
[backends.mail]""",
        )
        text = text.replace("[[routes]]", '[[routes]]\nlistener = "front"') + '[[routes]]\nbackend = "second"\n'

        def run(gateway: TestGateway) -> None:
            for listener, has_dsn in (("front", True), ("side", False)):
                with Client(gateway.port(listener)) as client:
                    self.assertEqual("DSN" in offered(client.hello()), has_dsn, listener)

        return self.run_script(text, run)

    def test_P_183_utf8(self) -> Deferred[Any]:
        """SMTPUTF8 passes with the 8BITMIME that it needs."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                self.assertEqual(offered(client.hello()), {**OWN, "8BITMIME": "", "SMTPUTF8": ""})

        return self.before(run, ["8BITMIME", "SMTPUTF8"])

    def test_P_183_verbs_not_offered(self) -> Deferred[Any]:
        """A keyword that does not pass is no verb either."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                for line in (
                    b"ETRN example.net",
                    b"EXPN x",
                    b"BURL imap://x LAST",
                    b"XCLIENT ADDR=192.0.2.1",
                    b"XFORWARD ADDR=192.0.2.1",
                ):
                    self.assertRegex(client.say(line), rb"^5\d\d 5\.\d\.\d ")
                self.assertEqual(backend.seen(b"^(ETRN|EXPN|BURL|XCLIENT|XFORWARD)"), [])

        return self.before(run, ["ETRN", "EXPN", "BURL imap", "XCLIENT NAME ADDR", "XFORWARD NAME ADDR"])

    def test_P_184_unknown(self) -> Deferred[Any]:
        """Private and unknown words are not shown, and are no commands."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                self.assertEqual(offered(client.hello()), OWN)
                self.assertRegex(client.say(b"X-FOO bar"), rb"^500 5\.5\.1 ")
                self.assertEqual(backend.seen(b"FOO"), [])

        return self.before(run, ["X-FOO bar", "NEWTHING"])

    def test_P_185_sloppy_list(self) -> Deferred[Any]:
        """Lower case, the legacy AUTH=, repeats and trailing blanks are read; one clean line each goes out."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                words = offered(client.hello())
                self.assertEqual(words, {**OWN, "8BITMIME": "", "SIZE": "100", "DSN": "", "AUTH": "LOGIN PLAIN"})

        return self.before(
            run,
            ["8bitmime", "Size 100", "AUTH=LOGIN PLAIN", "auth login plain", "8BITMIME", "dsn  ", "DSN "],
            role="submission",
            listener='auth = "relay"\nauth_requires_tls = false',
        )

    @inlineCallbacks
    def test_P_186_two_backends(self) -> Iterator[Deferred[Any]]:
        """Two backends: what both can do and the smaller SIZE; with `union` what one can do."""
        first, second = ["8BITMIME", "SMTPUTF8", "DSN", "SIZE 10000000"], ["8BITMIME", "DSN", "SIZE 5000000"]
        for mode in ("intersection", "union"):

            def run(gateway: TestGateway, one: Backend, other: Backend, mode: str = mode) -> None:
                with Client(gateway.port()) as client:
                    words = offered(client.hello())
                    self.assertEqual((words["SIZE"], "DSN" in words), ("5000000", True))
                    self.assertEqual("SMTPUTF8" in words, mode == "union")
                    if mode == "union":
                        self.assertRegex(client.say(b"MAIL FROM:<a@example.org> SMTPUTF8"), rb"^250 ")
                        self.assertRegex(client.say(b"RCPT TO:<second@example.net>"), rb"^55\d 5\.6\.7 .*" + REFERENCE)
                        self.assertEqual(other.seen(b"^MAIL"), [])
                        self.assertRegex(client.say(b"RCPT TO:<b@example.net>"), rb"^250 ")
                        self.assertEqual(one.seen(b"^MAIL"), [b"MAIL FROM:<a@example.org> SMTPUTF8"])

            yield self.two(run, first, second, f'capability_mode = "{mode}"')

    @inlineCallbacks
    def test_P_187_drift(self) -> Iterator[Deferred[Any]]:
        """A keyword lost between probe and transaction: 451, nothing dropped, and the next EHLO is right."""
        for keyword, mail, recipient in (
            ("8BITMIME", b" BODY=8BITMIME", b""),
            ("DSN", b" RET=HDRS", b""),
            ("DSN", b"", b" NOTIFY=NEVER"),
            ("DSN", b" ENVID=x", b" ORCPT=rfc822;b@example.net"),
        ):

            def run(
                gateway: TestGateway,
                backend: Backend,
                keyword: str = keyword,
                mail: bytes = mail,
                recipient: bytes = recipient,
            ) -> None:
                with Client(gateway.port()) as client:
                    self.assertIn(keyword, offered(client.hello()))
                    backend.ehlo.remove(keyword)
                    reply = client.say(b"MAIL FROM:<a@example.org>" + mail)
                    if reply.startswith(b"250"):
                        reply = client.say(b"RCPT TO:<b@example.net>" + recipient)
                    self.assertRegex(reply, rb"^451 4\.3\.0 .*" + REFERENCE, (keyword, mail, recipient))
                    self.assertEqual(backend.seen(b"^(RCPT|DATA)"), [])
                    client.say(b"RSET")
                    self.assertNotIn(keyword, offered(client.hello()))
                    self.assertRegex(client.message(), rb"^250 2\.0\.0 ")
                with Client(gateway.port()) as client:
                    self.assertNotIn(keyword, offered(client.hello()))

            yield self.before(run, ["PIPELINING", "8BITMIME", "DSN"])

    @inlineCallbacks
    def test_P_188_helo_only(self) -> Iterator[Deferred[Any]]:
        """EHLO refused: HELO, and no parameter goes there."""
        for answer in (b"500 5.5.1 what?", b"502 5.5.1 no", b"504 5.5.4 no", b"550 5.7.1 no"):

            def run(gateway: TestGateway, backend: Backend) -> None:
                with Client(gateway.port()) as client:
                    self.assertEqual(offered(client.hello()), OWN)
                    self.assertRegex(client.say(b"MAIL FROM:<a@example.org> SIZE=20"), rb"^250 ")
                    self.assertRegex(client.say(b"RCPT TO:<b@example.net>"), rb"^250 ")
                    self.assertRegex(client.say(b"DATA"), rb"^354 ")
                    self.assertRegex(client.say(b"Subject: x\r\n\r\nhi\r\n."), rb"^250 2\.0\.0 ")
                self.assertEqual(
                    backend.seen(b"^(MAIL|RCPT)"), [b"MAIL FROM:<a@example.org>", b"RCPT TO:<b@example.net>"]
                )
                for connection in backend.connections:
                    self.assertEqual([line[:4] for line in connection.commands[:2]], [b"EHLO", b"HELO"])

            yield self.drive(run, Backend([(b"^EHLO", answer)]))

    def test_P_188_closing(self) -> Deferred[Any]:
        """421 to EHLO: no HELO, the connection failed."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                client.say(b"MAIL FROM:<a@example.org>")
                self.assertRegex(client.say(b"RCPT TO:<b@example.net>"), rb"^451 4\.\d\.\d .*" + REFERENCE)
            self.assertEqual(backend.seen(b"^(HELO|MAIL)"), [])

        return self.drive(run, Backend([(b"^EHLO", b"421 4.3.2 closing")]))

    def test_P_189_octets(self) -> Deferred[Any]:
        """The reply's form: our name first, hyphens and one blank, no enhanced codes, short and valid lines."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                reply = client.say(b"EHLO client.example.com")
                self.assertTrue(reply.endswith(b"\r\n"))
                lines = reply[:-2].split(b"\r\n")
                self.assertRegex(lines[0], rb"^250-gate\.example\.com( [ -~]*)?$")
                for number, line in enumerate(lines[1:], 2):
                    self.assertRegex(
                        line, rb"^250%s[A-Z0-9][A-Z0-9-]*( [!-~]+)*$" % (b" " if number == len(lines) else b"-")
                    )
                    self.assertIsNone(re.match(rb"250.\d\.\d\.\d", line))
                    self.assertLessEqual(len(line) + 2, 512)

        return self.before(
            run, ["8BITMIME", "DSN", "SMTPUTF8", "SIZE 1000", "LIMITS RCPTMAX=5", "X" * 400, "AUTH PLAIN " + "A" * 300]
        )

    def test_P_190_backend_down(self) -> Deferred[Any]:
        """The backend is down: EHLO answers all the same, the recipient is put off."""

        def run(gateway: TestGateway) -> None:
            with Client(gateway.port()) as client:
                self.assertEqual(offered(client.hello()), OWN)
                self.assertRegex(client.say(b"MAIL FROM:<a@example.org>"), rb"^250 2\.1\.0 ")
                self.assertRegex(client.say(b"RCPT TO:<b@example.net>"), rb"^451 4\.4\.1 .*" + REFERENCE)

        backend = Backend()
        backend.close()
        return self.run_script(self.config(backend.port), run)

    def test_P_190_cached_list(self) -> Deferred[Any]:
        """The backend goes down after it was seen: its list is remembered."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            backend.close()
            with Client(gateway.port()) as client:
                self.assertEqual(offered(client.hello()), {**OWN, "DSN": "", "8BITMIME": ""})
                self.assertRegex(client.say(b"MAIL FROM:<a@example.org>"), rb"^250 2\.1\.0 ")
                self.assertRegex(client.say(b"RCPT TO:<b@example.net>"), rb"^451 4\.4\.1 .*" + REFERENCE)

        return self.before(run, ["DSN", "8BITMIME"])

    @inlineCallbacks
    def test_P_191_endless_list(self) -> Iterator[Deferred[Any]]:
        """A list of thousands of lines, or one line of 100 KB: cut off, dropped, 451."""

        def endless(connection: Connection) -> bytes:
            for number in range(100_000):
                connection.sock.sendall(b"250-X-%d\r\n" % number)
            return DROP

        lines = b"".join(b"250-X-WORD-%d\r\n" % number for number in range(500)) + b"250 DSN\r\n"
        for action in (lines, b"250-" + b"x" * 100_000 + b"\r\n250 DSN\r\n", endless):

            def run(gateway: TestGateway, backend: Backend) -> None:
                with Client(gateway.port()) as client:
                    self.assertEqual(offered(client.hello()), OWN)
                    self.assertRegex(client.say(b"MAIL FROM:<a@example.org>"), rb"^250 2\.1\.0 ")
                    self.assertRegex(client.say(b"RCPT TO:<b@example.net>"), rb"^451 4\.\d\.\d .*" + REFERENCE)
                    self.assertEqual(backend.seen(b"^MAIL"), [])

            yield self.drive(run, Backend([(b"^EHLO", action)]))
