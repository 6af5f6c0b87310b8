"""smtpgate.examine.files: attachments with all that is inside them, within one budget."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.examine.budget import MEMBERS, NOTES, OCTETS, Budget
from smtpgate.examine.facts import FLAGS, KINDS, Facts, File, from_plain, to_plain
from smtpgate.examine.files import Context, FoundLink, FoundText, look_at_file
from smtpgate.examine.names import RUNS
from tests.files_kit import (
    PROGRAM,
    budget,
    compound,
    docx,
    flags_of,
    macro_project,
    native,
    packed,
    page,
    pdf,
    rar5,
    stream,
    tnef,
)

MAIL = b"From: a@example.org\r\nTo: b@example.net\r\nSubject: x\r\n\r\nhi\r\n"


def look(
    content: bytes, name: str | Sequence[str] = "", claimed: str = "", context: Context | None = None
) -> list[File]:
    names = [name] if isinstance(name, str) and name else list(name)
    return look_at_file(content, names, claimed, "1.2", 0, context or Context(budget()))


def told(files: Sequence[File]) -> list[tuple[str, str, set[str]]]:
    return [(one.path, one.kind, set(one.flags)) for one in files]


def nested(times: int, content: bytes = PROGRAM, name: str = "run.exe") -> bytes:
    """ZIP files inside one another."""
    for number in range(times):
        content, name = packed({name: content}), f"{number}.zip"
    return content


class FileTests(SynchronousTestCase):
    """One file."""

    def test_what_is_told_of_a_file(self) -> None:
        """All of it, and it travels as JSON."""
        [file] = look_at_file(
            PROGRAM, ["a.pdf", "b.pdf"], "application/pdf", "2.1", 0, Context(budget()), is_inline=True
        )
        self.assertEqual(
            file,
            File(
                path="a.pdf",
                names=("a.pdf", "b.pdf"),
                part="2.1",
                depth=0,
                claimed="application/pdf",
                kind="executable",
                detail="PE",
                octets=len(PROGRAM),
                digest=hashlib.sha256(PROGRAM).hexdigest(),
                is_inline=True,
                flags=frozenset({"type-mismatch"}),
            ),
        )
        facts = Facts(files=(file,))
        self.assertEqual(from_plain(to_plain(facts)), facts)

    def test_a_file_without_a_name_has_that_of_its_part(self) -> None:
        """And its members have a number where they have no name."""
        self.assertEqual(look(b"x")[0].path, "part-1.2")
        self.assertEqual(look(gzip.compress(PROGRAM))[1].path, "part-1.2/member-1")

    def test_a_message_label_is_for_the_outer_file_only(self) -> None:
        """Members carry none."""
        files = look(packed({"a.txt": b"x"}), "a.zip", "application/zip")
        self.assertEqual([one.claimed for one in files], ["application/zip", ""])


class CaseTests(SynchronousTestCase):
    """The attachments of the bug reports."""

    def test_a_program_in_an_archive(self) -> None:
        """Regressions B-75 and B-92: its name and its kind count, whatever the archive is called."""
        for name, claimed in (("files.zip", "application/zip"), ("scan.gz", "application/gzip"), ("", "")):
            files = look(packed({"readme.txt": b"hello\n", "run.exe": PROGRAM}), name, claimed)
            self.assertEqual([one.kind for one in files], ["archive", "text", "executable"], name)
            self.assertEqual((files[2].depth, files[2].flags), (1, {"bad-name"}))

    def test_winmail_dat(self) -> None:
        """Regression B-99."""
        files = look(tnef((b"tool.exe", PROGRAM)), "winmail.dat", "application/ms-tnef")
        self.assertEqual(told(files)[1], ("winmail.dat/tool.exe", "executable", {"bad-name"}))

    def test_names_that_mislead(self) -> None:
        """Regressions B-69, B-71, B-73, B-79."""
        self.assertEqual(look(b"harmless", "attached.bat")[0].flags, {"bad-name"})
        self.assertTrue(look(b"harmless", "invoice\u202efdp.exe")[0].flags >= {"bad-name", "bidi-name"})
        self.assertEqual(look(b"a;b\n", "orders.csv", "text/csv")[0].flags, frozenset())
        self.assertEqual(look(b"harmless", "page.js")[0].flags, {"bad-name"})


class InsideTests(SynchronousTestCase):
    """Files inside files."""

    def test_everything_is_opened_on_the_way_down(self) -> None:
        """An archive in a packed tar, an object in a document, a file in a PDF, all in one."""
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w:gz") as archive:
            member = tarfile.TarInfo("in.zip")
            inner = packed({"run.exe": PROGRAM})
            member.size = len(inner)
            archive.addfile(member, io.BytesIO(inner))
        self.assertEqual(
            [one.path for one in look(out.getvalue(), "a.tgz")],
            ["a.tgz", "a.tgz/a.tar", "a.tgz/a.tar/in.zip", "a.tgz/a.tar/in.zip/run.exe"],
        )
        embedded = docx({"word/embeddings/o.bin": compound({"\1Ole10Native": native("run.exe", PROGRAM)})})
        held = pdf(
            page(),
            stream(packed({"x.docx": embedded}), b"/Type /EmbeddedFile"),
            b"<< /Type /Filespec /F (in.zip) /UF (in.zip) /EF << /F 4 0 R >> >>",
            catalog=b"/Names << /EmbeddedFiles << /Names [(in.zip) 5 0 R] >> >>",
        )
        files = look(held, "a.pdf")
        self.assertEqual(files[-1].path, "a.pdf/in.zip/x.docx/run.exe")
        self.assertEqual((files[-1].kind, files[-1].depth), ("executable", 3))
        self.assertIn("embedded-program", files[2].flags)
        self.assertNotIn("embedded-program", files[0].flags)

    def test_a_file_of_two_kinds_is_looked_at_as_both(self) -> None:
        """A PDF with a link that is an archive with a program."""
        link = b"<< /Subtype /Link /Rect [0 0 9 9] /A << /S /URI /URI (https://evil.example.org/) >> >>"
        context = Context(budget())
        files = look(pdf(page(b"4 0 R"), link) + packed({"run.exe": PROGRAM}), "a.pdf", "application/pdf", context)
        self.assertEqual([one.kind for one in files], ["archive", "executable"])
        self.assertTrue(files[0].flags >= {"polyglot"})
        self.assertIn("also pdf", files[0].notes)
        self.assertEqual([link.url for link in context.links], ["https://evil.example.org/"])

    def test_an_archive_that_claims_to_be_a_document(self) -> None:
        """Sent as an archive it is opened as one; sent as a document its foreign members are seen."""
        content = docx({"run.exe": PROGRAM, "page.html": b"<html>"})
        self.assertIn("files.zip/page.html", [one.path for one in look(content, "files.zip", "application/zip")])
        files = look(content, "files.docx")
        self.assertEqual([one.path for one in files], ["files.docx", "files.docx/run.exe"])
        self.assertIn("embedded-program", files[0].flags)

    def test_a_locked_member_counts_by_its_name(self) -> None:
        """Nothing else is known of it; a word of the message would open it."""
        content = rar5("run.exe", PROGRAM, is_locked=True)
        self.assertEqual(
            told(look(content, "a.rar")),
            [("a.rar", "archive", {"encrypted"}), ("a.rar/run.exe", "executable", {"bad-name", "encrypted"})],
        )

    def test_macros_in_an_archive(self) -> None:
        """A document is looked at wherever it stands."""
        project = compound(macro_project('Sub AutoOpen()\r\nShell "x"\r\nEnd Sub\r\n'))
        files = look(packed({"a.docx": docx({"word/vbaProject.bin": project})}), "a.zip")
        self.assertEqual(files[1].flags, {"macro", "macro-autorun", "macro-suspicious"})

    def test_a_table_that_runs_a_command(self) -> None:
        """In a cell of a text file."""
        self.assertIn("dde", look(b"a,b\r\n1,=cmd|'/c calc'!A0\r\n", "a.csv")[0].flags)
        self.assertEqual(look(b"a,b\r\n1,=A1+B1\r\n", "a.csv")[0].flags, frozenset())


class HookTests(SynchronousTestCase):
    """What goes out to others."""

    def test_markup_and_its_flags(self) -> None:
        """HTML, SVG, applications of HTML, and the body of a winmail.dat, with their paths."""
        seen: list[tuple[bytes, str]] = []

        def on_markup(content: bytes, name: str) -> set[str]:
            seen.append((content, name))
            return {"html-script"}

        for content, name in (
            (b"<html><script>x</script>", "a.html"),
            (b"<svg xmlns='x'><script/></svg>", "a.svg"),
            (b"<html><hta:application>", "a.hta"),
        ):
            files = look(packed({name: content}), "a.zip", context=Context(budget(), on_markup=on_markup))
            self.assertIn("html-script", files[1].flags, name)
            self.assertEqual(seen.pop(), (content, f"a.zip/{name}"))
            seen.clear()

    def test_messages_inside(self) -> None:
        """Their files stand below the message, one layer deeper."""

        def on_message(content: bytes) -> list[File]:
            self.assertEqual(content, MAIL)
            return [File("run.exe", kind="executable", part="2", depth=0), File("a.zip/x", part="3", depth=1)]

        files = look(packed({"mail.eml": MAIL}), "a.zip", context=Context(budget(), on_message=on_message))
        self.assertEqual(
            [(one.path, one.depth, one.part) for one in files[2:]],
            [("a.zip/mail.eml/run.exe", 2, "1.2"), ("a.zip/mail.eml/a.zip/x", 3, "1.2")],
        )

    def test_messages_in_messages_share_the_layers(self) -> None:
        """A message that holds itself ends at the limit, though each counts its depth anew."""
        context = Context(budget())

        def on_message(content: bytes) -> list[File]:
            return look_at_file(packed({"mail.eml": MAIL}), ["a.zip"], "", "1", 0, context)

        context.on_message = on_message
        files = look(MAIL, "mail.eml", context=context)
        self.assertIn("too-deep", flags_of(files))
        self.assertEqual(context.budget.limits, ("depth",))
        self.assertLess(len(files), 10)

    def test_a_hook_that_fails(self) -> None:
        """The file is told as broken, and the rest of the archive is looked at."""

        def on_markup(content: bytes, name: str) -> Any:
            raise RuntimeError("fault")

        files = look(
            packed({"a.html": b"<html>", "run.exe": PROGRAM}), "a.zip", context=Context(budget(), on_markup=on_markup)
        )
        self.assertEqual([one.flags for one in files], [frozenset(), {"broken"}, {"bad-name"}])

    def test_links_and_texts(self) -> None:
        """With where they stood."""
        link = b"<< /Subtype /Link /Rect [0 0 9 9] /A << /S /URI /URI (https://evil.example.org/) >> >>"
        text = stream(b"BT /F1 12 Tf 10 10 Td (Pay now) Tj ET")
        font = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"
        content = pdf(page(b"4 0 R", b"/Contents 5 0 R /Resources << /Font << /F1 6 0 R >> >>"), link, text, font)
        context = Context(budget())
        look(packed({"a.pdf": content}), "a.zip", context=context)
        self.assertEqual(context.links, [FoundLink("https://evil.example.org/", "", "pdf", "a.zip/a.pdf")])
        self.assertEqual(context.texts, [FoundText("Pay now", "a.zip/a.pdf")])

    def test_codes_in_pictures(self) -> None:
        """A link like any other; only so many pictures are searched."""
        try:
            import zxingcpp
            from PIL import Image
        except ImportError:
            return
        made = zxingcpp.create_barcode("https://evil.example.org/", zxingcpp.BarcodeFormat.QRCode)
        picture = Image.new("L", (200, 200), 255)
        picture.paste(Image.fromarray(zxingcpp.write_barcode_to_image(made, scale=4)), (10, 10))
        out = io.BytesIO()
        picture.save(out, "PNG")
        context = Context(budget(), pictures=2)
        look(packed({f"{number}.png": out.getvalue() for number in range(3)}), "a.zip", context=context)
        self.assertEqual(
            [(one.source, one.part) for one in context.links], [("qr", "a.zip/0.png"), ("qr", "a.zip/1.png")]
        )


class LimitTests(SynchronousTestCase):
    """One budget for all."""

    def test_layers(self) -> None:
        """What lies deeper than five layers is not opened, and that is told."""
        files = look(nested(5), "a.zip")
        self.assertEqual((files[-1].kind, flags_of(files)), ("executable", {"bad-name"}))
        files = look(nested(6), "a.zip")
        self.assertEqual((len(files), files[-1].flags), (6, {"too-deep"}))

    def test_bombs_in_archives_of_archives(self) -> None:
        """Each that bursts is told; together they never unpack more than the budget."""
        bomb = packed({"zeros": bytes(50 << 20)})
        content = packed({f"{number}.zip": bomb for number in range(20)})
        context = Context(budget())
        files = look(packed({f"{number}.zip": content for number in range(5)}), "a.zip", context=context)
        self.assertEqual(len([one for one in files if one.kind == "archive" and "bomb" in one.flags]), 100)
        self.assertGreater(context.budget.octets, 80 << 20)

    def test_an_archive_that_holds_much_of_the_same(self) -> None:
        """Each layer below the ratio, all together far above the budget."""
        layer = packed({f"{number}": bytes(9 << 20) for number in range(4)})
        content = packed({f"{number}.zip": layer for number in range(40)}, zipfile.ZIP_STORED)
        context = Context(budget())
        files = look(content, "a.zip", context=context)
        self.assertIn("octets", context.budget.limits)
        self.assertTrue(flags_of(files) & {"bomb", "too-big"})

    def test_a_calendar_with_too_many_files(self) -> None:
        """What is not looked at is told; a colon in quotes ends nothing."""
        one = b"ATTACH;ENCODING=BASE64:AAAA\r\n"
        self.assertIn("too-many", look(b"BEGIN:VCALENDAR\r\n" + one * 101, "a.ics")[0].flags)
        value = base64.b64encode(PROGRAM)
        quoted = b'BEGIN:VCALENDAR\r\nATTACH;X-FILENAME="a:b.exe";ENCODING=BASE64:' + value[:40] + b"\r\n " + value[40:]
        self.assertEqual([file.kind for file in look(quoted, "a.ics")], ["calendar", "executable"])
        names = b";FILENAME=ABCDEF~1.DOC" * 5000
        self.assertLess(
            len(look(b"BEGIN:VCALENDAR\r\nATTACH;ENCODING=BASE64" + names + b":AAAA\r\n", "a.ics")[-1].names), 10
        )

    def test_members_of_all_archives_together(self) -> None:
        """So many, wherever they stand."""
        part = packed({f"{number}.txt": b"" for number in range(900)})
        context = Context(budget())
        files = look(packed({f"{number}.zip": part for number in range(9)}), "a.zip", context=context)
        self.assertEqual((len(files), context.budget.limits), (MEMBERS + 1, ("files",)))
        self.assertIn("too-many", flags_of(files))

    def test_time(self) -> None:
        """When the clock passes the end the rest is told as not looked at."""
        ticks = iter(range(1_000_000))
        context = Context(Budget(lambda: float(next(ticks)), 20.0))
        files = look(packed({f"{number}.zip": packed({"a": b"b"}) for number in range(50)}), "a.zip", context=context)
        self.assertIn("not-examined", files[0].flags)
        self.assertEqual(context.budget.limits, ("time",))

    def test_an_archive_that_holds_itself(self) -> None:
        """As a file would whose content is its own archive: the layers end it."""
        context = Context(budget())
        content = packed({"a.zip": b""})
        for _ in range(30):
            content = packed({"a.zip": content}, zipfile.ZIP_STORED)
        self.assertEqual(len(look(content, "a.zip", context=context)), 6)

    def test_notes_stay_few(self) -> None:
        """However much there is to say."""
        links = b" ".join(b"%d 0 R" % (number + 4) for number in range(60))
        actions = (
            b"<< /Subtype /Link /Rect [0 0 9 9] /A << /S /Launch /F (x%d) >> >>" % number for number in range(60)
        )
        self.assertEqual(len(look(pdf(page(links), *actions), "a.pdf")[0].notes), NOTES)


class ImportTests(SynchronousTestCase):
    """What it costs to have this at hand."""

    def test_no_reader_is_loaded_before_it_is_needed(self) -> None:
        """Importing the tie, and looking at a text, loads no library for content."""
        code = (
            "import sys; from smtpgate.examine.files import *; from smtpgate.examine.budget import Budget\n"
            "look_at_file(b'hello', ['a.txt'], '', '1', 0, Context(Budget(lambda: 0.0, 9.0)))\n"
            "heavy = 'oletools olefile pypdf PIL zxingcpp libarchive magic msoffcrypto twisted'.split()\n"
            "print([name for name in heavy if name in sys.modules])"
        )
        found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        self.assertEqual(found.stdout.strip(), "[]")


class AnyFileTests(SynchronousTestCase):
    """Whatever is attached."""

    @settings(max_examples=150, deadline=None)
    @given(
        st.sampled_from(
            [
                nested(3),
                docx({"run.exe": PROGRAM}),
                tnef((b"a.pdf", pdf())),
                pdf(page()) + nested(1),
                MAIL + nested(1),
                b"",
            ]
        ),
        st.lists(st.tuples(st.integers(0, 2000), st.binary(max_size=8)), max_size=4),
        st.lists(st.text(max_size=20), max_size=3),
        st.sampled_from(["", "application/zip", "image/png", "\0"]),
    )
    def test_nothing_raises(
        self, good: bytes, changes: list[tuple[int, bytes]], names: list[str], claimed: str
    ) -> None:
        """Files with kinds and flags that exist come out, and travel as JSON."""
        content = bytearray(good)
        for at, piece in changes:
            if content:
                content[at % len(content) : at % len(content) + len(piece)] = piece
        files = look(bytes(content), names, claimed)
        self.assertTrue({one.kind for one in files} <= KINDS)
        self.assertTrue(flags_of(files) <= FLAGS.keys())
        facts = Facts(files=tuple(files))
        self.assertEqual(from_plain(to_plain(facts)), facts)

    def test_the_limits_have_their_precedents(self) -> None:
        """They are facts that the documentation names."""
        self.assertEqual((OCTETS, MEMBERS), (100 << 20, 3000))
        self.assertNotIn("macro", RUNS)
