"""Demands for TLS where a message has several legs, a login of its own, or links that others have used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks

from smtpgate.config.loader import loads
from smtpgate.wiring import rules_of
from tests.gateway_kit import TestGateway
from tests.script_kit import REFERENCE, Backend, Client
from tests.test_tls_matrix import SECRET, STARTTLS, MatrixCase

HEADER_RULE = """
[[rules]]
name = "secret"
when = "subject == 'x'"
action = "require-tls"
tls_level = "encrypted"
"""
MESSAGE = b"Subject: x\r\n\r\n" + SECRET + b"\r\n"


def carries(backend: Backend, verb: bytes) -> list[bool]:
    """For each time that it heard a verb: whether that came in clear."""
    return [
        number < (len(one.commands) if one.clear is None else one.clear)
        for one in backend.connections
        for number, line in enumerate(one.commands)
        if line[: len(verb)] == verb
    ]


class LegTests(MatrixCase):
    """Several legs."""

    def run_rules(self, text: str, script: Callable[[TestGateway], Any]) -> Deferred[Any]:
        """A gateway with the rules of its configuration."""
        services: Any = SimpleNamespace(clock=reactor)
        return self.run_script(text, script, rules_of(loads(text, "/nowhere/gate.toml"), services, services))

    def two(self, one: Backend, other: Backend, rules: str = HEADER_RULE) -> str:
        """A gateway before two backends, by recipient."""
        return f"""
hostname = "gate.example.com"
local_domains = ["example.net", "example.org"]
[listeners.front]
listen = ["tcp:0:interface=127.0.0.1"]
tls = "off"
[backends.one]
servers = ["127.0.0.1:{one.port}"]
[backends.other]
servers = ["127.0.0.1:{other.port}"]
[[routes]]
recipient = ["example.net"]
backend = "one"
[[routes]]
recipient = ["example.org"]
backend = "other"
{rules}"""

    def safe(self, **more: Any) -> Backend:
        """A server with TLS that has none for its first two connections: a probe and a message."""
        backend = Backend((), STARTTLS, certificate=self.certificates["right"], **more)
        backend.once += [(b"^STARTTLS", b"454 4.7.0 not now")] * 2
        self.addCleanup(backend.close)
        return backend

    def test_both_are_begun_anew(self) -> Deferred[Any]:
        """Where the header section asks for it, the legs at both backends go over to TLS, and each has the message."""
        one, other = self.safe(), self.safe()

        def run(gateway: TestGateway) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                reply = client.message(MESSAGE, recipients=(b"a@example.net", b"b@example.org"))
                self.assertRegex(reply, rb"^250 .*" + REFERENCE)
            for backend in (one, other):
                self.assertEqual([SECRET in content for content in backend.messages], [True])
                # DATA was said in clear before the header was there; no content followed it.
                self.assertEqual(carries(backend, b"RCPT"), [True, False])
                self.assertEqual([part for part in backend.unfinished if part], [])

        return self.run_rules(self.two(one, other), run)

    def test_one_of_them_has_none(self) -> Deferred[Any]:
        """The message is refused, and neither backend has any of it."""
        one, other = self.safe(), self.server("no STARTTLS")

        def run(gateway: TestGateway) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                reply = client.message(MESSAGE, recipients=(b"a@example.net", b"b@example.org"))
                self.assertRegex(reply, rb"^550 5\.7\.10 .*" + REFERENCE)
                # The session goes on.
                reply = client.message(b"Subject: y\r\n\r\nhi\r\n", recipients=(b"b@example.org",))
                self.assertRegex(reply, rb"^250 ")
            self.assertEqual((one.messages, len(other.messages)), ([], 1))
            self.assertEqual([part for part in one.unfinished + other.unfinished if part], [])

        return self.run_rules(self.two(one, other), run)

    def test_lmtp(self) -> Deferred[Any]:
        """Each recipient has a leg of its own; all go over to TLS."""
        backend = self.safe(lmtp=True)
        backend.rules.append((b"^LHLO", b"250-backend\r\n250-PIPELINING\r\n250 STARTTLS"))
        backend.once.append((b"^STARTTLS", b"454 4.7.0 not now"))

        def run(gateway: TestGateway) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                reply = client.message(MESSAGE, recipients=(b"a@example.net", b"b@example.net"))
                self.assertRegex(reply, rb"^250 ")
            self.assertEqual([SECRET in content for content in backend.messages], [True, True])
            self.assertEqual(carries(backend, b"RCPT"), [True, True, False, False])
            self.assertEqual([part for part in backend.unfinished if part], [])

        return self.run_rules(
            self.config(backend.port, backend='protocol = "lmtp"', backend_tls="optional") + HEADER_RULE, run
        )

    @inlineCallbacks
    def test_each_recipient_for_itself(self) -> Iterator[Deferred[Any]]:
        """With PRDR whose backend has no TLS is refused, and the other served."""
        one, other = self.safe(), self.server("no STARTTLS")

        def run(gateway: TestGateway) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                client.say(b"MAIL FROM:<a@example.com> PRDR")
                for recipient in (b"a@example.net", b"b@example.org"):
                    self.assertRegex(client.say(b"RCPT TO:<" + recipient + b">"), rb"^250 ")
                client.say(b"DATA")
                self.assertRegex(client.say(MESSAGE + b"."), rb"^353 ")
                self.assertRegex(client.read(), rb"^250 ")
                self.assertRegex(client.read(), rb"^550 5\.7\.10 ")
                self.assertRegex(client.read(), rb"^250 ")
            self.assertEqual((len(one.messages), other.messages), (1, []))
            self.assertEqual([part for part in other.unfinished if part], [])

        yield self.run_rules(self.two(one, other), run)

    def test_a_login_stands_where_it_stands(self) -> Deferred[Any]:
        """A link over which a client logged in carries its mail or none; one that has too little carries none."""
        backend = Backend((), ["PIPELINING", "AUTH PLAIN"])
        backend.rules.append((b"^AUTH", b"235 2.7.0 welcome"))
        self.addCleanup(backend.close)
        policy = '[[tls_policies]]\nlevel = "encrypted"\nrecipient = ["secret.example"]\n'

        def run(gateway: TestGateway) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                self.assertRegex(client.say(b"AUTH PLAIN AGEAYg=="), rb"^235 ")
                self.assertRegex(client.say(b"MAIL FROM:<a@example.net>"), rb"^250 ")
                self.assertRegex(client.say(b"RCPT TO:<x@secret.example>"), rb"^550 5\.7\.10 ")
                self.assertRegex(client.say(b"RCPT TO:<x@other.example>"), rb"^250 ")
                client.say(b"DATA")
                self.assertRegex(client.say(MESSAGE + b"."), rb"^250 ")
            self.assertEqual(backend.seen(b"^RCPT"), [b"RCPT TO:<x@other.example>"])
            self.assertEqual(len([one for one in backend.connections if b"AUTH" in b"".join(one.commands)]), 1)

        text = self.config(
            backend.port,
            role="submission",
            listener='auth = "relay"\nauth_requires_tls = false',
            backend_tls="optional",
        )
        return self.run_script(text + policy, run)

    def test_a_rule_about_a_login(self) -> Deferred[Any]:
        """The same where the sender or the subject asks for it."""
        backend = Backend((), ["PIPELINING", "AUTH PLAIN"])
        backend.rules.append((b"^AUTH", b"235 2.7.0 welcome"))
        self.addCleanup(backend.close)
        rules = HEADER_RULE + HEADER_RULE.replace('"secret"', '"boss"').replace(
            "subject == 'x'", "sender == 'boss@x.example'"
        )

        def run(gateway: TestGateway) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                self.assertRegex(client.say(b"AUTH PLAIN AGEAYg=="), rb"^235 ")
                self.assertRegex(client.say(b"MAIL FROM:<boss@x.example>"), rb"^550 5\.7\.10 ")
                self.assertRegex(client.say(b"MAIL FROM:<a@x.example>"), rb"^250 ")
                self.assertRegex(client.say(b"RCPT TO:<x@other.example>"), rb"^250 ")
                client.say(b"DATA")
                self.assertRegex(client.say(MESSAGE + b"."), rb"^550 5\.7\.10 ")
            self.assertEqual(backend.messages, [])
            self.assertEqual([part for part in backend.unfinished if part], [])

        text = self.config(
            backend.port,
            role="submission",
            listener='auth = "relay"\nauth_requires_tls = false',
            backend_tls="optional",
        )
        return self.run_rules(text + rules, run)

    def test_links_that_sessions_share(self) -> Deferred[Any]:
        """One in clear that is free does not serve a message that needs TLS, and the one that is opened serves all."""
        backend = self.safe()
        text = self.config(backend.port, backend='reuse = "pool"\nreuse_idle = "1m"', backend_tls="optional")
        policy = '[[tls_policies]]\nlevel = "encrypted"\nsender = ["example.com"]\n'

        def run(gateway: TestGateway) -> None:
            for sender in (b"a@example.org", b"a@example.com", b"a@example.org", b"a@example.com"):
                with Client(gateway.port()) as client:
                    client.hello()
                    self.assertRegex(client.message(MESSAGE, sender=sender), rb"^250 ")
                    client.say(b"QUIT")
                self.assertTrue(gateway.idle())
            self.assertEqual(carries(backend, b"MAIL"), [True, False, False, False])
            (server,) = gateway.control.revision.pools["mail"].servers  # type: ignore[union-attr]
            self.assertEqual(server.links, 1)

        return self.run_script(text + policy, run)

    def test_a_server_that_has_too_little_serves_others(self) -> Deferred[Any]:
        """It is not taken for one that is down."""
        backend = self.server("no STARTTLS")
        policy = '[[tls_policies]]\nlevel = "encrypted"\nsender = ["example.com"]\n'

        def run(gateway: TestGateway) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                for _ in range(8):
                    client.say(b"MAIL FROM:<a@example.com>")
                    self.assertRegex(client.say(b"RCPT TO:<b@example.net>"), rb"^550 5\.7\.10 ")
                    client.say(b"RSET")
                self.assertRegex(client.message(MESSAGE, sender=b"a@example.org"), rb"^250 ")
            (server,) = gateway.control.revision.pools["mail"].servers  # type: ignore[union-attr]
            self.assertEqual((server.state, server.busy), ("up", 0))

        return self.run_script(self.config(backend.port, backend_tls="optional") + policy, run)

    def test_the_server_that_has_it(self) -> Deferred[Any]:
        """Of several the next is asked, until one has what is needed."""
        plain, safe = self.server("no STARTTLS"), self.server("right certificate")
        text = self.config(plain.port, backend_tls="optional", backend='balance = "failover"').replace(
            f'["127.0.0.1:{plain.port}"]', f'["127.0.0.1:{plain.port}", "127.0.0.1:{safe.port}"]'
        )

        def run(gateway: TestGateway) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                self.assertRegex(client.message(MESSAGE), rb"^250 ")
            self.assertEqual((plain.messages, len(safe.messages)), ([], 1))
            self.assertEqual(carries(plain, b"MAIL"), [])

        return self.run_script(text + '[[tls_policies]]\nlevel = "encrypted"\n', run)

    @inlineCallbacks
    def test_a_file_that_is_gone(self) -> Iterator[Deferred[Any]]:
        """Authorities that were there when the configuration was loaded, and are not when they are needed: not now."""
        backend = self.server("right certificate")
        gone = self.folder / "gone.pem"
        gone.write_bytes(self.ca_file.read_bytes())
        policy = '[[tls_policies]]\nlevel = "verified"\nsender = ["example.com"]\n'
        text = self.config(backend.port, backend=f'tls_ca = "{gone}"\ntls_name = "x"', backend_tls="optional") + policy

        def run(gateway: TestGateway) -> None:
            gone.unlink()
            with Client(gateway.port()) as client:
                client.hello()
                client.say(b"MAIL FROM:<a@example.com>")
                self.assertRegex(client.say(b"RCPT TO:<b@example.net>"), rb"^451 4\.7\.5 ")
                client.say(b"RSET")
                self.assertRegex(client.message(MESSAGE, sender=b"a@example.org"), rb"^250 ")

        yield self.run_script(text, run)
