"""What is over is freed at once: nothing of a session waits for the collector of cycles, which costs every message."""

from __future__ import annotations

import gc
from collections import Counter

from twisted.internet.defer import Deferred

from tests.gateway_kit import GatewayCase, TestGateway
from tests.script_kit import Backend, Client
from tests.test_prdr import SPAM, says

#: Parts of a session and of its messages.
KINDS = frozenset(
    {"Session", "FrontEdge", "ServerConnection", "Exchange", "Delivery", "Part", "Leg", "Body", "Content", "ChainRun"}
    | {"Fate", "Link", "BackEdge", "ClientConnection", "Task", "KeptLinks"}
)
ROOMS = ("smtpgate.proxy.", "smtpgate.net.", "smtpgate.smtp.", "smtpgate.tasks")


def alive() -> Counter[str]:
    """How many there are of each."""
    return Counter(
        type(one).__name__
        for one in gc.get_objects()
        if type(one).__name__ in KINDS and str(type(one).__module__).startswith(ROOMS)
    )


class FreedTests(GatewayCase):
    """Sessions over sockets, with the collector off."""

    def setUp(self) -> None:
        """What others have left is gone."""
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)

    def after(self, gateway: TestGateway) -> Counter[str]:
        """What is left of some sessions."""
        before = alive()
        for _ in range(3):
            with Client(gateway.port()) as client:
                client.hello()
                client.message()
                client.message()
                client.say(b"MAIL FROM:<a@example.org>")
                client.say(b"RCPT TO:<b@example.net>")
                client.say(b"RSET")
                client.say(b"QUIT")
            self.assertTrue(gateway.idle())
        gateway.until(lambda: not alive() - before)
        return Counter(gateway.in_reactor(alive)) - before

    def test_messages_that_are_delivered(self) -> Deferred[None]:
        """Nothing of them."""
        return self.drive(lambda gateway, backend: self.assertEqual(self.after(gateway), Counter()))

    def test_sessions_that_no_backend_takes(self) -> Deferred[None]:
        """Refused for now, since it is away: what a flood leaves is nothing too."""

        def script(gateway: TestGateway, backend: Backend) -> None:
            backend.close()
            before = alive()
            for _ in range(3):
                with Client(gateway.port()) as client:
                    client.hello()
                    client.say(b"MAIL FROM:<a@example.org>")
                    for _ in range(2):
                        self.assertEqual(client.say(b"RCPT TO:<b@example.net>")[:3], b"451")
                    client.say(b"QUIT")
                self.assertTrue(gateway.idle())
            gateway.until(lambda: not alive() - before)
            self.assertEqual(Counter(gateway.in_reactor(alive)) - before, Counter())

        return self.drive(script)

    def test_messages_that_a_filter_refuses(self) -> Deferred[None]:
        """Nothing of them either."""
        return self.drive(lambda gateway, backend: self.assertEqual(self.after(gateway), Counter()), uses=says(SPAM))
