"""Tests of smtpgate.policy.edits: changes to the header section, and nothing beside them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.message.header import HeaderSection
from smtpgate.message.splice import Splice, apply
from smtpgate.policy.edits import AddField, EditList, RemoveField, ReplaceField, check_field

SECTION = (
    b"Received: one\r\n\tfolded\r\n"
    b"Subject: first\r\n"
    b"garbage without colon\r\n"
    b"X-Tag: a\r\n"
    b"X-Tag: b\r\n"
    b"subject:\tsecond\r\n"
    b"\r\n"
)
FIELDS = st.lists(
    st.sampled_from([b"A: 1\r\n", b"a: 2\r\n\tfolded\r\n", b"B: 1\r\n", b"C:\r\n", b"no field\r\n", b" lost fold\r\n"]),
    max_size=6,
)


def applied(*edits: AddField | RemoveField | ReplaceField, section: bytes = SECTION) -> bytes:
    """The section with these edits."""
    made = EditList()
    for edit in edits:
        made.append(edit)
    octets, missed = made.apply(HeaderSection(section))
    assert missed == (), missed
    return octets


class FieldTests(SynchronousTestCase):
    """`check_field`."""

    def test_whole_fields_are_good(self) -> None:
        """One line or several, with any octets in the value, or none."""
        for raw in (b"A: b\r\n", b"A:\r\n", b"A: b\r\n c\r\n\td\r\n", b"X-Y: \xc3\xbc\r\n"):
            self.assertIsNone(check_field(raw))

    def test_what_would_be_more_or_less_than_a_field(self) -> None:
        """No end, two fields, the end of the header, lone newlines, no name."""
        for raw in (
            b"", b"\r\n", b"A: b", b"A: b\n", b"A: b\r", b"A: b\r\n\r\n", b"A: b\r\n\r\nbody\r\n", b"A: b\r\nB: c\r\n",
            b"A: b\rB: c\r\n", b"A: b\nB: c\r\n", b"A b\r\n", b": b\r\n", b" A: b\r\n", b"\tA: b\r\n", b"\r\nA: b\r\n",
            b"Bad name: b\r\n", b"A: b\0\r\n", b"A: \xff\r\n", b"\xc3\xa4: b\r\n",
        ):  # fmt: skip
            with self.subTest(raw=raw):
                self.assertRaises(ValueError, check_field, raw)
                self.assertRaises(ValueError, EditList().append, AddField(raw))
                self.assertRaises(ValueError, EditList().append, ReplaceField("a", 0, raw))

    @given(st.binary(max_size=60))
    def test_what_passes_is_one_field_to_a_reader(self, octets: bytes) -> None:
        """Whatever a filter puts together, no other field and no end of the header comes of it."""
        raw = b"X-New: " + octets + b"\r\n"
        try:
            check_field(raw)
        except ValueError:
            return
        section = HeaderSection(raw + b"Subject: x\r\n\r\n")
        self.assertEqual([field.name for field in section.fields], ["x-new", "subject"])


class ApplyTests(SynchronousTestCase):
    """`EditList.apply`."""

    def test_nothing_asked_is_nothing_done(self) -> None:
        """Octet for octet."""
        self.assertEqual(applied(), SECTION)

    def test_added_fields_stand_on_top_the_last_first(self) -> None:
        """As if each hop had put its own there."""
        self.assertEqual(applied(AddField(b"A: 1\r\n"), AddField(b"B: 2\r\n")), b"B: 2\r\nA: 1\r\n" + SECTION)

    def test_a_field_is_taken_out_by_name_and_place(self) -> None:
        """With its folded lines; its namesakes stay."""
        self.assertEqual(applied(RemoveField("received", 0, "me")), SECTION[len(b"Received: one\r\n\tfolded\r\n") :])
        self.assertEqual(applied(RemoveField("x-tag", 1, "me")), SECTION.replace(b"X-Tag: b\r\n", b""))
        self.assertEqual(applied(RemoveField("subject", 1, "me")), SECTION.replace(b"subject:\tsecond\r\n", b""))

    def test_a_field_is_written_anew_in_its_place(self) -> None:
        """Longer or shorter, and garbage around it stays."""
        for raw in (b"X-Tag: much longer than before\r\n\tand folded\r\n", b"Y:\r\n"):
            self.assertEqual(applied(ReplaceField("x-tag", 0, raw)), SECTION.replace(b"X-Tag: a\r\n", raw))

    def test_places_are_those_of_the_message_as_it_came(self) -> None:
        """One edit does not move what the next means."""
        wanted = b"N: 1\r\n" + SECTION.replace(b"X-Tag: a\r\n", b"").replace(b"X-Tag: b\r\n", b"X-Tag: c\r\n")
        edits = (
            RemoveField("x-tag", 0, "me"),
            ReplaceField("x-tag", 1, b"X-Tag: c\r\n"),
            AddField(b"N: 1\r\n"),
        )
        self.assertEqual(applied(*edits), wanted)
        self.assertEqual(applied(*reversed(edits)), wanted)

    def test_of_two_edits_of_one_field_the_later_holds(self) -> None:
        """The first filter's wish is overruled, not mixed."""
        self.assertEqual(
            applied(RemoveField("x-tag", 0, "me"), ReplaceField("x-tag", 0, b"X-Tag: z\r\n")),
            SECTION.replace(b"X-Tag: a\r\n", b"X-Tag: z\r\n"),
        )

    def test_an_edit_without_a_field_is_told(self) -> None:
        """And does nothing; the others are done."""
        made = EditList()
        lost = (RemoveField("x-none", 0, "me"), RemoveField("x-tag", 2, "me"), ReplaceField("garbage", 0, b"A: b\r\n"))
        for edit in (*lost, RemoveField("x-tag", 0, "me")):
            made.append(edit)
        octets, missed = made.apply(HeaderSection(SECTION))
        self.assertEqual(octets, SECTION.replace(b"X-Tag: a\r\n", b""))
        self.assertEqual(missed, lost)

    def test_a_section_without_its_end(self) -> None:
        """A message may be all header, and its last line may have no end."""
        self.assertEqual(applied(RemoveField("b", 0, "me"), section=b"A: 1\r\nB: 2"), b"A: 1\r\n")
        self.assertEqual(applied(ReplaceField("a", 0, b"A: 9\r\n"), section=b"A: 1\r\nB: 2"), b"A: 9\r\nB: 2")
        self.assertEqual(applied(AddField(b"A: 1\r\n"), section=b""), b"A: 1\r\n")

    @given(FIELDS, st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3), st.booleans()), max_size=4))
    def test_untouched_fields_keep_their_octets_and_their_order(
        self, fields: list[bytes], wishes: list[tuple[str, int, bool]]
    ) -> None:
        """So that the signatures of others live."""
        section = b"".join(fields) + b"\r\n"
        made = EditList()
        for name, index, is_removal in wishes:
            new = b"%s: new\r\n" % name.encode()
            made.append(RemoveField(name, index, "me") if is_removal else ReplaceField(name, index, new))
        octets, missed = made.apply(HeaderSection(section))
        last = {(name, index): is_removal for name, index, is_removal in wishes}
        wanted, counts, touched = b"", {}, set()
        for field in _runs(section):
            name = field.partition(b":")[0].lower().decode() if b":" in field and field[:1] not in b" \t" else ""
            place = (name, counts.get(name, 0))
            counts[name] = place[1] + 1
            if name and place in last:
                touched.add(place)
                wanted += b"" if last[place] else b"%s: new\r\n" % name.encode()
            else:
                wanted += field
        self.assertEqual(octets, wanted)
        self.assertEqual({(edit.name, edit.index) for edit in missed if not isinstance(edit, AddField)},
                         set(last) - touched)  # fmt: skip


class PlannedTests(SynchronousTestCase):
    """What was planned for the body beside the edits of fields."""

    SECTION = HeaderSection(b"Subject: x\r\nContent-Type: text/plain\r\nX-A: 1\r\n\r\n")

    def test_one_list(self) -> None:
        """Added fields first, then by their places; a field that says what the body is stays as it was planned."""
        made = EditList()
        made.plan(
            [Splice(12, 26, b"Content-Type: text/html\r\n", "rules/a"), Splice(48, 0, b"more\r\n", "rules/a")], 48
        )
        made.append(ReplaceField("content-type", 0, b"Content-Type: image/png\r\n", "milter"))
        made.append(RemoveField("x-a", 0, "milter"))
        made.append(AddField(b"X-B: 2\r\n", "b"))
        made.append(AddField(b"X-C: 3\r\n", "c"))
        splices, missed = made.splices(self.SECTION)
        self.assertEqual([edit.author for edit in missed], ["milter"])
        self.assertEqual([one.author for one in splices], ["b, c", "rules/a", "milter", "rules/a"])
        self.assertEqual(
            apply(splices, self.SECTION.octets),
            b"X-C: 3\r\nX-B: 2\r\nSubject: x\r\nContent-Type: text/html\r\n\r\nmore\r\n",
        )
        self.assertFalse(made.only_adds)

    def test_what_cannot_be_planned(self) -> None:
        """Further than the message goes, twice, and lines that end in their own way."""
        for wrong in (Splice(49, 0, b"x"), Splice(0, 49, b""), Splice(0, 0, b"a\n.\r\n"), Splice(0, 0, b"a\rb")):
            self.assertRaises(ValueError, EditList().plan, [wrong], 48)
        made = EditList()
        made.plan([Splice(0, 0, b"a\r\n")], 48)
        self.assertRaises(ValueError, made.plan, [Splice(0, 0, b"a\r\n")], 48)


def _runs(section: bytes) -> list[bytes]:
    """Fields with their folded lines, and every other line alone."""
    out: list[bytes] = []
    is_field = False
    for line in section.split(b"\r\n")[:-1]:
        if line[:1] in (b" ", b"\t") and is_field:
            out[-1] += line + b"\r\n"
        else:
            is_field = b":" in line and line[:1] not in (b" ", b"\t")
            out.append(line + b"\r\n")
    return out
