"""Who speaks first: a stranger waits for the greeting once, and one that does not wait is found out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from smtpgate.policy import event as told
from tests.gateway_kit import GatewayCase, TestGateway
from tests.script_kit import REFERENCE, Backend, Client

HEADER = b"PROXY TCP4 %s 192.0.2.25 40000 25\r\n"


class PregreetTests(GatewayCase):
    """Behind a load balancer, so that clients have addresses."""

    def talk(self, script: Callable[[TestGateway], Any], wait: str = "0.3s", **config: Any) -> Deferred[Any]:
        """A script."""
        behind = Backend()
        self.addCleanup(behind.close)
        listener = f'proxy_protocol_from = ["127.0.0.1"]\ngreet_wait = "{wait}"'
        text = self.config(behind.port, listener=listener, **config)
        text += '\n[classes.known]\nclient = ["198.51.100.0/24"]\n'
        return self.run_script(text, script)

    def connect(self, gateway: TestGateway, address: bytes) -> Client:
        """A client that has said nothing of its own."""
        client = Client(gateway.port(), greet=False)
        client.send(HEADER % address)
        return client

    def test_a_stranger_waits_once(self) -> Deferred[Any]:
        """The second time it is greeted at once, and so is who is known."""

        def script(gateway: TestGateway) -> None:
            warden = gateway.control.reception.warden
            for address, has_waited in ((b"203.0.113.7", True), (b"198.51.100.7", False)):
                with self.connect(gateway, address) as client:
                    self.assertRegex(client.read(), rb"^220 ")
                    self.assertEqual(address.decode() in warden._waited, has_waited)
            with self.connect(gateway, b"203.0.113.7") as client:
                self.assertRegex(client.read(), rb"^220 ")
                client.hello()
            self.assertTrue(gateway.idle())
            self.assertEqual(gateway.engine.pacer.waiting, 0)

        return self.talk(script)

    def test_who_speaks_first_is_refused(self) -> Deferred[Any]:
        """554 as soon as it speaks, without the rest of the wait; it is a strike, and it has not passed."""

        def script(gateway: TestGateway) -> None:
            with self.connect(gateway, b"203.0.113.7") as client:
                self.assertTrue(gateway.until(lambda: gateway.engine.pacer.waiting == 1))
                client.send(b"EHLO bot.example\r\n")
                self.assertRegex(client.read(), rb"^554 5\.5\.0 Data sent before the greeting; closing" + REFERENCE)
            self.assertTrue(gateway.idle())
            refused = gateway.told(told.ConnectionRefused)[-1]
            self.assertEqual((refused.result, refused.peer_ip), ("early_talker", "203.0.113.7"))
            self.assertNotIn("203.0.113.7", gateway.control.reception.warden._waited)
            # Again and again, it is banned.
            for _ in range(3):
                with self.connect(gateway, b"203.0.113.7") as client:
                    client.send(b"EHLO bot.example\r\n")
                    client.read()
                self.assertTrue(gateway.idle())
            self.assertIsNotNone(gateway.control.reception.warden.find("203.0.113.7"))

        return self.talk(script, wait="10m")

    def test_one_that_leaves_while_it_waits(self) -> Deferred[Any]:
        """Nothing is left of it."""

        def script(gateway: TestGateway) -> None:
            client = self.connect(gateway, b"203.0.113.7")
            self.assertTrue(gateway.until(lambda: gateway.engine.pacer.waiting == 1))
            client.reset()
            self.assertTrue(gateway.idle())
            self.assertEqual(gateway.engine.pacer.waiting, 0)

        return self.talk(script, wait="10m")

    def test_where_too_many_wait_nobody_more_does(self) -> Deferred[Any]:
        """A flood of strangers cannot fill the house with those that wait."""

        def script(gateway: TestGateway) -> None:
            gateway.engine.pacer.waiting = 1_000_000
            with self.connect(gateway, b"203.0.113.7") as client:
                self.assertRegex(client.read(), rb"^220 ")

        return self.talk(script, wait="10m")
