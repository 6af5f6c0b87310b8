"""Where a PDF file has text beside that of its pages, and pages that are drawn in another order than they are read."""

from __future__ import annotations

import io

from twisted.trial.unittest import SynchronousTestCase

from smtpgate.examine.reading import Limits, read_file
from tests.files_kit import numbered, stream
from tests.reading_kit import CARD, SECRET
from tests.test_examine_reading_places import sureness

SAID = f"({SECRET})".encode()
SHOWN = b"BT /F1 12 Tf 50 700 Td " + SAID + b" Tj ET"
FORM = b"/Type /XObject /Subtype /Form /BBox [0 0 600 800] "
FONTS = b"/Resources << /Font << /F1 4 0 R >> >>"
XML = f"<xdp:xdp xmlns:xdp='x'><kind>credit card</kind><number>{CARD}</number></xdp:xdp>"


def pdf(
    *more: bytes, root: bytes = b"", page: bytes = b"", shown: bytes = b"", fonts: bytes = b"", resources: bytes = b""
) -> bytes:
    """A file with one page; `more` are its objects from 6 on."""
    return numbered(
        [
            b"<< /Type /Catalog /Pages 2 0 R " + root + b" >>",
            b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents 5 0 R /Resources << /Font << /F1 4 0 R "
            + fonts + b" >> " + resources + b" >> " + page + b" >>",
            b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
            stream(shown),
            *more,
        ]
    )  # fmt: skip


def note(kind: bytes, *more: bytes) -> bytes:
    """A file with a note."""
    return pdf(b"<< /Type /Annot /Rect [0 0 9 9] " + kind + b" >>", *more, page=b"/Annots [6 0 R]")


def field(held: bytes, *more: bytes) -> bytes:
    """A file with a field of a form."""
    return pdf(b"<< " + held + b" >>", *more, root=b"/AcroForm << /Fields [6 0 R] >>")


def drawn(places: range, text: str = CARD) -> bytes:
    """Each letter by itself, at its place on one line, in that order."""
    rest = b"".join(b"BT /F1 12 Tf %.2f 700 Td (%c) Tj ET " % (120 + 6.67 * at, ord(text[at])) for at in places)
    return rest + b"BT /F1 12 Tf 50 700 Td (credit card) Tj ET"


PLACES = {
    "look": note(b"/Subtype /Stamp /AP << /N 7 0 R >>", stream(SHOWN, FORM + FONTS)),
    "look of a state": note(b"/Subtype /Widget /AP << /N << /On 7 0 R >> >>", stream(SHOWN, FORM + FONTS)),
    "look without fonts": note(b"/Subtype /Widget /AP << /N 7 0 R >>", stream(SHOWN, FORM)),
    "rich note": note(b"/Subtype /FreeText /RC (<p>" + SAID[1:-1] + b"</p>)"),
    "script of a note": note(b"/Subtype /Link /A << /S /JavaScript /JS " + SAID + b" >>"),
    "file of a note": note(
        b"/Subtype /FileAttachment /FS << /F (a.txt) /EF << /F 7 0 R >> >>",
        stream(SECRET.encode(), b"/Type /EmbeddedFile"),
    ),
    "value in a stream": field(b"/FT /Tx /V 7 0 R", stream(SECRET.encode())),
    "rich value": field(b"/FT /Tx /RV (<body><p>" + SAID[1:-1] + b"</p></body>)"),
    "choice": field(b"/FT /Ch /Opt [[(a) " + SAID + b"]] /V (a)"),
    "button": field(b"/FT /Btn /T (credit card) /V /" + CARD.encode()),
    "xfa": pdf(stream(XML.encode()), root=b"/AcroForm << /XFA 6 0 R >>"),
    "xfa in packets": pdf(
        stream(XML[:9].encode(), is_deflated=False), stream(XML[9:].encode()),
        root=b"/AcroForm << /XFA [(a) 6 0 R (b) 7 0 R] >>"),
    "xfa of two octets": pdf(stream(XML.encode("utf-16")), root=b"/AcroForm << /XFA 6 0 R >>"),
    "in place": pdf(shown=b"/Span << /ActualText " + SAID + b" >> BDC BT /F1 9 Tf (xx) Tj ET EMC"),
    "in place of letters": pdf(shown=b"".join(
        b"/Span << /ActualText (%c) >> BDC BT /F1 9 Tf (x) Tj ET EMC " % one for one in SAID[1:-1])),
    "in place by name": pdf(shown=b"/Span /P1 BDC BT /F1 9 Tf (xx) Tj ET EMC",
                            resources=b"/Properties << /P1 << /ActualText " + SAID + b" >> >>"),
    "structure": pdf(b"<< /Type /StructTreeRoot /K [7 0 R] >>", b"<< /S /Figure /P 6 0 R /Alt " + SAID + b" >>",
                     root=b"/StructTreeRoot 6 0 R"),
    "pattern": pdf(stream(SHOWN, b"/PatternType 1 /PaintType 1 /TilingType 1 /BBox [0 0 9 9] /XStep 9 /YStep 9 "
                          + FONTS), resources=b"/Pattern << /P1 6 0 R >>"),
    "file of the whole": pdf(
        b"<< /F (a.txt) /EF << /F 7 0 R >> >>", stream(SECRET.encode()), root=b"/AF [6 0 R]"),
    "script at opening": pdf(root=b"/OpenAction << /S /JavaScript /JS " + SAID + b" >>"),
    "script by name": pdf(root=b"/Names << /JavaScript << /Kids [<< /Names [(a) << /S /JavaScript /JS " + SAID
                          + b" >>] >>] >> >>"),
    "from right to left": pdf(shown=drawn(range(15, -1, -1))),
    "letters in their order": pdf(shown=drawn(range(16))),
}  # fmt: skip


class PlaceTests(SynchronousTestCase):
    """Text that no page shows as such."""

    def test_each_place(self) -> None:
        """The number is found with its evidence, and nothing else is amiss."""
        for name, content in PLACES.items():
            self.assertEqual(sureness("a.pdf", content), "high", name)
            self.assertEqual(read_file(content, "a.pdf", Limits()).unread, (), name)

    def test_once(self) -> None:
        """A file that hangs on several things is given once, and a look that several notes have."""
        from pypdf import PdfReader, PdfWriter

        writer = PdfWriter(clone_from=PdfReader(io.BytesIO(pdf())))
        writer.add_attachment("a.txt", SECRET.encode())
        out = io.BytesIO()
        writer.write(out)
        content = out.getvalue()
        self.assertEqual(sum(SECRET in one.text for one in read_file(content, "a.pdf", Limits()).pieces), 1)
        notes = b"<< /Type /Annot /Subtype /Stamp /Rect [0 0 9 9] /AP << /N 6 0 R >> >> " * 3
        content = pdf(stream(SHOWN, FORM + FONTS), page=b"/Annots [" + notes + b"]", root=b"/AF [7 0 R 7 0 R]")
        text = "".join(one.text for one in read_file(content, "a.pdf", Limits()).pieces)
        self.assertEqual(text.count(CARD), 1)

    def test_places_without_end(self) -> None:
        """Blanks that would stand between letters far apart are no text, and nothing else is lost for them."""
        far = b"".join(b"BT /F1 12 Tf %d 700 Td (a) Tj ET " % (10**7 - 10**4 * at) for at in range(900))
        found = read_file(pdf(shown=far + SHOWN), "a.pdf", Limits())
        self.assertEqual(found.unread, ())
        self.assertLess(sum(len(one.text) for one in found.pieces), 20_000)
        self.assertTrue(any(SECRET in one.text for one in found.pieces))

    def test_walks_end(self) -> None:
        """In a circle they do, and where nothing is what it should be."""
        for content in (
            pdf(b"<< /Type /StructTreeRoot /K [6 0 R 6 0 R] /T (x) >>", root=b"/StructTreeRoot 6 0 R"),
            pdf(b"<< /Kids [6 0 R] /Names [1 2 (x)] >>", root=b"/Names << /JavaScript 6 0 R >>"),
            pdf(b"<< /S /JavaScript /JS 7 /Next 6 0 R >>", root=b"/OpenAction 6 0 R /AF 6 0 R"),
            pdf(b"[6 0 R]", root=b"/StructTreeRoot 6 0 R /AF 6 0 R"),
            note(b"/AP << /N << /On 6 0 R >> /D [1] >> /FS 6 0 R /AF [6 0 R 1]"),
            field(b"/V [[(a) [(b)]]] /Opt 6 0 R /RV 6 0 R"),
        ):
            self.assertLessEqual({one.why for one in read_file(content, "a.pdf", Limits()).unread}, {"broken"})
