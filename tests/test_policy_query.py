"""Tests of smtpgate.policy.query: what is typed to find messages."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.policy.query import FIELDS, LONGEST, MOST, QueryError, Value, join, parse, term

NOW = 1_795_000_000.0


def clauses(text: str) -> list[tuple[Any, ...]]:
    """Field, negation, and each value's text and mode."""
    return [
        (one.field, one.is_negated, [(value.text, value.mode) for value in one.values])
        for one in parse(text, NOW).clauses
    ]


class ParseTests(SynchronousTestCase):
    """What is meant."""

    def test_words_and_fields(self) -> None:
        """Words stay apart, terms of one field are alternatives, a minus takes away."""
        self.assertEqual(
            clauses('Hello from:A@example.org "pay slip" from:b* -to:*ob* Hello'),
            [
                ("", False, [("hello", "is")]),
                ("from", False, [("a@example.org", "is"), ("b", "begins")]),
                ("", False, [("pay slip", "is")]),
                ("to", True, [("ob", "has")]),
                ("", False, [("hello", "is")]),
            ],
        )
        self.assertEqual(clauses("  "), [])

    def test_other_names(self) -> None:
        """Of fields and of verdicts."""
        self.assertEqual(clauses("rcpt:x outcome:Rejected"), clauses("to:x verdict:refused"))

    def test_addresses_and_networks(self) -> None:
        """In one form, however they are written; a colon in an address is no field."""
        self.assertEqual(clauses("ip:2001:DB8:0::7"), [("ip", False, [("2001:db8::7", "is")])])
        self.assertEqual(clauses("ip:192.0.2.9/24"), clauses("cidr:192.0.2.0/24"))
        self.assertEqual(clauses("2001:db8::7"), [("", False, [("2001:db8::7", "is")])])

    def test_bounds(self) -> None:
        """Units of 1024; open where it says so."""
        (size,) = parse("size:>1M size:<=20k", NOW).clauses
        self.assertEqual(
            [(one.mode, one.number, one.is_open) for one in size.values],
            [("above", 2.0**20, True), ("below", 20480.0, False)],
        )
        self.assertEqual(parse("score:-1.5", NOW).clauses[0].values[0].number, -1.5)

    def test_times(self) -> None:
        """In UTC, with an offset, and back from now."""
        for text, at in (
            ("after:2026-11-27", 1795737600.0),
            ("after:2026-11-27T10:30", 1795775400.0),
            ("after:2026-11-27T10:30:00+01:00", 1795771800.0),
            ("after:2026-11-27t10:30:00.5z", 1795775400.5),
            ("last:2h", NOW - 7200),
        ):
            (clause,) = parse(text, NOW).clauses
            self.assertEqual((clause.field, clause.values[0].number), ("after", at), text)

    def test_mistakes(self) -> None:
        """Each is told with its place and with what would be right."""
        for text, at, length, hint in (
            ("from:a fro:b", 7, 5, "from"),
            ("x sizes:>1", 2, 8, "size"),
            ("nothing:x", 0, 9, "fields are"),
            ("ip:300.1.1.1", 0, 12, "192.0.2.7"),
            ("a -cidr:10.0.0.0/40", 2, 17, "cidr:"),
            ("verdict:good", 0, 12, "delivered"),
            ("size:big", 0, 8, "size:>5M"),
            ("score:>5M", 0, 9, "score:>5"),
            ("after:yesterday", 0, 15, "2026-11-27"),
            ("last:long", 0, 9, "last:7d"),
            ("id:x", 0, 4, "26"),
            ("from:", 0, 5, "from:VALUE"),
            ('a "b', 2, 2, "..."),
            ("a*b", 0, 3, "text*"),
            ("**", 0, 2, "*text*"),
            ("*a*", 0, 3, "at least"),
            ("x" * (LONGEST + 1), LONGEST, 1, str(LONGEST)),
            ("a " * (MOST + 1), 0, 0, str(MOST)),
        ):
            with self.assertRaises(QueryError, msg=text) as caught:
                parse(text, NOW)
            error = caught.exception
            self.assertEqual((error.at, error.length), (at, length), text)
            self.assertIn(hint, error.hint, text)

    def test_terms_that_come_one_by_one(self) -> None:
        """As parameters of a call: the same as typed, and what could not be typed is refused."""
        made = join([term("mail_from", "a@example.org", NOW), term("subject", "pay slip", NOW, True)])
        self.assertEqual(made, parse('from:a@example.org -subject:"pay slip"', NOW))
        with self.assertRaises(QueryError):
            term("subject", 'a" to:b', NOW)

    @given(st.text(max_size=120) | st.lists(st.sampled_from(["from:", "-", '"', "*", "a", " ", *FIELDS])).map("".join))
    def test_any_text(self, text: str) -> None:
        """Is refused in one way, or means the same when what it says is read once more."""
        try:
            found = parse(text, NOW)
        except QueryError as error:
            self.assertLessEqual(error.at, len(text))
            return
        again = parse(found.text, NOW)
        self.assertEqual([one.values for one in again.clauses], [one.values for one in found.clauses])
        self.assertTrue(all(isinstance(value, Value) for one in found.clauses for value in one.values))
