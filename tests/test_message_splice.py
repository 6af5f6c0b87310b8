"""Tests of smtpgate.message.splice: there and back, by pieces, and two lists as one."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.message.splice import Splice, Stream, apply, check, compose, inverse

OCTETS = st.binary(max_size=40).map(lambda octets: octets.replace(b"\r", b"a").replace(b"\n", b"b"))


@st.composite
def splices(draw: Any, length: int) -> list[Splice]:
    """A list that fits a content of that length."""
    marks = sorted(draw(st.lists(st.integers(0, length), max_size=12)))
    marks = marks[: len(marks) // 2 * 2]
    pairs = zip(marks[::2], marks[1::2], strict=True)
    return [Splice(start, end - start, draw(OCTETS), draw(st.sampled_from("xyz"))) for start, end in pairs]


class SpliceTests(SynchronousTestCase):
    """Any content and any lists."""

    @given(st.data())
    def test_there_and_back(self, data: Any) -> None:
        """The inverse gives the octets that were there; pieces of any size give what the whole gives."""
        content = data.draw(OCTETS)
        made = data.draw(splices(len(content)))
        check(made, len(content))
        changed = apply(made, content)
        back = inverse(made, content)
        check(back, len(changed))
        self.assertEqual(apply(back, changed), content)
        stream, out = Stream(made), []
        size = data.draw(st.integers(1, 7))
        for at in range(0, len(content), size):
            out.append(stream.feed(content[at : at + size]))
        self.assertEqual(b"".join([*out, stream.finish()]), changed)

    @given(st.data())
    def test_two_lists_as_one(self, data: Any) -> None:
        """The second is about what the first leads to; nobody who had a part in it is lost."""
        content = data.draw(OCTETS)
        first = data.draw(splices(len(content)))
        between = apply(first, content)
        second = data.draw(splices(len(between)))
        both = compose(first, second)
        check(both, len(content))
        self.assertEqual(apply(both, content), apply(second, between))

    def test_who_had_a_part(self) -> None:
        """Where two changes meet both are named; where they do not, each has its own."""
        content = b"abcdefgh"
        first = [Splice(2, 1, b"XY", "one"), Splice(6, 0, b"Z", "one")]
        both = compose(first, [Splice(3, 1, b"!", "two"), Splice(9, 1, b"?", "three")])
        self.assertEqual(apply(both, content), b"abX!defZg?")
        self.assertEqual([one.author for one in both], ["one, two", "one", "three"])

    def test_memory_of_one_piece(self) -> None:
        """What goes is not kept: a large part taken out leaves nothing behind."""
        stream = Stream([Splice(10, 1 << 30, b"gone")])
        self.assertEqual(stream.feed(b"x" * 20), b"x" * 10 + b"gone")
        for _ in range(3):
            self.assertEqual(stream.feed(b"y" * 100), b"")

    def test_lists_that_do_not_fit(self) -> None:
        """Before, behind, one into the other, or further than the content goes."""
        for wrong in (
            [Splice(-1, 0, b"")],
            [Splice(0, -1, b"")],
            [Splice(3, 2, b"")],
            [Splice(0, 3, b""), Splice(2, 0, b"")],
        ):
            self.assertRaises(ValueError, check, wrong, 4)
        self.assertRaises(ValueError, apply, [Splice(5, 0, b"x")], b"abcd")
        self.assertRaises(ValueError, apply, [Splice(2, 9, b"x")], b"abcd")

    def test_no_line_end_is_cut_in_two(self) -> None:
        """A lone CR or LF would be a line end to some servers and none to others."""
        content = b"one\r\ntwo\r\n"
        for wrong in (
            Splice(4, 0, b"x"),
            Splice(4, 1, b""),
            Splice(3, 1, b""),
            Splice(0, 0, b"\n"),
            Splice(3, 0, b"\r"),
            Splice(9, 1, b""),
        ):
            self.assertRaises(ValueError, apply, [wrong], content)
        # What came so is not judged.
        self.assertEqual(apply([Splice(0, 0, b"x")], b"a\rb\nc"), b"xa\rb\nc")
        self.assertEqual(apply([Splice(3, 2, b"\r\n \r\n")], content), b"one\r\n \r\ntwo\r\n")
