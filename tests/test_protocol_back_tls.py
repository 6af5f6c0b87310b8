"""PROTOCOL section 8: TLS on the backend's leg, through the running gateway."""

from __future__ import annotations

import datetime
import ssl
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import trustme
from twisted.internet.defer import Deferred, inlineCallbacks

from smtpgate.policy import event as told
from tests.gateway_kit import GatewayCase, TestGateway
from tests.script_kit import DROP, EHLO, REFERENCE, Backend, Client, Connection

STARTTLS = (*EHLO, "STARTTLS")
NAME = "mail.internal.example"


def listing(words: Sequence[str]) -> bytes:
    """An EHLO reply."""
    lines = ["backend.example.net", *words]
    return "\r\n".join([f"250-{line}" for line in lines[:-1]] + [f"250 {lines[-1]}"]).encode()


def by_leg(clear: Sequence[str], secret: Sequence[str]) -> tuple[bytes, Callable[[Connection], bytes]]:
    """A rule: one keyword list in clear, another inside TLS."""

    def answer(connection: Connection) -> bytes:
        connection.has_mail, connection.recipients = False, 0
        return listing(secret if isinstance(connection.sock, ssl.SSLSocket) else clear)

    return b"^EHLO", answer


def broken(connection: Connection) -> bytes:
    """STARTTLS is taken, and the handshake answered with something else."""
    connection.say(b"220 go on")
    connection.more()
    connection.sock.sendall(b"500 what is that?\r\n")
    return DROP


class BackTLSTests(GatewayCase):
    """P-153 to P-163."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.ca = trustme.CA()
        self.ca_file = self.folder / "ca.pem"
        self.ca.cert_pem.write_to_path(str(self.ca_file))

    def behind(
        self, script: Callable[[TestGateway, Backend], Any], backend: Backend, keys: str = "", **config: str
    ) -> Deferred[Any]:
        """A gateway before this backend, which the configuration gives these keys."""
        self.addCleanup(backend.close)
        return self.run_script(
            self.config(backend.port, backend=keys, **config), lambda gateway: script(gateway, backend)
        )

    def issue(self, *names: str, ca: trustme.CA | None = None, **more: Any) -> Path:
        """A certificate with key and chain in one file."""
        path = self.folder / f"{len(list(self.folder.iterdir()))}.pem"
        (ca or self.ca).issue_cert(*names, **more).private_key_and_cert_chain_pem.write_to_path(str(path))
        path.chmod(0o600)
        return path

    def verify(self) -> str:
        """Keys of a backend whose certificate must be right."""
        return f'tls_ca = "{self.ca_file}"\ntls_name = "{NAME}"'

    def send(self, gateway: TestGateway) -> list[bytes]:
        """Replies to MAIL, RCPT and, where that may be, a message."""
        with Client(gateway.port()) as client:
            client.hello()
            replies = [client.say(b"MAIL FROM:<a@example.org>"), client.say(b"RCPT TO:<b@example.net>")]
            if replies[-1].startswith(b"250"):
                replies += [client.say(b"DATA"), client.say(b"Subject: x\r\n\r\nhi\r\n.")]
            return replies

    def delivered(self, gateway: TestGateway, backend: Backend, in_clear: bool) -> None:
        """A message goes through, with or without TLS."""
        self.assertEqual([reply[:3] for reply in self.send(gateway)], [b"250", b"250", b"354", b"250"])
        self.assertEqual(len(backend.messages), 1)
        (carrier,) = (one for one in backend.connections if any(line.startswith(b"MAIL") for line in one.commands))
        self.assertEqual(any(line.startswith(b"MAIL") for line in carrier.in_clear), in_clear)

    def deferred(self, gateway: TestGateway, backend: Backend, codes: bytes) -> None:
        """The recipient is put off with these codes, and the backend saw neither mail nor login."""
        replies = self.send(gateway)
        self.assertRegex(replies[0], rb"^250 ")
        self.assertRegex(replies[-1], b"^" + codes + b" .*" + REFERENCE)
        self.assertEqual(len(replies), 2)
        self.assertEqual(backend.seen(b"^(MAIL|AUTH|RCPT|DATA)"), [])
        self.assertNotEqual(
            [event for event in gateway.events if isinstance(event, told.LinkFailed | told.ServerChanged)], []
        )

    def reasons(self, gateway: TestGateway) -> str:
        """All that was told about failed links."""
        return " ".join(
            str(event.reason) for event in gateway.events if isinstance(event, told.LinkFailed | told.ServerChanged)
        )

    def test_P_153_used_where_offered(self) -> Deferred[Any]:
        """Optional and offered: used, EHLO is repeated inside, and only the second list counts."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                reply = client.hello()
                self.assertIn(b"DSN", reply)
                self.assertNotIn(b"SMTPUTF8", reply)
            self.delivered(gateway, backend, in_clear=False)
            for connection in backend.connections:
                self.assertEqual([line[:8] for line in connection.in_clear], [b"EHLO gat", b"STARTTLS"])
                self.assertEqual(connection.commands[2][:4], b"EHLO")

        backend = Backend(
            [by_leg(["PIPELINING", "SMTPUTF8", "8BITMIME", "STARTTLS"], ["PIPELINING", "8BITMIME", "DSN"])],
            certificate=self.issue(NAME),
        )
        return self.behind(run, backend, backend_tls="optional")

    @inlineCallbacks
    def test_P_154_injected_replies(self) -> Iterator[Deferred[Any]]:
        """Clear text behind the 220 is an attack: dropped, 451, nothing of it used."""
        for mode in ("required", "optional"):
            for surplus in (b"250-x\r\n250 AUTH PLAIN\r\n", b"250", b"\r\n"):

                def inject(connection: Connection, surplus: bytes = surplus) -> bytes:
                    connection.sock.sendall(b"220 go\r\n" + surplus)
                    connection.more()  # the gateway must hang up
                    return DROP

                def run(gateway: TestGateway, backend: Backend) -> None:
                    with Client(gateway.port()) as client:
                        self.assertNotIn(b"AUTH", client.hello())
                    self.deferred(gateway, backend, rb"451 4\.7\.5")

                backend = Backend([(b"^STARTTLS", inject)], STARTTLS)
                yield self.behind(run, backend, backend_tls=mode)

    def test_P_155_missing(self) -> Deferred[Any]:
        """Required and not offered: no mail, 451, and an alarm."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            self.deferred(gateway, backend, rb"451 4\.7\.4")
            self.assertIn("STARTTLS", self.reasons(gateway))

        return self.behind(run, Backend(), backend_tls="required")

    @inlineCallbacks
    def test_P_156_refused(self) -> Iterator[Deferred[Any]]:
        """STARTTLS refused: 451 where it is required, clear text where it is not."""
        for answer in (b"454 4.7.0 not now", b"502 5.5.1 what?", b"501 5.5.4 no"):
            backend = Backend([(b"^STARTTLS", answer)], STARTTLS)
            yield self.behind(
                lambda gateway, behind: self.deferred(gateway, behind, rb"451 4\.7\.4"), backend, backend_tls="required"
            )
            backend = Backend([(b"^STARTTLS", answer)], STARTTLS)
            yield self.behind(
                lambda gateway, behind: self.delivered(gateway, behind, in_clear=True), backend, backend_tls="optional"
            )

    @inlineCallbacks
    def test_P_157_handshake_fails(self) -> Iterator[Deferred[Any]]:
        """A failed handshake: 451 and no clear text where TLS is required, one more try where it is not."""
        for action in (broken, lambda connection: (connection.say(b"220 go on"), DROP)[1]):
            backend = Backend([(b"^STARTTLS", action)], STARTTLS)
            yield self.behind(
                lambda gateway, behind: self.deferred(gateway, behind, rb"451 4\.7\.5"), backend, backend_tls="required"
            )

            def run(gateway: TestGateway, backend: Backend) -> None:
                before = len(backend.connections)
                reply = self.send(gateway)[-1]
                self.assertRegex(reply, rb"^(250 2\.0\.0|451 4\.7\.5) .*" + REFERENCE)
                self.assertEqual(len(backend.messages), int(reply.startswith(b"250")))
                self.assertLessEqual(len(backend.connections) - before, 2)

            yield self.behind(run, Backend([(b"^STARTTLS", action)], STARTTLS), backend_tls="optional")

    @inlineCallbacks
    def test_P_158_bad_certificates(self) -> Iterator[Deferred[Any]]:
        """Verified: any fault of the certificate is 451, before the second EHLO."""
        now = datetime.datetime.now(datetime.UTC)
        day = datetime.timedelta(days=1)
        certificates = {
            "self-signed": Path(self.certificate()),
            "unknown issuer": self.issue(NAME, ca=trustme.CA()),
            "expired": self.issue(NAME, not_before=now - 9 * day, not_after=now - day),
            "not yet valid": self.issue(NAME, not_before=now + day, not_after=now + 9 * day),
            "wrong name": self.issue("other.internal.example"),
            "name in CN only": self.issue("other.internal.example", common_name=NAME),
            "wildcard too deep": self.issue("*.example"),
            "address only": self.issue("127.0.0.1"),
        }
        for fault, path in certificates.items():

            def run(gateway: TestGateway, backend: Backend, fault: str = fault) -> None:
                self.deferred(gateway, backend, rb"451 4\.7\.5")
                for connection in backend.connections:
                    self.assertEqual([line[:4] for line in connection.commands], [b"EHLO", b"STAR"], fault)
                self.assertRegex(self.reasons(gateway), r"certificate|verif", fault)

            yield self.behind(run, Backend((), STARTTLS, certificate=path), backend_tls="verify", keys=self.verify())

    def test_P_159_configured_name(self) -> Deferred[Any]:
        """The right certificate for the configured name, which SNI carries: accepted."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            self.delivered(gateway, backend, in_clear=False)
            self.assertEqual(set(backend.names), {NAME})

        return self.behind(
            run, Backend((), STARTTLS, certificate=self.issue(NAME)), backend_tls="verify", keys=self.verify()
        )

    def test_P_159_wildcard(self) -> Deferred[Any]:
        """A wildcard of the right depth will do."""
        return self.behind(
            lambda gateway, behind: self.delivered(gateway, behind, in_clear=False),
            Backend((), STARTTLS, certificate=self.issue("*.internal.example")),
            backend_tls="verify",
            keys=self.verify(),
        )

    def test_P_160_list_inside_tls(self) -> Deferred[Any]:
        """Keywords of the clear list are forgotten."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                reply = client.hello()
                self.assertNotRegex(reply, rb"AUTH|DSN|SIZE 5\r")
                self.assertRegex(client.say(b"MAIL FROM:<a@example.org> SIZE=100"), rb"^250 ")
                self.assertRegex(client.say(b"RCPT TO:<b@example.net> NOTIFY=NEVER"), rb"^555 5\.5\.4 ")
                self.assertRegex(client.say(b"RCPT TO:<b@example.net>"), rb"^250 ")
                self.assertEqual(backend.seen(b"^MAIL"), [b"MAIL FROM:<a@example.org>"])

        backend = Backend(
            [by_leg(["AUTH PLAIN", "SIZE 5", "DSN", "STARTTLS"], ["8BITMIME"])], certificate=self.issue(NAME)
        )
        return self.behind(
            run,
            backend,
            backend_tls="optional",
            role="submission",
            listener='auth = "relay"\nauth_requires_tls = false\nrelay_from = ["127.0.0.0/8"]',
        )

    @inlineCallbacks
    def test_P_161_implicit(self) -> Iterator[Deferred[Any]]:
        """TLS from the first octet works; a server that speaks in clear there is a failed handshake."""
        yield self.behind(
            lambda gateway, behind: self.delivered(gateway, behind, in_clear=False),
            Backend(certificate=self.issue("127.0.0.1"), implicit=True),
            backend_tls="implicit",
            keys=f'tls_ca = "{self.ca_file}"',
        )
        yield self.behind(
            lambda gateway, behind: self.deferred(gateway, behind, rb"451 4\.7\.5"), Backend(), backend_tls="implicit"
        )

    def front(self) -> str:
        """Keys of a listener with a certificate."""
        return f'certificates = ["{self.certificate()}"]'

    def upgrade(self, client: Client) -> bytes:
        """The EHLO reply inside TLS."""
        client.hello()
        self.assertEqual(client.say(b"STARTTLS")[:3], b"220")
        client.starttls()
        return client.hello()

    def test_P_162_require_tls(self) -> Deferred[Any]:
        """REQUIRETLS: offered inside TLS over a verified leg, and forwarded; in clear it is no parameter."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                self.assertNotIn(b"REQUIRETLS", client.hello())
                self.assertRegex(client.say(b"MAIL FROM:<a@example.org> REQUIRETLS"), rb"^555 5\.5\.4 .*" + REFERENCE)
                self.assertIn(b"REQUIRETLS", self.upgrade(client))
                self.assertRegex(client.say(b"MAIL FROM:<a@example.org> REQUIRETLS"), rb"^250 ")
                self.assertRegex(client.say(b"RCPT TO:<b@example.net>"), rb"^250 ")
                self.assertEqual(backend.seen(b"^MAIL"), [b"MAIL FROM:<a@example.org> REQUIRETLS"])

        backend = Backend((), ["PIPELINING", "STARTTLS", "REQUIRETLS"], certificate=self.issue(NAME))
        return self.behind(
            run, backend, backend_tls="verify", keys=self.verify(), tls="optional", listener=self.front()
        )

    @inlineCallbacks
    def test_P_162_not_verified(self) -> Iterator[Deferred[Any]]:
        """A backend without it, or over a leg that is not verified: not offered, 555."""
        for mode, words in (
            ("required", ["STARTTLS", "REQUIRETLS"]),
            ("off", ["REQUIRETLS"]),
            ("verify", ["STARTTLS"]),
        ):

            def run(gateway: TestGateway, backend: Backend) -> None:
                with Client(gateway.port()) as client:
                    self.assertNotIn(b"REQUIRETLS", self.upgrade(client))
                    self.assertRegex(
                        client.say(b"MAIL FROM:<a@example.org> REQUIRETLS"), rb"^555 5\.5\.4 .*" + REFERENCE
                    )

            yield self.behind(
                run,
                Backend((), words, certificate=self.issue(NAME)),
                backend_tls=mode,
                keys=self.verify() if mode == "verify" else "",
                tls="optional",
                listener=self.front(),
            )

    def test_P_162_chosen_backend_lacks_it(self) -> Deferred[Any]:
        """Offered for one backend, the recipient goes to another: 550 5.7.30, never dropped."""
        able = Backend((), ["STARTTLS", "REQUIRETLS"], certificate=self.issue(NAME))
        plain = Backend((), ["STARTTLS"], certificate=self.issue(NAME))
        self.addCleanup(plain.close)
        listener = self.front() + '\ncapability_mode = "union"'
        text = self.config(able.port, tls="optional", listener=listener, backend_tls="verify", backend=self.verify())
        text = text.replace(
            "[[routes]]",
            f"""[backends.plain]
servers = ["127.0.0.1:{plain.port}"]
tls = "verify"
{self.verify()}
[[routes]]
recipient = ["plain@"]
backend = "plain"
[[routes]]""",
        )
        self.addCleanup(able.close)

        def run(gateway: TestGateway) -> None:
            with Client(gateway.port()) as client:
                self.assertIn(b"REQUIRETLS", self.upgrade(client))
                self.assertRegex(client.say(b"MAIL FROM:<a@example.org> REQUIRETLS"), rb"^250 ")
                self.assertRegex(client.say(b"RCPT TO:<plain@example.net>"), rb"^550 5\.7\.30 .*" + REFERENCE)
                self.assertEqual(plain.seen(b"^MAIL"), [])
                self.assertRegex(client.say(b"RCPT TO:<b@example.net>"), rb"^250 ")
                self.assertEqual(able.seen(b"^MAIL"), [b"MAIL FROM:<a@example.org> REQUIRETLS"])

        return self.run_script(text, run)

    @inlineCallbacks
    def test_P_163_client_certificate(self) -> Iterator[Deferred[Any]]:
        """A server that asks for a certificate gets the configured one; without one the mail flows all the same."""
        mine = self.issue("gate.example.com")
        for keys, names in ((f'tls_certificate = "{mine}"', (("DNS", "gate.example.com"),)), ("", ())):

            def run(gateway: TestGateway, backend: Backend, names: Any = names) -> None:
                self.delivered(gateway, backend, in_clear=False)
                for shown in backend.certificates:
                    self.assertEqual((shown or {}).get("subjectAltName", ()), names)

            backend = Backend((), STARTTLS, certificate=self.issue(NAME))
            backend.client_ca = self.ca_file
            yield self.behind(run, backend, keys, backend_tls="required")
