"""Classes through the running gateway: who is of which, who is let in when there is no room, and what is shed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.defer import Deferred

from smtpgate.policy import event as told
from smtpgate.testing import Gateway
from smtpgate.traffic.classes import CLASSES as NAMES
from smtpgate.traffic.pressure import LEVELS, Pressure
from tests.gateway_kit import GatewayCase, TestGateway
from tests.script_kit import REFERENCE, Backend, Client

CONTENT = b"Subject: x\r\n\r\nhi\r\n"
CLASSES = """
[classes.trusted]
client = ["198.51.100.0/24"]
[classes.known]
client = ["203.0.113.0/24"]
[classes.suspect]
client = ["192.0.2.66"]
"""
ADDRESSES = {
    "trusted": "198.51.100.7",
    "known": "203.0.113.7",
    "unknown": "192.0.2.7",
    "suspect": "192.0.2.66",
}


class Proxied(Client):
    """A client behind a load balancer, of a class."""

    def __init__(self, port: int, name: str, number: int = 0) -> None:
        super().__init__(port, greet=False)
        address = ADDRESSES[name]
        if number:
            address = f"{address.rpartition('.')[0]}.{number}"
        self.send(f"PROXY TCP4 {address} 192.0.2.25 40000 25\r\n".encode())
        self.greeting = self.read()


class AdmissionTests(GatewayCase):
    """Four classes behind a load balancer."""

    def talk(
        self,
        script: Callable[[TestGateway, Backend], Any],
        rules: Any = (),
        keywords: tuple[str, ...] = ("PIPELINING",),
        **config: Any,
    ) -> Deferred[Any]:
        """A script."""
        behind = Backend(rules, keywords)
        self.addCleanup(behind.close)
        config.setdefault("listener", 'proxy_protocol_from = ["127.0.0.1"]\ngreet_wait = "0s"')
        text = self.config(behind.port, **config) + CLASSES
        return self.run_script(text, lambda gateway: script(gateway, behind))

    def at(self, gateway: TestGateway, level: str) -> None:
        """The pressure is at that level."""
        gateway.control.reception.admission.pressure.level = LEVELS.index(level)

    def send(self, client: Client) -> bytes:
        """One message; the reply that ended it."""
        client.hello()
        for line in (b"MAIL FROM:<a@example.org>", b"RCPT TO:<b@example.net>", b"DATA"):
            reply = client.say(line)
            if reply[:1] not in b"23":
                return reply
        return client.say(CONTENT + b".")

    def test_who_is_of_which_class(self) -> Deferred[Any]:
        """By what was configured; it stands in the facts with its reason."""

        def script(gateway: TestGateway, backend: Backend) -> None:
            for name in ADDRESSES:
                with Proxied(gateway.port(), name) as client:
                    self.assertEqual(client.greeting[:3], b"220")
                    facts = next(iter(gateway.control.reception.sessions.values())).facts
                    self.assertEqual(facts.traffic_class, name)
                    reason = f"in classes.{name}.client" if name != "unknown" else "nothing is known of it"
                    self.assertEqual(facts.class_reason, reason)
                    self.assertEqual(gateway.control.reception.shares.used[name], 1)
                self.assertTrue(gateway.idle())
            self.assertEqual(gateway.control.reception.shares.total, 0)

        return self.talk(script)

    def test_when_all_sessions_are_taken_the_deserving_are_let_in(self) -> Deferred[Any]:
        """Idle sessions of strangers give way to trusted and known ones up to their parts, and to no stranger."""

        def script(gateway: TestGateway, backend: Backend) -> None:
            flood = [Proxied(gateway.port(), "unknown", number) for number in range(1, 12)]
            self.assertEqual([client.greeting[:3] for client in flood[:10]], [b"220"] * 10)
            self.assertRegex(flood[10].greeting, rb"^421 4\.3\.2 Too many connections")
            trusted = [Proxied(gateway.port(), "trusted", number) for number in range(1, 5)]
            known = [Proxied(gateway.port(), "known", number) for number in range(1, 4)]
            self.assertEqual([client.greeting[:3] for client in trusted + known], [b"220"] * 7)
            shares = gateway.control.reception.shares
            self.assertEqual((shares.used["trusted"], shares.used["known"], shares.total), (4, 3, 10))
            # Those that had to go were told so.
            self.assertEqual(shares.used["unknown"], 3)
            for client in flood[:7]:
                self.assertRegex(client.read(), rb"^421 4\.3\.2 Too many connections")
            self.assertEqual(self.send(trusted[0])[:3], b"250")
            # Beyond its part a class has what is free, and nothing is.
            self.assertEqual(Proxied(gateway.port(), "trusted", 9).greeting[:3], b"421")
            for client in flood + trusted + known:
                client.close()
            self.assertTrue(gateway.idle())
            self.assertEqual(shares.total, 0)

        return self.talk(script, limits="connections = 10")

    def test_parts_are_as_configured(self) -> Deferred[Any]:
        """Of sessions, memory and slots; another configuration holds from then on."""

        def promised(gateway: TestGateway) -> list[dict[str, float]]:
            revision = gateway.control.revision
            assert revision is not None
            all_ = (gateway.control.reception.shares, gateway.engine.memory.shares, revision.pools["mail"].slots.shares)
            found = []
            for shares in all_:
                shares.resize(1000)
                found.append({name: shares.promised(name) / 1000 for name in NAMES})
            return found

        def script(gateway: TestGateway, backend: Backend) -> None:
            settings = gateway.settings
            for known, unknown in ((0.3, 0.2), (0.1, 0.7), (0.3, 0.2)):
                classes = dict(settings.classes)
                classes["known"] = attrs.evolve(classes["known"], share=known)
                classes["unknown"] = attrs.evolve(classes["unknown"], share=unknown)
                classes["trusted"] = attrs.evolve(classes["trusted"], share=0.1)
                gateway.in_reactor(gateway.control._apply, attrs.evolve(settings, classes=classes))
                expected = {"trusted": 0.1, "known": known, "unknown": unknown, "suspect": 0.05}
                self.assertEqual(gateway.in_reactor(promised, gateway), [expected] * 3)

        return self.talk(script)

    def test_a_message_on_its_way_is_not_cut(self) -> Deferred[Any]:
        """A stranger in the middle of a transaction stays; there is nobody to give way, so the trusted one is told."""

        def script(gateway: TestGateway, backend: Backend) -> None:
            busy = [Proxied(gateway.port(), "unknown", number) for number in (1, 2, 3)]
            for client in busy:
                client.hello()
                client.say(b"MAIL FROM:<a@example.org>")
            self.assertEqual(Proxied(gateway.port(), "trusted").greeting[:3], b"421")
            busy[0].say(b"RSET")
            self.assertEqual(Proxied(gateway.port(), "trusted").greeting[:3], b"220")

        return self.talk(script, limits="connections = 3")

    def test_a_login_on_its_way_is_not_cut(self) -> Deferred[Any]:
        """The same in the middle of AUTH."""

        def script(gateway: TestGateway, backend: Backend) -> None:
            busy = [Proxied(gateway.port(), "unknown", number) for number in (1, 2, 3)]
            for client in busy:
                client.hello()
                self.assertEqual(client.say(b"AUTH LOGIN")[:3], b"334")
            self.assertEqual(Proxied(gateway.port(), "trusted").greeting[:3], b"421")
            self.assertEqual(busy[0].say(b"*")[:3], b"501")
            self.assertEqual(Proxied(gateway.port(), "trusted").greeting[:3], b"220")

        return self.talk(
            script,
            limits="connections = 3",
            role="submission",
            rules=[(b"^AUTH LOGIN", b"334 VXNlcm5hbWU6"), (rb"^\*", b"501 5.7.0 cancelled")],
            keywords=("PIPELINING", "AUTH LOGIN"),
            listener='proxy_protocol_from = ["127.0.0.1"]\ngreet_wait = "0s"\nauth = "relay"\n'
            "auth_requires_tls = false",
        )

    def test_what_is_shed_at_each_level(self) -> Deferred[Any]:
        """The table, as clients hear it: greetings, 421, 452; trusted and known senders send at every level."""

        def outcome(gateway: TestGateway, name: str) -> str:
            with Proxied(gateway.port(), name) as client:
                if client.greeting[:3] != b"220":
                    self.assertRegex(client.greeting, rb"^421 4\.3\.2 Too busy now; come back in \d+ seconds")
                    return "421"
                return self.send(client)[:3].decode()

        def script(gateway: TestGateway, backend: Backend) -> None:
            # Greetings that wait would take seconds: there is no room for one more.
            gateway.engine.pacer.waiting = 1_000_000
            heard = {}
            for level in LEVELS:
                self.at(gateway, level)
                heard[level] = {name: outcome(gateway, name) for name in ADDRESSES}
            self.assertEqual(
                heard,
                {
                    "normal": {"trusted": "250", "known": "250", "unknown": "250", "suspect": "250"},
                    "busy": {"trusted": "250", "known": "250", "unknown": "250", "suspect": "250"},
                    "high": {"trusted": "250", "known": "250", "unknown": "250", "suspect": "250"},
                    "severe": {"trusted": "250", "known": "250", "unknown": "250", "suspect": "421"},
                    "critical": {"trusted": "250", "known": "250", "unknown": "421", "suspect": "421"},
                },
            )
            gateway.settle()
            refused = [event for event in gateway.told(told.ConnectionRefused) if event.result == "refused_pressure"]
            self.assertEqual([event.detail for event in refused][-1], "suspect at critical")

        return self.talk(script)

    def test_sessions_that_run_when_it_becomes_critical(self) -> Deferred[Any]:
        """A stranger hears 452 at RCPT, a suspect one that has sent all of it 451 at its end of data."""

        def script(gateway: TestGateway, backend: Backend) -> None:
            stranger, suspect = Proxied(gateway.port(), "unknown"), Proxied(gateway.port(), "suspect")
            for client in (stranger, suspect):
                client.hello()
                client.say(b"MAIL FROM:<a@example.org>")
            suspect.say(b"RCPT TO:<b@example.net>")
            self.assertEqual(suspect.say(b"DATA")[:3], b"354")
            self.at(gateway, "critical")
            busy = rb" 4\.3\.2 Too busy now; come back in 300 seconds" + REFERENCE
            self.assertRegex(stranger.say(b"RCPT TO:<b@example.net>"), rb"^452" + busy)
            self.assertRegex(suspect.say(CONTENT + b"."), rb"^451" + busy)
            self.assertEqual(backend.messages, [])
            self.at(gateway, "normal")
            self.assertEqual(stranger.say(b"RCPT TO:<b@example.net>")[:3], b"250")

        return self.talk(script)

    def test_a_greeting_that_waits(self) -> Deferred[Any]:
        """A suspect client is delayed; one that leaves meanwhile leaves nothing."""

        def script(gateway: TestGateway, backend: Backend) -> None:
            self.at(gateway, "busy")
            client = Client(gateway.port(), greet=False)
            client.send(b"PROXY TCP4 192.0.2.66 192.0.2.25 40000 25\r\n")
            self.assertTrue(gateway.until(lambda: gateway.engine.pacer.waiting == 1))
            client.reset()
            self.assertTrue(gateway.idle())
            self.assertEqual(gateway.engine.pacer.waiting, 0)

        return self.talk(script)

    def test_errors_are_budgeted_by_class(self) -> Deferred[Any]:
        """Suspect clients may make half as many, and under pressure strangers one; who is known all of them."""

        def errors(gateway: TestGateway, name: str) -> int:
            """How many until it is over."""
            with Proxied(gateway.port(), name) as client:
                self.assertEqual(client.greeting[:3], b"220")
                client.hello()
                for number in range(1, 30):
                    self.assertEqual(client.say(b"NONSENSE")[:3], b"500")
                    if client.say(b"NOOP")[:3] != b"250":
                        return number
            raise AssertionError("it never ended")

        def script(gateway: TestGateway, backend: Backend) -> None:
            # No reply waits here for an error: that is told of below.
            gateway.engine.pacer.waiting = 10**6
            for level, most in {
                "normal": (12, 12, 6),
                "busy": (12, 12, 3),
                "high": (12, 3, 1),
                "severe": (12, 1, 0),
                "critical": (12, 0, 0),
            }.items():
                for name, expected in zip(("known", "unknown", "suspect"), most, strict=True):
                    if expected:
                        # What is shed before is told of elsewhere.
                        self.at(gateway, level)
                        self.assertEqual(errors(gateway, name), expected, (level, name))
            self.at(gateway, "critical")
            self.assertEqual(errors(gateway, "trusted"), 12)

        return self.talk(script, limits="errors = 12", top='[bans]\nmode = "off"')

    def test_who_makes_errors_is_slowed_down(self) -> None:
        """In the second half of its budget a stranger waits a second after each, in a pool of its own; a session
        that goes away leaves no place taken."""
        kit = Gateway(config="[limits]\nerrors = 6\n")
        client = kit.connect("192.0.2.7")
        client.helo()
        for _ in range(3):
            self.assertEqual(client.say("NONSENSE")[:3], "500")
        self.assertEqual(client.say("NONSENSE")[:3], "500", "the error itself is answered at once")
        pacer = kit._engine.pacer
        self.assertEqual((pacer.waiting, client.say("NOOP")), (1, ""))
        kit.advance(0.9)
        self.assertEqual(client.read(), "")
        kit.advance(0.2)
        self.assertEqual((client.read()[:3], pacer.waiting), ("250", 0))
        self.assertEqual(client.say("NONSENSE")[:3], "500")
        self.assertEqual(pacer.waiting, 1)
        client.hang_up()
        self.assertEqual((pacer.waiting, kit.sessions), (0, 0))
        # Those who are known to be of the house are not slowed down.
        client = kit.connect("127.0.0.1")
        client.helo()
        for _ in range(5):
            client.say("NONSENSE")
        self.assertEqual(client.say("NOOP")[:3], "250")

    def test_strangers_are_not_waited_for_under_pressure(self) -> None:
        """Ten seconds for the next command from `high` on; who is known has what was configured."""
        pressure = Pressure(0.1)
        for level, name, expected in (
            ("busy", "suspect", 300.0),
            ("high", "suspect", 10.0),
            ("high", "unknown", 10.0),
            ("severe", "known", 300.0),
            ("critical", "known", 300.0),
            ("critical", "trusted", 300.0),
        ):
            pressure.level = LEVELS.index(level)
            self.assertEqual(pressure.patience(name, 300.0), expected, (level, name))
        self.assertEqual(pressure.patience("unknown", 5.0), 5.0)

    def test_in_shadow_nothing_is_shed(self) -> Deferred[Any]:
        """The level is told."""

        def script(gateway: TestGateway, backend: Backend) -> None:
            self.at(gateway, "critical")
            with Proxied(gateway.port(), "suspect") as client:
                self.assertEqual(self.send(client)[:3], b"250")

        behind = Backend()
        self.addCleanup(behind.close)
        text = self.config(behind.port, listener='proxy_protocol_from = ["127.0.0.1"]\ngreet_wait = "0s"') + CLASSES
        text += '\n[pressure]\nmode = "shadow"\n'
        return self.run_script(text, lambda gateway: script(gateway, behind))
