"""Tests of smtpgate.filters.sender.contacts: whose first message it is."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smtpgate.filters.content.structure import factory as structure
from smtpgate.filters.sender.contacts import factory
from smtpgate.testing import Client, Gateway, complaints, use

POLICY = {"_dmarc.example.org": {"TXT": "v=DMARC1; p=none"}, "example.org": {"TXT": "v=spf1 ip4:192.0.2.0/24 -all"}}
DAY_S = 86400.0


class ContactTests(SynchronousTestCase):
    """Authors, proved and not."""

    def gateway(self, options: str = "") -> Gateway:
        return Gateway(use(factory, options), use(structure), zones=POLICY)

    def send(
        self,
        gateway: Gateway,
        ip: str = "192.0.2.7",
        author: str = "alice@example.org",
        sender: str = "alice@example.org",
        more: str = "",
    ) -> Client:
        """One message."""
        client = gateway.connect(ip)
        client.helo()
        text = f"From: Alice <{author}>\r\nMessage-ID: <1@x>\r\n{more}Subject: x\r\n\r\nx\r\n"
        client.greeting = client.message(text.encode(), sender=sender)
        self.assertEqual(gateway.failures, [])
        return client

    def is_first(self, gateway: Gateway, *args: str, **kwargs: str) -> bool:
        """What is said of one message."""
        found = [one for one in self.send(gateway, *args, **kwargs).findings if one.filter == "contacts"]
        return [one.reason for one in found] == ["contact-first"]

    def test_a_proved_author_is_known_wherever_it_comes_from(self) -> None:
        """From the second message on, until it was silent for so long."""
        gateway = self.gateway('known = "10d"')
        self.assertTrue(self.is_first(gateway))
        self.assertFalse(self.is_first(gateway, "192.0.2.200"))
        self.assertTrue(self.is_first(gateway, author="bob@example.org"))
        gateway.clock.advance(9 * DAY_S)
        self.assertFalse(self.is_first(gateway))
        gateway.clock.advance(9 * DAY_S)
        self.assertFalse(self.is_first(gateway))
        gateway.clock.advance(11 * DAY_S)
        self.assertTrue(self.is_first(gateway))

    def test_a_borrowed_name_is_not_known(self) -> None:
        """Whoever is not proved is known with its network only."""
        gateway = self.gateway()
        self.send(gateway)
        self.assertTrue(self.is_first(gateway, "198.51.100.9"))
        self.assertFalse(self.is_first(gateway, "198.51.100.77"))
        self.assertTrue(self.is_first(gateway, "203.0.113.9"))

    def test_scores(self) -> None:
        """Small, and more for who is not proved, where the operator says so."""
        gateway = self.gateway("first = 0.25\nunproved = 1.0")
        self.assertEqual([one.score for one in self.send(gateway).findings], [0.25])
        self.assertEqual([one.score for one in self.send(gateway, "198.51.100.9").findings], [1.25])
        self.assertEqual(complaints(factory, 'known = "often"')[0].partition(":")[0], "known")

    def test_what_is_refused_makes_nobody_known(self) -> None:
        """Nor what is taken back."""
        gateway = self.gateway()
        refused = self.send(gateway, more="From: mallory@example.net\r\n")
        self.assertTrue(refused.greeting.startswith("550"))
        self.assertTrue(self.is_first(gateway))

    def test_nothing_is_said_of(self) -> None:
        """The null sender, who is trusted, authors that are none or several, and anybody while the DNS is away."""
        gateway = self.gateway()
        self.assertFalse(self.is_first(gateway, sender=""))
        self.assertFalse(self.is_first(gateway, author=""))
        self.assertFalse(self.is_first(gateway, "10.0.0.1"))
        away = Gateway(use(factory), zones={"*.org": "servfail"})
        self.assertFalse(self.is_first(away))
