"""Tests of smtpgate.filters.sender.helo_dns: whether the name of the greeting is the client's."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smtpgate.filters.sender.helo_dns import TIME_S, factory
from tests.sender_kit import CLIENT, RELAY, deliver, gateway, only, relayed


class NameTests(SynchronousTestCase):
    """What is found about a name."""

    def test_findings(self) -> None:
        """A name that is the client's, one that is another's, one that does not exist."""
        name = "mail.example.org"
        for zone, found in (
            ({name: {"A": CLIENT}}, []),
            ({name: {"A": ["192.0.2.1", CLIENT], "AAAA": "2001:db8::1"}}, []),
            ({name: {"CNAME": "a.example"}, "a.example": {"A": CLIENT}}, []),
            ({name: {"A": "192.0.2.1"}}, [("helo-mismatch", 0.5)]),
            ({name: {"AAAA": "2001:db8::1"}}, [("helo-mismatch", 0.5)]),
            ({}, [("helo-unresolvable", 1.0)]),
            ({name: {"MX": "10 a.example"}}, [("helo-unresolvable", 1.0)]),
        ):
            client = deliver(gateway(factory, zones=zone))
            self.assertEqual([(one.reason, one.score) for one in client.findings], found, zone)
            self.assertEqual(client.greeting, "250 2.0.0 Ok")

    def test_of_a_name_that_is_half_known_nothing_is_said(self) -> None:
        """One record that fits is enough all the same."""
        name = "mail.example.org"
        for zone in (
            {name: "servfail"},
            {name: {"A": "192.0.2.1", "faults": {"AAAA": "servfail"}}},
            {name: {"A": CLIENT, "faults": {"AAAA": "servfail"}}},
        ):
            made = gateway(factory, zones=zone)
            self.assertEqual(deliver(made).findings, [], zone)
            self.assertEqual(made.failures, [])

    def test_silence_has_no_effect(self) -> None:
        """The mail goes on, and nothing failed."""
        made = gateway(factory, zones={"mail.example.org": "timeout"})
        client = deliver(made, wait_s=TIME_S)
        self.assertEqual((client.findings, made.failures, client.greeting), ([], [], "250 2.0.0 Ok"))

    def test_names_of_a_wrong_form_are_not_looked_up(self) -> None:
        """Another check has them; nor are clients of the house, whose names the DNS outside does not know."""
        for helo, ip in (
            ("localhost", CLIENT),
            ("[192.0.2.7]", CLIENT),
            ("a..b", CLIENT),
            ("mail.example.org", "127.0.0.1"),
        ):
            made = gateway(factory)
            self.assertEqual(deliver(made, ip, helo).findings, [], helo)
            self.assertEqual(made.resolver.asked, [], helo)

    def test_both_families_are_asked_for_any_client(self) -> None:
        """A client by IPv6 may have a name that is known."""
        made = gateway(factory, zones={"mail.example.org": {"AAAA": "2001:db8::7"}})
        self.assertEqual(deliver(made, "2001:DB8::7").findings, [])
        self.assertEqual({kind for _, kind in made.resolver.asked}, {"A", "AAAA"})

    def test_behind_a_relay_it_is_the_name_that_the_relay_heard(self) -> None:
        """Not the relay's own."""
        made = gateway(factory, zones={"other.example": {"A": "192.0.2.1"}})
        found = only(deliver(made, RELAY, "relay.example.net", content=relayed(helo="other.example")))
        self.assertEqual((found.reason, found.detail), ("helo-mismatch", f"other.example is not {CLIENT}"))
        self.assertEqual({name for name, _ in made.resolver.asked}, {"other.example"})
