"""Tests of smtpgate.message.header: the header section, found and read without changing an octet."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.message.header import HeaderReader, HeaderSection

CAP = 200
#: Pieces that lie about where a header ends.
PIECES = st.lists(
    st.sampled_from([b"A: b\r\n", b"\r\n", b"\r", b"\n", b" folded\r\n", b"x", b"Subject: y", b"\r\n\r\n", b"\xff:"]),
    max_size=12,
).map(b"".join)


def names(octets: bytes) -> list[str]:
    """The names of a section's fields."""
    return [field.name for field in HeaderSection(octets).fields]


class SectionTests(SynchronousTestCase):
    """`HeaderSection`."""

    def test_fields_in_order_with_their_octets(self) -> None:
        """Name in lower case, value unfolded, everything where it stands."""
        section = HeaderSection(b"From: a\r\nSUBJECT:\tx\r\n\t y \r\nX-Empty:\r\n\r\n")
        self.assertEqual(
            [(field.name, field.value, field.raw, field.start) for field in section.fields],
            [
                ("from", b"a", b"From: a\r\n", 0),
                ("subject", b"x\t y", b"SUBJECT:\tx\r\n\t y \r\n", 9),
                ("x-empty", b"", b"X-Empty:\r\n", 27),
            ],
        )

    def test_text_on_a_line_of_its_own(self) -> None:
        """Long Message-IDs are folded before their first octet."""
        self.assertEqual(HeaderSection(b"Message-ID:\r\n <a@b>\r\nTo: c\r\n\r\n").text("message-id"), "<a@b>")

    def test_a_first_line_that_begins_with_a_blank_is_no_field(self) -> None:
        """Nothing is there that it could belong to."""
        self.assertEqual(names(b"\tSubject: x\r\nTo: c\r\n\r\n"), ["to"])

    def test_blanks_before_the_colon(self) -> None:
        """Obsolete, and read by everybody (RFC 5322 section 4.5)."""
        self.assertEqual(names(b"Subject : x\r\nFrom\t:y\r\n\r\n"), ["subject", "from"])

    def test_lines_that_are_no_fields_belong_to_none(self) -> None:
        """A proxy does not repair mail: neither the mbox line nor text is a field, nor what is folded under them."""
        octets = (
            b"From alice@example.org Wed Jan  7 12:00:00 2026\r\n"
            b"Subject: x\r\n"
            b"just text\r\n"
            b" folded under: it\r\n"
            b": no name\r\n"
            b"two words: x\r\n"
            b"\xc3\xbcml: x\r\n"
            b"To: y\r\n\r\n"
        )
        section = HeaderSection(octets)
        self.assertEqual([(field.name, field.value) for field in section.fields], [("subject", b"x"), ("to", b"y")])
        self.assertEqual(section.octets, octets)

    def test_a_fold_before_any_field_is_no_field(self) -> None:
        """A blank at the start of a line is never the start of a name."""
        self.assertEqual(names(b" Subject: x\r\nTo: y\r\n\r\n"), ["to"])

    def test_all_and_first(self) -> None:
        """Top first; nothing where there is none."""
        section = HeaderSection(b"X: 1\r\nY: 2\r\nx:\r\n 3\r\n\r\n")
        self.assertEqual((section.all("x"), section.first("x")), ([b"1", b"3"], b"1"))
        self.assertEqual((section.all("z"), section.first("z")), ([], b""))

    def test_the_end_may_be_missing(self) -> None:
        """Of the section, and of its last line."""
        self.assertEqual(HeaderSection(b"A: 1\r\nB: 2").all("b"), [b"2"])
        self.assertEqual(HeaderSection(b"A: 1\r\n b").all("a"), [b"1 b"])
        for octets in (b"", b"\r\n", b"\r\n\r\n", b"x"):
            self.assertEqual(names(octets), [])

    def test_a_field_of_text_stands_at_the_start_of_a_line(self) -> None:
        """`text` finds the topmost by its name without regard to case, and no longer name that ends alike."""
        section = HeaderSection(b"X-Subject: no\r\nTo: Subject: no\r\nSUBJECT:  yes \r\nSubject: later\r\n\r\n")
        self.assertEqual(section.text("subject"), "yes")
        self.assertEqual(section.text("to"), "Subject: no")
        self.assertEqual(section.text("x-subject"), "no")
        self.assertEqual(section.text("from"), "")
        self.assertEqual(HeaderSection(b"Subject: all").text("subject"), "all")

    @given(PIECES)
    def test_fields_are_pieces_of_the_section(self, octets: bytes) -> None:
        """In order, without overlap, each what it says it is."""
        section = HeaderSection(octets)
        end = 0
        for field in section.fields:
            self.assertGreaterEqual(field.start, end)
            self.assertTrue((octets + b"\r\n").startswith(field.raw, field.start))
            self.assertTrue(field.raw.lower().startswith(field.name.encode()))
            self.assertNotIn(b"\r\n", field.value)
            end = field.start + len(field.raw)

    @given(PIECES)
    def test_text_is_the_first_line_of_the_first_field(self, octets: bytes) -> None:
        """The quick way finds what the careful one finds."""
        section = HeaderSection(octets)
        plain = [field for field in section.fields if field.name == "subject"]
        if not plain:
            return
        line = plain[0].raw.partition(b":")[2].partition(b"\r\n")[0]
        self.assertEqual(section.text("subject"), line.strip().decode("utf-8", "backslashreplace"))


class ReaderTests(SynchronousTestCase):
    """`HeaderReader`."""

    def read(self, chunks: list[bytes], cap: int = CAP) -> tuple[bytes | None, bytes, bool]:
        """The section, everything that came out, and whether the section is too big."""
        reader = HeaderReader(cap)
        out = b""
        for number, chunk in enumerate(chunks):
            whole = reader.feed(chunk)
            if whole is not None:
                out = whole + b"".join(chunks[number + 1 :])
                break
        else:
            out = reader.finish()
        section = reader.section
        return section.octets if section is not None else None, out, reader.is_too_big

    def test_every_cut_gives_the_same(self) -> None:
        """The end of the section may lie over three chunks."""
        content = b"A: b\r\nC: d\r\n\r\nbody\r\n\r\nmore"
        for first in range(len(content) + 1):
            for second in range(first, len(content) + 1):
                chunks = [content[:first], content[first:second], content[second:]]
                self.assertEqual(self.read(chunks), (b"A: b\r\nC: d\r\n\r\n", content, False), chunks)

    def test_octet_by_octet(self) -> None:
        """As the slowest client sends it."""
        content = b"A: b\r\n\r\n\r\nbody"
        chunks = [content[at : at + 1] for at in range(len(content))]
        self.assertEqual(self.read(chunks), (b"A: b\r\n\r\n", content, False))

    def test_a_message_without_header(self) -> None:
        """The empty line comes first."""
        for chunks in ([b"\r\nbody"], [b"\r", b"\nbody"], [b"", b"\r\nbody"]):
            self.assertEqual(self.read(chunks), (b"\r\n", b"\r\nbody", False), chunks)

    def test_a_message_that_is_all_header(self) -> None:
        """Its end is the section's; also where there is nothing at all."""
        self.assertEqual(self.read([b"A: b\r\n", b"C: d\r\n"]), (b"A: b\r\nC: d\r\n", b"A: b\r\nC: d\r\n", False))
        self.assertEqual(self.read([]), (b"", b"", False))

    def test_at_the_cap_and_one_over(self) -> None:
        """The empty line counts; in one piece and in many."""
        for size, is_too_big in ((CAP, False), (CAP + 1, True)):
            content = b"A: " + b"x" * (size - 7) + b"\r\n\r\n" + b"body"
            for chunks in ([content], [content[at : at + 7] for at in range(0, len(content), 7)]):
                section, _, found = self.read(chunks)
                self.assertEqual(found, is_too_big, (size, len(chunks)))
                if not is_too_big:
                    self.assertEqual(section, content[:-4])

    def test_a_header_that_never_ends_is_not_kept(self) -> None:
        """As soon as it is over the cap it is let go."""
        reader = HeaderReader(CAP)
        held = 0
        while reader.feed(b"X: y\r\n") is None:
            held += 1
        self.assertTrue(reader.is_too_big)
        self.assertFalse(reader.holds)
        self.assertEqual(held, CAP // 6)

    def test_bare_newlines_end_no_header(self) -> None:
        """What is a line is said in one place, and not here (smuggling)."""
        content = b"A: b\n\nbody\n\r\nx\r\n\r\n"
        self.assertEqual(self.read([content])[0], content)

    @given(PIECES, st.lists(st.integers(0, 120), max_size=5))
    def test_nothing_is_lost_or_added(self, content: bytes, cuts: list[int]) -> None:
        """Whatever comes, in whatever pieces; the section is where the first empty line is."""
        marks = sorted({min(cut, len(content)) for cut in cuts} | {0, len(content)})
        chunks = [content[a:b] for a, b in zip(marks, marks[1:], strict=False)]
        section, out, is_too_big = self.read(chunks, cap=10_000)
        self.assertEqual(out, content)
        if content.startswith(b"\r\n"):
            end = 2
        else:
            found = content.find(b"\r\n\r\n")
            end = found + 4 if found >= 0 else len(content)
        self.assertEqual((section, is_too_big), (content[:end], False))


class ValuesTests(SynchronousTestCase):
    """`all` and `first` find what `fields` has."""

    @given(
        st.lists(
            st.sampled_from(
                [
                    b"From: a",
                    b"from:b",
                    b"FROM : c",
                    b"From",
                    b" folded",
                    b"\tfolded: x",
                    b"Fromage: x",
                    b"x",
                    b"From:",
                    b"",
                    b"X-From: y",
                    b"Fro m: z",
                    b"from \t:",
                ]
            ),
            max_size=12,
        ),
        st.booleans(),
    )
    def test_they_agree_with_the_fields(self, lines: list[bytes], is_ended: bool) -> None:
        """However a section is broken."""
        section = HeaderSection(b"\r\n".join(lines) + (b"\r\n\r\n" if is_ended else b""))
        wanted = [field.value for field in section.fields if field.name == "from"]
        self.assertEqual(section.all("from"), wanted, lines)
        self.assertEqual(section.first("from"), wanted[0] if wanted else b"")
