"""Bans and guessed passwords through the running gateway: who is kept out, and who never is."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from smtpgate.policy import event as told
from smtpgate.proxy.limiter import Limits
from smtpgate.traffic.guesses import NETWORK_GUESSES
from tests.gateway_kit import GatewayCase, TestGateway
from tests.script_kit import REFERENCE, Backend, Client, Connection

GOOD = {"alice": "right", "bob": "right too"}


def check(connection: Connection) -> bytes:
    """A server that knows two users."""
    word = connection.commands[-1].split()[-1]
    _, user, password = base64.b64decode(word).decode().split("\0")
    return b"235 2.7.0 welcome" if GOOD.get(user) == password else b"535 5.7.8 wrong"


class From(Client):
    """A client behind a load balancer."""

    def __init__(self, port: int, address: str) -> None:
        super().__init__(port, greet=False)
        self.send(f"PROXY TCP4 {address} 192.0.2.25 40000 25\r\n".encode())
        self.greeting = self.read()


class WardenCase(GatewayCase):
    """A gateway behind a load balancer."""

    def talk(
        self,
        script: Callable[[TestGateway, Backend], Any],
        more: str = "",
        listener: str = "",
        rules: Any = (),
        **config: Any,
    ) -> Deferred[Any]:
        """A script."""
        behind = Backend(rules, ("PIPELINING", "AUTH PLAIN LOGIN"))
        self.addCleanup(behind.close)
        listener = f'proxy_protocol_from = ["127.0.0.1"]\ngreet_wait = "0s"\n{listener}'
        text = self.config(behind.port, listener=listener, **config) + more
        return self.run_script(text, lambda gateway: script(gateway, behind))


class BanTests(WardenCase):
    """At the door."""

    def greeting(self, gateway: TestGateway, address: str) -> bytes:
        """What a client hears first."""
        with From(gateway.port(), address) as client:
            return client.greeting

    def test_a_ban_holds_the_client_off_and_says_until_when(self) -> Deferred[Any]:
        """421 4.7.0; it is told of with reason and evidence; others are let in, and that one too once it is lifted."""

        def script(gateway: TestGateway, backend: Backend) -> None:
            warden = gateway.control.reception.warden
            gateway.in_reactor(warden.ban, "203.0.113.0/24", "by hand", "a complaint", 3600.0, "admin")
            heard = self.greeting(gateway, "203.0.113.7")
            self.assertRegex(heard, rb"^421 4\.7\.0 Not from your address now; come back in 60 minutes" + REFERENCE)
            gateway.settle()
            refused = gateway.told(told.ConnectionRefused)[-1]
            self.assertEqual((refused.result, refused.detail), ("refused_banned", "by hand: a complaint"))
            self.assertEqual(self.greeting(gateway, "203.0.114.7")[:3], b"220")
            self.assertTrue(gateway.in_reactor(warden.lift, "203.0.113.0/24", "admin"))
            self.assertEqual(self.greeting(gateway, "203.0.113.7")[:3], b"220")
            names = [event.name for event in gateway.told(told.Happened)]
            self.assertEqual([name for name in names if name.startswith("ban.")], ["ban.set", "ban.lifted"])

        return self.talk(script)

    def test_who_is_never_banned(self) -> Deferred[Any]:
        """Allow lists, networks of the house, and a probe that names no client: also where their network is banned."""

        def script(gateway: TestGateway, backend: Backend) -> None:
            warden = gateway.control.reception.warden
            for address in ("198.51.100.7", "192.0.2.77", "203.0.113.9", "127.0.0.1", "::1"):
                self.assertIsNone(warden.ban(address, "mistake", "x"), address)
            for network in ("198.51.100.0/24", "192.0.2.0/24", "203.0.113.0/24", "127.0.0.0/24"):
                gateway.in_reactor(warden.ban, network, "mistake", "x")
            for address in ("198.51.100.7", "192.0.2.77", "203.0.113.9"):
                self.assertEqual(self.greeting(gateway, address)[:3], b"220", address)
            self.assertEqual(self.greeting(gateway, "203.0.113.10")[:3], b"421")
            with Client(gateway.port(), greet=False) as probe:
                probe.send(b"PROXY UNKNOWN\r\n")
                self.assertEqual(probe.read()[:3], b"220")

        more = '[bans]\nnever = ["203.0.113.9"]\n[classes.trusted]\nclient = ["198.51.100.7"]\n'
        return self.talk(script, more, top='trusted_relays = ["192.0.2.77"]')

    def test_one_address_in_two_forms(self) -> Deferred[Any]:
        """IPv4 in the clothes of IPv6, as a socket for both or a balancer writes it: the same client."""

        def script(gateway: TestGateway, backend: Backend) -> None:
            warden = gateway.control.reception.warden
            gateway.in_reactor(warden.ban, "203.0.113.10", "by hand", "a complaint", 3600.0, "admin")
            with Client(gateway.port(), greet=False) as client:
                client.send(b"PROXY TCP6 ::ffff:203.0.113.10 ::ffff:192.0.2.25 40000 25\r\n")
                self.assertEqual(client.read()[:3], b"421")
            with Client(gateway.port(), greet=False) as client:
                client.send(b"PROXY TCP6 ::ffff:203.0.113.11 ::ffff:192.0.2.25 40000 25\r\n")
                self.assertEqual(client.read()[:3], b"220")
                client.say(b"EHLO x")
            self.assertTrue(gateway.idle())
            self.assertEqual(gateway.told(told.SessionEnded)[-1].session.client_ip, "203.0.113.11")

        return self.talk(script)

    def test_of_ipv6_all_addresses_of_a_network_count_together(self) -> Deferred[Any]:
        """A client has a whole /64, and could be another one each time."""

        def script(gateway: TestGateway, backend: Backend) -> None:
            warden = gateway.control.reception.warden
            for number in range(4):
                warden.strike(f"2001:db8::{number}", "spoke before the greeting", "x")
            self.assertIsNotNone(warden.find("2001:db8::99"))
            self.assertIsNone(warden.find("2001:db8:0:1::1"))

        return self.talk(script)

    def test_a_fault_of_ours_is_no_error_of_the_client(self) -> Deferred[Any]:
        """Sessions that break in the gateway itself ban nobody."""

        def script(gateway: TestGateway, backend: Backend) -> None:
            def broken(*_: object) -> None:
                raise RuntimeError("broken")

            self.patch(Limits, "mail", broken)
            for _ in range(5):
                with From(gateway.port(), "203.0.113.7") as client:
                    client.hello()
                    self.assertEqual(client.say(b"MAIL FROM:<a@example.org>")[:3], b"421")
                self.assertTrue(gateway.idle())
            self.assertEqual(gateway.told(told.SessionEnded)[-1].session.closed_by, "crash")
            self.assertIsNone(gateway.control.reception.warden.find("203.0.113.7"))

        more = '[[rate_limits]]\nname = "x"\ncount = "messages"\nby = ["client"]\nrate = "1000/1h"\n'
        return self.talk(script, more)

    def test_harvest(self) -> Deferred[Any]:
        """A client that asks for fifty names that do not exist is banned; one that mistypes one is not."""

        def script(gateway: TestGateway, backend: Backend) -> None:
            for number in range(3):
                with From(gateway.port(), "203.0.113.7") as client:
                    if client.greeting[:3] != b"220":
                        break
                    client.hello()
                    client.say(b"MAIL FROM:<a@example.org>")
                    for name in range(18):
                        client.say(b"RCPT TO:<x%d.%d@example.net>" % (number, name))
                    client.say(b"RSET")
                self.assertTrue(gateway.idle())
            ban = gateway.control.reception.warden.find("203.0.113.7")
            assert ban is not None
            self.assertEqual(ban.reason, "asked for recipients that do not exist")
            self.assertIn("18 refused in ", ban.evidence)
            with From(gateway.port(), "203.0.113.8") as client:
                client.hello()
                client.say(b"MAIL FROM:<a@example.org>")
                client.say(b"RCPT TO:<x@example.net>")
            self.assertTrue(gateway.idle())
            self.assertIsNone(gateway.control.reception.warden.find("203.0.113.8"))

        return self.talk(script, rules=[(b"^RCPT", b"550 5.1.1 nobody")])

    def test_a_full_mailbox_is_somebody(self) -> Deferred[Any]:
        """So is one whose owner wants no mail from there, and one that policy keeps mail from."""

        def script(gateway: TestGateway, backend: Backend) -> None:
            for number, said in enumerate((b"552 5.2.2 full", b"550 5.7.1 no", b"550 5.2.1 closed", b"554 no")):
                backend.rules[:] = [(b"^RCPT", said)]
                with From(gateway.port(), "203.0.113.7") as client:
                    client.hello()
                    client.say(b"MAIL FROM:<a@example.org>")
                    for name in range(18):
                        self.assertEqual(client.say(b"RCPT TO:<x%d.%d@example.net>" % (number, name))[:3], said[:3])
                    client.say(b"RSET")
                self.assertTrue(gateway.idle())
            self.assertIsNone(gateway.control.reception.warden.find("203.0.113.7"))
            backend.rules[:] = [(b"^RCPT", b"550 nobody")]
            for _ in range(3):
                with From(gateway.port(), "203.0.113.7") as client:
                    if client.greeting[:3] != b"220":
                        break
                    client.hello()
                    client.say(b"MAIL FROM:<a@example.org>")
                    for name in range(18):
                        client.say(b"RCPT TO:<x%d@%s>" % (name, b"example.net" if name % 2 else b"not.ours.example"))
                self.assertTrue(gateway.idle())
            self.assertIsNotNone(gateway.control.reception.warden.find("203.0.113.7"))

        return self.talk(script)

    def test_no_harvest(self) -> Deferred[Any]:
        """Bounces to made-up addresses, a mailing list with old ones that also delivers, and a known sender."""

        def send(client: From, sender: bytes, names: list[bytes]) -> None:
            client.say(b"MAIL FROM:<" + sender + b">")
            replies = [client.say(b"RCPT TO:<" + name + b"@example.net>") for name in names]
            if any(reply[:1] == b"2" for reply in replies):
                client.say(b"DATA")
                client.say(b"Subject: x\r\n\r\nhi\r\n.")
            else:
                client.say(b"RSET")

        def script(gateway: TestGateway, backend: Backend) -> None:
            nobody = [b"x%d" % number for number in range(18)]
            for address, sender, messages in (
                ("203.0.113.7", b"", [nobody] * 4),
                ("203.0.113.8", b"list@example.org", [[b"x"], [b"good"]] * 60),
                ("198.51.100.7", b"a@example.org", [nobody] * 4),
                ("203.0.113.9", b"a@example.org", [nobody] * 4),
            ):
                for names in messages:
                    with From(gateway.port(), address) as client:
                        if client.greeting[:3] == b"220":
                            client.hello()
                            send(client, sender, names)
                    self.assertTrue(gateway.idle())
                gateway.settle()
                banned = gateway.control.reception.warden.find(address) is not None
                self.assertEqual(banned, address == "203.0.113.9", address)

        more = '[classes.known]\nclient = ["198.51.100.7"]\n'
        return self.talk(script, more, rules=[(b"^RCPT TO:<x", b"550 5.1.1 nobody")])

    def test_in_shadow_nobody_is_held_off(self) -> Deferred[Any]:
        """The ban is told."""

        def script(gateway: TestGateway, backend: Backend) -> None:
            gateway.in_reactor(gateway.control.reception.warden.ban, "203.0.113.7", "x", "y")
            self.assertEqual(self.greeting(gateway, "203.0.113.7")[:3], b"220")
            self.assertEqual([event.name for event in gateway.told(told.Happened)][-1], "ban.set")

        return self.talk(script, '[bans]\nmode = "shadow"\n')


class LoginTests(WardenCase):
    """AUTH relayed to a server that knows alice and bob."""

    def logins(self, script: Callable[[TestGateway, Backend], Any]) -> Deferred[Any]:
        """A script."""
        return self.talk(
            script,
            rules=[(b"^AUTH PLAIN", check)],
            listener='auth = "relay"\nauth_requires_tls = false',
            role="submission",
        )

    def login(self, gateway: TestGateway, user: str, password: str, address: str) -> bytes:
        """The reply to AUTH; what the greeting said where the client is kept out."""
        with From(gateway.port(), address) as client:
            if client.greeting[:3] != b"220":
                return client.greeting
            client.hello()
            word = base64.b64encode(f"\0{user}\0{password}".encode())
            return client.say(b"AUTH PLAIN " + word)

    def test_a_spray_is_stopped_and_banned(self) -> Deferred[Any]:
        """After ten different passwords the server is not asked any more; others log in."""

        def script(gateway: TestGateway, backend: Backend) -> None:
            heard = [self.login(gateway, f"user{n}", f"word{n}", f"203.0.113.{n + 1}")[:3] for n in range(15)]
            self.assertEqual(heard, [b"535"] * NETWORK_GUESSES + [b"454"] * 5)
            self.assertEqual(len(backend.seen(b"^AUTH")), NETWORK_GUESSES)
            self.assertEqual(self.login(gateway, "alice", "right", "198.51.100.7")[:3], b"235")

        return self.logins(script)

    def test_a_mechanism_that_hides_the_password_is_no_way_around(self) -> Deferred[Any]:
        """Where somebody is at home the network is heard; who the client is, is asked as soon as it says so."""
        rules = [
            (b"^AUTH CRAM", b"334 PDE+"),
            (b"^AUTH SCRAM", b"334 cj0x"),
            (b"^[A-Za-z0-9+/=]+$", b"535 5.7.8 wrong"),
        ]

        def script(gateway: TestGateway, backend: Backend) -> None:
            warden = gateway.control.reception.warden
            gateway.in_reactor(warden.logged_in, "bob", "203.0.113.7")
            for number in range(16):
                gateway.in_reactor(warden.login_failed, "alice", f"guess{number}", "203.0.113.7")
            for name, code in ((b"alice", b"454"), (b"carol", b"454"), (b"bob", b"535")):
                with From(gateway.port(), "203.0.113.7") as client:
                    client.hello()
                    self.assertEqual(client.say(b"AUTH CRAM-MD5")[:3], b"334")
                    self.assertEqual(client.say(base64.b64encode(name + b" " + b"0" * 32))[:3], code, name)
                    first = base64.b64encode(b"n,,n=" + name + b",r=x")
                    said = client.say(b"AUTH SCRAM-SHA-256 " + first)
                    self.assertEqual(said[:3], b"334" if code == b"535" else code, name)
            self.assertEqual(len(backend.seen(b"^AUTH SCRAM")), 1)

        behind = Backend(rules, ("PIPELINING", "AUTH PLAIN CRAM-MD5 SCRAM-SHA-256"))
        self.addCleanup(behind.close)
        listener = 'proxy_protocol_from = ["127.0.0.1"]\ngreet_wait = "0s"\nauth = "relay"\nauth_requires_tls = false'
        text = self.config(behind.port, listener=listener, role="submission")
        return self.run_script(text, lambda gateway: script(gateway, behind))

    def test_the_office_with_one_wrong_password(self) -> Deferred[Any]:
        """A phone tries last year's password thirty times; its owner and the others log in from behind that address."""

        def script(gateway: TestGateway, backend: Backend) -> None:
            warden = gateway.control.reception.warden
            # Each of its replies waits a second; there is no need to sit through that here.
            real = warden.login_failed
            waits: list[float] = []

            def quick(*args: str) -> float:
                waits.append(real(*args))
                return 0.0

            warden.login_failed = quick
            heard = {self.login(gateway, "alice", "last year's", "203.0.113.7")[:3] for _ in range(30)}
            self.assertEqual(heard, {b"535"})
            self.assertEqual(waits, [0.0] + [1.0] * 29)
            for user, password in GOOD.items():
                self.assertEqual(self.login(gateway, user, password, "203.0.113.7")[:3], b"235")
            self.assertIsNone(warden.find("203.0.113.7"))
            self.assertEqual(warden.bans.holding(0.0), 0)

        return self.logins(script)

    def test_the_owner_of_an_attacked_account(self) -> Deferred[Any]:
        """Forty networks guess at alice; she logs in at home at once, and bob is not slowed down."""

        def script(gateway: TestGateway, backend: Backend) -> None:
            warden = gateway.control.reception.warden
            self.assertEqual(self.login(gateway, "alice", "right", "198.51.100.7")[:3], b"235")
            for number in range(40):
                gateway.in_reactor(warden.login_failed, "alice", f"guess{number}", f"10.0.{number}.1")
            self.assertEqual(self.login(gateway, "alice", "right", "198.51.100.7")[:3], b"235")
            self.assertGreater(warden.ask_login("alice", "203.0.113.7").wait_s, 0.0)
            self.assertEqual(self.login(gateway, "bob", "right too", "203.0.113.7")[:3], b"235")
            # Elsewhere she waits, and then logs in as well.
            self.assertEqual(self.login(gateway, "alice", "right", "203.0.113.7")[:3], b"235")

        return self.logins(script)
