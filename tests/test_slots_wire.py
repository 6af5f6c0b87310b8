"""Slots of a backend over the wire: over reloads, and where a session leaves in the middle of something."""

from __future__ import annotations

import threading
from typing import Any

from twisted.internet.defer import Deferred

from tests.gateway_kit import GatewayCase, TestGateway
from tests.script_kit import EHLO, PATIENCE_S, Backend, Client, Connection

LOGIN = b"AUTH PLAIN AGEAYg=="


def used(gateway: TestGateway) -> list[tuple[int, int]]:
    """Connections and slots of each server."""
    (pool,) = gateway.control.revision.pools.values()
    return [(server.links, server.busy) for server in pool.servers]


def reload(gateway: TestGateway) -> None:
    """The same configuration as another revision."""
    gateway.in_reactor(gateway.control._apply, gateway.settings)


class ReloadTests(GatewayCase):
    """Sessions that began before a reload count beside those that come after it."""

    def run_with(self, script: Any, backend: str) -> Deferred[Any]:
        """A backend that offers AUTH, with these keys."""
        behind = Backend()
        self.addCleanup(behind.close)
        return self.run_script(self.config(behind.port, backend=backend), lambda gateway: script(gateway, behind))

    def test_the_cap_holds_over_reloads(self) -> Deferred[Any]:
        """One connection at a time, whichever revision opened it; it comes free for the revision at work."""

        def script(gateway: TestGateway, backend: Backend) -> None:
            heard: list[bytes] = []

            def next_one() -> None:
                with Client(gateway.port()) as client:
                    client.hello()
                    heard.append(client.message())

            with Client(gateway.port()) as first:
                first.hello()
                first.say(b"MAIL FROM:<a@example.org>")
                self.assertRegex(first.say(b"RCPT TO:<b@example.net>"), b"^250")
                reload(gateway)
                reload(gateway)
                (pool,) = gateway.control.revision.pools.values()
                waiter = threading.Thread(target=next_one)
                waiter.start()
                self.assertTrue(gateway.until(lambda: pool.slots.line.count))
                self.assertEqual(len([one for one in backend.connections if b"QUIT" not in one.commands]), 1)
                first.say(b"QUIT")
            waiter.join(PATIENCE_S)
            self.assertEqual([reply[:3] for reply in heard], [b"250"])
            self.assertTrue(gateway.idle())
            self.assertEqual(pool.servers[0].links, 0)

        return self.run_with(script, "max_connections = 1")


class LoginTests(GatewayCase):
    """A login that a backend decides over the link of the message before."""

    def relayed(self, script: Any, backend: Backend) -> Deferred[Any]:
        """The backend knows AUTH."""
        self.addCleanup(backend.close)
        text = self.config(backend.port, listener='auth = "relay"\nauth_requires_tls = false')
        return self.run_script(text, lambda gateway: script(gateway, backend))

    def begin(self, client: Client) -> None:
        """A transaction that is given up: its link has a RSET to answer."""
        client.hello()
        client.say(b"MAIL FROM:<a@example.org>")
        assert client.say(b"RCPT TO:<b@example.net>").startswith(b"250")
        client.say(b"RSET")

    def test_a_link_that_does_not_settle_is_given_back(self) -> Deferred[Any]:
        """The backend refuses RSET: neither a connection nor a slot stays taken."""

        def script(gateway: TestGateway, backend: Backend) -> None:
            for _ in range(3):
                with Client(gateway.port()) as client:
                    self.begin(client)
                    client.say(LOGIN)
            self.assertTrue(gateway.idle())
            self.assertTrue(gateway.until(lambda: used(gateway) == [(0, 0)]), used(gateway))

        return self.relayed(script, Backend([(b"^RSET", b"500 5.5.1 no")], (*EHLO, "AUTH PLAIN")))

    def test_a_client_that_leaves_meanwhile(self) -> Deferred[Any]:
        """The same."""
        left, asked = threading.Event(), threading.Event()

        def late(connection: Connection) -> bytes:
            asked.set()
            assert left.wait(PATIENCE_S)
            return b"250 2.0.0 ok"

        def script(gateway: TestGateway, backend: Backend) -> None:
            client = Client(gateway.port())
            self.begin(client)
            client.send(LOGIN + b"\r\n")
            self.assertTrue(gateway.until(asked.is_set))
            client.reset()
            self.assertTrue(gateway.idle())
            left.set()
            self.assertTrue(gateway.until(lambda: used(gateway) == [(0, 0)]), used(gateway))

        return self.relayed(script, Backend([(b"^RSET", late)], (*EHLO, "AUTH PLAIN")))
