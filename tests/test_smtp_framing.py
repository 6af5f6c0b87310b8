"""smtpgate.smtp.framing: the end of data, dots and newlines, for every split of the input."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.smtp.framing import Chunk, Content, DotDecoder, DotEncoder

CAP = 1 << 20
#: Octets of which every confusion of line ends and dots is made.
NASTY = st.lists(
    st.sampled_from([b"\r", b"\n", b".", b"\r\n", b"\r\n.", b"\r\n.\r\n", b"a", b"..", b"\0"]), max_size=40
)


def run(parts: list[bytes]) -> tuple[bytes, bytes, bytes | None]:
    """Content, form on the backend's wire, and what follows the end of data (None: not ended)."""
    decoder, policy, encoder = DotDecoder(), Content(CAP), DotEncoder()
    content = wire = b""
    for number, part in enumerate(parts):
        chunk, rest = decoder.feed(part)
        if chunk is not None:
            passed = policy.feed(chunk)
            if passed is not None:
                wire += encoder.encode(passed)
                content += passed.content
        if rest is not None:
            tail = policy.finish()
            if tail is not None:
                wire += encoder.encode(tail)
                content += tail.content
            return content, wire + encoder.finish(), rest + b"".join(parts[number + 1 :])
    return content, wire, None


class EndOfDataTests(SynchronousTestCase):
    """Only CRLF.CRLF ends a message."""

    def test_every_split_gives_the_same(self) -> None:
        """The outcome does not depend on the segmentation."""
        for stream in (
            b"hi\r\n.\r\nQUIT\r\n",
            b".\r\nNOOP\r\n",
            b"..\r\n..x\r\n....\r\n.\r\n",
            b".x\r\n\r\n...\r\n.\r\nrest",
            b"hello\n.\r\nMAIL FROM:<s@example.org>\r\n.\r\n",
            b"a\r.\r\nb\r\n.\r\n",
        ):
            whole = run([stream])
            self.assertIsNotNone(whole[2], stream)
            self.assertEqual(run([bytes([octet]) for octet in stream]), whole, stream)
            for first in range(len(stream)):
                for second in range(first, len(stream)):
                    self.assertEqual(run([stream[:first], stream[first:second], stream[second:]]), whole, stream)

    def test_no_other_sequence_ends_it(self) -> None:
        """Each known smuggling sequence is content, and goes out as one message."""
        for sequence in (
            b"\n.\n",
            b"\n.\r\n",
            b"\r\n.\n",
            b"\r.\r",
            b"\r.\r\n",
            b"\r\n.\rx",
            b"\n.\r",
            b"\r\n. \r\n",
            b"\r\n.\t\r\n",
            b"\r\n\0.\r\n",
            b"\r\n.\0\r\n",
            b"\r\n.\r\r\n",
            b"\r\r\n.\r\r\n",
            b"\n\n.\n",
        ):
            stream = b"one" + sequence + b"MAIL FROM:<s@example.org>\r\nDATA\r\nsmuggled\r\n.\r\nNOOP\r\n"
            content, wire, rest = run([stream])
            self.assertEqual(rest, b"NOOP\r\n", sequence)
            self.assertIn(b"smuggled", content)
            self.assertEqual(wire.count(b"\r\n.\r\n"), 1, sequence)
            self.assertTrue(wire.endswith(b"\r\n.\r\n"))

    @given(NASTY, st.data())
    @settings(max_examples=300, deadline=None)
    def test_any_stream_any_split(self, pieces: list[bytes], data: st.DataObject) -> None:
        """Random confusions: same for every split, and the wire can be read in one way only."""
        stream = b"".join(pieces) + b"\r\n.\r\n"
        whole = run([stream])
        cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
        parts = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
        self.assertEqual(run(parts), whole)
        content, wire, rest = whole
        self.assertIsNotNone(rest)
        # Whatever the backend takes for a line end, it sees one end of data, at the end.
        for newline in (b"\r\n", b"\n", b"\r"):
            lines = (b"\r\n" + wire).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
            self.assertEqual(lines.count(b"."), 1, newline)
        self.assertNotIn(b"\r", wire.replace(b"\r\n", b""))
        self.assertNotIn(b"\n", wire.replace(b"\r\n", b""))
        # And what it undoes is the content.
        read, end = DotDecoder().feed(wire)
        self.assertEqual(end, b"")
        self.assertEqual(
            read.content if read is not None else b"",
            content if content.endswith(b"\r\n") or not content else content + b"\r\n",
        )

    @given(NASTY, NASTY, st.lists(st.sampled_from([b"abc", b".", b"a.b.c.", b"\r\n"]), max_size=80), st.integers(0, 9))
    @settings(max_examples=300, deadline=None)
    def test_a_large_chunk_is_read_as_many_small_ones(
        self, before: list[bytes], behind: list[bytes], text: list[bytes], dots: int
    ) -> None:
        """Among thousands of octets dots are looked for in another way: with few, with many, at either end."""
        filler = b"x" * 5000 + b" a.b" * 8 * dots
        stream = b"".join(before) + filler + b"".join(text) + filler + b"".join(behind) + b"\r\n.\r\nNOOP\r\n"
        self.assertEqual(run([stream]), run([stream[at : at + 1000] for at in range(0, len(stream), 1000)]))

    def test_many_dot_lines(self) -> None:
        """A message of nothing but dot lines is read as one of few is."""
        stream = b"..x\r\n" * 5000 + b".\r\nNOOP\r\n"
        content, wire, rest = run([stream])
        self.assertEqual(content, b".x\r\n" * 5000)
        self.assertEqual(wire, b"..x\r\n" * 5000 + b".\r\n")
        self.assertEqual(rest, b"NOOP\r\n")


class ContentTests(SynchronousTestCase):
    """Sizes and caps."""

    def test_stuffing_does_not_count(self) -> None:
        """Octets are counted as RFC 1870 does: without stuffing and terminator, for both forms of a chunk."""
        decoder, policy = DotDecoder(), Content(CAP)
        chunk, _ = decoder.feed(b"a\r\n..b\r\n..\r\n.\r\n")
        assert chunk is not None
        policy.feed(chunk)
        self.assertEqual(policy.octets, len(b"a\r\n.b\r\n.\r\n"))

    def test_normalize(self) -> None:
        """A lone LF becomes CRLF, a lone CR one space, CR CR LF a space and CRLF."""
        policy = Content(CAP)
        passed = policy.feed(Chunk(b"a\nb\rc\r\r\nd\r\n", None))
        assert passed is not None
        self.assertEqual(passed.content, b"a\r\nb c \r\nd\r\n")
        self.assertTrue(policy.has_bare_newline)

    def test_binary_is_untouched(self) -> None:
        """BINARYMIME content has no lines."""
        policy = Content(CAP, raw=True)
        passed = policy.feed(Chunk(b"a\nb\rc", None))
        assert passed is not None
        self.assertEqual(passed.content, b"a\nb\rc")
        self.assertFalse(policy.has_bare_newline)

    def test_long_lines_over_chunks(self) -> None:
        """A line is measured across chunks; one octet more than the cap is too long."""
        for extra, expected in ((0, False), (1, True)):
            policy = Content(100)
            for part in (b"x" * 60, b"x" * (39 + extra) + b"\r\n", b"next"):
                policy.feed(Chunk(part, None))
            self.assertEqual(policy.is_long_line, expected)

    def test_eight_bit_is_seen_only_when_watched(self) -> None:
        """The check costs nothing where no backend needs it."""
        for watch in (False, True):
            policy = Content(CAP, watch_eight_bit=watch)
            policy.feed(Chunk(b"caf\xc3\xa9\r\n", None))
            self.assertEqual(policy.is_eight_bit, watch)


class DotEncoderTests(SynchronousTestCase):
    """The other direction."""

    @given(st.binary(max_size=60).map(lambda octets: octets.replace(b"\n", b"\r\n.").replace(b"a", b"\r")), st.data())
    @settings(max_examples=200, deadline=None)
    def test_what_is_coded_is_read_back(self, octets: bytes, data: st.DataObject) -> None:
        """For any content with clean newlines and any chunks the decoder gives the content again."""
        policy = Content(CAP)
        passed = policy.feed(Chunk(octets, None))
        clean = passed.content if passed is not None else b""
        tail = policy.finish()
        clean += tail.content if tail is not None else b""
        cuts = sorted(data.draw(st.lists(st.integers(0, len(clean)), max_size=5)))
        encoder = DotEncoder()
        wire = b"".join(
            encoder.encode(Chunk(clean[a:b], None)) for a, b in zip([0, *cuts], [*cuts, len(clean)], strict=True)
        )
        wire += encoder.finish()
        read, rest = DotDecoder().feed(wire)
        self.assertEqual(rest, b"")
        expected = clean if clean.endswith(b"\r\n") or not clean else clean + b"\r\n"
        self.assertEqual(read.content if read is not None else b"", expected)
