"""Tags of rules: the subject reads as before but for the words before it; fields of one's own are nobody else's."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.message.header import HeaderSection
from smtpgate.message.words import decode
from smtpgate.policy.edits import EditList
from smtpgate.policy.tags import fields, strip, subject


def tagged(octets: bytes, *tags: str) -> bytes:
    """A header section with these tags."""
    section, edits = HeaderSection(octets), EditList()
    for edit in subject(section, tags, "rules"):
        edits.append(edit)
    return edits.apply(section)[0]


class SubjectTests(SynchronousTestCase):
    """`subject`."""

    def test_forms(self) -> None:
        """Short, long, folded, empty, missing; with letters of all languages; several; one that is there already."""
        long_ = b"a" * 70
        for before, tags, after in (
            (b"Subject: hi\r\n", ("[X]",), b"Subject: [X] hi\r\n"),
            (b"SUBJECT:hi\r\n", ("[X]",), b"SUBJECT: [X] hi\r\n"),
            (b"Subject: " + long_ + b"\r\n", ("[X]",), b"Subject: [X]\r\n " + long_ + b"\r\n"),
            (b"Subject: a\r\n b\r\n", ("[X]",), b"Subject: [X] a\r\n b\r\n"),
            (b"Subject:\r\n b\r\n", ("[X]",), b"Subject: [X] \r\n b\r\n"),
            (b"Subject:\r\n", ("[X]",), b"Subject: [X] \r\n"),
            (b"From: a@b.example\r\n", ("[X]",), b"Subject: [X]\r\nFrom: a@b.example\r\n"),
            (b"Subject: hi\r\n", ("[X]", "[\xe9]", "[X]"), b"Subject: [X] =?utf-8?b?W8OpXQ==?= hi\r\n"),
            (b"Subject: h\xe9\r\n", ("[X]",), b"Subject: =?utf-8?b?W1hdIGjDqQ==?=\r\n"),
            (b"Subject: Re: [X] hi\r\n", ("[X]", "[Y]"), b"Subject: [Y] Re: [X] hi\r\n"),
            (b"Subject: Re: =?utf-8?b?W8OpXQ==?= hi\r\n", ("[\xe9]",), b"Subject: Re: =?utf-8?b?W8OpXQ==?= hi\r\n"),
            (b"Subject : hi\r\n", ("[X]",), b"Subject: [X] hi\r\n"),
            (b"Subject\t: h\0\r\n", ("[X]",), b"Subject: =?utf-8?b?W1hdIGg=?=\r\n"),
            (b"Subject: hi" + b" " * 60 + b"[X]\r\n", ("[X]",), b"Subject: [X] hi" + b" " * 60 + b"[X]\r\n"),
            (b"Subject: [Y] [X] hi\r\n", ("[X]", "[Y]"), b"Subject: [Y] [X] hi\r\n"),
            (b"Subject: [X] a\r\nSubject: b\r\n", ("[X]",), b"Subject: [X] a\r\nSubject: [X] b\r\n"),
        ):
            self.assertEqual(tagged(before + b"\r\n", *tags), after + b"\r\n", before)
        self.assertEqual(tagged(b"Subject: a\r\n\r\n"), b"Subject: a\r\n\r\n")

    @given(
        st.lists(st.binary(max_size=60).map(lambda line: line.translate(None, b"\r\n\0")), max_size=4),
        st.text(st.characters(codec="utf-8", categories=("L", "N", "P")), min_size=1, max_size=12),
    )
    def test_all_else_stays(self, lines: list[bytes], tag: str) -> None:
        """Whatever the subject is: it reads as the tag and what was there, and every other octet is as it was."""
        value = b"\r\n ".join(lines)
        before = b"A: x\r\nSubject: " + value + b"\r\nB: y\r\n\r\n"
        was = HeaderSection(before)
        after = tagged(before, tag)
        now = HeaderSection(after)
        said = decode(was.first("subject"))
        if tag in said[: 41 + len(tag)]:
            self.assertEqual(after, before)
            return
        # Blanks between two encoded words are nothing (RFC 2047 section 6.2).
        self.assertEqual(decode(now.first("subject")).replace(" ", ""), (tag + said).replace(" ", ""))
        self.assertEqual([one.raw for one in now.fields if one.name != "subject"], [b"A: x\r\n", b"B: y\r\n"])


class FieldTests(SynchronousTestCase):
    """`fields` and `strip`."""

    def test_nobody_else_s(self) -> None:
        """Forged ones go, however they are spelt; ours stand on top in their order."""
        section, edits = HeaderSection(b"x-a: 1\r\nB: 2\r\nX-A:\r\n 3\r\n\r\n"), EditList()
        for edit in (*strip(section, ["x-a"], "rules"), *fields({"X-A": "4", "X-B": "5"}, "rules/one")):
            edits.append(edit)
        self.assertEqual(edits.apply(section), (b"X-A: 4\r\nX-B: 5\r\nB: 2\r\n\r\n", ()))
