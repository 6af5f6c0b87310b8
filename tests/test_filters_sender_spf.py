"""Tests of smtpgate.filters.sender.spf and authentication: the public suite, limits, trouble, what is noted when."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, ensureDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.filters.sender.authentication import TIME_S, spf
from smtpgate.filters.sender.spf import factory
from smtpgate.filters.sender.spf_check import RECORD_OCTETS, ROUNDS, check_spf
from smtpgate.net.records import plain_name
from smtpgate.policy.authentication import SPFResult
from smtpgate.testing import complaints
from smtpgate.testing.resolver import FakeResolver
from tests.sender_kit import CLIENT, RELAY, deliver, gateway, only, reasons, relayed

SUITE = Path(__file__).parent / "suites" / "spf" / "rfc7208-tests.yml"
SIX = "2001:db8::7"
WORDS = ("none", "neutral", "pass", "fail", "softfail", "temperror", "permerror")


def read_zone(data: dict[str, list[Any]]) -> dict[str, Any]:
    """The zone of a scenario: entries of type SPF stand for TXT, unless there is one of TXT."""
    zones = {}
    for name, entries in data.items():
        if plain_name(name) is None:
            continue
        zone: dict[str, Any] = {"faults": {}}
        has_text = any(isinstance(entry, dict) and "TXT" in entry for entry in entries)
        for entry in entries:
            if entry == "TIMEOUT":
                zone["status"] = "timeout"
                continue
            ((kind, value),) = entry.items()
            if value == "NONE" or (kind == "SPF" and has_text):
                continue
            kind = "TXT" if kind == "SPF" else kind
            if value == "TIMEOUT":
                zone["faults"][kind] = "timeout"
            else:
                text = "".join(value) if kind == "TXT" and isinstance(value, list) else value
                zone.setdefault(kind, []).append(text)
        zones[name] = zone
    return zones


class CheckTests(SynchronousTestCase):
    """`check_spf` over a resolver that answers at once."""

    def check(
        self,
        record: Any,
        ip: str = CLIENT,
        sender: str = "alice@example.org",
        helo: str = "mail.example.org",
        **zones: Any,
    ) -> SPFResult:
        """The result for a record of example.org; names of zones have "_" for the dot."""
        more = {name.replace("_", "."): zone for name, zone in zones.items()}
        zone = {"TXT": record} if isinstance(record, str | bytes | list) else record
        self.resolver = FakeResolver({"example.org": zone, **more})
        found: SPFResult = self.successResultOf(
            ensureDeferred(check_spf(self.resolver, ip, sender, helo, "mx.example.net"))
        )
        return found

    def result(self, *args: Any, **kwargs: Any) -> str:
        """Only the word."""
        return self.check(*args, **kwargs).result

    def test_the_public_suite(self) -> None:
        """All cases of RFC 7208, with their explanations."""
        wrong, count, explained = [], 0, 0
        for scenario in yaml.safe_load_all(SUITE.read_bytes()):
            resolver = FakeResolver(read_zone(scenario["zonedata"]))
            for name, case in scenario["tests"].items():
                count += 1
                work = check_spf(resolver, case["host"], case["mailfrom"], case["helo"], "unknown")
                found = self.successResultOf(ensureDeferred(work))
                wanted = case["result"] if isinstance(case["result"], list) else [case["result"]]
                text = case.get("explanation")
                explained += text is not None
                text = "" if text == "DEFAULT" else text
                if found.result not in wanted or text is not None and found.explanation != text:
                    wrong.append((name, wanted, text, found))
        print(f"spf suite: {count - len(wrong)} of {count}, {explained} explanations", file=sys.__stderr__)
        self.assertEqual(wrong, [])
        self.assertGreaterEqual((count, explained), (203, 14))

    def test_each_result(self) -> None:
        """With whose policy it is, and the term that decided."""
        for record, result, reason in (
            ("v=spf1 ip4:192.0.2.0/24 -all", "pass", "matches ip4:192.0.2.0/24"),
            ("v=spf1 -all", "fail", "matches -all"),
            ("v=spf1 ~all", "softfail", "matches ~all"),
            ("v=spf1 ?all", "neutral", "matches ?all"),
            ("v=spf1 ip4:192.0.3.0/24", "neutral", ""),
            ("v=spf2 -all", "none", ""),
            ("v=spf1 moo", "permerror", "Unknown mechanism found: moo"),
            (["v=spf1 -all", "v=spf1 ?all"], "permerror", "Two or more type TXT spf records found."),
        ):
            self.assertEqual(self.check(record), SPFResult(result, "example.org", "mailfrom", reason), record)

    def test_trouble_is_temporary(self) -> None:
        """Wherever it is met: silence, SERVFAIL."""
        for word in ("servfail", "timeout", "refused"):
            self.assertEqual(self.result({"faults": {"TXT": word}}), "temperror")
            for term in ("a:x.example", "mx:x.example", "exists:x.example", "include:x.example"):
                found = self.check(f"v=spf1 {term} -all", x_example=word)
                self.assertEqual(found.result, "temperror", term)
                self.assertIn("x.example", found.reason)
        # RFC 7208 section 5.5: of these the term does not match.
        pointer = "7.2.0.192.in-addr.arpa"
        resolver = FakeResolver({"example.org": {"TXT": "v=spf1 ptr -all"}, pointer: "servfail"})
        work = check_spf(resolver, CLIENT, "a@example.org", "x.example", "r")
        self.assertEqual(self.successResultOf(ensureDeferred(work)).result, "fail")

    def test_six_with_hosts_of_four(self) -> None:
        """B-146: hosts of an MX without AAAA are one void look-up; terms without are one each, as RFC 7208 has it."""
        hosts = {f"m{at}_example": {"A": "192.0.2.9"} for at in range(4)}
        names = [f"{at} m{at}.example" for at in range(4)]
        self.assertEqual(self.result({"TXT": "v=spf1 mx ~all", "MX": names}, SIX, **hosts), "softfail")
        hosts["m3_example"] = {"AAAA": SIX}
        self.assertEqual(self.result({"TXT": "v=spf1 mx ~all", "MX": names}, SIX, **hosts), "pass")
        self.assertEqual(self.result("v=spf1 a:m0.example a:m1.example a:m2.example ~all", SIX, **hosts), "permerror")
        self.assertEqual(self.result("v=spf1 a:m0.example a:m1.example ~all", SIX, **hosts), "softfail")

    def test_addresses(self) -> None:
        """Networks of one say nothing about the other; IPv4 in IPv6's clothes is IPv4; the last @ parts a sender."""
        record = "v=spf1 ip4:192.0.2.0/28 ip6:2001:db8::/64 -all"
        for ip, result in (
            (CLIENT, "pass"), (SIX, "pass"), (f"::ffff:{CLIENT}", "pass"), ("192.0.2.99", "fail"),
            ("2001:db8:0:1::7", "fail"), ("fe80::1%eth0", "fail"), ("", "none"), ("x", "none"),
        ):  # fmt: skip
            self.assertEqual(self.result(record, ip), result, ip)
        self.assertEqual(self.result("v=spf1 ip4:0.0.0.0/0 -all", SIX), "fail")
        self.assertEqual(self.check("v=spf1 -all", sender='"a@b"@example.org').domain, "example.org")

    def test_macros(self) -> None:
        """B-148: `mx:%{o}` is filled in; RFC 7208 section 7.4 for the rest."""
        self.assertEqual(
            self.result({"TXT": "v=spf1 mx:%{o} ?all", "MX": "1 m.example"}, m_example={"A": CLIENT}), "pass"
        )
        for macro, name in (
            ("%{l}._at.%{d}", "strong-bad._at.example.org"),
            ("%{lr-}.%{o2r}.z", "bad.strong.org.example.z"),
            ("%{l1r-}.z.%{d1}", "strong.z.org"),
            ("%{ir}.%{v}.z.org", "7.2.0.192.in-addr.z.org"),
            ("%{S}.z.org", "strong-bad%40example.org.z.org"),
            ("%{h}.z.org", "mail.example.org.z.org"),
            ("%{p}.z.org", "unknown.z.org"),
            ("%{d.-}%%%_%-.z.org", "example.org% %20.z.org"),
        ):
            self.check(f"v=spf1 exists:{macro} -all", sender="strong-bad@example.org")
            self.assertEqual(self.resolver.asked[-1], (name, "A"), macro)
        for macro in (
            "%{c}.z.org",
            "%{x}.z.org",
            "%{d",
            "%(d).z.org",
            "%{d0}.z.org",
            "%{d9999}.z.org",
            "%{d!}.z.org",
            "%",
        ):
            self.assertEqual(self.result(f"v=spf1 exists:{macro} -all"), "permerror", macro)

    def test_long_names_are_cut_from_the_left(self) -> None:
        """As many labels as it takes, not only one."""
        self.check("v=spf1 exists:%{l}.%{l}.%{l}.%{l}.%{l}.%{l}.z.org -all", sender=f"{'ab.' * 19}c@example.org")
        name = self.resolver.asked[-1][0]
        self.assertTrue(250 < len(name) <= 253 and name.endswith(".z.org"), name)

    def test_modifiers(self) -> None:
        """In capitals they are not unknown ones; those may come often, but not with a broken macro (section 6)."""
        self.assertEqual(self.result("v=spf1 x=1 x=%{d} op=auth default=pass ~all"), "softfail")
        for record in ("v=spf1 x=%{y} ~all", "v=spf1 redirect=a.example REDIRECT=a.example", "v=spf1 exp= -all"):
            self.assertEqual(self.result(record), "permerror", record)
        self.assertEqual(self.result("v=spf1 Redirect=x.example", x_example={"TXT": "v=spf1 -all"}), "fail")

    def test_explanations(self) -> None:
        """Asked for only where it is told; whatever is wrong with one makes it be none."""
        why = {"TXT": "%{i} is none of %{d}'s; ask %{r}. " + "Really. " * 28}
        found = self.check("v=spf1 exp=why.example -all", why_example=why)
        self.assertTrue(found.explanation.startswith(f"{CLIENT} is none of example.org's; ask mx.example.net. Really."))
        self.assertLessEqual(len(found.explanation), 300)
        self.assertEqual(self.check("v=spf1 exp=why.example ~all", why_example=why).explanation, "")
        self.assertNotIn(("why.example", "TXT"), self.resolver.asked)
        for zone in ("servfail", {"TXT": ["a", "b"]}, {"TXT": b"\xff"}, {"TXT": "%{x}"}, {"TXT": "x" * 600}, {}):
            found = self.check("v=spf1 exp=why.example -all", why_example=zone)
            self.assertEqual((found.result, found.explanation), ("fail", ""), zone)
        self.assertEqual(self.check("v=spf1 exp=y.example -all", y_example={"TXT": "a\x1b[2Jb"}).explanation, "a?[2Jb")

    def test_the_null_sender_is_checked_by_its_greeting(self) -> None:
        """Where that is the name of a host."""
        zone = {"mail_example_org": {"TXT": "v=spf1 a -all", "A": CLIENT}}
        self.assertEqual(
            self.check("v=spf1 -all", sender="", **zone),
            SPFResult("pass", "mail.example.org", "helo", "matches a"),
        )
        for helo in ("[192.0.2.7]", "localhost", "", "a..b", "x" * 64 + ".example"):
            found = self.check("v=spf1 -all", sender="", helo=helo)
            self.assertEqual((found.result, found.identity, self.resolver.asked), ("none", "helo", []), helo)

    def test_senders_without_a_domain(self) -> None:
        """RFC 7208 section 4.3: none, unasked."""
        for sender in ("a@[192.0.2.7]", "a@", "@", "postmaster", "a@example..org", f"a@{'x' * 64}.org"):
            self.assertEqual((self.result("v=spf1 -all", sender=sender), self.resolver.asked), ("none", []), sender)

    def test_other_scripts(self) -> None:
        """Domains are asked as A-labels; a local part in another script matches nothing (RFC 8616)."""
        zone = {"xn--bcher-kva_example": {"TXT": "v=spf1 exists:%{l}.z.org -all"}}
        found = self.check("v=spf1 ?all", sender="jürgen@bücher.example", helo="grüße.example", **zone)
        self.assertEqual((found.result, found.domain), ("fail", "xn--bcher-kva.example"))
        self.assertEqual(self.resolver.asked, [("xn--bcher-kva.example", "TXT")])
        self.check("v=spf1 exists:%{h}.z.org -all", helo="grüße.example")
        self.assertEqual(self.resolver.asked[-1], ("xn--gre-6ka8l.example.z.org", "A"))

    def test_limits(self) -> None:
        """Terms, hosts, names of the client, the length of a record: each ends, none costs more than its limit."""
        chain = {f"i{at}_example": {"TXT": f"v=spf1 include:i{at + 1}.example ?all"} for at in range(30)}
        self.assertEqual(self.result("v=spf1 include:i0.example -all", **chain), "permerror")
        self.assertEqual(len(self.resolver.asked), 11)
        self.assertEqual(self.result("v=spf1 redirect=example.org"), "permerror")
        self.assertEqual(
            self.result({"TXT": "v=spf1 mx -all", "MX": [f"{at} m.example" for at in range(11)]}), "permerror"
        )
        self.assertEqual(self.result("v=spf1 ip4:" + "1" * RECORD_OCTETS), "permerror")
        self.assertEqual(self.result("v=spf1 a:." + "a" * 4000 + "! -all"), "permerror")
        self.assertEqual(self.result("v=spf1 a:" + "%{" * 2000), "permerror")
        self.assertEqual(self.result("v=spf1 a/" + "9" * 4000), "permerror")

    def test_the_largest_good_record_fits_the_rounds(self) -> None:
        """Ten terms of two look-ups each, with the names of the client and an explanation: all hosts at one time."""
        zones: dict[str, Any] = {"why_example": {"TXT": "%{p} is not of us"}}
        for at in range(9):
            zones[f"d{at}_example"] = {"MX": [f"{host} h{host}-{at}.example" for host in range(10)]}
            zones |= {f"h{host}-{at}_example": {"A": "203.0.113.1"} for host in range(10)}
        terms = " ".join(f"mx:d{at}.example" for at in range(9))
        found = self.check(f"v=spf1 {terms} ptr:z.example exp=why.example -all", **zones)
        self.assertEqual((found.result, found.explanation), ("fail", "unknown is not of us"))
        self.assertEqual(len(self.resolver.asked), len(set(self.resolver.asked)))
        self.assertLess(3 + 2 * 10 + 2, ROUNDS)

    def test_hosts_of_a_term_are_asked_at_the_same_time(self) -> None:
        """And given up together."""
        clock = Clock()
        zones = {"example.org": {"TXT": "v=spf1 mx -all", "MX": ["1 a.example", "2 b.example", "3 c.example"]}}
        resolver = FakeResolver({**zones, **{f"{one}.example": "timeout" for one in "abc"}}, clock)
        work = ensureDeferred(check_spf(resolver, CLIENT, "a@example.org", "x.example", "r"))
        self.assertEqual(resolver.waiting, 3)
        work.cancel()
        self.failureResultOf(work, CancelledError)
        self.assertEqual(resolver.waiting, 0)

    def test_the_library_stays_as_it_was(self) -> None:
        """Its look-ups and its class are those that it came with."""
        import spf as pyspf

        before = pyspf.DNSLookup, dict(vars(pyspf.query))
        self.check("v=spf1 a mx ptr exp=x.example -all")
        self.assertEqual((pyspf.DNSLookup, dict(vars(pyspf.query))), before)

    @given(
        st.lists(
            st.sampled_from(
                ["a", "mx", "ptr", "exists:", "include:", "ip4:", "ip6:", "all", "exp=", "redirect=", "%{", "}", "%",
                 "p", "d0", "l1r-", "/", "//", "24", ".", "-", "~", " ", "  ", ":", "=", "example.org", CLIENT,
                 "x.example", SIX, "é", "\t", "\0", "\\", '"', "%{p}.x.example", "%{ir}.%{v}.x.example", "m=", ","]
            ),
            max_size=16,
        ),
        st.sampled_from([CLIENT, SIX]),
        st.sampled_from(["a@example.org", "", "ü@example.org", '"@"@example.org']),
    )  # fmt: skip
    @settings(max_examples=300, deadline=None)
    def test_every_record_has_a_result(self, parts: list[str], ip: str, sender: str) -> None:
        """Whatever it says."""
        other = {"TXT": "v=spf1 " + "".join(parts[::-1]), "A": CLIENT, "MX": ["0 .", "5 example.org"]}
        found = self.check("v=spf1 " + "".join(parts), ip, sender, "example.org", x_example=other)
        self.assertIn(found.result, WORDS)
        self.assertLessEqual(len(self.resolver.asked), 1 + 10 * 11 + 12)


class FilterTests(SynchronousTestCase):
    """What is noted, and when."""

    def found(self, record: str, options: str = "", **kwargs: Any) -> Iterator[tuple[str, float, str]]:
        """Reason, score and detail of all findings."""
        made = gateway(factory, options, zones={"example.org": {"TXT": record}, "why.example": {"TXT": "go away"}})
        client = deliver(made, **kwargs)
        self.assertEqual((client.greeting, made.failures), ("250 2.0.0 Ok", []))
        self.assertLessEqual({one.action for one in client.findings}, {"note"})
        return ((one.reason, one.score, one.detail) for one in client.findings)

    def test_it_notes_and_scores_and_never_refuses(self) -> None:
        """Whatever the result."""
        for record, reason, score in (
            (f"v=spf1 ip4:{CLIENT} -all", "spf-pass", 0.0),
            ("v=spf1 ?all", "spf-neutral", 0.0),
            ("v=spf1 ~all", "spf-softfail", 0.5),
            ("v=spf1 -all", "spf-fail", 1.5),
            ("v=spf1 moo", "spf-permerror", 0.3),
            ("hello", "spf-none", 0.0),
        ):
            self.assertEqual([one[:2] for one in self.found(record)], [(reason, score)])
        ((_, _, detail),) = self.found("v=spf1 exp=why.example -all")
        self.assertEqual(detail, 'example.org (mailfrom), 192.0.2.7, matches -all, they say: "go away"')

    def test_scores_are_options(self) -> None:
        """Each of them."""
        options = "valid = -1.0\nneutral = 0.1\nsoftfail = 0.2\nfail = 0.4\npermerror = 0.6\nnone = 0.7"
        for record, score in (
            (f"v=spf1 ip4:{CLIENT}", -1.0), ("v=spf1", 0.1), ("v=spf1 ~all", 0.2), ("v=spf1 -all", 0.4),
            ("v=spf1 moo", 0.6), ("", 0.7),
        ):  # fmt: skip
            self.assertEqual([one[1] for one in self.found(record, options)], [score])
        self.assertEqual(complaints(factory, 'fail = "much"')[0].partition(":")[0], "fail")

    def test_the_null_sender(self) -> None:
        """B-29: its greeting is checked."""
        ((reason, _, detail),) = self.found("v=spf1 -all", sender="", helo="example.org")
        self.assertEqual((reason, detail), ("spf-fail", "example.org (helo), 192.0.2.7, matches -all"))
        self.assertEqual([one[0] for one in self.found("v=spf1 -all", sender="", helo="[192.0.2.7]")], ["spf-none"])

    def test_who_is_known_otherwise_is_left_alone(self) -> None:
        """Logged in, trusted, or of the house; for mx only."""
        self.assertEqual(factory.roles, frozenset({"mx"}))
        for mark, value in (("user", "bob"), ("mechanism", "PLAIN"), ("is_trusted", True)):
            made = gateway(factory)
            client = made.connect(CLIENT)
            client.helo()
            setattr(client.session, mark, value)
            client.mail()
            result = self.successResultOf(ensureDeferred(spf(client.transaction, made.services)))
            self.assertEqual((result.result, made.resolver.asked), ("none", []), mark)
        made = gateway(factory)
        self.assertEqual((deliver(made, "192.168.1.1").findings, made.resolver.asked), ([], []))

    def test_it_starts_at_mail_and_is_asked_once(self) -> None:
        """Whoever else wants it gets the same."""
        made = gateway(factory, zones={"example.org": {"TXT": "v=spf1 -all", "delay": 1.0}})
        client = made.connect(CLIENT)
        client.helo()
        self.assertEqual(made.resolver.asked, [])
        client.mail("alice@example.org")
        self.assertEqual(made.resolver.asked, [("example.org", "TXT")])
        other = ensureDeferred(spf(client.transaction, made.services))
        client.rcpt()
        self.assertEqual(client.data(), "")
        made.advance(1.0)
        self.assertTrue(client.read().startswith("354"))
        self.assertEqual(self.successResultOf(other), SPFResult("fail", "example.org", "mailfrom", "matches -all"))
        self.assertEqual(made.resolver.asked, [("example.org", "TXT")])
        made.close()

    def test_behind_a_relay_the_header_section_tells(self) -> None:
        """Until then it is none, and that is not kept; who logged in at the relay is left alone."""
        made = gateway(factory, zones={"example.org": {"TXT": "v=spf1 -all"}})
        client = made.connect(RELAY)
        client.helo()
        client.mail("alice@example.org")
        early = self.successResultOf(ensureDeferred(spf(client.transaction, made.services)))
        self.assertEqual((early.result, made.resolver.asked), ("none", []))
        client.rcpt()
        client.data()
        client.content(relayed().replace("\n", "\r\n").encode())
        client.end()
        found = only(client)
        self.assertEqual((found.reason, CLIENT in found.detail, made.failures), ("spf-fail", True, []))
        made = gateway(factory, zones={"example.org": {"TXT": "v=spf1 -all"}})
        client = deliver(made, RELAY, content=relayed().replace("with ESMTP", "with ESMTPSA"))
        self.assertEqual((client.findings, made.resolver.asked), ([], []))

    def test_a_slow_check_is_a_temporary_error(self) -> None:
        """It ends before the filter's own time does, and holds no mail up."""
        slow: dict[str, Any] = {f"i{at}.example": {"TXT": "v=spf1 ?all", "delay": 2.5} for at in range(3)}
        record = " ".join(f"include:{name}" for name in slow)
        made = gateway(factory, zones={"example.org": {"TXT": f"v=spf1 {record} -all"}, **slow})
        client = deliver(made, wait_s=TIME_S + 0.1)
        self.assertEqual((reasons(client), client.greeting), (["spf-temperror"], "250 2.0.0 Ok"))
        self.assertEqual((only(client).score, made.failures, made.resolver.waiting), (0.0, [], 0))

    def test_a_client_that_leaves_takes_its_look_ups_along(self) -> None:
        """Nothing is left that waits."""
        made = gateway(factory, zones={"example.org": "timeout"})
        client = made.connect(CLIENT)
        client.helo()
        client.mail("alice@example.org")
        self.assertEqual(made.resolver.waiting, 1)
        client.hang_up()
        self.assertEqual((made.resolver.waiting, made.failures), (0, []))
