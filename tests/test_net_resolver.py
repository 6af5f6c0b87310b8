"""Tests of smtpgate.net.resolver and what it is made of, against a real server on loopback."""

from __future__ import annotations

import dns.flags
import dns.message
import dns.rrset
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults, inlineCallbacks
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from smtpgate.interfaces import IResolver
from smtpgate.net import dns_exchange, dns_wire, resolver
from smtpgate.net.dns_cache import ENTRY_OCTETS, FAILURE_S, NEGATIVE_CEILING_S, TTL_CEILING_S, TTL_FLOOR_S, Cache
from smtpgate.net.dns_servers import DEMOTED_S, PAUSE_S, Servers
from smtpgate.net.dns_wire import Broken, fits, question, read
from smtpgate.net.records import plain_name
from smtpgate.net.resolver import Resolver, system_servers
from smtpgate.policy.names import Answer
from tests.dns_kit import Act, Mixed, Server

ADDRESS = ["192.0.2.1"]


class ResolverCase(TestCase):
    """A resolver, and servers that it asks."""

    timeout = 20

    def setUp(self) -> None:
        self.events = []
        self.clock = Mixed(reactor)

    def server(self, table=None):
        """A server with that table."""
        server = Server(reactor, table)
        self.addCleanup(server.close)
        return server

    def resolver(self, *servers, clock=None, timeout_s=3.0):
        """A resolver that asks them, by real time where no clock is given."""
        made = Resolver(clock or reactor, [one.address for one in servers], timeout_s, self.events.append)
        self.addCleanup(made.close)
        return made

    def turn(self):
        """Let what has come be read."""
        return deferLater(reactor, 0, lambda: None)

    @inlineCallbacks
    def silent(self, made, server, name, count):
        """Look up a name that is not answered in `count` attempts."""
        found = made.lookup(name, "A")
        first = len(server.asked)
        for number in range(count):
            yield server.heard(first + number + 1)
            self.clock.advance(made.timeout_s / 3 * (number + 1))
        return (yield found)


class RecordTests(ResolverCase):
    """What an answer holds."""

    @inlineCallbacks
    def test_records_have_the_shape_of_their_kind(self):
        """Addresses as text, names in lower case without the last dot, strings joined, others as in a master file."""
        table = {
            ("a.example", "A"): (["192.0.2.1", "192.0.2.2"], ("192.0.2.1", "192.0.2.2")),
            ("b.example", "AAAA"): (["2001:DB8:0::1"], ("2001:db8::1",)),
            ("c.example", "MX"): (["20 B.Example.", "10 a.example."], ((20, "b.example"), (10, "a.example"))),
            ("k.example", "MX"): (["0 ."], ((0, ""),)),
            ("d.example", "TXT"): (['"v=spf1 " "-all"', '"\\255"'], (b"v=spf1 -all", b"\xff")),
            ("1.2.0.192.in-addr.arpa", "PTR"): (["Mail.Example."], ("mail.example",)),
            ("e.example", "NS"): (["Ns.Example."], ("ns.example",)),
            ("f.example", "CNAME"): (["CNAME G.example."], ("g.example",)),
            ("_25._tcp.h.example", "TLSA"): (["3 0 0 00ff"], ("3 0 0 00ff",)),
            ("j.example", "PTR"): (["a\\013\\010b.example."], ("a\\013\\010b.example",)),
        }  # fmt: skip
        made = self.resolver(self.server({key: value[0] for key, value in table.items()}))
        for (name, kind), (_, records) in table.items():
            found = yield made.lookup(name, kind)
            self.assertEqual((found.status, found.records, found.ttl), ("ok", records, 60), name)

    @inlineCallbacks
    def test_what_does_not_exist_is_told_apart(self):
        """No such name, no such record, and a server that fails."""
        refused, failed = Act(rcode="REFUSED"), Act(rcode="SERVFAIL")
        made = self.resolver(
            self.server({("a.example", "A"): ADDRESS, ("b.example", "A"): failed, ("c.example", "A"): refused})
        )
        for name, kind, status in (
            ("no.example", "A", "nxdomain"),
            ("a.example", "MX", "nodata"),
            ("b.example", "A", "failed"),
            ("c.example", "A", "failed"),
        ):
            found = yield made.lookup(name, kind)
            self.assertEqual((found.status, found.records), (status, ()), name)

    @inlineCallbacks
    def test_a_referral_is_not_taken_for_nothing(self):
        """A server that does not look names up has not said that there are no records."""
        made = self.resolver(self.server({("a.example", "A"): Act(is_referral=True)}))
        self.assertEqual((yield made.lookup("a.example", "A")).status, "failed")

    @inlineCallbacks
    def test_aliases_are_followed(self):
        """In one answer, and by further questions where the server does not do it."""
        whole = Act(("CNAME b.example.", "CNAME c.example.", "192.0.2.3"))
        half = Act(("CNAME y.example.",))
        server = self.server(
            {("a.example", "A"): whole, ("x.example", "A"): half, ("y.example", "A"): Act(("192.0.2.4",), ttl=7)}
        )
        made = self.resolver(server)
        self.assertEqual((yield made.lookup("a.example", "A")).records, ("192.0.2.3",))
        found = yield made.lookup("x.example", "A")
        self.assertEqual((found.records, found.ttl), (("192.0.2.4",), 7))
        self.assertEqual([name for name, _, _ in server.asked], ["a.example", "x.example", "y.example"])

    @inlineCallbacks
    def test_aliases_that_go_in_a_circle_end(self):
        """After so many steps it is a failure."""
        server = self.server(
            {("a.example", "A"): Act(("CNAME b.example.",)), ("b.example", "A"): Act(("CNAME a.example.",))}
        )
        made = self.resolver(server)
        self.assertEqual((yield made.lookup("a.example", "A")).status, "failed")
        self.assertEqual(len(server.asked), resolver.ALIASES + 1)
        root = self.resolver(self.server({("a.example", "A"): Act(("CNAME .",))}))
        self.assertEqual((yield root.lookup("a.example", "A")).status, "failed")
        self.assertEqual(self.events, [])

    @inlineCallbacks
    def test_ad_is_believed_of_loopback_only(self):
        """Elsewhere, anybody on the way could have set it. 0.0.0.0 is this machine, but no loopback address."""
        server = self.server({("a.example", "A"): Act(("192.0.2.1",), is_authentic=True), ("b.example", "A"): ADDRESS})
        near = self.resolver(server)
        self.assertTrue((yield near.lookup("a.example", "A")).is_authentic)
        self.assertFalse((yield near.lookup("b.example", "A")).is_authentic)
        far = Resolver(reactor, [("0.0.0.0", server.address[1])])
        self.addCleanup(far.close)
        found = yield far.lookup("a.example", "A")
        self.assertEqual((found.status, found.is_authentic), ("ok", False))


class QuestionTests(ResolverCase):
    """What goes over the wire."""

    @inlineCallbacks
    def test_questions_cannot_be_guessed(self):
        """Each has an id and a port of its own; EDNS with 1232 octets, RD and AD are set."""
        server = self.server()
        made = self.resolver(server)
        yield gatherResults([made.lookup(f"n{number}.example", "A") for number in range(12)])
        self.assertGreater(len(set(server.ids)), 8)
        self.assertEqual(len(set(server.ports)), 12)
        asked = server.questions[0]
        self.assertEqual((asked.edns, asked.payload), (0, 1232))
        self.assertEqual(int(asked.flags), dns.flags.RD | dns.flags.AD)

    @inlineCallbacks
    def test_names_are_asked_in_one_form(self):
        """A-labels, lower case; the spelling makes no difference to what is remembered."""
        server = self.server({("xn--bcher-kva.example", "A"): ADDRESS, ("_dmarc.a.example", "TXT"): ['"x"']})
        made = self.resolver(server)
        for name in ("bücher.example", "BÜCHER.example.", "xn--bcher-kva.example", "bücher。example"):
            self.assertEqual((yield made.lookup(name, "A")).records, ("192.0.2.1",), name)
        self.assertEqual((yield made.lookup("_DMARC.a.Example.", "TXT")).records, (b"x",))
        self.assertEqual(len(server.asked), 2)

    @inlineCallbacks
    def test_what_is_no_name_is_not_asked(self):
        """It is answered as a name that does not exist."""
        server = self.server()
        made = self.resolver(server)
        for name in (
            "",
            "a..b",
            ".a",
            "a" * 64 + ".example",
            "a." * 127 + "b",
            "a\nb.example",
            "\ud800.example",
            "ａ" * 300,
        ):
            found = yield made.lookup(name, "A")
            self.assertEqual((found.status, found.is_void), ("nxdomain", True), name)
        self.assertEqual(server.asked, [])

    def test_a_kind_that_is_none_is_a_mistake_of_the_caller(self):
        """So are kinds that ask for more than records."""
        made = self.resolver(self.server())
        for kind in ("", "NONSENSE", "ANY", "AXFR"):
            self.assertRaises(ValueError, made.lookup, "a.example", kind)

    @inlineCallbacks
    def test_answers_to_other_questions_are_passed_over(self):
        """A forger who does not know id or question neither answers nor ends the wait."""
        for before in ("wrong-id", "wrong-question", "garbage"):
            made = self.resolver(self.server({("a.example", "A"): Act(("192.0.2.1",), before=before)}))
            self.assertEqual((yield made.lookup("a.example", "A")).records, ("192.0.2.1",), before)

    @inlineCallbacks
    def test_only_wrong_answers_are_none(self):
        """Then it is as if the server had said nothing."""
        for how in ("wrong-id", "wrong-question", "garbage"):
            server = self.server({("a.example", "A"): Act(("192.0.2.9",), how=how)})
            made = self.resolver(server, clock=self.clock)
            found = made.lookup("a.example", "A")
            for number in (1, 2):
                yield server.heard(number)
                yield self.turn()
                self.assertNoResult(found)
                self.clock.advance(number)
            self.assertEqual(self.successResultOf(found).status, "timeout", how)

    @inlineCallbacks
    def test_what_does_not_fit_a_datagram_comes_by_tcp(self):
        """A truncated answer is asked again, whole."""
        large = Act(tuple('"' + chr(97 + number) * 250 + '"' for number in range(16)), how="truncate")
        server = self.server({("a.example", "TXT"): large})
        made = self.resolver(server)
        found = yield made.lookup("a.example", "TXT")
        self.assertEqual((len(found.records), len(found.records[0])), (16, 250))
        self.assertEqual([way for *_, way in server.asked], ["udp", "tcp"])
        wrong = self.resolver(self.server({("a.example", "A"): Act(("192.0.2.9",), how="wrong-tcp")}))
        self.assertEqual((yield wrong.lookup("a.example", "A")).status, "failed")
        self.assertEqual(wrong.broken, 1)

    @inlineCallbacks
    def test_tcp_that_ends_or_stays_silent_is_no_answer(self):
        """The next server is asked, or there is none."""
        for how, status in (("closed-tcp", "failed"), ("silent-tcp", "timeout")):
            first = self.server({("a.example", "A"): Act(("192.0.2.9",), how=how)})
            second = self.server({("a.example", "A"): ADDRESS})
            alone = self.resolver(first, timeout_s=0.3)
            self.assertEqual((yield alone.lookup("a.example", "A")).status, status)
            both = self.resolver(first, second, timeout_s=0.6)
            self.assertEqual((yield both.lookup("a.example", "A")).records, ("192.0.2.1",))

    @inlineCallbacks
    def test_a_server_without_edns_is_asked_without(self):
        """It says that it did not understand."""
        server = self.server({("a.example", "A"): Act(("192.0.2.1",), how="no-edns")})
        made = self.resolver(server)
        self.assertEqual((yield made.lookup("a.example", "A")).records, ("192.0.2.1",))
        self.assertEqual([one.edns for one in server.questions], [0, -1])


class ServerTests(ResolverCase):
    """Servers that fail, and those behind them."""

    @inlineCallbacks
    def test_the_next_server_answers_for_one_that_fails(self):
        """SERVFAIL and REFUSED are those of one server."""
        for rcode in ("SERVFAIL", "REFUSED"):
            first = self.server({("a.example", "A"): Act(rcode=rcode)})
            second = self.server({("a.example", "A"): ADDRESS})
            made = self.resolver(first, second)
            self.assertEqual((yield made.lookup("a.example", "A")).status, "ok")
            self.assertEqual((len(first.asked), len(second.asked)), (1, 1))

    @inlineCallbacks
    def test_a_server_that_is_not_there_costs_no_time(self):
        """The kernel hears that nobody listens; the time stands still."""
        gone = Server(reactor)
        yield gone.close()
        made = self.resolver(gone, self.server({("a.example", "A"): ADDRESS}), clock=self.clock)
        self.assertEqual((yield made.lookup("a.example", "A")).status, "ok")
        alone = self.resolver(gone, clock=self.clock)
        self.assertEqual((yield alone.lookup("a.example", "A")).status, "failed")
        self.assertEqual(alone.queries, 1)

    @inlineCallbacks
    def test_a_lost_datagram_is_sent_again(self):
        """The second round asks the same server."""
        server = self.server({("a.example", "A"): Act(("192.0.2.1",), how="drop", times=1)})
        made = self.resolver(server, clock=self.clock)
        found = made.lookup("a.example", "A")
        yield server.heard(1)
        self.clock.advance(1.0)
        self.assertEqual((yield found).status, "ok")
        self.assertEqual((made.queries, made.timeouts), (2, 1))

    @inlineCallbacks
    def test_a_silent_server_costs_a_part_of_the_time_and_then_is_asked_last(self):
        """For half a minute; then it gets another chance."""
        dead, alive = self.server(), self.server()
        dead.is_dead = True
        made = self.resolver(dead, alive, clock=self.clock)
        for number in (1, 2, 3):
            found = made.lookup(f"n{number}.example", "A")
            yield dead.heard(number)
            self.clock.advance(0.5)
            self.assertEqual((yield found).status, "nxdomain")
        yield made.lookup("n4.example", "A")
        self.assertEqual((len(dead.asked), len(alive.asked)), (3, 4))
        self.clock.advance(DEMOTED_S)
        dead.is_dead = False
        yield made.lookup("n5.example", "A")
        self.assertEqual((len(dead.asked), len(alive.asked)), (4, 4))

    @inlineCallbacks
    def test_all_attempts_together_keep_to_the_time(self):
        """Two silent servers, two rounds, three seconds."""
        first, second = self.server(), self.server()
        first.is_dead = second.is_dead = True
        made = self.resolver(first, second, clock=self.clock)
        found = made.lookup("a.example", "A")
        for server, number, seconds in ((first, 1, 0.5), (second, 1, 0.5), (first, 2, 1.0), (second, 2, 0.9)):
            yield server.heard(number)
            self.clock.advance(seconds)
        self.assertNoResult(found)
        self.clock.advance(0.2)
        self.assertEqual(self.successResultOf(found).status, "timeout")
        self.assertEqual((made.queries, made.timeouts), (4, 4))

    @inlineCallbacks
    def test_answers_with_too_many_records_are_not_read(self):
        """To read thousands would hold up all mail."""
        many = Act(tuple(f"10.0.{number // 256}.{number % 256}" for number in range(300)), how="truncate")
        made = self.resolver(self.server({("a.example", "A"): many}))
        self.assertEqual((yield made.lookup("a.example", "A")).status, "failed")
        self.assertEqual(made.broken, 1)


class MemoryTests(ResolverCase):
    """What is remembered, and for how long."""

    @inlineCallbacks
    def test_an_answer_lives_as_long_as_it_says(self):
        """What it shows as its life is what is left of it."""
        server = self.server({("a.example", "A"): Act(("192.0.2.1",), ttl=100)})
        made = self.resolver(server, clock=self.clock)
        yield made.lookup("a.example", "A")
        self.clock.clock.advance(40)
        self.assertEqual((yield made.lookup("A.Example", "A")).ttl, 60)
        self.clock.clock.advance(59)
        self.assertEqual((yield made.lookup("a.example", "A")).ttl, 1)
        self.assertEqual((len(server.asked), made.hits, made.asked), (1, 2, 3))
        self.clock.clock.advance(1)
        self.assertEqual((yield made.lookup("a.example", "A")).ttl, 100)
        self.assertEqual(len(server.asked), 2)

    @inlineCallbacks
    def test_lives_have_a_floor_and_a_ceiling(self):
        """Also of what does not exist, whose life the SOA tells."""
        table = {
            ("short.example", "A"): Act(("192.0.2.1",), ttl=0),
            ("long.example", "A"): Act(("192.0.2.1",), ttl=9_999_999),
            ("wrong.example", "A"): Act(("192.0.2.1",), ttl=(1 << 31) - 1),
            ("none.example", "A"): Act(rcode="NXDOMAIN", soa_minimum=77),
            ("never.example", "A"): Act(rcode="NXDOMAIN", soa_minimum=99_999),
            ("empty.example", "A"): Act(soa_minimum=50),
            ("bare.example", "A"): Act(has_soa=False),
        }
        made = self.resolver(self.server(table))
        for name, ttl in (
            ("short", TTL_FLOOR_S),
            ("long", TTL_CEILING_S),
            ("wrong", TTL_CEILING_S),
            ("none", 77),
            ("never", min(3600, NEGATIVE_CEILING_S)),
            ("empty", 50),
            ("bare", TTL_FLOOR_S),
        ):
            self.assertEqual((yield made.lookup(f"{name}.example", "A")).ttl, ttl, name)

    @inlineCallbacks
    def test_a_failure_is_remembered_for_seconds(self):
        """So that an outage costs one who asks a time-out, and not all."""
        server = self.server({("a.example", "A"): Act(("192.0.2.1",), rcode="SERVFAIL", times=1)})
        made = self.resolver(server, clock=self.clock)
        for _ in range(3):
            self.assertEqual((yield made.lookup("a.example", "A")).status, "failed")
        self.assertEqual(len(server.asked), 1)
        self.clock.advance(FAILURE_S)
        self.assertEqual((yield made.lookup("a.example", "A")).status, "ok")

    @inlineCallbacks
    def test_a_silence_is_remembered_too(self):
        """The second who asks does not wait."""
        server = self.server({("a.example", "A"): Act(how="drop")})
        made = self.resolver(server, clock=self.clock)
        yield self.silent(made, server, "a.example", 2)
        self.assertEqual(self.successResultOf(made.lookup("a.example", "A")).status, "timeout")
        self.assertEqual(len(server.asked), 2)

    @inlineCallbacks
    def test_one_question_for_all_who_ask(self):
        """Who gives up does not take it from the others, and what comes after all have gone is kept."""
        server = self.server({("a.example", "A"): ADDRESS, ("b.example", "A"): ADDRESS})
        made = self.resolver(server)
        first, second = made.lookup("a.example", "A"), made.lookup("A.example.", "A")
        alone = made.lookup("b.example", "A")
        first.cancel()
        alone.cancel()
        self.failureResultOf(first, CancelledError)
        self.failureResultOf(alone, CancelledError)
        self.assertEqual((yield second).status, "ok")
        while made.in_flight:
            yield self.turn()
        self.assertEqual(self.successResultOf(made.lookup("b.example", "A")).status, "ok")
        self.assertEqual((len(server.asked), made.shared), (2, 1))

    def test_who_is_told_may_cancel_another(self):
        """The other is not told twice."""
        flight = resolver._Flight(("a.example", "A"), 0.0)
        waiters: list[Deferred[Answer]] = [flight.wait(), flight.wait()]
        waiters[0].addCallback(lambda answer: waiters[1].cancel())
        flight.land(Answer("ok"))
        self.failureResultOf(waiters[1], CancelledError)

    def test_the_cache_is_bounded_twice(self):
        """By entries and by octets; what was used last stays."""
        cache = Cache(entries=3)
        for name in "abc":
            cache.put((name, "A"), Answer("ok", ("192.0.2.1",), ttl=60), 0.0)
        cache.get(("a", "A"), 1.0)
        cache.put(("d", "A"), Answer("ok", ttl=60), 1.0)
        self.assertEqual([cache.get((name, "A"), 1.0) is not None for name in "abcd"], [True, False, True, True])
        cache = Cache(octets=4 * ENTRY_OCTETS)
        for number in range(10):
            cache.put((f"{number}", "TXT"), Answer("ok", (b"x" * 1000,), ttl=60), 0.0)
            self.assertLessEqual(cache.octets, 4 * ENTRY_OCTETS)
        self.assertEqual(len(cache), 1)
        cache.put(("huge", "TXT"), Answer("ok", (b"x" * 100_000,), ttl=60), 0.0)
        self.assertEqual((len(cache), cache.octets), (0, 0))


class CapTests(ResolverCase):
    """Many questions at once."""

    @inlineCallbacks
    def test_questions_over_the_cap_wait_for_a_place(self):
        """And are asked when there is one."""
        self.patch(resolver, "IN_FLIGHT", 2)
        server = self.server()
        made = self.resolver(server)
        found = [made.lookup(f"n{number}.example", "A") for number in range(5)]
        self.assertEqual((made.in_flight, made.queued), (2, 3))
        yield gatherResults(found)
        self.assertEqual((made.in_flight, made.queued, len(server.asked)), (0, 0, 5))

    @inlineCallbacks
    def test_who_waits_for_a_place_waits_no_longer_than_for_an_answer(self):
        """Its time counts from when it asked."""
        self.patch(resolver, "IN_FLIGHT", 1)
        server = self.server({("slow.example", "A"): Act(how="drop")})
        made = self.resolver(server, clock=self.clock)
        slow = made.lookup("slow.example", "A")
        yield server.heard(1)
        self.clock.advance(0.5)
        late = made.lookup("late.example", "A")
        self.clock.advance(0.5)
        yield server.heard(2)
        other = made.lookup("other.example", "A")
        self.clock.advance(2.0)
        self.assertEqual(self.successResultOf(slow).status, "timeout")
        yield server.heard(3)
        self.assertEqual((yield late).status, "nxdomain")
        self.assertEqual((yield other).status, "nxdomain")

    @inlineCallbacks
    def test_a_full_queue_is_answered_at_once(self):
        """And so is one whose time is over before there is a place."""
        self.patch(resolver, "IN_FLIGHT", 1)
        self.patch(resolver, "QUEUED", 1)
        server = self.server({("slow.example", "A"): Act(how="drop")})
        made = self.resolver(server, clock=self.clock, timeout_s=3.0)
        slow = made.lookup("slow.example", "A")
        made.timeout_s = 0.5
        waits = made.lookup("waits.example", "A")
        self.assertEqual(self.successResultOf(made.lookup("more.example", "A")).status, "timeout")
        self.clock.advance(0.6)
        self.assertEqual(self.successResultOf(waits).status, "timeout")
        self.assertEqual((made.dropped, made.queued), (2, 0))
        slow.cancel()
        self.failureResultOf(slow, CancelledError)
        yield server.heard(1)

    def test_places_that_end_at_once_do_not_pile_up(self):
        """A queue of a thousand that cannot be asked is emptied without recursion."""
        self.patch(resolver, "IN_FLIGHT", 1)

        def no_socket(*args):
            raise OSError("too many open files")

        self.patch(dns_exchange, "socket", type("NoSockets", (), {"AF_INET": 2, "SOCK_DGRAM": 2, "socket": no_socket}))
        made = Resolver(self.clock, [("127.0.0.1", 53)])
        made._running.add(blocker := resolver._Flight(("x", "A"), 1.0))
        found = [made.lookup(f"n{number}.example", "A") for number in range(1000)]
        made._flights[blocker.key] = blocker
        made._finish(Answer("failed"), blocker)
        self.assertEqual({self.successResultOf(one).status for one in found}, {"failed", "timeout"})

    @inlineCallbacks
    def test_at_the_end_all_who_wait_are_told(self):
        """Those under way and those in the queue; who asks later too."""
        self.patch(resolver, "IN_FLIGHT", 1)
        server = self.server({("a.example", "A"): Act(how="drop")})
        made = self.resolver(server, clock=self.clock)
        found = [made.lookup(name, "A") for name in ("a.example", "b.example")]
        yield server.heard(1)
        made.close()
        found.append(made.lookup("c.example", "A"))
        self.assertEqual([self.successResultOf(one).status for one in found], ["failed"] * 3)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.events, [])


class OutageTests(ResolverCase):
    """All servers dead."""

    @inlineCallbacks
    def fall(self, made, server):
        """Look-ups until the outage is known."""
        for number in range(3):
            found = yield self.silent(made, server, f"n{number}.example", 2)
            self.assertEqual(found.status, "timeout")
        yield server.heard(7)
        yield self.turn()
        yield self.turn()
        self.clock.advance(1.0)

    @inlineCallbacks
    def test_an_outage_costs_time_only_at_first(self):
        """Then answers come at once, and it is told once that servers are gone and once that they are back."""
        server = self.server()
        server.is_dead = True
        made = self.resolver(server, clock=self.clock)
        yield self.fall(made, server)
        self.assertEqual(server.asked[6], (".", "NS", "udp"))
        self.assertTrue(made.is_down)
        for number in range(5):
            self.assertEqual(self.successResultOf(made.lookup(f"x{number}.example", "A")).status, "timeout")
        self.assertEqual((made.dropped, len(server.asked)), (5, 7))
        self.clock.clock.advance(PAUSE_S)
        through, not_through = made.lookup("y.example", "A"), made.lookup("z.example", "A")
        self.assertEqual(self.successResultOf(not_through).status, "timeout")
        yield server.heard(9)
        self.clock.advance(1.0)
        yield server.heard(10)
        self.clock.advance(2.0)
        self.assertEqual((yield through).status, "timeout")
        self.assertEqual([one.name for one in self.events], ["resolver.down"])
        server.is_dead = False
        self.clock.clock.advance(PAUSE_S)
        self.assertEqual((yield made.lookup("v.example", "A")).status, "nxdomain")
        self.assertEqual((yield made.lookup("w.example", "A")).status, "nxdomain")
        self.assertEqual(
            [(one.name, one.level) for one in self.events], [("resolver.down", "error"), ("resolver.up", "info")]
        )

    @inlineCallbacks
    def test_names_that_are_silent_are_no_outage(self):
        """A sender chooses names whose servers say nothing; the checks of others go on."""
        server = self.server({(f"n{number}.example", "A"): Act(how="drop") for number in range(3)})
        made = self.resolver(server, clock=self.clock)
        yield self.fall(made, server)
        self.assertFalse(made.is_down)
        self.assertEqual((yield made.lookup("good.example", "A")).status, "nxdomain")
        self.assertEqual(self.events, [])

    @inlineCallbacks
    def test_a_word_in_between_is_a_sign_of_life(self):
        """Only silences in a row raise the question."""
        server = self.server({(f"n{number}.example", "A"): Act(how="drop") for number in range(4)})
        made = self.resolver(server, clock=self.clock)
        for number in range(4):
            yield self.silent(made, server, f"n{number}.example", 2)
            if number == 1:
                yield made.lookup("good.example", "A")
        self.assertNotIn((".", "NS", "udp"), server.asked)

    def test_ad_is_judged_by_the_address_of_the_server(self):
        """All of 127.0.0.0/8 and ::1, and nothing else but what the operator trusts."""
        servers = [("127.0.0.53", 53), ("::1", 53), ("192.0.2.53", 53), ("10.0.0.1", 53), ("fe80::1%eth0", 53)]
        made = Servers(servers, lambda: 0.0, lambda server: None, self.events.append, lambda: None)
        self.assertEqual([made.may_vouch(one) for one in servers], [True, True, False, False, False])
        trusts = lambda address: address == "10.0.0.1"  # noqa: E731
        made = Servers(servers, lambda: 0.0, lambda server: None, self.events.append, lambda: None, trusts)
        self.assertEqual([made.may_vouch(one) for one in servers], [True, True, False, True, False])
        self.assertRaises(ValueError, Resolver, reactor, [("localhost", 53)])

    def test_it_keeps_the_contract(self):
        """Of `interfaces.IResolver`."""
        made = Resolver(reactor, [("127.0.0.1", 53)])
        verifyObject(IResolver, made)
        self.assertEqual(made.servers, (("127.0.0.1", 53),))


class SystemTests(SynchronousTestCase):
    """The resolvers of the machine."""

    def test_resolv_conf(self) -> None:
        """The first three that are addresses; loopback where there are none."""
        loopback = (("127.0.0.1", 53),)
        for text, servers in (
            ("nameserver 192.0.2.1\n", (("192.0.2.1", 53),)),
            ("# nameserver 192.0.2.9\nsearch example\n nameserver\t2001:db8::1 # x\n", (("2001:db8::1", 53),)),
            ("nameserver ns.example\nnameserver\nnameserver 192.0.2.1", (("192.0.2.1", 53),)),
            ("".join(f"nameserver 192.0.2.{n}\n" for n in range(5)), tuple((f"192.0.2.{n}", 53) for n in range(3))),
            ("", loopback),
            ("options edns0\n", loopback),
        ):
            path = self.mktemp()
            with open(path, "w") as file:
                file.write(text)
            self.assertEqual(system_servers(path), servers, text)
        self.assertEqual(system_servers("/does/not/exist"), loopback)


def _response(query: dns_wire.Question) -> bytes:
    response = dns.message.make_response(dns.message.from_wire(query.octets))
    response.answer.append(dns.rrset.from_text("a.example.", 60, "IN", "MX", "10 b.example.", "20 c.example."))
    response.authority.append(dns.rrset.from_text("example.", 60, "IN", "SOA", "a. b. 1 2 3 4 5"))
    return response.to_wire()


class WireTests(SynchronousTestCase):
    """Octets, by whoever wrote them."""

    def test_what_fits_a_question(self) -> None:
        """The same id, the same question whatever its case, an answer; an error may leave the question out."""
        query = question("a.example", "MX")
        good = _response(query)
        self.assertTrue(fits(good, query))
        self.assertTrue(fits(good.replace(b"\x07example", b"\x07EXAMPLE"), query))
        self.assertTrue(fits(good[:2] + b"\x81\x82\0\0\0\0\0\0\0\0", query))
        for bad in (b"", good[:11], good[:2] + b"\x01" + good[3:], good[:2] + b"\x89" + good[3:], b"\0\0" + good[2:],
                    good[:2] + b"\x81\x80\0\0\0\0\0\0\0\0", good[:4] + b"\0\2" + good[6:],
                    good.replace(b"\x00\x0f\x00\x01", b"\x00\x10\x00\x01", 1)):  # fmt: skip
            self.assertFalse(fits(bad, query) and bad[:2] != good[:2], bad)
            self.assertFalse(fits(bad, query) if bad[:2] != b"\0\0" else query.id != 0 and fits(bad, query), bad)

    @given(data=st.data())
    @settings(max_examples=300, deadline=None)
    def test_no_octets_raise_but_broken(self, data: st.DataObject) -> None:
        """Cut, changed and made up: a reading, or `Broken`."""
        query = question("a.example", "MX")
        octets = bytearray(_response(query))
        for _ in range(data.draw(st.integers(0, 4))):
            octets[data.draw(st.integers(12, len(octets) - 1))] = data.draw(st.integers(0, 255))
        octets = octets[: data.draw(st.integers(12, len(octets)))] + data.draw(st.binary(max_size=20))
        try:
            reading = read(bytes(octets), query)
        except Broken:
            return
        self.assertIn(reading.status, ("ok", "nodata", "nxdomain", "failed", "elsewhere", "truncated", "no-edns"))

    def test_records_beside_the_question_are_not_taken(self) -> None:
        """Of another owner, another class or another kind."""
        query = question("a.example", "A")
        response = dns.message.make_response(dns.message.from_wire(query.octets))
        response.flags |= dns.flags.RA
        response.answer.append(dns.rrset.from_text("b.example.", 60, "IN", "A", "192.0.2.66"))
        response.answer.append(dns.rrset.from_text("a.example.", 60, "CH", "A", "a. 1"))
        response.answer.append(dns.rrset.from_text("a.example.", 60, "IN", "TXT", "x"))
        response.authority.append(dns.rrset.from_text("other.", 60, "IN", "SOA", "a. b. 1 2 3 4 5000"))
        reading = read(response.to_wire(), query)
        # The SOA is that of another zone, and says nothing about this name.
        self.assertEqual((reading.status, reading.records, reading.ttl), ("nodata", (), 0))

    def test_a_life_beyond_the_range_is_none(self) -> None:
        """RFC 2181 section 8."""
        query = question("a.example", "MX")
        octets = _response(query).replace((60).to_bytes(4, "big"), b"\xff\xff\xff\xff")
        self.assertEqual((read(octets, query).status, read(octets, query).ttl), ("ok", 0))

    def test_many_long_names_are_read_in_little_work(self) -> None:
        """An answer of 3.5 kB with 250 names of 125 labels: each record costs one reading of its names."""
        query = question(".".join("a" * 125), "NS")
        record = b"\xc0\x0c\x00\x02\x00\x01\0\0\0\x3c\0\2\xc0\x0c"
        octets = (
            query.octets[:2] + b"\x81\x80\0\1" + (250).to_bytes(2, "big") + b"\0\0\0\0" + query.asked + record * 250
        )
        reads = []
        real = dns_wire.dns.name.from_wire_parser

        def count(*args, **kwargs):
            reads.append(1)
            return real(*args, **kwargs)

        self.patch(dns_wire.dns.name, "from_wire_parser", count)
        self.assertEqual(read(octets, query).records, (".".join("a" * 125),))
        self.assertLess(len(reads), 2 * 250 + 10)

    @given(st.text(max_size=300))
    @settings(max_examples=300, deadline=None)
    def test_names_become_plain_or_none(self, text: str) -> None:
        """A plain name stays as it is, and fits the wire."""
        name = plain_name(text)
        if name is not None:
            self.assertEqual(plain_name(name) if name else "", name)
            self.assertLessEqual(len(question(name, "A").asked), 255 + 4)
