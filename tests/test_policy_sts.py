"""MTA-STS records and policies (RFC 8461), and when a policy is fetched, kept and given up."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, ensureDeferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.interfaces import HTTPFailed
from smtpgate.net.http import Response
from smtpgate.policy.sts import HOSTS, MAX_AGE_S, BadPolicy, Policy, parse, record_id
from smtpgate.proxy.sts import AGAIN_S, RENEW_S, Policies
from smtpgate.testing.ports import HTTP, Table
from smtpgate.testing.resolver import FakeResolver

TEXT = b"version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.example.net\r\nmax_age: 604800\r\n"


class PolicyTests(SynchronousTestCase):
    """`policy.sts`."""

    def test_the_example_of_the_rfc(self) -> None:
        """Section 3.2; either line end will do, and fields that nobody knows are passed over."""
        for text in (TEXT, TEXT.replace(b"\r\n", b"\n"), TEXT + b"x_new: whatever: it is\r\n", TEXT.rstrip()):
            self.assertEqual(parse(text), Policy("enforce", ("mail.example.com", "*.example.net"), 604800))

    def test_none_needs_no_hosts(self) -> None:
        """A domain that gives its policy up."""
        self.assertEqual(parse(b"version: STSv1\nmode: none\nmax_age: 86400"), Policy("none", (), 86400))

    def test_a_long_life_is_cut(self) -> None:
        """To a year."""
        self.assertEqual(parse(TEXT.replace(b"604800", b"9999999999")).max_age_s, MAX_AGE_S)

    def test_wrong_ones(self) -> None:
        """Each breaks the grammar."""
        for text in (
            b"",
            TEXT.replace(b"STSv1", b"STSv2"),
            TEXT.replace(b"enforce", b"force"),
            TEXT.replace(b"max_age: 604800\r\n", b""),
            TEXT.replace(b"604800", b"a week"),
            TEXT.replace(b"604800", b"-1"),
            b"version: STSv1\nmode: testing\nmax_age: 1",
            TEXT.replace(b"*.example.net", b"mail.*.net"),
            TEXT.replace(b"*.example.net", b"*"),
            TEXT.replace(b"*.example.net", b"a b"),
            TEXT + b"no colon\r\n",
            TEXT + b"\xff: x",
            TEXT + b"mx: a.example\n" * HOSTS,
        ):
            self.assertRaises(BadPolicy, parse, text)

    @given(st.binary(max_size=300))
    def test_anything(self, octets: bytes) -> None:
        """Either a policy or BadPolicy."""
        try:
            self.assertIsInstance(parse(octets), Policy)
        except BadPolicy:
            pass

    def test_hosts(self) -> None:
        """A wildcard stands for one label (section 4.1)."""
        policy = parse(TEXT)
        for host, wanted in (
            ("mail.example.com", True),
            ("MAIL.example.com.", True),
            ("a.example.net", True),
            ("a.b.example.net", False),
            ("example.net", False),
            ("other.example.com", False),
            ("xexample.net", False),
        ):
            self.assertIs(policy.has(host), wanted, host)

    def test_records(self) -> None:
        """One record, with an id of letters and digits (section 3.1)."""
        for texts, wanted in (
            ([b"v=STSv1; id=20160831085700Z;"], "20160831085700Z"),
            ([b"v=STSv1;id=a", b"other"], "a"),
            ([b"v=STSv1; id=a;", b"v=STSv1; id=b;"], None),
            ([b"v=STSv1; id=a-b;"], None),
            ([b"v=STSv1;"], None),
            ([b"v=STSv10; id=a"], None),
            ([b"v=spf1 -all"], None),
            ([b"v=STSv1; id=" + b"a" * 33], None),
        ):
            self.assertEqual(record_id(texts), wanted, texts)


class KeepingTests(SynchronousTestCase):
    """`proxy.sts.Policies`."""

    def setUp(self) -> None:
        self.now = 1000.0
        self.zones = FakeResolver({"_mta-sts.example.org": {"TXT": "v=STSv1; id=1;"}})
        self.http = HTTP()
        self.serve(TEXT)
        self.failed: list[tuple[str, str]] = []
        self.table = Table(lambda: self.now)
        self.policies = self.make()

    def make(self) -> Policies:
        """One that has just been started."""
        return Policies(self.zones, self.http, self.table, lambda: self.now, lambda *told: self.failed.append(told))

    def serve(self, body: bytes, status: int = 200, media: str = "text/plain") -> None:
        """What the domain's server says."""
        self.http.answer = lambda *_: succeed(Response(status, {"content-type": media}, body))

    def ask(self, policies: Policies | None = None) -> Policy | None:
        """The policy of the domain."""
        found: Any = self.successResultOf(ensureDeferred((policies or self.policies).policy("example.org")))
        return found

    def test_fetched_once_and_kept(self) -> None:
        """Until its time is over, over a restart too; then it is fetched anew."""
        self.assertEqual(self.ask(), parse(TEXT))
        self.ask()
        self.assertEqual(self.ask(self.make()), parse(TEXT))
        ((method, url, _, _),) = self.http.requests
        self.assertEqual((method, url), ("GET", "https://mta-sts.example.org/.well-known/mta-sts.txt"))
        self.now += 604801
        self.ask()
        self.assertEqual(len(self.http.requests), 2)

    def test_a_new_id(self) -> None:
        """The policy is fetched anew; where that fails the old one holds."""
        self.ask()
        self.zones.add({"_mta-sts.example.org": {"TXT": "v=STSv1; id=2;"}})
        self.serve(b"nonsense")
        self.assertEqual(self.ask(), parse(TEXT))
        self.assertEqual(self.failed, [("example.org", "sts-policy-invalid")])
        self.ask()
        self.assertEqual(len(self.http.requests), 2)
        self.now += AGAIN_S + 1
        self.serve(TEXT.replace(b"enforce", b"none"))
        found = self.ask()
        assert found is not None
        self.assertEqual(found.mode, "none")

    def test_the_record_is_gone(self) -> None:
        """Whoever can forge that must not be able to switch the policy off: it holds for its time."""
        self.ask()
        for what in ("nxdomain", "servfail", "timeout"):
            self.zones.add({"_mta-sts.example.org": what})
            self.assertEqual(self.ask(), parse(TEXT), what)
        self.now += 604801
        self.assertIsNone(self.ask())

    def test_fetched_anew_long_before_it_ends(self) -> None:
        """Once a day while it is asked for, and nobody waits: whoever hinders that has to do so for all of its time."""
        self.ask()
        self.now += RENEW_S - 1
        self.ask()
        self.assertEqual(len(self.http.requests), 1)
        self.now += 1
        waiting: Deferred[Any] = Deferred()
        self.http.answer = lambda *_: waiting
        self.assertEqual((self.ask(), self.ask()), (parse(TEXT), parse(TEXT)))
        self.assertEqual(len(self.http.requests), 2)
        waiting.errback(HTTPFailed("no answer within 10 s"))
        self.assertEqual(self.failed, [("example.org", "sts-policy-fetch-error")])
        self.assertEqual((self.ask(), len(self.http.requests)), (parse(TEXT), 2))
        self.now += AGAIN_S
        self.serve(TEXT)
        self.ask()
        self.assertEqual(len(self.http.requests), 3)
        self.now += 604800 - 1
        self.http.answer = lambda *_: fail(HTTPFailed("no answer within 10 s"))
        self.assertEqual(self.ask(), parse(TEXT))

    def test_none(self) -> None:
        """No record, no question to the server; nothing is asked about literals."""
        self.zones.add({"_mta-sts.example.org": {"TXT": "x"}})
        self.assertIsNone(self.ask())
        for domain in ("", "[192.0.2.1]"):
            self.assertIsNone(self.successResultOf(ensureDeferred(self.policies.policy(domain))))
        self.assertEqual(self.http.requests, [])

    def test_failures(self) -> None:
        """Each by its name, and not tried again at once."""
        failing: list[tuple[Any, str]] = [
            (lambda *_: fail(HTTPFailed("no answer within 10 s")), "sts-policy-fetch-error"),
            (lambda *_: fail(HTTPFailed("bad certificate", True)), "sts-webpki-invalid"),
            (lambda *_: succeed(Response(301, {"content-type": "text/plain"}, TEXT)), "sts-policy-fetch-error"),
            (lambda *_: succeed(Response(200, {"content-type": "text/html"}, TEXT)), "sts-policy-fetch-error"),
            (lambda *_: succeed(Response(200, {"content-type": "text/plain"}, b"x")), "sts-policy-invalid"),
        ]
        for answer, wanted in failing:
            self.http.answer = answer
            self.failed.clear()
            policies = self.make()
            self.assertIsNone(self.ask(policies))
            self.assertIsNone(self.ask(policies))
            self.assertEqual(self.failed, [("example.org", wanted)])

    def test_one_fetch_for_all_who_wait(self) -> None:
        """And it goes on when one of them has gone."""
        waiting: Deferred[Any] = Deferred()
        self.http.answer = lambda *_: waiting
        one, other = (ensureDeferred(self.policies.policy("example.org")) for _ in range(2))
        one.cancel()
        self.failureResultOf(one)
        waiting.callback(Response(200, {"content-type": "text/plain"}, TEXT))
        self.assertEqual(self.successResultOf(other), parse(TEXT))
        self.assertEqual(len(self.http.requests), 1)

    def test_a_large_policy(self) -> None:
        """One that the table does not take is kept in memory."""
        hosts = b"".join(b"mx: a-rather-long-name-of-a-server-%d.example.net\n" % number for number in range(HOSTS))
        self.serve(b"version: STSv1\nmode: enforce\nmax_age: 100\n" + hosts)
        self.assertEqual(self.ask(), self.ask())
        self.assertEqual((len(self.http.requests), self.table.rows), (1, {}))
        self.now += 101
        self.ask()
        self.assertEqual(len(self.http.requests), 2)
