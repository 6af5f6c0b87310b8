"""smtpgate.smtp.reply: strict reading, exact writing."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.smtp.reply import READ_LINES, BadReply, Reply, ReplyReader


def read(octets: bytes) -> list[Reply | BadReply]:
    return list(ReplyReader().feed(octets))


class ReadingTests(SynchronousTestCase):
    """What a backend says."""

    def test_valid_forms(self) -> None:
        """A bare code, empty texts and several lines are replies (P-207, P-213)."""
        for octets, code, lines in (
            (b"250\r\n", 250, ("",)),
            (b"250 \r\n", 250, ("",)),
            (b"250-\r\n250\r\n", 250, ("", "")),
            (b"550-a\r\n550-b\r\n550 c\r\n", 550, ("a", "b", "c")),
            (b"599 odd\r\n", 599, ("odd",)),
        ):
            (reply,) = read(octets)
            assert isinstance(reply, Reply)
            self.assertEqual((reply.code, reply.lines), (code, lines), octets)

    def test_malformed_replies_are_no_replies(self) -> None:
        """Nothing is guessed at: mixed codes, other protocols, odd numbers (P-206, P-208)."""
        for octets in (
            b"550-no\r\n250 ok\r\n",
            b"250-ok\r\n550 no\r\n",
            b"ok\r\n",
            b"25 x\r\n",
            b"2500 x\r\n",
            b"150 x\r\n",
            b"650 x\r\n",
            b"+OK\r\n",
            b"\r\n",
            b"HTTP/1.1 400 Bad\r\n",
            b"250x\r\n",
        ):
            self.assertIsInstance(read(octets)[-1], BadReply, octets)

    def test_nothing_is_read_after_a_bad_reply(self) -> None:
        """The connection is given up, whatever follows."""
        reader = ReplyReader()
        reader.feed(b"what\r\n250 ok\r\n")
        self.assertEqual(reader.feed(b"250 ok\r\n"), [])

    def test_caps(self) -> None:
        """Endless lines and endless replies end (P-205, P-191)."""
        reader = ReplyReader()
        self.assertIsInstance(reader.feed(b"250 " + b"x" * 100_000)[-1], BadReply)
        reader = ReplyReader()
        self.assertIsInstance(reader.feed(b"250-x\r\n" * (READ_LINES + 1))[-1], BadReply)

    def test_long_line_is_taken_and_cut_for_the_client(self) -> None:
        """2,000 octets are read, 512 are written (P-204)."""
        (reply,) = read(b"550 5.1.1 " + b"x" * 1990 + b"\r\n")
        assert isinstance(reply, Reply)
        octets = reply.octets("REF")
        self.assertEqual(len(octets), 512)
        self.assertTrue(octets.endswith(b" REF\r\n"))

    def test_unprintable_text_is_replaced(self) -> None:
        """ESC, NUL, 8-bit and a CR inside a text cannot steer anything (P-209, P-210)."""
        (reply,) = read(b"550 a\x1b[31m\x00\xe9\rb\r\n")
        assert isinstance(reply, Reply)
        self.assertEqual(reply.lines, ("a?[31m??" + "?b",))
        self.assertEqual(reply.octets().count(b"\r\n"), 1)

    def test_lone_lf_ends_a_line(self) -> None:
        """Old filters end lines so; the client sees CRLF (P-209)."""
        (reply,) = read(b"550-a\n550 b\n")
        assert isinstance(reply, Reply)
        self.assertEqual(reply.octets(), b"550-a\r\n550 b\r\n")

    @given(
        st.lists(
            st.sampled_from(
                [b"250 2.1.0 Ok\r\n", b"550-a\r\n550 b\r\n", b"354 go\r\n", b"421 4.3.2 bye\n", b"oops\r\n"]
            ),
            max_size=6,
        ),
        st.data(),
    )
    @settings(max_examples=150, deadline=None)
    def test_every_split_gives_the_same(self, pieces: list[bytes], data: st.DataObject) -> None:
        """The outcome does not depend on the segmentation (P-215)."""
        stream = b"".join(pieces)
        cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))
        reader = ReplyReader()
        out: list[Reply | BadReply] = []
        for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True):
            out += reader.feed(stream[a:b])
        self.assertEqual(out, read(stream))

    @given(st.binary(max_size=400))
    @settings(max_examples=200, deadline=None)
    def test_no_input_raises(self, octets: bytes) -> None:
        """Random octets give replies or a BadReply."""
        for reply in read(octets):
            self.assertIsInstance(reply, Reply | BadReply)


class EnhancedCodeTests(SynchronousTestCase):
    """RFC 2034 section 4 (P-309, P-310)."""

    def test_table(self) -> None:
        """Missing: the generic one. Present: kept. Of another class: the reply code is believed."""
        for octets, expected in (
            (b"250 Ok\r\n", b"250 2.0.0 Ok\r\n"),
            (b"250 2.1.5 Ok\r\n", b"250 2.1.5 Ok\r\n"),
            (b"550 4.7.1 no\r\n", b"550 5.0.0 no\r\n"),
            (b"250 5.0.0\r\n", b"250 2.0.0 \r\n"),
            (b"550 1.2.3.4 listed\r\n", b"550 5.0.0 1.2.3.4 listed\r\n"),
            (b"550 5.1 short\r\n", b"550 5.0.0 5.1 short\r\n"),
            (b"354 3.0.0 go\r\n", b"354 3.0.0 go\r\n"),
            (b"550-5.7.1 a\r\n550 5.7.1 b\r\n", b"550-5.7.1 a\r\n550 5.7.1 b\r\n"),
        ):
            (reply,) = read(octets)
            assert isinstance(reply, Reply)
            self.assertEqual(reply.completed().octets(), expected, octets)

    def test_reference_ends_the_last_line_only(self) -> None:
        """Several lines: one reference, at the very end."""
        reply = Reply(550, "5.7.1", ("a", "b"))
        self.assertEqual(reply.octets("ID.1"), b"550-5.7.1 a\r\n550 5.7.1 b ID.1\r\n")
