# ruff: noqa: E501 - fields and zones as they stand
"""Tests of smtpgate.testing.resolver: the stand-in answers as the real resolver would."""

from __future__ import annotations

from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, inlineCallbacks
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from smtpgate.interfaces import IResolver
from smtpgate.net.resolver import Resolver
from smtpgate.policy.names import Answer
from smtpgate.testing.resolver import FakeResolver
from tests.dns_kit import Act, Server

MASTER = """
$ORIGIN example.net.
$TTL 300
@       IN SOA ns.example.net. root.example.net. 1 3600 600 86400 60
@       IN MX 10 Mail.example.net.
@       IN TXT "v=spf1 " "mx -all"
mail 60 IN A 192.0.2.7
mail 60 IN A 192.0.2.8
www     IN CNAME mail
"""


class ZoneTests(SynchronousTestCase):
    """What zones hold."""

    def ask(self, resolver: FakeResolver, name: str, kind: str) -> tuple[str, tuple[object, ...]]:
        """Status and records."""
        answer: Answer = self.successResultOf(resolver.lookup(name, kind))
        return answer.status, answer.records

    def test_tables(self) -> None:
        """Records as text or lists, TXT as it is read, words for names that fail."""
        resolver = FakeResolver(
            {
                "Example.NET.": {
                    "MX": ["10 mail.example.net", "20 b.example."],
                    "TXT": "v=spf1 mx -all",
                    "A": "192.0.2.1",
                },
                "one.example": {"MX": [10, "mail.example"], "TXT": [b"\xff", "b"], "PTR": "Host.Example"},
                "null.example": {"MX": [0, ""]},
                "bad.example": "servfail",
                "mute.example": "timeout",
                "half.example": {"A": "192.0.2.1", "faults": {"TXT": "servfail"}, "status": "timeout"},
            }
        )
        for name, kind, status, records in (
            ("example.net", "MX", "ok", ((10, "mail.example.net"), (20, "b.example"))),
            ("EXAMPLE.net", "TXT", "ok", (b"v=spf1 mx -all",)),
            ("example.net.", "AAAA", "nodata", ()),
            ("one.example", "MX", "ok", ((10, "mail.example"),)),
            ("one.example", "TXT", "ok", (b"\xff", b"b")),
            ("one.example", "PTR", "ok", ("host.example",)),
            ("null.example", "MX", "ok", ((0, ""),)),
            ("net", "A", "nodata", ()),
            ("no.example", "A", "nxdomain", ()),
            ("a..b", "A", "nxdomain", ()),
            ("bad.example", "A", "failed", ()),
            ("mute.example", "A", "timeout", ()),
            ("half.example", "A", "ok", ("192.0.2.1",)),
            ("half.example", "TXT", "failed", ()),
            ("half.example", "MX", "timeout", ()),
        ):
            self.assertEqual(self.ask(resolver, name, kind), (status, records), (name, kind))

    def test_the_form_of_the_public_spf_suite(self) -> None:
        """A list of records by kind; strings of one TXT are joined, TIMEOUT is for what is not there."""
        resolver = FakeResolver(
            {"a.example": [{"TXT": ["v=spf1 ", "-all"]}, {"MX": [0, "b.example"]}, {"A": "1.2.3.4"}, "TIMEOUT"]}
        )
        self.assertEqual(self.ask(resolver, "a.example", "TXT"), ("ok", (b"v=spf1 -all",)))
        self.assertEqual(self.ask(resolver, "a.example", "MX"), ("ok", ((0, "b.example"),)))
        self.assertEqual(self.ask(resolver, "a.example", "AAAA"), ("timeout", ()))

    def test_master_files_and_toml(self) -> None:
        """As text and as files, together with tables."""
        zone, table = Path(self.mktemp()), Path(self.mktemp() + ".toml")
        zone.write_text(MASTER)
        table.write_text('["t.example"]\nA = ["192.0.2.1"]\nttl = 9\n')
        for resolver in (FakeResolver(MASTER), FakeResolver([zone, table])):
            self.assertEqual(self.ask(resolver, "example.net", "TXT"), ("ok", (b"v=spf1 mx -all",)))
            self.assertEqual(self.ask(resolver, "example.net", "MX"), ("ok", ((10, "mail.example.net"),)))
            self.assertEqual(self.ask(resolver, "www.example.net", "A"), ("ok", ("192.0.2.7", "192.0.2.8")))
        self.assertEqual(self.successResultOf(resolver.lookup("t.example", "A")).ttl, 9)

    def test_wildcards(self) -> None:
        """They hold for what does not exist, at any depth, and not below a name that does (RFC 4592)."""
        resolver = FakeResolver({"*.list.example": {"A": "127.0.0.2"}, "b.a.list.example": {"TXT": "x"}})
        for name, status in (
            ("1.2.list.example", "ok"),
            ("x.list.example", "ok"),
            ("list.example", "nodata"),
            ("b.a.list.example", "nodata"),
            ("a.list.example", "nodata"),
            ("c.a.list.example", "nxdomain"),
            ("c.b.a.list.example", "nxdomain"),
            ("other.example", "nxdomain"),
        ):
            self.assertEqual(self.ask(resolver, name, "A")[0], status, name)

    def test_what_exists_hides_the_wildcard_above_it(self) -> None:
        """For all that is below it."""
        resolver = FakeResolver({"*.w.example": {"A": "192.0.2.1"}, "x.w.example": {"TXT": "x"}})
        self.assertEqual(self.ask(resolver, "y.x.w.example", "A"), ("nxdomain", ()))
        self.assertEqual(self.ask(resolver, "x.w.example", "A"), ("nodata", ()))

    def test_aliases_in_a_circle_fail(self) -> None:
        """They end."""
        resolver = FakeResolver({"a.example": {"CNAME": "b.example"}, "b.example": {"CNAME": "a.example"}})
        self.assertEqual(self.ask(resolver, "a.example", "A"), ("failed", ()))

    def test_what_is_asked_is_told(self) -> None:
        """In the form in which it would go over the wire; what is no name is not asked."""
        resolver = FakeResolver()
        for name in ("Bücher.Example.", "a..b"):
            self.ask(resolver, name, "A")
        self.assertEqual(resolver.asked, [("xn--bcher-kva.example", "A")])

    def test_zones_that_cannot_be_read_are_refused(self) -> None:
        """A slip in a test is not a name that does not exist."""
        for zone in (
            {"a.example": "time-out"},
            {"a.example": {"a": "192.0.2.1"}},
            {"a.example": {"A": "no address"}},
            {"a.example": {"MX": "mail"}},
            {"a.example": {"faults": {"A": "slow"}}},
            {"a.example": 7},
            {"a..example": {"A": "192.0.2.1"}},
            {"a.example": {"A": "192.0.2.1", "delay": 1.0}},
            "this is no master file",
        ):
            self.assertRaises(ValueError, FakeResolver, zone)

    def test_authentic_names(self) -> None:
        """For all names, or as each says; an alias is as good as its worst step."""
        resolver = FakeResolver(
            {
                "a.example": {"A": "192.0.2.1"},
                "b.example": {"A": "192.0.2.1", "authentic": False},
                "c.example": {"CNAME": "b.example"},
            },
            is_authentic=True,
        )
        found = [
            self.successResultOf(resolver.lookup(name, "A")).is_authentic
            for name in ("a.example", "b.example", "c.example")
        ]
        self.assertEqual(found, [True, False, False])


class TimeTests(SynchronousTestCase):
    """With a clock."""

    def test_delays_and_silences_take_their_time(self) -> None:
        """A delay longer than the resolver's patience is a silence."""
        clock = Clock()
        resolver = FakeResolver(
            {
                "late.example": {"A": "192.0.2.1", "delay": 1.5},
                "later.example": {"A": "192.0.2.1", "delay": 9},
                "mute.example": "timeout",
            },
            clock,
        )
        found = [resolver.lookup(name, "A") for name in ("late.example", "later.example", "mute.example")]
        self.assertEqual(resolver.waiting, 3)
        clock.advance(1.5)
        self.assertEqual(self.successResultOf(found[0]).status, "ok")
        self.assertNoResult(found[1])
        clock.advance(1.5)
        self.assertEqual([self.successResultOf(one).status for one in found[1:]], ["timeout", "timeout"])
        self.assertEqual(resolver.waiting, 0)

    def test_who_gives_up_leaves_nothing_behind(self) -> None:
        """No timer is left."""
        clock = Clock()
        resolver = FakeResolver({"mute.example": "timeout"}, clock)
        found = resolver.lookup("mute.example", "A")
        found.cancel()
        self.failureResultOf(found, CancelledError)
        self.assertEqual((clock.getDelayedCalls(), resolver.waiting), ([], 0))


class SameTests(TestCase):
    """The stand-in and the real one."""

    @inlineCallbacks
    def test_both_say_the_same(self):
        """Of the same names, in the same form."""
        verifyObject(IResolver, FakeResolver())
        server = Server(
            reactor,
            {
                ("a.example", "A"): ["192.0.2.1", "192.0.2.2"],
                ("a.example", "TXT"): Act(('"x" "y"',), ttl=300),
                ("a.example", "MX"): ["5 B.Example.", "7 ."],
                ("a.example", "AAAA"): ["2001:DB8::1"],
                ("bad.example", "A"): Act(rcode="SERVFAIL"),
                ("_25._tcp.a.example", "TLSA"): ["3 0 0 0ABC"],
            },
        )
        self.addCleanup(server.close)
        real = Resolver(reactor, [server.address])
        self.addCleanup(real.close)
        fake = FakeResolver(
            {
                "a.example": {
                    "A": ["192.0.2.1", "192.0.2.2"],
                    "TXT": "xy",
                    "MX": ["5 B.Example.", "7 ."],
                    "AAAA": "2001:DB8::1",
                },
                "bad.example": "servfail",
                "_25._tcp.a.example": {"TLSA": "3 0 0 0ABC"},
            }
        )
        for name, kind in (
            ("A.Example", "A"),
            ("a.example.", "TXT"),
            ("a.example", "MX"),
            ("a.example", "AAAA"),
            ("a.example", "NS"),
            ("b.example", "A"),
            ("bad.example", "A"),
            ("_25._tcp.a.example", "TLSA"),
            ("a..b", "A"),
        ):
            answers = []
            for one in (real, fake):
                answer = yield one.lookup(name, kind)
                answers.append(answer)
            shown = [(one.status, sorted(map(repr, one.records)), one.is_authentic) for one in answers]
            self.assertEqual(shown[0], shown[1], (name, kind))
