"""Limits through the running gateway: what the client hears, what is told of it, and that nothing is left behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from smtpgate.config.model_traffic import PACED_S
from smtpgate.policy import event as told
from smtpgate.proxy.pacer import Pacer
from tests.gateway_kit import GatewayCase, TestGateway
from tests.script_kit import REFERENCE, Backend, Client

CONTENT = b"Subject: x\r\n\r\nhi\r\n"


def limit(name: str, count: str, by: str, rate: str, pace: str = "0s") -> str:
    return f"""
[[rate_limits]]
name = "{name}"
count = "{count}"
by = ["{by}"]
rate = "{rate}"
pace = "{pace}"
"""


class LimitTests(GatewayCase):
    """One client, and what it may."""

    def talk(
        self, limits: str, script: Callable[[Client, TestGateway, Backend], Any], rules: Any = (), **config: Any
    ) -> Deferred[Any]:
        """A script of one client behind EHLO, with these limits."""

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                script(client, gateway, backend)

        behind = Backend(rules)
        self.addCleanup(behind.close)
        text = self.config(behind.port, **config) + limits
        return self.run_script(text, lambda gateway: run(gateway, behind))

    def send(self, client: Client) -> bytes:
        """One message; the reply that ended it."""
        for line in (b"MAIL FROM:<a@example.org>", b"RCPT TO:<b@example.net>", b"DATA"):
            reply = client.say(line)
            if reply[:1] not in b"23":
                client.say(b"RSET")
                return reply
        return client.say(CONTENT + b".")

    def test_the_third_message_is_told_when_to_come_back(self) -> Deferred[Any]:
        """450 4.7.1 at MAIL, the limit and its key in the findings of that transaction, and nothing at the backend."""

        def script(client: Client, gateway: TestGateway, backend: Backend) -> None:
            self.assertEqual([self.send(client)[:3] for _ in range(2)], [b"250", b"250"])
            refused = self.send(client)
            self.assertRegex(refused, rb"^450 4\.7\.1 Too many messages; come back in 3\d minutes" + REFERENCE)
            self.assertEqual(len(backend.messages), 2)
            gateway.settle()
            last = gateway.told(told.TransactionEnded)[-1].transaction
            self.assertEqual(last.outcome, "deferred")
            self.assertEqual([(one.filter, one.reason) for one in last.findings], [("rate_limits", "per-client")])
            self.assertIn("messages by client of 127.0.0.1: 2 of 2 in use at 2/1h", last.findings[0].detail)

        return self.talk(limit("per-client", "messages", "client", "2/1h"), script)

    def test_a_little_too_fast_only_waits(self) -> Deferred[Any]:
        """The reply to MAIL is paced; all are delivered, and the explain page says so."""

        def script(client: Client, gateway: TestGateway, backend: Backend) -> None:
            self.assertEqual([self.send(client)[:3] for _ in range(4)], [b"250"] * 4)
            gateway.settle()
            ended = [event.transaction for event in gateway.told(told.TransactionEnded)]
            self.assertTrue(any(one.findings and one.findings[0].action == "note" for one in ended))
            timeline = ended[0].session.timeline
            self.assertTrue([step for step in timeline if step[2] == "paced"])
            self.assertEqual({one.outcome for one in ended}, {"delivered"})

        limits = limit("burst", "messages", "client", "20/1s", "2s").replace('pace = "2s"', 'pace = "2s"\nburst = 1')
        return self.talk(limits, script)

    def test_the_replies_of_one_message_wait_twenty_seconds_in_all(self) -> Deferred[Any]:
        """Fifty recipients in one packet, each of which would wait a little: those beyond are put off, and what was
        taken for them is given back."""

        def script(client: Client, gateway: TestGateway, backend: Backend) -> None:
            waits: list[float] = []

            class Quick(Pacer):
                """Nobody waits, but it is known how long they would have."""

                async def pause(self, seconds: float) -> None:
                    waits.append(seconds)

            gateway.engine.pacer = Quick(gateway.engine.clock)
            client.say(b"MAIL FROM:<a@example.org>")
            client.send(b"".join(b"RCPT TO:<r%d@example.net>\r\n" % number for number in range(50)))
            codes = [client.read()[:3] for _ in range(50)]
            self.assertLessEqual(sum(waits), PACED_S)
            self.assertGreaterEqual(len(waits), 5)
            self.assertEqual(codes, [b"250"] * (1 + len(waits)) + [b"450"] * (49 - len(waits)))
            rule = gateway.limiter.limits(gateway.control.revision.settings).rules[0]
            level = rule.rate.level(rule.stamps.get("a@example.org"), gateway.limiter.now())
            self.assertLessEqual(level, 1 + len(waits))

        limits = limit("few", "recipients", "sender", "60/1m", "20s").replace("pace", "burst = 1\npace")
        return self.talk(limits, script)

    def test_one_recipient_too_many(self) -> Deferred[Any]:
        """Sent along with the others: that one is put off, the message goes to the rest."""

        def script(client: Client, gateway: TestGateway, backend: Backend) -> None:
            client.say(b"MAIL FROM:<a@example.org>")
            client.send(b"".join(b"RCPT TO:<r%d@example.net>\r\n" % number for number in range(4)))
            replies = [client.read() for _ in range(4)]
            self.assertEqual([reply[:3] for reply in replies], [b"250", b"250", b"450", b"450"])
            self.assertRegex(replies[2], rb"^450 4\.7\.1 Too many recipients; come back in \d+ minutes" + REFERENCE)
            client.say(b"DATA")
            self.assertRegex(client.say(CONTENT + b"."), rb"^250 ")
            self.assertEqual(len(backend.seen(b"^RCPT")), 2)

        return self.talk(limit("few", "recipients", "sender", "2/1h"), script)

    def test_who_asks_for_names_that_do_not_exist(self) -> Deferred[Any]:
        """After three the client is not heard at RCPT nor at MAIL; the backend is not asked any more."""

        def script(client: Client, gateway: TestGateway, backend: Backend) -> None:
            client.say(b"MAIL FROM:<a@example.org>")
            codes = [client.say(b"RCPT TO:<x%d@example.net>" % number)[:3] for number in range(5)]
            self.assertEqual(codes, [b"550"] * 3 + [b"450"] * 2)
            self.assertEqual(len(backend.seen(b"^RCPT")), 3)
            client.say(b"RSET")
            self.assertRegex(
                client.say(b"MAIL FROM:<a@example.org>"), rb"^450 4\.7\.1 Too many recipients that were ref"
            )

        rules = [(b"^RCPT", b"550 5.1.1 nobody of that name")]
        return self.talk(limit("harvest", "refused_recipients", "network", "3/1h"), script, rules)

    def test_what_the_backend_puts_off_costs_nothing(self) -> Deferred[Any]:
        """Ten tries at a mailbox that is busy, under a limit of one."""

        def script(client: Client, gateway: TestGateway, backend: Backend) -> None:
            for _ in range(10):
                self.assertRegex(self.send(client), rb"^450 4\.2\.1 mailbox busy")

        rules = [(b"^RCPT", b"450 4.2.1 mailbox busy")]
        limits = limit("one", "messages", "client", "1/1h") + limit("rcpt", "recipients", "recipient", "1/1h")
        return self.talk(limits, script, rules)

    def test_connections(self) -> Deferred[Any]:
        """The third hears 421 4.7.0 in place of a greeting, and is told of as refused by that limit."""

        def script(client: Client, gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as second:
                second.hello()
            third = Client(gateway.port(), greet=False)
            self.assertRegex(third.read(), rb"^421 4\.7\.0 Too many connections; come back in \d+ minutes" + REFERENCE)
            self.assertTrue(third.is_closed())
            third.close()
            gateway.settle()
            refused = gateway.told(told.ConnectionRefused)[-1]
            self.assertEqual(refused.result, "refused_limit")
            self.assertIn("connections by network of 127.0.0.0/24", refused.detail)

        return self.talk(limit("connect", "connections", "network", "2/1h"), script)

    def test_at_a_time(self) -> Deferred[Any]:
        """A second session of the same client waits for the first to go."""

        def script(client: Client, gateway: TestGateway, backend: Backend) -> None:
            second = Client(gateway.port(), greet=False)
            self.assertRegex(second.read(), rb"^421 4\.7\.0 Too many sessions at a time; come back in 1\d seconds")
            second.close()
            client.say(b"QUIT")
            self.assertTrue(gateway.idle())
            with Client(gateway.port()) as third:
                third.hello()
            self.assertTrue(gateway.idle())
            self.assertEqual(gateway.limiter.counts["alone"], {})

        limits = '\n[[concurrency_limits]]\nname = "alone"\ncount = "sessions"\nby = ["client"]\nmost = 1\n'
        return self.talk(limits, script)

    def test_shadow_refuses_nobody_where_too_many_wait(self) -> None:
        """It has no word, whether there is room to wait or not: at the connection, at MAIL, at RCPT."""

        def script(client: Client, gateway: TestGateway, backend: Backend) -> None:
            gateway.engine.pacer.waiting = 1_000_000
            for _ in range(3):
                with Client(gateway.port()) as again:
                    again.hello()
                    self.assertRegex(self.send(again), b"^250")

        counts = (("connections", "client"), ("messages", "client"), ("recipients", "recipient"))
        text = "".join(limit(count, count, by, "1/1h", "10s") + 'mode = "shadow"\n' for count, by in counts)
        return self.talk(text, script)

    def test_what_could_wait_and_does_not_counts_as_refused(self) -> None:
        """In what is shown of the limit."""

        def script(client: Client, gateway: TestGateway, backend: Backend) -> None:
            gateway.engine.pacer.waiting = 1_000_000
            self.assertRegex(self.send(client), b"^250")
            self.assertRegex(self.send(client), b"^450")
            (rule,) = gateway.control.revision.limits.rules
            self.assertEqual(+rule.met, {"refused": 1})

        return self.talk(limit("m", "messages", "client", "1/10s", "10s"), script)

    def test_a_connection_that_was_put_off_costs_nothing(self) -> Deferred[Any]:
        """It would have waited, but too many wait already: the next one is no later for it."""

        def script(client: Client, gateway: TestGateway, backend: Backend) -> None:
            gateway.engine.pacer.waiting = 1_000_000
            stamps = gateway.limiter.stamps["connect"]
            before = stamps.get("127.0.0.0/24")
            for _ in range(3):
                with Client(gateway.port(), greet=False) as again:
                    self.assertEqual(again.read()[:3], b"421")
            self.assertTrue(gateway.until(lambda: len(gateway.control.reception.sessions) == 1))
            self.assertAlmostEqual(stamps.get("127.0.0.0/24"), before, places=3)

        return self.talk(limit("connect", "connections", "network", "1/20s", "20s"), script)

    def test_the_balancer_that_asks_for_nobody(self) -> Deferred[Any]:
        """Its health checks are not counted as connections of a client."""

        def script(gateway: TestGateway) -> None:
            for words in (b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN\r\n", b"PROXY TCP4 192.0.2.7 192.0.2.1 4000 25\r\n"):
                with Client(gateway.port(), greet=False) as probe:
                    probe.send(words)
                    self.assertEqual(probe.read()[:3], b"220")
            with Client(gateway.port(), greet=False) as probe:
                probe.send(b"PROXY TCP4 192.0.2.8 192.0.2.1 4000 25\r\n")
                self.assertEqual(probe.read()[:3], b"421")

        behind = Backend()
        self.addCleanup(behind.close)
        listener = 'proxy_protocol_from = ["127.0.0.1"]\ngreet_wait = "0s"'
        text = self.config(behind.port, listener=listener) + limit("connect", "connections", "listener", "1/1h")
        return self.run_script(text, script)

    def test_a_client_that_leaves_while_it_is_paced(self) -> Deferred[Any]:
        """Its session ends, and nothing waits any more."""

        def script(client: Client, gateway: TestGateway, backend: Backend) -> None:
            self.assertEqual(self.send(client)[:3], b"250")
            client.send(b"MAIL FROM:<a@example.org>\r\n")
            self.assertTrue(gateway.until(lambda: gateway.engine.pacer.waiting == 1))
            client.reset()
            self.assertTrue(gateway.idle())
            self.assertEqual(gateway.engine.pacer.waiting, 0)

        return self.talk(limit("slow", "messages", "client", "1/20s", "20s"), script)

    def test_where_too_many_wait_nobody_else_does(self) -> Deferred[Any]:
        """The pool of those that wait is full: 450 at once."""

        def script(client: Client, gateway: TestGateway, backend: Backend) -> None:
            gateway.engine.pacer.waiting = 1_000_000
            self.assertEqual(self.send(client)[:3], b"250")
            self.assertRegex(self.send(client), rb"^450 4\.7\.1 Too many messages; come back in \d+ seconds")

        return self.talk(limit("slow", "messages", "client", "1/20s", "20s"), script)
