"""Tests of smtpgate.message.settle: octets as other programs read them, and what hides outside parts."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.message.header import HeaderSection
from smtpgate.message.settle import changed, excerpt, hidden_file, repeated

OCTETS = st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"\0", b"a"]), max_size=30).map(b"".join)


class ChangedTests(SynchronousTestCase):
    """`changed`."""

    def test_each_quirk(self) -> None:
        """What it makes of one text."""
        octets = b"a\0\r\nb\rc\nd\r\n"
        for quirks, expected in (
            ((), octets),
            (("drops-nul",), b"a\r\nb\rc\nd\r\n"),
            (("cr-ends",), b"a\0\r\nb\r\nc\r\nd\r\n"),
            (("lf-does-not-end",), b"a\0\r\nb\rc d\r\n"),
            (("drops-nul", "cr-ends"), b"a\r\nb\r\nc\r\nd\r\n"),
            (("type-2",), octets),
        ):
            self.assertEqual(changed(octets, frozenset(quirks)), expected)

    def test_a_line_end_at_the_edge_of_a_piece(self) -> None:
        """Large octets are worked through by pieces; no line end is cut in two."""
        for shift in range(3):
            octets = b"x" * ((1 << 18) - 2 + shift) + b"\r\ny\nz"
            self.assertEqual(changed(octets, frozenset({"lf-does-not-end"})), octets.replace(b"y\n", b"y "))

    @settings(max_examples=200, deadline=None)
    @given(OCTETS, st.sampled_from(["drops-nul", "cr-ends", "lf-does-not-end"]))
    def test_changed_once_is_changed_for_good(self, octets: bytes, quirk: str) -> None:
        """And of what the program does not see nothing is left."""
        once = changed(octets, frozenset({quirk}))
        self.assertEqual(changed(once, frozenset({quirk})), once)
        if quirk == "drops-nul":
            self.assertNotIn(b"\0", once)
        elif quirk == "cr-ends":
            self.assertEqual(once.count(b"\r"), once.count(b"\r\n"))
        else:
            self.assertEqual(once.count(b"\n"), once.count(b"\r\n"))


class HiddenTests(SynchronousTestCase):
    """`hidden_file`."""

    def test_what_is_a_file(self) -> None:
        """Where it begins."""
        line = b"QUJD" * 19 + b"\r\n"
        for text, at in (
            (b"words\r\nmore words\r\n", -1),
            (b"words\r\nbegin 644 a\r\n", 7),
            (b"words\r\n=ybegin name=a\r\n", 7),
            (b"words\r\n" + line * 3, 7),
            (line * 2, -1),
            (line + b"words\r\n" + line * 2, -1),
            (line + b"words\r\n" + line * 3, len(line) + 7),
        ):
            self.assertEqual(hidden_file(text, 0, len(text), 3), at, text)

    def test_an_excerpt_is_one_printable_line(self) -> None:
        """It goes to a page and a log."""
        self.assertEqual(excerpt(b"a\x1bb\xff\nc", 0), "a b\\xff")


class RepeatedTests(SynchronousTestCase):
    """`repeated`."""

    def test_fields_that_stand_once(self) -> None:
        """Those that people or programs go by; others may stand often."""
        section = HeaderSection(b"SUBJECT: a\r\nReceived: b\r\nReceived: c\r\nSubject: d\r\nX-Subject: e\r\n\r\n")
        self.assertEqual(repeated(section), ["subject"])
