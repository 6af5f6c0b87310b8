"""Never an open relay, through the running gateway: what the configuration lets pass must not relay for strangers."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from smtpgate.config.problem import ConfigErrors
from tests.gateway_kit import GatewayCase, TestGateway
from tests.script_kit import EHLO, Backend, Client

PROXIED = 'proxy_protocol_from = ["127.0.0.0/8"]\nrelay_from = ["192.0.2.0/24"]\n'


def client_of(gateway: TestGateway, address: str) -> Client:
    """A client that a load balancer names so."""
    client = Client(gateway.port(), greet=False)
    client.send(f"PROXY TCP4 {address} 203.0.113.1 4711 25\r\n".encode())
    assert client.read().startswith(b"220 ")
    client.hello()
    return client


class RelayTests(GatewayCase):
    """Submission needs AUTH, or a client in relay_from (DESIGN, promise 12)."""

    def strangers_are_refused(self, listener: str) -> Deferred[Any]:
        """Those in relay_from may send anywhere without AUTH; all others may not, whatever they say."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            with client_of(gateway, "192.0.2.7") as client:
                self.assertRegex(client.message(recipients=[b"b@elsewhere.example"]), b"^250 ")
            count = len(backend.commands)
            for address in ("198.51.100.7", "127.0.0.1", "192.0.3.1"):
                with client_of(gateway, address) as client:
                    for sender in (b"a@example.org", b"a@example.net", b""):
                        reply = client.say(b"MAIL FROM:<" + sender + b">")
                        if reply.startswith(b"2"):
                            reply = client.say(b"RCPT TO:<b@elsewhere.example>")
                        self.assertRegex(reply, rb"^5[35]0 5\.7\.[01] ", (address, sender))
            self.assertEqual(len(backend.messages), 1)
            self.assertEqual([line for line in backend.commands[count:] if line[:4] in (b"MAIL", b"RCPT", b"DATA")], [])

        backend = Backend(ehlo=[*EHLO, "AUTH PLAIN"])
        return self.drive(run, backend, role="submission", listener=PROXIED + listener)

    def test_without_auth(self) -> Deferred[Any]:
        """Only the network says who may send."""
        return self.strangers_are_refused("")

    def test_with_auth(self) -> Deferred[Any]:
        """The network or a login."""
        return self.strangers_are_refused('auth = "relay"\nauth_requires_tls = false')

    def test_with_auth_that_is_not_required(self) -> Deferred[Any]:
        """The switch is warned about, and opens nothing."""
        return self.strangers_are_refused('auth = "relay"\nauth_requires_tls = false\nauth_required = false')

    def test_without_either(self) -> None:
        """No such listener starts."""
        for listener in ("", 'auth = "relay"\nauth_requires_tls = false\nauth_required = false'):
            failed = self.drive(lambda gateway, backend: None, role="submission", listener=listener)
            self.failureResultOf(failed, ConfigErrors)
