"""smtpgate.examine.pdf and pdfscan: actions, script, files, links and text of PDF files, whole and broken."""

from __future__ import annotations

import io
import sys
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.examine.budget import Looked
from smtpgate.examine.facts import FLAGS
from smtpgate.examine.pdf import TEXT_LETTERS, look_at_pdf
from smtpgate.examine.pdfscan import scan
from tests.files_kit import PROGRAM, budget, page, pdf, stream

LINK = b"<< /Type /Annot /Subtype /Link /Rect [0 0 9 9] /A << /S /URI /URI (https://evil.example.org/a) >> >>"
ATTACHED = pdf(
    page(),
    stream(PROGRAM, b"/Type /EmbeddedFile"),
    b"<< /Type /Filespec /F (old.exe) /UF (run.exe) /EF << /F 4 0 R >> >>",
    catalog=b"/Names << /EmbeddedFiles << /Names [(run.exe) 5 0 R] >> >>",
)


def looked(content: bytes, words: tuple[str, ...] = (), **limits: int) -> Looked:
    return look_at_pdf(content, budget(**limits), words)


def locked(user: str) -> bytes:
    """A file with a password for readers."""
    from pypdf import PdfReader, PdfWriter

    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(pdf(page(b"4 0 R"), LINK))))
    writer.encrypt(user, "owner", algorithm="AES-256")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def shown(text: str) -> bytes:
    """A page that shows a text."""
    return pdf(
        page(more=b"/Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >>"),
        stream(b"BT /F1 12 Tf 10 10 Td (" + text.encode() + b") Tj ET"),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    )


class ActionTests(SynchronousTestCase):
    """What a file does."""

    def test_a_plain_file_does_nothing(self) -> None:
        """Also one that opens at a page, as most producers write it."""
        self.assertEqual(looked(pdf()), Looked())
        self.assertEqual(looked(pdf(catalog=b"/OpenAction [3 0 R /Fit]")).flags, frozenset())
        self.assertEqual(looked(pdf(catalog=b"/OpenAction << /S /GoTo /D [3 0 R /Fit] >>")).flags, frozenset())

    def test_actions_when_opened(self) -> None:
        """Of the document, of its events, of a page, and one that follows another."""
        script = b"<< /S /JavaScript /JS (app.alert\\(1\\)) >>"
        for content in (
            pdf(catalog=b"/OpenAction " + script),
            pdf(catalog=b"/AA << /WC " + script + b" >>"),
            pdf(page(more=b"/AA << /O " + script + b" >>")),
            pdf(catalog=b"/OpenAction << /S /GoTo /D [3 0 R /Fit] /Next [" + script + b"] >>"),
            pdf(catalog=b"/Names << /JavaScript << /Names [(a) " + script + b"] >> >>"),
        ):
            self.assertEqual(looked(content).flags, {"pdf-javascript", "pdf-open-action"}, content)

    def test_programs_that_are_started(self) -> None:
        """By a link or when opened; the program is named."""
        action = b"<< /S /Launch /Win << /F (cmd.exe) /P (/c calc) >> >>"
        found = looked(pdf(page(b"4 0 R"), b"<< /Subtype /Link /Rect [0 0 9 9] /A " + action + b" >>"))
        self.assertEqual((found.flags, found.notes), ({"pdf-launch"}, ("starts cmd.exe",)))
        self.assertEqual(looked(pdf(catalog=b"/OpenAction " + action)).flags, {"pdf-launch", "pdf-open-action"})

    def test_names_whose_octets_are_written_out(self) -> None:
        """In the clear, and in an object stream that nothing refers to."""
        hidden = stream(b"5 0 << /S /J#61vaScript /#4A#53 (x) >>", b"/Type /Obj#53tm /N 1 /First 4")
        for content in (pdf(page(), b"<< /S /#4a#61vaScript >>"), pdf(page(), hidden)):
            self.assertEqual(looked(content).flags, {"pdf-javascript"})

    def test_octets_of_pictures_are_no_names(self) -> None:
        """Three letters stand in any large stream by chance; longer names begin alike."""
        self.assertEqual(looked(pdf(page(), stream(b"/JS /Launch ", is_deflated=False))).flags, frozenset())
        self.assertEqual(scan(b"%PDF-1.4 /JSON /Launcher /AAA", budget()).names, frozenset())


class FormScriptTests(SynchronousTestCase):
    """JavaScript that Acrobat itself writes for fields."""

    def test_what_formats_and_adds(self) -> None:
        """Is nothing by itself; anything beside it is."""
        for call in ("AFNumber_Format\\(2, 0, 0, 0, , true\\);", 'AFSimple_Calculate\\("SUM", new Array \\("a"\\)\\)'):
            script = f"<< /Type /Annot /Subtype /Widget /AA << /F << /S /JavaScript /JS ({call}) >> >> >>".encode()
            self.assertEqual(looked(pdf(page(b"4 0 R"), script)).flags, frozenset(), call)
            other = b"<< /Type /Outlines /A << /S /JavaScript /JS (app.launchURL\\(1\\)) >> >>"
            self.assertEqual(looked(pdf(page(b"4 0 R"), script, other)).flags, {"pdf-javascript"}, call)
        for call in ("AFNumber_Format\\(1\\); app.launchURL\\(2\\)", "AFx" + "\\(\\)" * 30, "AFNum" + " " * 5000):
            script = f"<< /Type /Annot /Subtype /Widget /AA << /F << /S /JavaScript /JS ({call}) >> >> >>".encode()
            self.assertEqual(looked(pdf(page(b"4 0 R"), script)).flags, {"pdf-javascript"}, call[:40])


class ContentTests(SynchronousTestCase):
    """What a file holds."""

    def test_files_inside(self) -> None:
        """With both of their names; as a note on a page too."""
        [member] = looked(ATTACHED).members
        self.assertEqual((set(member.names), member.content), ({"run.exe", "old.exe"}, PROGRAM))
        found = looked(
            pdf(
                page(b"6 0 R"),
                stream(PROGRAM, b"/Type /EmbeddedFile"),
                b"<< /Type /Filespec /F (run.exe) /EF << /F 4 0 R >> >>",
                b"<< /Subtype /FileAttachment /FS 5 0 R >>",
            )
        )
        self.assertEqual((found.flags, [one.content for one in found.members]), ({"pdf-embedded"}, [PROGRAM]))

    def test_links(self) -> None:
        """Each once, also where the structure cannot be read, with brackets in it."""
        content = pdf(page(b"4 0 R 5 0 R"), LINK, LINK.replace(b"/a)", b"/b\\(1\\))"))
        links = (("https://evil.example.org/a", ""), ("https://evil.example.org/b(1)", ""))
        self.assertEqual(looked(content).links, links)
        self.assertEqual(looked(content[: content.index(b"xref")]).links, links)

    def test_text(self) -> None:
        """What a person reads on the first pages, at most so much."""
        self.assertEqual(looked(shown("Pay now")).text, "Pay now")
        self.assertLessEqual(len(looked(shown("word " * 30_000)).text), TEXT_LETTERS)


class LockedTests(SynchronousTestCase):
    """Files with passwords."""

    def test_a_lock_that_opens_for_everybody(self) -> None:
        """Without a password for readers the file is read."""
        self.assertEqual(looked(locked("")).links, (("https://evil.example.org/a", ""),))
        self.assertEqual(looked(locked("")).flags, frozenset())

    def test_a_lock_with_a_password(self) -> None:
        """A fact; and opened where the message tells it."""
        content = locked("secret1")
        self.assertEqual(looked(content).flags, {"encrypted"})
        found = looked(content, ("wrong", "secret1"))
        self.assertEqual((found.flags, len(found.links)), ({"password-in-text"}, 1))


class BrokenTests(SynchronousTestCase):
    """Files that no reader reads, and a reader that is not there."""

    def test_what_was_seen_of_a_broken_file(self) -> None:
        """The octets still say that it acts."""
        content = pdf(catalog=b"/OpenAction << /S /Launch /F (x) >>")
        self.assertEqual(looked(content[:120]).flags, {"broken", "pdf-launch", "pdf-open-action"})
        self.assertEqual(looked(b"%PDF-1.4 garbage").flags, {"broken"})
        self.assertEqual(looked(b"").flags, {"broken"})

    def test_without_pypdf(self) -> None:
        """The scan stands alone, and says so."""
        with patch.dict(sys.modules, {"pypdf": None}):
            self.assertEqual(looked(pdf(page(), b"<< /S /JavaScript >>")).flags, {"pdf-javascript", "unopened"})

    def test_limits(self) -> None:
        """No time, no octets, streams that burst."""
        self.assertIn("not-examined", look_at_pdf(pdf(), budget(seconds=-1.0)).flags)
        self.assertIn("too-big", looked(ATTACHED, octets=10).flags)
        burst = stream(bytes(50 << 20), b"/Type /ObjStm /N 1 /First 4")
        limits = budget()
        look_at_pdf(pdf(page(), burst, burst), limits)
        self.assertGreater(limits.octets, 90 << 20)

    def test_input_that_invites_slow_patterns(self) -> None:
        """Streams, names and strings without end are passed once."""
        for piece in (
            b"stream\n",
            b"/URI (",
            b"/URI (\\",
            b"#4A",
            b"/JS",
            b"<<",
            b"[",
            b"( ",
            b"1 0 obj ",
            b"endstream",
        ):
            found = scan(b"%PDF-1.4\n" + piece * (300_000 // len(piece)), budget())
            self.assertFalse(found.has_end)

    @settings(max_examples=100, deadline=None)
    @given(
        st.sampled_from([ATTACHED, pdf(page(b"4 0 R"), LINK), shown("Pay now"), pdf(page(), stream(b"1 0 <</JS 1>>"))]),
        st.lists(st.tuples(st.integers(0, 2000), st.binary(max_size=8)), max_size=5),
        st.integers(0, 2000),
    )
    def test_nothing_raises(self, good: bytes, changes: list[tuple[int, bytes]], cut: int) -> None:
        """Octets changed or cut off: flags that exist come out."""
        content = bytearray(good)
        for at, piece in changes:
            content[at % len(content) : at % len(content) + len(piece)] = piece
        self.assertTrue(looked(bytes(content[: cut or None])).flags <= FLAGS.keys())
