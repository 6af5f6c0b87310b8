"""Tests of smtpgate.examine.reading: places of documents in which text stands that their authors forget."""

from __future__ import annotations

import base64

from twisted.trial.unittest import SynchronousTestCase

from smtpgate.examine.dlp.catalogue import CATALOGUE
from smtpgate.examine.dlp.scan import Searcher
from smtpgate.examine.dlp.tally import Tally
from smtpgate.examine.reading import read_file
from tests.reading_kit import odf, package, sheet

NUMBER = "4111111111111111"
CARDS = Searcher([CATALOGUE["card"]])


def sureness(name: str, content: bytes) -> str:
    """How sure the card in a file is; "" where none is found."""
    tally = Tally()
    for piece in read_file(content, name).pieces:
        CARDS.search(piece.text, piece.path, tally)
    return next((match["confidence"] for match in tally.matches()), "")


def word(body: str, **parts: str) -> bytes:
    """A document of this body; parts by their path with "__" for a slash."""
    held = {"word/document.xml": f'<w:document xmlns:w="w"><w:body>{body}</w:body></w:document>'}
    held |= {name.replace("__", "/") + ".xml": text for name, text in parts.items()}
    return package("wordprocessingml.document", held)


class PlaceTests(SynchronousTestCase):
    """Each holds a number with its word, and nowhere else."""

    def test_documents(self) -> None:
        """Fields and deleted text in runs, symbols, ruby, controls, properties."""
        instr = "<w:r><w:instrText>{}</w:instrText></w:r>"
        gone = "<w:r><w:delText>{}</w:delText></w:r>"
        signs = "".join(f'<w:r><w:sym w:font="x" w:char="F0{ord(one):02X}"/></w:r>' for one in NUMBER)
        for body in (
            instr.format("card 4111") + instr.format(NUMBER[4:]), gone.format("card 4111") + gone.format(NUMBER[4:]),
            f"<w:r><w:t>card </w:t></w:r>{signs}",
            "<w:r><w:t>card </w:t><w:ruby><w:rt><w:r><w:t>x</w:t></w:r></w:rt>"
            f"<w:r><w:t>{NUMBER}</w:t></w:r></w:ruby></w:r>",
            f'<w:sdt><w:sdtPr><w:alias w:val="card {NUMBER}"/></w:sdtPr></w:sdt>',
            f'<w:sdt><w:listItem w:displayText="card {NUMBER}" w:value="x"/></w:sdt>',
        ):  # fmt: skip
            self.assertEqual(sureness("a.docx", word(f"<w:p>{body}</w:p>")), "high", body)
        named = (
            f'<Properties><property name="card"><vt:lpwstr xmlns:vt="v">{NUMBER}</vt:lpwstr></property></Properties>'
        )
        self.assertEqual(sureness("a.docx", word("<w:p/>", docProps__custom=named)), "high")

    def test_sheets(self) -> None:
        """Rules for what may be entered, looks, pivot tables, names of tables, links, headers, connections."""
        for path, text in (
            ("xl/pivotCache/r", f'<pivotCacheRecords><r><s v="card"/><n v="{NUMBER}"/></r></pivotCacheRecords>'),
            ("xl/tables/t", f'<table name="T"><tableColumn id="1" name="card {NUMBER}"/></table>'),
            ("xl/connections", f'<connections><dbPr connection="card {NUMBER}"/></connections>'),
            ("xl/worksheets/b", f'<worksheet><dataValidation prompt="card {NUMBER}"/></worksheet>'),
            ("xl/worksheets/b", f'<worksheet><formula1>"card {NUMBER}"</formula1></worksheet>'),
            ("xl/worksheets/b", f'<worksheet><cfRule><formula>"card {NUMBER}"</formula></cfRule></worksheet>'),
            ("xl/worksheets/b", f'<worksheet><hyperlink display="card {NUMBER}"/></worksheet>'),
            ("xl/worksheets/b", f"<worksheet><oddHeader>&amp;Lcard {NUMBER}</oddHeader></worksheet>"),
            ("xl/tags/a", f'<tagLst><tag name="x" val="card {NUMBER}"/></tagLst>'),
            ("xl/comments/m", f"<cmLst><p><r><t>card 4111</t></r><r><t>{NUMBER[4:]}</t></r></p></cmLst>"),
        ):
            self.assertEqual(sureness("a.xlsx", sheet("<row/>", **{path: text})), "high", text)

    def test_open_documents(self) -> None:
        """Formulas, names and conditions of tables; blanks and line ends of the file are one blank."""
        for body in (
            f'<table:table-cell table:formula="of:=&quot;card {NUMBER}&quot;"><text:p>x</text:p></table:table-cell>',
            f'<table:table table:name="card {NUMBER}"/>', f'<table:x table:condition="is(&quot;card {NUMBER}&quot;)"/>',
            "<text:p>card 4111\n   1111\n   1111 1111</text:p>",
        ):  # fmt: skip
            self.assertEqual(sureness("a.odt", odf("text", body)), "high", body)

    def test_texts_and_pages(self) -> None:
        """Line ends in a page are blanks; texts in two alphabets, values in base64, spans of pictures."""
        long = "Please book the flights and the hotel with my card number"
        coded = base64.b64encode(f"card {NUMBER}".encode()).decode()
        for name, text in (
            ("a.html", "<p>card 4111 1111\n1111 1111</p>"),
            ("a.html", "<p>card 4\u03011\ufe0f11\u202d1111\u202c11111111</p>"),
            ("a.svg", f"<svg xmlns='s'><text>card <tspan>4111</tspan>{NUMBER[4:]}</text></svg>"),
            ("a.vcf", f"BEGIN:VCARD\r\nNOTE;ENCODING=b:{coded}\r\nEND:VCARD\r\n"),
            ("a.rtf", rf"{{\rtf1{{\upr{{x}}{{\*\ud{{card {NUMBER}}}}}}}}}"),
            ("a.txt", f"{long} 4111 1111\r\n1111 1111 today"), ("a.txt", f"> {long} 4111-1111-\n> 1111-1111 today"),
            ("a.txt", f"{long} 4111 1111 \r\n1111 1111 today"),
            ("a.csv", "Export of May\r\n\r\nname;card\r\n" + "somebody;1\r\n" * 500 + f'"a; b";{NUMBER}\r\n'),
        ):  # fmt: skip
            self.assertEqual(sureness(name, text.encode()), "high", (name, text))

    def test_what_is_no_break_of_a_number(self) -> None:
        """Short lines are lists; lines in `pre` are lines."""
        for name, text in (
            ("a.txt", "card 4111 1111\n1111 1111\n"), ("a.html", "<pre>card 4111 1111\n1111 1111</pre>"),
        ):  # fmt: skip
            self.assertEqual(sureness(name, text.encode()), "", text)
