"""Tests of smtpgate.filters.access: who may come in at all."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smtpgate.filters.access import factory
from smtpgate.filters.match import factory as match
from smtpgate.policy.event import ConnectionRefused
from smtpgate.testing import Client, Gateway, complaints, use

MATCH = 'rules = [{ name = "bad", header = "subject", pattern = "bad", action = "reject" }]'
BAD = "Subject: bad\n\nx\n"


def entry(clients: str = '"192.0.2.0/24"', action: str = "reject", more: str = "") -> str:
    """One entry of the list, in TOML."""
    return f'{{ clients = [{clients}], action = "{action}"{", " if more else ""}{more} }}'


class AccessTests(SynchronousTestCase):
    """The list at work."""

    def gateway(self, *entries: str, now: str = "2026-01-07 12:00") -> Gateway:
        """A gateway with a list, and a content rule behind it."""
        return Gateway(use(factory, f"entries = [{', '.join(entries)}]"), use(match, MATCH), now=now)

    def greeting(self, gateway: Gateway, ip: str) -> str:
        """What a client hears first."""
        return gateway.connect(ip).greeting

    def test_a_listed_client_is_turned_away(self) -> None:
        """554, then nothing but QUIT is answered."""
        gateway = self.gateway(entry())
        client = gateway.connect("192.0.2.7")
        self.assertEqual(client.greeting, "554 5.7.1 Your address is not welcome here")
        self.assertEqual(client.helo(), "503 5.5.1 Bad sequence of commands")
        self.assertTrue(client.say("QUIT").startswith("221 "))
        self.assertTrue(client.is_closed)
        (refused,) = [event for event in gateway.events if isinstance(event, ConnectionRefused)]
        self.assertEqual((refused.peer_ip, refused.result), ("192.0.2.7", "refused_policy"))
        self.assertEqual(self.greeting(gateway, "198.51.100.1"), "220 gate.example.com ESMTP")

    def test_defer_closes_with_421(self) -> None:
        """The client may come again."""
        client = self.gateway(entry(action="defer", more='reply = "Later, please"')).connect("192.0.2.7")
        self.assertEqual(client.greeting, "421 4.7.1 Later, please")
        self.assertTrue(client.is_closed)

    def test_the_first_entry_that_fits_decides(self) -> None:
        """Whatever stands behind it."""
        gateway = self.gateway(entry('"192.0.2.7"', "accept"), entry())
        self.assertTrue(self.greeting(gateway, "192.0.2.7").startswith("220 "))
        self.assertTrue(self.greeting(gateway, "192.0.2.8").startswith("554 "))

    def test_both_families(self) -> None:
        """And an IPv4 client of a dual-stack socket is still that client."""
        gateway = self.gateway(entry('"192.0.2.7", "2001:db8::/32", "::ffff:198.51.100.0/120"'))
        for ip in ("192.0.2.7", "::ffff:192.0.2.7", "2001:db8::1", "198.51.100.9"):
            self.assertTrue(self.greeting(gateway, ip).startswith("554 "), ip)
        for ip in ("192.0.2.8", "2001:db9::1", "::1", ""):
            self.assertTrue(self.greeting(gateway, ip).startswith("220 "), ip)

    def test_accept_silences_the_filters_that_it_names(self) -> None:
        """In all transactions of the session, and no others."""
        gateway = self.gateway(entry(action="accept", more='skips = ["match"]'))
        client = gateway.connect("192.0.2.7")
        client.helo()
        for _ in range(2):
            self.assertEqual(client.message(BAD), "250 2.0.0 Ok")
        self.assertEqual([finding.reason for finding in client.findings], ["client-accepted"])
        other = gateway.connect("198.51.100.1")
        other.helo()
        self.assertEqual(other.message(BAD), "550 5.7.1 Message refused by content rule")

    def test_accept_without_names_silences_nobody(self) -> None:
        """A friend's machine that was broken into is still scanned."""
        client = self.gateway(entry(action="accept")).connect("192.0.2.7")
        client.helo()
        self.assertEqual(client.message(BAD), "550 5.7.1 Message refused by content rule")

    def test_an_entry_ends_with_its_last_day(self) -> None:
        """That day it still holds."""
        for now, code in (("2026-01-30", "554"), ("2026-01-31 10:00", "554"), ("2026-02-02", "220")):
            gateway = self.gateway(entry(more='until = "2026-01-31"'), now=now)
            self.assertEqual(self.greeting(gateway, "192.0.2.7")[:3], code, now)

    def test_the_administrator_reads_why(self) -> None:
        """Reason and owner are in the detail, not in the reply."""
        gateway = self.gateway(entry(more='reason = "sent spam", owner = "anna"'))
        client: Client = gateway.connect("192.0.2.7")
        self.assertNotIn("spam", client.greeting)
        self.assertEqual(client.findings[0].detail, "192.0.2.7: sent spam (anna)")


class ConfigurationTests(SynchronousTestCase):
    """Mistakes are said at load."""

    def test_mistakes_have_their_place_and_their_words(self) -> None:
        """Each entry is judged on its own."""
        for options, said in (
            (entry('"192.0.2.7/24"'), ['entries[0].clients: "192.0.2.7/24" has address bits behind its prefix']),
            (entry('"mail.example.org"'), ['entries[0].clients: "mail.example.org" is not a network']),
            (entry(""), ["entries[0].clients: an empty list"]),
            (entry(action="refuse"), ['entries[0].action: unknown value "refuse"']),
            (entry(more='until = "31.1.2026"'), ['entries[0].until: "31.1.2026" is not a date']),
            (entry(more='skips = ["match"]'), ["entries[0]: skips is not used with reject"]),
            (entry(action="accept", more='reply = "hi"'), ["entries[0]: reply is not used with accept"]),
            (entry(more="since = 1"), ["entries[0].since: unknown key"]),
            ('{ action = "reject" }', ["entries[0].clients: missing key"]),
        ):
            with self.subTest(options=options):
                self.assertEqual(complaints(factory, f"entries = [{options}]"), said)

    def test_an_empty_list_is_no_mistake(self) -> None:
        """It lets everybody in."""
        self.assertEqual(complaints(factory, ""), [])
