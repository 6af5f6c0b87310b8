"""Tests of smtpgate.filters.sender.iprev, .generic and .base: names of addresses, and when they are looked up."""

from __future__ import annotations

import ipaddress

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.filters.sender.base import BUDGET_S, host_name, plain_address
from smtpgate.filters.sender.generic import generic_form
from smtpgate.filters.sender.iprev import NAMES, NOTHING, Iprev, factory, iprev, look_back
from smtpgate.testing import Gateway, complaints, use
from smtpgate.testing.resolver import FakeResolver
from tests.sender_kit import CLIENT, RELAY, deliver, gateway, only, reasons, relayed

PTR = "7.2.0.192.in-addr.arpa"
GOOD = {PTR: {"PTR": "mail.example.org"}, "mail.example.org": {"A": CLIENT}}


class ResultTests(SynchronousTestCase):
    """`look_back`: RFC 8601 section 2.7.3."""

    def result(self, zones: dict[str, object], ip: str = CLIENT) -> Iprev:
        """What is known of an address."""
        found: Iprev = self.successResultOf(ensureDeferred(look_back(FakeResolver(zones), ip)))
        return found

    def test_results(self) -> None:
        """A name that leads back, one that does not, none, and trouble on either step."""
        two = {PTR: {"PTR": ["other.example", "mail.example.org"]}, "mail.example.org": {"A": ["192.0.2.1", CLIENT]}}
        for zones, result, name in (
            (GOOD, "pass", "mail.example.org"),
            (two, "pass", "mail.example.org"),
            ({**two, "other.example": "servfail"}, "pass", "mail.example.org"),
            ({PTR: {"PTR": "mail.example.org"}, "mail.example.org": {"A": "192.0.2.1"}}, "fail", "mail.example.org"),
            ({PTR: {"PTR": "mail.example.org"}}, "fail", "mail.example.org"),
            (
                {PTR: {"PTR": "mail.example.org"}, "mail.example.org": {"AAAA": "2001:db8::1"}},
                "fail",
                "mail.example.org",
            ),
            ({}, "permerror", ""),
            ({PTR: {"TXT": "x"}}, "permerror", ""),
            ({PTR: "servfail"}, "temperror", ""),
            ({PTR: "timeout"}, "temperror", ""),
            ({PTR: {"PTR": "mail.example.org"}, "mail.example.org": "timeout"}, "temperror", "mail.example.org"),
            ({PTR: {"PTR": ["a\\032b.example", "localhost", "x\\013y.example"]}}, "permerror", ""),
        ):
            found = self.result(zones)
            self.assertEqual((found.result, found.name), (result, name), zones)

    def test_both_families(self) -> None:
        """An IPv4 address in IPv6's clothes is asked as what it is."""
        pointer = ipaddress.ip_address("2001:db8::7").reverse_pointer
        zones = {**GOOD, pointer: {"PTR": "six.example"}, "six.example": {"AAAA": "2001:DB8:0::7"}}
        self.assertEqual(self.result(zones, "2001:db8::7").result, "pass")
        self.assertEqual(self.result(zones, f"::ffff:{CLIENT}").result, "pass")

    def test_ten_names_are_followed(self) -> None:
        """Who has more has them to make others look them up."""
        names = [f"n{number}.example" for number in range(30)]
        resolver = FakeResolver({PTR: {"PTR": names}, names[NAMES]: {"A": CLIENT}})
        found = self.successResultOf(ensureDeferred(look_back(resolver, CLIENT)))
        self.assertEqual((found.result, len(found.names), found.is_cut), ("fail", NAMES, True))
        self.assertEqual(len(resolver.asked), 1 + NAMES)

    def test_addresses_of_a_house_are_not_asked(self) -> None:
        """Nobody outside knows their names."""
        for ip in (
            "10.1.2.3",
            "127.0.0.1",
            "192.168.0.1",
            "::1",
            "fe80::1%eth0",
            "fd00::1",
            "::ffff:10.0.0.1",
            "",
            "x",
        ):
            resolver = FakeResolver()
            self.assertEqual(self.successResultOf(ensureDeferred(look_back(resolver, ip))), NOTHING)
            self.assertEqual(resolver.asked, [], ip)
        self.assertEqual(str(plain_address("::ffff:192.0.2.1")), "192.0.2.1")


class FormTests(SynchronousTestCase):
    """`generic_form`: names that a machine made."""

    def test_forms(self) -> None:
        """Octets in any order and notation; words of lines; senders that number their hosts are left alone."""
        for ip, name, form in (
            ("192.0.2.7", "192-0-2-7.isp.example.com", "generic"),
            ("192.0.2.7", "host7.2.0.192.isp.example.com", "generic"),
            ("192.0.2.7", "static-192-000-002-007.isp.example.com", "generic"),
            ("192.0.2.7", "ip192000002007.isp.example.com", "generic"),
            ("192.0.2.7", "c0000207.isp.example.com", "generic"),
            ("198.51.100.77", "h1985110077.isp.example.com", "generic"),
            ("198.51.100.77", "x-198-51-100.isp.example.com", "generic"),
            ("192.0.2.7", "192-0-2-7.dynamic.isp.example.com", "dynamic"),
            ("192.0.2.7", "mail-192-0-2-7.adsl.isp.example.com", "dynamic"),
            ("192.0.2.7", "pool7.isp.example.com", "dynamic"),
            ("192.0.2.7", "cpe-1-2.isp.example.com", "dynamic"),
            ("192.0.2.7", "dip0.isp.example.com", "dynamic"),
            ("192.0.2.7", "mail-192-0-2-7.isp.example.com", ""),
            ("192.0.2.7", "mta2-7.smtp.example.com", ""),
            ("192.0.2.7", "a2-7.example.com", ""),
            ("192.0.2.7", "mail7.example.com", ""),
            ("192.0.2.7", "server1.example.com", ""),
            ("192.0.2.7", "pool.example.com", ""),
            ("192.0.2.7", "example.com", ""),
            ("192.0.2.7", "192-0-3-7.isp.example.com", ""),
            ("1.2.3.4", "v12345.example.com", ""),
            ("2001:db8::a:b:c:d", "x.000a000b000c000d.isp.example.com", "generic"),
            ("2001:db8::a:b:c:d", "2001-db8-0-0-a-b-c-d.isp.example.com", "generic"),
            ("2001:db8::a:b:c:d", "a-b-c-d.ip6.dyn.isp.example.com", "dynamic"),
            ("2001:db8::1", "host1.example.com", ""),
            ("2001:db8::1", "0-0-0-1.example.com", ""),
        ):
            self.assertEqual(generic_form(name, ipaddress.ip_address(ip)), form, (ip, name))

    @given(st.text(alphabet="abcdefdynmail0123456789.-", max_size=120), st.ip_addresses())
    @settings(max_examples=300, deadline=None)
    def test_every_name_has_a_form(self, name: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
        """Whatever it is."""
        self.assertIn(generic_form(name, address), ("", "generic", "dynamic"))

    def test_names_of_hosts(self) -> None:
        """What is none is not looked up."""
        for text, name in (("Mail.Example.ORG.", "mail.example.org"), ("a_b.example", "a_b.example"), ("localhost", ""),
                           ("[192.0.2.1]", ""), ("a..b", ""), ("", ""), ("a b.example", ""), ("bücher.example", ""),
                           ("x" * 300 + ".example", "")):  # fmt: skip
            self.assertEqual(host_name(text), name, text)


class FilterTests(SynchronousTestCase):
    """What is found, and when."""

    def test_findings_only_score(self) -> None:
        """Nothing about good names; never a refusal."""
        for zones, found in (
            (GOOD, []),
            ({}, [("iprev-missing", 1.0)]),
            ({PTR: {"PTR": "mail.example.org"}}, [("iprev-fail", 1.0)]),
            ({PTR: "servfail"}, [("iprev-temperror", 0.0)]),
            (
                {PTR: {"PTR": "192-0-2-7.isp.example.com"}, "192-0-2-7.isp.example.com": {"A": CLIENT}},
                [("iprev-generic", 0.5)],
            ),
            ({PTR: {"PTR": "dsl7.isp.example.com"}, "dsl7.isp.example.com": {"A": CLIENT}}, [("iprev-dynamic", 1.5)]),
        ):
            made = gateway(factory, zones=zones)
            client = deliver(made)
            self.assertEqual([(one.reason, one.score) for one in client.findings], found, zones)
            self.assertEqual(
                (client.greeting, {one.action for one in client.findings} - {"note"}), ("250 2.0.0 Ok", set())
            )
            self.assertEqual(made.failures, [])

    def test_scores_are_options(self) -> None:
        """Also none."""
        self.assertEqual(only(deliver(gateway(factory, "missing = 0.0"))).score, 0.0)
        self.assertEqual(complaints(factory, 'missing = "much"')[0].partition(":")[0], "missing")

    def test_look_ups_start_at_mail_and_are_waited_for_at_data(self) -> None:
        """So that they cost no time but what the client left them."""
        made = gateway(
            factory, zones={PTR: {"PTR": "mail.example.org", "delay": 1.0}, "mail.example.org": {"A": CLIENT}}
        )
        client = made.connect(CLIENT)
        client.helo()
        self.assertEqual(made.resolver.asked, [])
        self.assertEqual(client.mail(), "250 2.1.0 Sender ok")
        self.assertEqual(made.resolver.asked, [(PTR, "PTR")])
        self.assertTrue(client.rcpt().startswith("250"))
        self.assertEqual(client.data(), "")
        made.advance(1.0)
        self.assertTrue(client.read().startswith("354"))
        made.close()

    def test_slow_answers_are_waited_for_at_the_end(self) -> None:
        """The content comes meanwhile; what is found counts, and is told once."""
        made = gateway(
            factory, zones={PTR: {"PTR": "dsl7.isp.example.com", "delay": 2.5}, "dsl7.isp.example.com": {"A": CLIENT}}
        )
        client = made.connect(CLIENT)
        client.helo()
        client.mail()
        client.rcpt()
        self.assertEqual(client.data(), "")
        made.advance(1.0)
        self.assertTrue(client.read().startswith("354"))
        client.send(b"Subject: x\r\n\r\nx\r\n")
        self.assertEqual(client.end(), "")
        made.advance(1.5)
        self.assertTrue(client.read().startswith("250"))
        self.assertEqual([(one.reason, one.score) for one in client.findings], [("iprev-dynamic", 1.5)])

    def test_who_logged_in_is_left_alone(self) -> None:
        """And who is trusted; the filter is for mx only."""
        self.assertEqual(factory.roles, frozenset({"mx"}))
        for mark, value in (("user", "bob"), ("mechanism", "PLAIN"), ("is_trusted", True)):
            made = gateway(factory)
            client = made.connect(CLIENT)
            client.helo()
            setattr(client.session, mark, value)
            client.message()
            self.assertEqual((client.findings, made.resolver.asked), ([], []), mark)

    def test_silence_costs_no_more_than_the_budget_and_nothing_else(self) -> None:
        """It is a temporary error of the look-up, not a failure of the filter."""
        made = gateway(factory, zones={PTR: {"PTR": "a.example", "delay": 2.9}, "a.example": "timeout"})
        client = deliver(made, wait_s=BUDGET_S - 0.5)
        self.assertEqual((reasons(client), client.greeting), (["iprev-temperror"], "250 2.0.0 Ok"))
        self.assertEqual(made.failures, [])

    def test_a_client_that_leaves_takes_its_look_ups_along(self) -> None:
        """Nothing is left that waits, and nothing is complained of."""
        made = gateway(factory, zones={PTR: "timeout"})
        client = made.connect(CLIENT)
        client.helo()
        client.mail()
        self.assertEqual(made.resolver.waiting, 1)
        client.hang_up()
        self.assertEqual((made.resolver.waiting, made.failures), (0, []))
        names = {PTR: {"PTR": ["a.example", "b.example"]}, "a.example": "timeout", "b.example": "timeout"}
        made = gateway(factory, zones=names)
        client = made.connect(CLIENT)
        client.helo()
        client.mail()
        self.assertEqual(made.resolver.waiting, 2)
        client.hang_up()
        self.assertEqual((made.resolver.waiting, made.failures), (0, []))

    def test_behind_a_relay_the_header_section_tells(self) -> None:
        """Then it is looked up there, and waited for at the end."""
        made = gateway(factory)
        client = made.connect(RELAY)
        client.helo()
        client.mail()
        client.rcpt()
        self.assertTrue(client.data().startswith("354"))
        self.assertEqual(made.resolver.asked, [])
        client.content(relayed().replace("\n", "\r\n").encode())
        self.assertEqual(made.resolver.asked, [(PTR, "PTR")])
        client.end()
        self.assertEqual((reasons(client), made.failures), (["iprev-missing"], []))

    def test_behind_a_relay_who_logged_in_there_is_left_alone(self) -> None:
        """The relay says so."""
        made = gateway(factory)
        client = deliver(made, RELAY, content=relayed().replace("with ESMTP", "with ESMTPSA"))
        self.assertEqual((client.findings, made.resolver.asked), ([], []))

    def test_an_origin_that_cannot_be_read_is_noted_once(self) -> None:
        """And nothing is found, however many checks there are."""
        second = use(factory, name="again")
        made = Gateway(use(factory), second)
        made.services.settings = gateway(factory).services.settings
        client = deliver(made, RELAY, content="Received: by relay.example.net id 1; x\n" + relayed())
        found = only(client)
        self.assertEqual((found.reason, found.score), ("origin-unknown", 0.0))
        self.assertIn("by relay.example.net id 1", found.detail)
        self.assertEqual(made.resolver.asked, [])

    def test_the_fact_is_asked_once_for_all(self) -> None:
        """Who writes Authentication-Results gets the same."""
        made = Gateway(use(factory), use(factory, name="again"), zones=GOOD)
        client = made.connect(CLIENT)
        client.helo()
        client.mail()
        fact = self.successResultOf(iprev(made.services, client.transaction))
        self.assertEqual(fact, Iprev("pass", CLIENT, "mail.example.org", ("mail.example.org",)))
        client.rcpt()
        client.data()
        self.assertEqual(len(made.resolver.asked), 2)
        made.close()

    def test_nothing_waits_without_a_clock_that_moves(self) -> None:
        """A silent pointer ends by time, in the kit as in service."""
        resolver = FakeResolver({PTR: "timeout"}, clock := Clock())
        found = ensureDeferred(look_back(resolver, CLIENT))
        self.assertNoResult(found)
        clock.advance(3.0)
        self.assertEqual(self.successResultOf(found).result, "temperror")
