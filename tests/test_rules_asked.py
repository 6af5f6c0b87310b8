"""Tests of smtpgate.rules.asked: which detectors a condition asks for."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smtpgate.rules.asked import asked
from smtpgate.rules.engine import check

CARD = [("detector", "card")]


class AskedTests(SynchronousTestCase):
    """`asked`."""

    def test_what_can_be_told(self) -> None:
        """Each way to be true goes through a comparison with texts."""
        for text, names in (
            ("size > 1", []),
            ("subject.matches('matches')", []),
            ("subject == 'matches.exists(m, true)' // matches", []),
            ("matches.exists(m, m.detector == 'card')", CARD),
            ("matches.exists(m, 'card' == m.detector && m.distinct > 1)", CARD),
            ("matches.exists(m, m.count > 1 && (m.detector == 'card') && m.group == 'payment')", CARD),
            ('matches.filter(m, m.detector == "card").size() > 2', CARD),
            ("matches.exists_one(m, m.detector in ['card', 'iban'])", [*CARD, ("detector", "iban")]),
            ("matches.exists(m, m.group == 'bank' || m.detector == 'card' && m.count > 1)", [("group", "bank"), *CARD]),
            (
                "matches.exists(m, m.detector == 'card') && matches.exists(x, x.group == 'tax')",
                [*CARD, ("group", "tax")],
            ),
            ("matches.exists(m, m.paths.exists(p, p == 'x') && m.detector == 'card')", CARD),
            ("unread.size() > 0 || !is_read", []),
        ):
            check(text)
            found = asked(text)
            self.assertEqual(([(one.kind, one.name) for one in found.names], found.is_all), (names, False), text)

    def test_what_cannot_be_told(self) -> None:
        """Then all are asked for."""
        for text in (
            "matches.size() > 0", "matches.exists(m, true)", "matches.exists(m, m.count > 3)",
            "matches.exists(m, m.detector != 'card')", "matches.exists(m, !(m.detector == 'card'))",
            "matches.all(m, m.detector == 'card')", "matches.exists(m, m.detector == subject)",
            "matches.exists(m, m.detector.startsWith('us-'))", "matches.exists(m, m.detector == 'card' || m.count > 3)",
            "matches.exists(m, m.count > 1 ? m.detector == 'card' : m.count == 1)", "matches[0].detector == 'card'",
            "matches.exists(m, m.detector in [subject])", "matches.exists(m, m.detector == 'c' + 'ard')",
            "matches.exists(m, m.detector == 'c\\x61rd')", "matches.exists(m, (m.detector == 'card') == false)",
        ):  # fmt: skip
            check(text)
            self.assertTrue(asked(text).is_all, text)

    def test_names_have_places(self) -> None:
        """Of the text in quotes."""
        (one,) = asked("size > 1 &&\n  matches.exists(m, m.detector == 'card')").names
        self.assertEqual((one.line, one.column), (2, 35))
