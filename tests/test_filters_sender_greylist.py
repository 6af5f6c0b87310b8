"""Tests of smtpgate.filters.sender.greylist: who waits, for how long, and who never does."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from smtpgate.filters.sender.greylist import factory
from smtpgate.testing import Gateway, complaints, use

WAIT = "451 4.7.1 You are new here: please send it again in 5 minutes"
OK = "250 2.0.0 Ok"
ZONES: dict[str, Any] = {
    "example.org": {"TXT": "v=spf1 ip4:192.0.2.0/28 ip4:198.51.100.7 ?all"},
    "1.2.0.192.in-addr.arpa": {"PTR": "mail.example.org"},
    "mail.example.org": {"A": "192.0.2.1"},
}


class GreylistTests(SynchronousTestCase):
    """`greylist` in the in-memory gateway."""

    def setUp(self) -> None:
        """A gateway that greylists."""
        self.gateway = Gateway(use(factory), zones=ZONES)

    def rcpt(self, ip: str = "203.0.113.5", sender: str = "a@spray.example", recipient: str = "bob@example.net") -> str:
        """What one try hears at RCPT."""
        client = self.gateway.connect(ip)
        client.helo()
        client.mail(sender)
        reply = client.rcpt(recipient)
        client.say("QUIT")
        return reply

    def test_a_stranger_waits_and_then_is_known(self) -> None:
        """Too early it waits on; in time it comes in, with other senders and recipients too, for weeks."""
        self.assertEqual(self.rcpt(), WAIT)
        self.gateway.advance(120)
        self.assertEqual(self.rcpt(), WAIT.replace("5 minutes", "3 minutes"))
        self.gateway.advance(180)
        self.assertEqual(self.rcpt(), OK)
        self.assertEqual(self.rcpt(sender="other@spray.example", recipient="eve@example.net"), OK)

    def test_a_pool_of_senders_is_one(self) -> None:
        """The retry may come from another address of the network."""
        self.assertEqual(self.rcpt("203.0.113.5"), WAIT)
        self.gateway.advance(300)
        self.assertEqual(self.rcpt("203.0.113.77"), OK)
        self.assertEqual(self.rcpt("203.0.112.5"), WAIT)

    def test_networks_of_six_are_64_bits_wide(self) -> None:
        """As providers give them out."""
        self.assertEqual(self.rcpt("2001:db8:1:2::1"), WAIT)
        self.gateway.advance(300)
        self.assertEqual(self.rcpt("2001:db8:1:2:ffff::9"), OK)
        self.assertEqual(self.rcpt("2001:db8:1:3::1"), WAIT)

    def test_a_domain_whose_spf_passes_is_followed_over_networks(self) -> None:
        """198.51.100.7 and 192.0.2.2 are both example.org's, and have no confirmed names."""
        self.assertEqual(self.rcpt("198.51.100.7", "a@example.org"), WAIT)
        self.gateway.advance(300)
        self.assertEqual(self.rcpt("192.0.2.2", "a@example.org"), OK)

    def test_who_proves_itself_never_waits(self) -> None:
        """SPF and the reverse name both hold: big providers, one-time codes."""
        self.assertEqual(self.rcpt("192.0.2.1", "code@example.org"), OK)
        self.assertEqual(self.gateway.table("greylist").rows, {})

    def test_who_must_not_be_hurt_never_waits(self) -> None:
        """The null sender, postmaster and abuse, exempt recipients, clients at home."""
        self.assertEqual(self.rcpt(sender=""), OK)
        for recipient in ("postmaster@example.net", "abuse@example.net"):
            self.assertEqual(self.rcpt(recipient=recipient), OK)
        for ip in ("127.0.0.1", "10.1.2.3"):
            self.assertEqual(self.rcpt(ip), OK)
        self.gateway = Gateway(use(factory, 'exempt = ["bob@example.net"]'), zones=ZONES)
        self.assertEqual(self.rcpt(), OK)

    def test_while_the_dns_is_away_nobody_waits(self) -> None:
        """A guess needs something to go by."""
        self.gateway = Gateway(
            use(factory), zones={"spray.example": "servfail", "5.113.0.203.in-addr.arpa": "servfail"}
        )
        self.assertEqual(self.rcpt(), OK)

    def test_changing_senders_are_one(self) -> None:
        """VERP writes a new address each time."""
        self.assertEqual(self.rcpt(sender="bounce-1234-bob=example.net@spray.example"), WAIT)
        self.gateway.advance(300)
        self.assertEqual(self.rcpt(sender="bounce-5678-bob=example.net@spray.example"), OK)

    def test_too_late_is_new_again(self) -> None:
        """The window is over."""
        self.gateway = Gateway(use(factory, 'delay = "5m"\nwindow = "10m"'), zones=ZONES)
        self.assertEqual(self.rcpt(), WAIT)
        self.gateway.advance(601)
        self.assertEqual(self.rcpt(), WAIT)

    def test_options(self) -> None:
        """Times with units, addresses."""
        self.assertEqual(complaints(factory, 'delay = "1m"\nexempt = ["postmaster@", "example.org"]'), [])
        self.assertEqual(len(complaints(factory, 'delay = "soon"\nexempt = ["a b"]')), 2)
