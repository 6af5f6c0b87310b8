"""Tests of smtpgate.message.entity: what a header section says about its body, to this program and that."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.message.anomaly import ANOMALIES
from smtpgate.message.entity import QUIRKS, Entity, read_entity

LINES = st.lists(
    st.sampled_from(
        [
            b"Content-Type: text/html; charset=x\r\n",
            b"Content-Type: multipart/mixed; boundary=a; boundary=b\r\n",
            b"content-transfer-encoding : BASE64\n",
            b"Content-Disposition: attachment\r\n",
            b" filename=a\r\n",
            b"no field\r\n",
            b" \r\n",
            b"X: y\r",
            b":\r\n",
            b"\0",
            b"From x\r\n",
        ]
    ),
    max_size=8,
).map(b"".join)


def entity(octets: bytes, *quirks: str, is_ended: bool = True, is_top: bool = False) -> Entity:
    """Read a header section as the usual program, or as one with quirks."""
    return read_entity(octets, frozenset(quirks), is_ended=is_ended, is_top=is_top)


class ReadTests(SynchronousTestCase):
    """`read_entity`."""

    def test_what_is_said(self) -> None:
        """All fields of MIME, folded, with either line end, with blanks before the colon."""
        for end in (b"\r\n", b"\n"):
            octets = end.join(
                [
                    b"content-type : Multipart/Mixed;",
                    b'\tboundary="a b"; charset=UTF-8',
                    b"Content-Disposition: Attachment;",
                    b" filename=x.txt",
                    b"Content-Transfer-Encoding: (why) 7Bit",
                    b"X-Content-Type: text/html",
                    b"",
                    b"",
                ]
            )
            one = entity(octets)
            self.assertEqual(
                (one.media_type, one.boundary, one.charset, one.disposition, one.encodings, one.names, one.octets),
                ("multipart/mixed", b"a b", "utf-8", "attachment", ("7bit",), ("x.txt",), len(octets)),
            )
            self.assertEqual(one.section.first("content-disposition"), b"Attachment; filename=x.txt")

    def test_what_is_not_said(self) -> None:
        """Defaults, as the multipart above gives them."""
        for octets in (b"", b"\r\n", b"\n", b"X: y\r\n\r\n"):
            one = read_entity(octets, frozenset(), "message/rfc822", is_ended=True, is_top=False)
            self.assertEqual(
                (one.media_type, one.encoding, one.needs, one.octets), ("message/rfc822", "", (), len(octets))
            )

    def test_encodings(self) -> None:
        """What more stands behind is read over."""
        for value, encodings in (
            (b"BASE64", ("base64",)),
            (b'"base64"', ("base64",)),
            (b"base64 and more", ("base64",)),
            (b"base64; x=y", ("base64",)),
            (b"x-unknown", ("x-unknown",)),
            (b"", ()),
        ):
            self.assertEqual(entity(b"Content-Transfer-Encoding: " + value + b"\r\n\r\n").encodings, encodings, value)

    def test_habits_with_a_broken_line(self) -> None:
        """It is skipped, joined to the line above, or ends the header."""
        octets = b"Content-Type: a/b;\r\nname=x\r\nContent-Disposition: inline\r\n\r\n"
        usual, joins, stops = entity(octets), entity(octets, "joins-lines"), entity(octets, "stops-at-line")
        self.assertEqual([one.names for one in (usual, joins, stops)], [(), ("x",), ()])
        self.assertEqual([one.disposition for one in (usual, joins, stops)], ["inline", "inline", ""])
        self.assertEqual(
            [one.octets for one in (usual, joins, stops)], [len(octets), len(octets), octets.index(b"name")]
        )
        self.assertEqual([one.needs for one in (usual, joins, stops)], [("stops-at-line", "joins-lines"), (), ()])

    def test_lines_that_are_no_fields(self) -> None:
        """The line that mailbox files put above a message is none of them."""
        for line, is_broken in (
            (b"From alice Wed Jan  7 12:00:00 2026", False),
            (b">From alice", False),
            (b"X-A_b.c: d", False),
            (b"Subject : x", True),
            (b"two words: x", True),
            (b'name="a:b"', True),
            (b": x", True),
            (b"\xc3\xbc: x", True),
        ):
            kinds = [kind for kind, _ in entity(line + b"\r\nX: y\r\n\r\n").anomalies]
            self.assertEqual(kinds, ["broken-header-line"] if is_broken else [], line)

    def test_a_line_of_blanks(self) -> None:
        """Folding to most, the end to some."""
        octets = b"X: y\r\n \t\r\nContent-Type: text/html\r\n\r\n"
        self.assertEqual(entity(octets).media_type, "text/html")
        ended = entity(octets, "stops-at-blanks")
        self.assertEqual((ended.media_type, ended.octets), ("text/plain", octets.index(b"Content")))

    def test_an_end_that_is_missing(self) -> None:
        """Of a part that is an ambiguity; a message may consist of a header."""
        self.assertEqual(entity(b"X: y\r\n", is_ended=False).needs, ("needs-empty-line",))
        self.assertEqual(entity(b"X: y\r\n", "needs-empty-line", is_ended=False).octets, 0)
        self.assertEqual(entity(b"X: y\r\n", is_ended=False, is_top=True).needs, ())

    def test_types_that_are_given_more_than_once(self) -> None:
        """First, second, last; the same twice is no ambiguity."""
        octets = b"".join(b"Content-Type: a/%d\r\n" % number for number in range(6)) + b"\r\n"
        found = [entity(octets, *quirk).media_type for quirk in ((), ("type-2",), ("type-3",), ("type-4",))]
        self.assertEqual(found, ["a/0", "a/1", "a/2", "a/5"])
        self.assertEqual(entity(b"Content-Type: a/b\r\n" * 2 + b"\r\n").anomalies, ())

    @settings(max_examples=300, deadline=None)
    @given(
        LINES | st.binary(max_size=60),
        st.sets(st.sampled_from(sorted(QUIRKS)), max_size=3),
        st.booleans(),
        st.booleans(),
    )
    def test_anything_is_a_header(self, octets: bytes, quirks: set[str], is_ended: bool, is_top: bool) -> None:
        """It never raises; needs are quirks that the program has not, anomalies have sentences."""
        one = entity(octets, *quirks, is_ended=is_ended, is_top=is_top)
        self.assertLessEqual(0, one.octets)
        self.assertLessEqual(one.octets, len(octets))
        self.assertLessEqual(set(one.needs), set(QUIRKS) - quirks)
        self.assertLessEqual({kind for kind, _ in one.anomalies}, set(ANOMALIES))
        self.assertTrue(all(detail.isprintable() or not detail for _, detail in one.anomalies))
