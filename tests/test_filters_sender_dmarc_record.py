"""Tests of smtpgate.filters.sender.dmarc_record: records, walks up the DNS, organisations and alignment."""

from __future__ import annotations

import sys
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import ensureDeferred
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.filters.sender.dmarc_record import (
    CLAIMS_OCTETS,
    POLICIES,
    QUERIES,
    Record,
    Walk,
    is_aligned,
    parse,
    read_results,
    sole,
    targets,
    tokens,
    walk,
    weaker,
)
from smtpgate.testing.resolver import FakeResolver

V = "v=DMARC1;"

#: Records by domain, where the walk starts, then: domains found, organisational domain, where the record that applies
#: stands ("" for none), queries.
WALKS: list[tuple[dict[str, Any], str, str, str, str, int]] = [
    # Appendix and section 4.10 of RFC 9989.
    ({"example.com": V}, "example.com", "example.com", "example.com", "example.com", 2),
    ({"example.com": V}, "a.mail.example.com", "example.com", "example.com", "example.com", 4),
    (
        {"mail.example.com": V, "example.com": V},
        "a.mail.example.com",
        "mail.example.com example.com",
        "example.com",
        "example.com",
        4,
    ),
    (
        {"mail.example.com": V + "psd=n", "example.com": V},
        "a.mail.example.com",
        "mail.example.com",
        "mail.example.com",
        "mail.example.com",
        2,
    ),
    ({"com": V + "psd=y"}, "a.mail.example.com", "com", "example.com", "com", 4),
    ({"example.com": V + "psd=y"}, "mail.example.com", "example.com", "mail.example.com", "example.com", 2),
    # Nothing anywhere.
    ({}, "a.mail.example.com", "", "a.mail.example.com", "", 4),
    ({}, "com", "", "com", "", 1),
    # A record of one's own applies, whatever stands above.
    (
        {"a.example.com": V, "example.com": V},
        "a.example.com",
        "a.example.com example.com",
        "example.com",
        "a.example.com",
        3,
    ),
    (
        {"a.example.com": V + "psd=n", "example.com": V},
        "a.example.com",
        "a.example.com",
        "a.example.com",
        "a.example.com",
        1,
    ),
    ({"a.example.com": V + "psd=y"}, "a.example.com", "a.example.com", "a.example.com", "a.example.com", 1),
    ({"com": V + "psd=y"}, "com", "com", "com", "com", 1),
    ({"com": V + "psd=n"}, "example.com", "com", "com", "com", 2),
    # An organisation without a record below a public suffix with one.
    (
        {"mail.example.com": V, "com": V + "psd=y"},
        "a.mail.example.com",
        "mail.example.com com",
        "example.com",
        "com",
        4,
    ),
    (
        {"example.com": V, "com": V + "psd=y"},
        "a.mail.example.com",
        "example.com com",
        "example.com",
        "example.com",
        4,
    ),
    ({"co.uk": V + "psd=y"}, "example.co.uk", "co.uk", "example.co.uk", "co.uk", 2),
    ({"uk": V + "psd=y", "co.uk": V + "psd=y"}, "x.example.co.uk", "co.uk", "example.co.uk", "co.uk", 3),
    # A top-level domain that forgot psd=y takes all below it.
    ({"test": V}, "a.example.test", "test", "test", "test", 3),
    ({"test": V + "psd=u"}, "example.test", "test", "test", "test", 2),
    ({"example.test": V + "psd=n", "test": V}, "a.example.test", "example.test", "example.test", "example.test", 2),
    # Long names: 8 labels are asked one by one, of 9 and more the last 7 only.
    ({"h.com": V}, "a.b.c.d.e.f.h.com", "h.com", "h.com", "h.com", 8),
    ({"h.com": V}, "a.b.c.d.e.f.g.h.com", "h.com", "h.com", "h.com", 8),
    ({"b.c.d.e.f.g.h.com": V}, "a.b.c.d.e.f.g.h.com", "", "a.b.c.d.e.f.g.h.com", "", 8),
    ({"c.d.e.f.g.h.com": V}, "a.b.c.d.e.f.g.h.com", "c.d.e.f.g.h.com", "c.d.e.f.g.h.com", "c.d.e.f.g.h.com", 8),
    (
        {"a.b.c.d.e.f.g.h.com": V, "h.com": V},
        "a.b.c.d.e.f.g.h.com",
        "a.b.c.d.e.f.g.h.com h.com",
        "h.com",
        "a.b.c.d.e.f.g.h.com",
        8,
    ),
    ({"com": V + "psd=y"}, ".".join("a" * 60) + ".example.com", "com", "example.com", "com", 8),
    (
        {"g.h.i.j.mail.example.com": V + "psd=n"},
        "a.b.c.d.e.f.g.h.i.j.mail.example.com",
        "g.h.i.j.mail.example.com",
        "g.h.i.j.mail.example.com",
        "g.h.i.j.mail.example.com",
        2,
    ),
    (
        {"b.c.d.e.f.g.example.com": V + "psd=n"},
        "mail.a.b.c.d.e.f.g.example.com",
        "",
        "mail.a.b.c.d.e.f.g.example.com",
        "",
        8,
    ),
    # B-150: two records are none; others do not count, and the walk goes on.
    ({"example.com": [V + "p=reject", V + "p=none"]}, "example.com", "", "example.com", "", 2),
    ({"a.example.com": [V, V], "example.com": V}, "a.example.com", "example.com", "example.com", "example.com", 3),
    ({"example.com": [V, "v=spf1 -all", "hello"]}, "example.com", "example.com", "example.com", "example.com", 2),
    ({"example.com": ["v=DMARC2;", V]}, "example.com", "example.com", "example.com", "example.com", 2),
    ({"example.com": "p=reject; v=DMARC1"}, "example.com", "", "example.com", "", 2),
    ({"example.com": [V + "psd=n", V], "com": V + "psd=y"}, "a.example.com", "com", "example.com", "com", 3),
    # An unknown psd is u.
    ({"com": V + "psd=maybe", "example.com": V}, "example.com", "example.com com", "com", "example.com", 2),
    ({"example.com": V + " PSD = N ;"}, "a.example.com", "example.com", "example.com", "example.com", 2),
]

#: Organisations, for alignment.
ZONES: dict[str, Any] = {
    "_dmarc.example.com": {"TXT": V},
    "_dmarc.sub.example.com": {"TXT": V + "psd=n"},
    "_dmarc.test": {"TXT": V + "psd=y"},
    "_dmarc.alone.example.net": {"TXT": V},
    "_dmarc.marked.example.net": {"TXT": V + "psd=n"},
    "_dmarc.broken.example.com": "servfail",
    "_dmarc.late.example": {"TXT": V},
    "_dmarc.example": "timeout",
}


def zone(records: dict[str, Any]) -> FakeResolver:
    """Records by domain as a resolver answers them."""
    return FakeResolver({f"_dmarc.{domain}": {"TXT": text} for domain, text in records.items()})


class RecordTests(SynchronousTestCase):
    """The grammar."""

    def test_what_begins_a_record(self) -> None:
        """v=DMARC1 comes first, in capitals, and is all of the value."""
        for text in ("v=DMARC1", "v=DMARC1;", "v = DMARC1 ; p=none", "V=DMARC1;p=none", "v=DMARC1;;"):
            self.assertIsNotNone(parse(text.encode()), text)
        for text in ("", "v=dmarc1; p=none", "v=DMARC10; p=none", "v=DMARC1 p=none", "p=none; v=DMARC1", " v=DMARC1;",
                     "xv=DMARC1", "v=spf1 -all", "v;DMARC1", "v=DMARC1,p=reject", "\ufeffv=DMARC1"):  # fmt: skip
            self.assertIsNone(parse(text.encode()), text)

    def test_policies_are_parsed_and_not_searched(self) -> None:
        """B-152: sp is not p; np falls back to sp, and sp to p."""
        for text, wanted in (
            ("p=none; sp=reject", ("none", "reject", "reject")),
            ("p=reject", ("reject", "reject", "reject")),
            ("p=reject; sp=none", ("reject", "none", "none")),
            ("p=none; np=reject", ("none", "none", "reject")),
            ("sp=reject; np=quarantine", ("none", "reject", "quarantine")),
            ("xp=reject; psp=reject", ("none", "none", "none")),
            ("rua=mailto:p=reject@example.com; p=quarantine", ("quarantine", "quarantine", "quarantine")),
            ("P = REJECT ", ("reject", "reject", "reject")),
            ("p=reject; p=none", ("reject", "reject", "reject")),
            ("pct=0; p=reject; rf=afrf; ri=86400", ("reject", "reject", "reject")),
            ("", ("none", "none", "none")),
        ):
            record = parse(b"v=DMARC1;" + text.encode())
            assert record is not None
            self.assertEqual((record.policy, record.subdomains, record.missing), wanted, text)
            self.assertTrue(record.is_usable, text)

    def test_a_broken_policy(self) -> None:
        """It is none where reports are wanted, and without them DMARC does not apply."""
        for text, is_usable in (
            ("p=bogus", False),
            ("p=reject; sp=bogus", False),
            ("p=reject; np=", False),
            ("p=bogus; rua=mailto:a@example.com", True),
            ("p=reject; sp=rejct; rua=nonsense, mailto:a@example.com!10m", True),
            ("p=bogus; rua=a@example.com", False),
            ("p=bogus; rua=mailto:", False),
        ):
            record = parse(b"v=DMARC1;" + text.encode())
            assert record is not None
            self.assertEqual((record.policy, record.subdomains, record.is_usable), ("none", "none", is_usable), text)

    def test_other_tags(self) -> None:
        """Alignment, test mode and psd; what is wrong in them is the default."""
        record = parse(b"v=DMARC1; p=reject; adkim=s; aspf=S; t=y; psd=y; rua=mailto:a@example.com; new=1")
        self.assertEqual(
            record,
            Record("reject", "reject", "reject", True, True, "y", True, True, "mailto:a@example.com"),
        )
        self.assertEqual(parse(b"v=DMARC1; adkim=x; aspf=; t=maybe; psd=1; =; ;a"), Record())

    def test_two_records_are_none(self) -> None:
        """B-150, whatever they say; what is no record beside one does not count."""
        self.assertIsNone(sole([b"v=DMARC1; p=none", b"v=DMARC1; p=none"]))
        self.assertEqual(sole([b"v=spf1", b"v=DMARC1"]), Record())
        self.assertIsNone(sole([]))

    def test_t_is_one_step(self) -> None:
        """As RFC 9989 section 4.7 has it."""
        self.assertEqual([weaker(policy) for policy in POLICIES], ["none", "none", "quarantine"])

    @given(st.binary(max_size=80).map(b"v=DMARC1;".__add__) | st.binary(max_size=40))
    @settings(max_examples=300)
    def test_any_octets_are_read(self, octets: bytes) -> None:
        """Nothing raises, and policies are always of the three."""
        record = parse(octets)
        if record is not None:
            self.assertTrue({record.policy, record.subdomains, record.missing} <= set(POLICIES))


class WalkTests(SynchronousTestCase):
    """Walks, by the steps of RFC 9989 section 4.10."""

    def test_the_table(self) -> None:
        """What each walk finds, whose organisation it is, which record applies, and how much was asked."""
        for records, domain, found, organisation, applies, queries in WALKS:
            resolver = zone(records)
            seen = self._walk(domain, resolver)
            where = seen.applicable()
            self.assertEqual(
                (" ".join(name for name, _ in seen.found), seen.organisation, where[0] if where else ""),
                (found, organisation, applies),
                (records, domain),
            )
            self.assertEqual(len(resolver.asked), queries, (records, domain))
        print(f"dmarc: {len(WALKS)} walks", file=sys.__stderr__)
        self.assertGreaterEqual(len(WALKS), 30)

    def _walk(self, domain: str, resolver: FakeResolver) -> Walk:
        seen: Walk = self.successResultOf(ensureDeferred(walk(domain, lambda name: resolver.lookup(name, "TXT"))))
        return seen

    def test_the_names_of_the_example(self) -> None:
        """The eight of RFC 9989 section 4.10."""
        asked = targets("a.b.c.d.e.f.g.h.i.j.mail.example.com")
        self.assertEqual(
            asked,
            ["a.b.c.d.e.f.g.h.i.j.mail.example.com", "g.h.i.j.mail.example.com", "h.i.j.mail.example.com",
             "i.j.mail.example.com", "j.mail.example.com", "mail.example.com", "example.com", "com"],
        )  # fmt: skip

    def test_trouble_ends_a_walk(self) -> None:
        """It is told where, and what was found until then stays."""
        for word in ("servfail", "timeout", "refused"):
            resolver = FakeResolver({"_dmarc.example.com": {"TXT": V}, "_dmarc.com": word})
            seen = self._walk("a.example.com", resolver)
            self.assertEqual((seen.failed, seen.has_own, len(seen.found)), ("_dmarc.com", False, 1), word)

    @given(st.lists(st.sampled_from(["a", "b", "example", "com"]), min_size=1, max_size=40))
    @settings(max_examples=100)
    def test_no_name_costs_more_than_eight_queries(self, labels: list[str]) -> None:
        """However many labels it has; the name itself is always asked."""
        asked = targets(".".join(labels))
        self.assertLessEqual(len(asked), QUERIES)
        self.assertEqual((asked[0], asked[-1]), (".".join(labels), labels[-1]))


class AlignmentTests(SynchronousTestCase):
    """Whether two domains are of one organisation."""

    def _aligned(self, author: str, domain: str, is_strict: bool = False, registered: Any = None) -> tuple[Any, int]:
        resolver = FakeResolver(ZONES)

        def lookup(name: str) -> Any:
            return resolver.lookup(name, "TXT")

        seen = self.successResultOf(ensureDeferred(walk(author, lookup)))
        before = len(resolver.asked)
        result = self.successResultOf(ensureDeferred(is_aligned(seen, domain, is_strict, lookup, registered)))
        return result, len(resolver.asked) - before

    def test_relaxed(self) -> None:
        """The same organisation, above and below; a psd tag draws the line."""
        for author, domain, wanted in (
            ("example.com", "example.com", True),
            ("example.com", "news.example.com", True),
            ("news.example.com", "example.com", True),
            ("a.news.example.com", "b.mail.example.com", True),
            ("example.com", "sub.example.com", False),
            ("sub.example.com", "example.com", False),
            ("x.sub.example.com", "y.sub.example.com", True),
            ("a.shop.test", "shop.test", True),
            ("a.shop.test", "b.shop.test", True),
            ("shop.test", "store.test", False),
            ("shop.test", "test", False),
            ("test", "shop.test", False),
            ("example.com", "notexample.com", False),
            ("example.com", "example.com.evil.net", False),
            ("alone.example.net", "example.net", False),
            ("alone.example.net", "x.alone.example.net", True),
        ):
            self.assertEqual(self._aligned(author, domain)[0], wanted, (author, domain))

    def test_strict(self) -> None:
        """Only the very domain, without a look-up."""
        self.assertEqual(self._aligned("example.com", "example.com", True), (True, 0))
        self.assertEqual(self._aligned("example.com", "news.example.com", True), (False, 0))

    def test_strangers_cost_nothing(self) -> None:
        """Whose domain stands outside the author's organisation is not looked up."""
        for domain in ("a.b.c.d.e.f.g.h.i.evil.net", "notexample.com", "com"):
            self.assertEqual(self._aligned("example.com", domain), (False, 0), domain)

    def test_trouble_is_open(self) -> None:
        """Neither yes nor no; the very domain needs no look-up."""
        self.assertIsNone(self._aligned("example.com", "broken.example.com")[0])
        self.assertEqual(self._aligned("late.example", "late.example")[0], True)
        self.assertIsNone(self._aligned("late.example", "x.late.example")[0])

    def test_public_suffixes_are_asked_last(self) -> None:
        """Where nothing above a domain has a record, and no record draws a line."""

        def registered(domain: str) -> str:
            return ".".join(domain.split(".")[-2:])

        self.assertEqual(self._aligned("alone.example.net", "example.net", registered=registered)[0], True)
        self.assertEqual(self._aligned("alone.example.net", "example.org", registered=registered)[0], False)
        self.assertEqual(self._aligned("sub.example.com", "example.com", registered=registered)[0], False)
        self.assertEqual(self._aligned("example.com", "sub.example.com", registered=registered)[0], False)
        self.assertEqual(self._aligned("marked.example.net", "example.net", registered=registered)[0], False)
        self.assertEqual(self._aligned("alone.example.net", "example.net", registered=lambda domain: "")[0], False)


class ResultsTests(SynchronousTestCase):
    """What a field of results claims."""

    def _found(self, text: str) -> list[tuple[str, str]]:
        return [(one.method, one.result) for one in read_results(text)]

    def test_results(self) -> None:
        """Methods, versions, properties, blanks and comments."""
        text = "i=1; mx.example.com 1; dkim=pass (2048 bit) header.i=@a.example; spf/1 = fail\t; "
        text += "DMARC=Pass header.from=A.example"
        self.assertEqual(self._found(text)[1:], [("dkim", "pass"), ("spf", "fail"), ("dmarc", "pass")])
        self.assertEqual(read_results(text)[-1].properties, {"header.from": "A.example"})
        self.assertEqual(read_results('x; spf=pass smtp.mailfrom="a b"')[0].properties, {"smtp.mailfrom": "a b"})

    def test_what_only_looks_like_one(self) -> None:
        """In comments, quoted strings and behind the first result of its piece."""
        for text in (
            "x; dkim=none (; dmarc=pass ;)",
            'x; dkim=none reason="; dmarc=pass ;"',
            'x; "dmarc"=pass',
            'x; "dmarc=pass"',
            "x; dkim=none dmarc=pass",
            'x; "a" dmarc=pass',
            'x; dkim=none reason="\\"; dmarc=pass"',
            "x; dmarc=pass (cut",
            'x; dmarc=pass reason="cut',
            "x; dmarc==pass",
            "dmarc pass",
        ):
            self.assertNotIn(("dmarc", "pass"), self._found(text), text)

    def test_the_first_of_a_property_counts(self) -> None:
        """One behind it changes nothing."""
        found = read_results("dmarc=pass header.from=a.example header.from=b.example")
        self.assertEqual(found[0].properties["header.from"], "a.example")

    @given(st.text(st.sampled_from('ab="\\();/. \t'), max_size=40))
    @settings(max_examples=300)
    def test_any_text_is_read(self, text: str) -> None:
        """Nothing raises; no token is empty but a quoted one."""
        self.assertTrue(all(tokens(text) or ()))
        read_results(text)

    def test_the_end_of_what_is_read(self) -> None:
        """Results behind it are not there."""
        self.assertEqual(self._found("a" * CLAIMS_OCTETS + "; dmarc=pass"), [])
