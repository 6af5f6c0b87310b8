"""PROTOCOL section 1: connection opening and command syntax, through the running gateway."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from tests.gateway_kit import GatewayCase, TestGateway
from tests.script_kit import Backend, Client


class OpeningTests(GatewayCase):
    """P-001 to P-037."""

    def talk(self, script, **config) -> Deferred:
        """A script that gets a client and the backend."""

        def run(gateway: TestGateway) -> None:
            with Client(gateway.port()) as client:
                script(client, backend)

        backend = Backend()
        self.addCleanup(backend.close)
        return self.run_script(self.config(backend.port, **config), run)

    def test_P_001_greeting(self) -> Deferred:
        """One 220 with our own name first and no enhanced code."""

        def run(gateway: TestGateway) -> None:
            with Client(gateway.port(), greet=False) as client:
                self.assertRegex(client.read(), rb"^220 gate\.example\.com ESMTP\r\n$")

        backend = Backend(greeting=b"220 secret.internal very old server")
        self.addCleanup(backend.close)
        return self.run_script(self.config(backend.port), run)

    def test_P_004_quit_first(self) -> Deferred:
        """QUIT at once: 221, closed, and the backend never heard MAIL."""

        def script(client: Client, backend: Backend) -> None:
            self.assertRegex(client.say(b"QUIT"), rb"^221 2\.0\.0 ")
            self.assertTrue(client.is_closed())
            self.assertEqual(backend.seen(b"^MAIL"), [])

        return self.talk(script)

    def test_P_005_case(self) -> Deferred:
        """Verbs in any case; the local part's case reaches the backend."""

        def script(client: Client, backend: Backend) -> None:
            client.say(b"eHlO c.example")
            self.assertTrue(client.say(b"mAiL fRoM:<A.b@example.org>").startswith(b"250"))
            self.assertTrue(client.say(b"rCpT tO:<Bo.B@example.net>").startswith(b"250"))
            self.assertTrue(client.say(b"dAtA").startswith(b"354"))
            self.assertTrue(client.say(b"x\r\n.").startswith(b"250"))
            self.assertEqual(backend.seen(b"^MAIL"), [b"MAIL FROM:<A.b@example.org>"])
            self.assertEqual(backend.seen(b"^RCPT"), [b"RCPT TO:<Bo.B@example.net>"])

        return self.talk(script)

    def test_P_071_message_is_unchanged(self) -> Deferred:
        """The backend gets the octets behind our trace field, one end of data."""

        def script(client: Client, backend: Backend) -> None:
            client.hello()
            content = b"Subject: x\r\n\r\n..dot\r\nhi\r\n"
            self.assertRegex(client.message(content), rb"^250 2\.0\.0 queued [0-9A-V]{26}\.1\r\n$")
            (got,) = backend.messages
            self.assertTrue(got.startswith(b"Received: from client.example.com ([127.0.0.1])\r\n"))
            self.assertTrue(got.endswith(b"\r\n" + content))

        return self.talk(script)
