"""smtpgate.examine.reading: the text of mail, of the documents in it, and what could not be read."""

from __future__ import annotations

import base64
import gzip
import io
import random
import struct

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.examine.gathering import SOURCES, WHYS
from smtpgate.examine.reading import Limits, Reading, Unread, read, read_file
from tests.files_kit import compound, docx, mapi, numbered, overlapping, packed, rar4, rar5, stream, tnef
from tests.reading_kit import (
    CARD,
    CONTAINERS,
    FORMATS,
    SECRET,
    TOKEN,
    atoms,
    biff,
    doc,
    in_word,
    locked_pdf,
    mail,
    odf,
    pdf,
    ppt,
    record,
    runs,
    seven,
    sheet,
    word,
    xls,
)


def all_of(found: Reading, *sources: str) -> str:
    return "\n".join(piece.text for piece in found.pieces if not sources or piece.source in sources)


def is_found(found: Reading) -> bool:
    """Whether both secrets are there, each whole and in one piece."""
    return any(CARD in piece.text for piece in found.pieces) and any(TOKEN in piece.text for piece in found.pieces)


def whys(found: Reading) -> set[str]:
    return {one.why for one in found.unread}


def locked_office(content: bytes, password: str) -> bytes:
    """A package as Office locks it: in a compound document with its key ([MS-OFFCRYPTO] section 2.3.4)."""
    from msoffcrypto.method.ecma376_agile import ECMA376Agile

    return bytes(ECMA376Agile.encrypt(password, io.BytesIO(content)))


class FormatTests(SynchronousTestCase):
    """The same text in every format."""

    def test_every_format_is_read(self) -> None:
        """Numbers are whole where programs cut them into runs, cells, lines and records; nothing is told as unread."""
        for name, make in FORMATS.items():
            found = read(mail((name, make(SECRET))))
            self.assertTrue(is_found(found), f"{name}: {found}")
            self.assertEqual(found.unread, (), name)
            self.assertTrue({piece.source for piece in found.pieces} <= set(SOURCES))

    def test_every_format_in_every_container_two_deep(self) -> None:
        """In two containers of each kind."""
        for outer, pack in CONTAINERS.items():
            for inner, pack_inner in CONTAINERS.items():
                for name in ("a.docx", "a.pdf", "utf8.txt"):
                    content = pack(inner, pack_inner(name, FORMATS[name](SECRET)))
                    self.assertTrue(is_found(read(mail((outer, content)))), f"{name} in {inner} in {outer}")

    def test_every_format_in_an_archive(self) -> None:
        """Each, with its path."""
        for name, make in FORMATS.items():
            found = read(mail(("a.zip", packed({f"b/{name}": make(SECRET)}))))
            self.assertTrue(is_found(found), name)
            places = {piece.path for piece in found.pieces if CARD in piece.text or TOKEN in piece.text}
            self.assertTrue(all(place.startswith(f"a.zip/b/{name}") for place in places), places)

    def test_archives_of_a_real_program(self) -> None:
        """7z in its usual form, and ZIP as that program packs it."""
        for kind in ("7z", "zip", "tar", "gzip", "bzip2", "xz"):
            self.assertTrue(is_found(read(mail((f"a.{kind}", seven("a.txt", SECRET.encode(), kind))))), kind)

    def test_a_file_by_itself(self) -> None:
        """As of one that is registered."""
        for name, make in FORMATS.items():
            self.assertTrue(is_found(read_file(make(SECRET), name)), name)

    def test_pictures_are_told_where_it_is_asked_for(self) -> None:
        """Logos would make each mail one that was not read."""
        picture = b"\x89PNG\r\n\x1a\n" + bytes(100)
        self.assertEqual(read(mail(("logo.png", picture))).unread, ())
        found = read(mail(("logo.png", picture)), Limits(tells_images=True))
        self.assertEqual(found.unread, (Unread("logo.png", "image"),))

    def test_what_is_not_read_is_told(self) -> None:
        """Programs, databases, notebooks, and octets that nobody knows."""
        for name, content in (
            ("a.exe", b"MZ" + bytes(58) + struct.pack("<I", 64) + b"PE\0\0" + bytes(200)),
            ("a.mdb", b"\0\1\0\0Standard Jet DB\0" + bytes(500)),
            ("a.one", bytes.fromhex("e4525c7b8cd8a74daeb15378d02996d3") + bytes(500)),
            ("a.bin", b"\x01\x9f" + random.Random(7).randbytes(3000)),
            ("a.xlsb", packed({"[Content_Types].xml": b"<Types/>", "xl/worksheets/sheet1.bin": b"\1\2\3"})),
        ):
            found = read(mail((name, content)))
            self.assertEqual(whys(found), {"unsupported"}, name)


class DocumentTests(SynchronousTestCase):
    """Corners of documents."""

    def test_places_of_a_word_document(self) -> None:
        """Headers, notes, comments, boxes, deleted text, variables, alternative texts, properties, links."""
        relations = (
            b'<Relationships><Relationship TargetMode="External" Target="https://x.example/?q=link-1"/></Relationships>'
        )
        parts = {
            "word/header1.xml": b"<w:hdr><w:p><w:r><w:t>head-1</w:t></w:r></w:p></w:hdr>",
            "word/footnotes.xml": b"<w:footnotes><w:footnote><w:p><w:t>note-1</w:t></w:p></w:footnote></w:footnotes>",
            "word/comments.xml": b"<w:comments><w:comment><w:p><w:t>com-1</w:t></w:p></w:comment></w:comments>",
            "word/settings.xml": b'<w:settings><w:docVar w:name="x" w:val="variable-1"/></w:settings>',
            "docProps/core.xml": b"<cp:coreProperties><dc:title>title-1</dc:title></cp:coreProperties>",
            "customXml/item1.xml": b"<data><row>custom-1</row></data>",
            "word/_rels/document.xml.rels": relations,
            "word/charts/chart1.xml": b"<c:chartSpace><c:v>chart-1</c:v></c:chartSpace>",
        }
        body = (
            "<w:p><w:r><w:t>4111</w:t></w:r><w:del><w:r><w:delText>gone-1</w:delText></w:r></w:del>"
            "<w:r><w:txbxContent><w:p><w:r><w:t>box-1</w:t></w:r></w:p></w:txbxContent></w:r>"
            "<w:r><w:instrText>field-1</w:instrText></w:r><w:r><w:t>2222</w:t></w:r></w:p>"
            '<wp:docPr id="1" descr="picture-1"/>'
        )
        found = read(mail(("a.docx", docx(parts, body=body))))
        text = all_of(found)
        for word_ in "head note com variable title custom link chart gone box field picture".split():
            self.assertIn(f"{word_}-1", text)
        self.assertIn("41112222", text, "what stands beside a line cuts it nowhere")

    def test_cells_stand_side_by_side(self) -> None:
        """Cells end with tabs and rows with line feeds, in tables of documents and in sheets."""
        cells = "<w:tc><w:p><w:t>a</w:t></w:p></w:tc><w:tc><w:p><w:t>b</w:t></w:p></w:tc>"
        self.assertIn("a\tb\n", all_of(read(mail(("a.docx", docx(body=f"<w:tr>{cells}</w:tr>"))))))
        rows = '<row><c t="str"><v>a</v></c><c><v>1</v></c></row><row><c t="str"><v>b</v></c></row>'
        self.assertIn("a\t1\nb\n", all_of(read(mail(("a.xlsx", sheet(rows))))))

    def test_numbers_have_all_their_digits(self) -> None:
        """As Excel stores them, and as a format of digits or a date shows them."""
        styles = (
            '<styleSheet><numFmts><numFmt numFmtId="164" formatCode="000\\-00\\-0000"/></numFmts>'
            '<cellStyleXfs><xf numFmtId="0"/></cellStyleXfs>'
            '<cellXfs><xf numFmtId="0"/><xf numFmtId="164"/><xf numFmtId="14"/></cellXfs></styleSheet>'
        )
        cells = (
            "<row><c><v>4.111111111111111E15</v></c><c><v>3.78282246310005E+14</v></c>"
            '<c s="1"><v>12345678</v></c><c s="2"><v>46083</v></c><c><v>0.1</v></c></row>'
        )
        text = all_of(read(mail(("a.xlsx", sheet(cells, xl__styles=styles)))))
        self.assertIn("4111111111111111\t378282246310005\t012-34-5678\t2026-03-02\t0.1\n", text)
        value = '<table:table-cell office:value="4111111111111111"><text:p>4.11E+15</text:p></table:table-cell>'
        found = read(mail(("a.ods", odf("spreadsheet", value))))
        self.assertIn("4.11E+15 4111111111111111", all_of(found))

    def test_records_of_old_workbooks(self) -> None:
        """Numbers in each form, texts beside cells, names of sheets."""
        card = struct.pack("<HHHd", 1, 0, 0, 378282246310005.0)
        small = struct.pack("<HHHI", 2, 0, 0, (1234567 << 2) | 2)
        many = struct.pack("<HH", 3, 0) + struct.pack("<HIHI", 0, (11 << 2) | 2, 0, (22 << 2) | 3) + b"\1\0"
        name = struct.pack("<IHBB", 0, 0, 7, 0) + b"sheet-1"
        note = record(0x1B6, bytes(18)) + record(0x3C, b"\0note-1") + record(0x3C, bytes(8))
        found = read(
            mail(
                (
                    "a.xls",
                    xls(
                        SECRET,
                        record(0x203, card),
                        record(0x27E, small),
                        record(0xBD, many),
                        record(0x85, name),
                        note,
                        record(0x204, struct.pack("<HHHHB", 4, 0, 0, 7, 0) + b"label-1"),
                    ),
                )
            )
        )
        text = all_of(found)
        for wanted in (CARD, "378282246310005", "1234567", "11\t0.22\n", "sheet-1", "note-1", "label-1"):
            self.assertIn(wanted, text)
        self.assertEqual(found.unread, ())

    def test_what_stands_beside_cells_of_old_workbooks(self) -> None:
        """A box whose text takes several records, choices of a cell, links."""
        long = b"y" * 8000 + b" box"
        head = bytes(10) + struct.pack("<HH", len(long) + len(SECRET), 16) + bytes(4)
        box = record(0x1B6, head) + record(0x3C, b"\0" + long) + record(0x3C, b"\1" + SECRET.encode("utf-16-le"))
        box += record(0x3C, b"\0runsruns")
        more = [record(kind, bytes(9) + f"seen-{kind}".encode()) for kind in (0x18, 0x1BE, 0x100D)]
        more.append(record(0x1B8, bytes(9) + "link-é-1".encode("utf-16-le") + bytes(2)))
        found = read(mail(("a.xls", xls("x", box, *more))))
        text = all_of(found)
        for wanted in ("y box" + SECRET, "seen-24", "seen-446", "seen-4109", "link-é-1"):
            self.assertIn(wanted, text)
        self.assertNotIn("runsruns", text)
        self.assertEqual(found.unread, ())

    def test_properties_of_outlook(self) -> None:
        """Of several values all, in both forms; a page is read as one; more of them than are read are told."""
        held = compound(
            {
                "__properties_version1.0": bytes(32),
                "__substg1.0_8001101F-00000000": "first".encode("utf-16-le"),
                "__substg1.0_8001101F-00000001": "second".encode("utf-16-le"),
                "__substg1.0_8002101E-00000001": b"third",
                "__substg1.0_1013001F": f"<p>{SECRET[:9]}<b>{SECRET[9:]}</b></p>".encode("utf-16-le"),
            }
        )
        text = all_of(read(mail(("a.msg", held))))
        for wanted in ("first", "second", "third", SECRET):
            self.assertIn(wanted, text)

        def winmail(value: bytes) -> bytes:
            return tnef() + struct.pack("<BII", 1, 0x00069003, len(value)) + value + bytes(2)

        values = struct.pack("<IHHI", 1, 0x101F, 0x3A, 2)
        for one in ("first", "second"):
            raw = one.encode("utf-16-le")
            values += struct.pack("<I", len(raw)) + raw + bytes(-len(raw) % 4)
        text = all_of(read(mail(("winmail.dat", winmail(values)))))
        self.assertIn("first\nsecond", text)
        many = winmail(mapi(*[(0x1F, 0x3A, b"x\0")] * 2001, (0x1F, 0x1000, b"y\0")))
        self.assertEqual(whys(read(mail(("winmail.dat", many)))), {"broken"})

    def test_documents_in_documents(self) -> None:
        """A workbook as an object in an old document, and a document embedded in a package."""
        inner = compound({"WordDocument": b"", "ObjectPool/_1/Workbook": biff(SECRET)})
        self.assertTrue(is_found(read(mail(("a.doc", inner)))))
        self.assertTrue(is_found(read(mail(("a.docx", in_word("b.bin", doc(SECRET)))))))

    def test_places_of_a_pdf_file(self) -> None:
        """Fields of forms, notes, bookmarks, properties."""
        bodies = [
            b"<< /Type /Catalog /Pages 2 0 R /AcroForm << /Fields [4 0 R] >> /Outlines 6 0 R >>",
            b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] /Annots [5 0 R] >>",
            b"<< /FT /Tx /T (name-1) /V (value-1) >>",
            b"<< /Type /Annot /Subtype /Text /Rect [0 0 9 9] /Contents (note-1) >>",
            b"<< /Type /Outlines /First 7 0 R /Last 7 0 R /Count 1 >>",
            b"<< /Title (mark-1) /Parent 6 0 R >>",
            b"<< /Title (title-1) >>",
        ]
        content = numbered(bodies).replace(b"/Root 1 0 R", b"/Root 1 0 R /Info 8 0 R")
        text = all_of(read(mail(("a.pdf", content))))
        for wanted in ("name-1", "value-1", "note-1", "mark-1", "title-1"):
            self.assertIn(wanted, text)

    def test_pages_that_are_pictures(self) -> None:
        """A scan is told; a page with a picture and text is none, nor an empty page."""

        def page(shown: bytes) -> bytes:
            bodies = [
                b"<< /Type /Catalog /Pages 2 0 R >>",
                b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
                b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 99 99] /Contents 4 0 R /Resources <<"
                b" /Font << /F1 6 0 R >> /XObject << /I 5 0 R >> >> >>",
                stream(shown),
                stream(b"\0", b"/Type /XObject /Subtype /Image /Width 1 /Height 1 /BitsPerComponent 8"),
                b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
            ]
            return numbered(bodies)

        self.assertEqual(read(mail(("a.pdf", page(b"/I Do")))).unread, (Unread("a.pdf", "empty-scan"),))
        self.assertEqual(read(mail(("a.pdf", page(b"/I Do BT /F1 9 Tf (hello there) Tj ET")))).unread, ())
        self.assertEqual(read(mail(("a.pdf", pdf("")))).unread, ())

    def test_letters_of_rtf(self) -> None:
        """By their number in a code page, in that of a font, in Unicode with what old readers see; groups beside."""
        body = (
            b"{\\rtf1\\ansi\\ansicpg1250{\\fonttbl{\\f0 A;}{\\f1\\fcharset204 B;}}{\\info{\\title T-1}}"
            b"\\'b3 {\\f1 \\'ea\\'eb}\\u8364?\\uc2\\u-10179??\\u-8704?? 41{\\*\\unknown X-1}{\\footnote N-1}11"
            b"{\\pict 89504e47}\\bin3 {{{\\cell b\\row}"
        )
        found = read(mail(("a.rtf", body)))
        self.assertEqual(all_of(found, "document"), "\u0142 \u043a\u043b\u20ac\U0001f600 4111\tb\n")
        for wanted in ("T-1", "X-1", "N-1"):
            self.assertIn(wanted, all_of(found, "aside"))

    def test_text_of_outlook_that_is_packed(self) -> None:
        """RTF in the packing of [MS-OXRTFCP], by the example in its section 4.1."""
        packed_text = bytes.fromhex(
            "2d0000002b0000004c5a4675f1c5c7a703000a007263706731323542320af32068656c090020627705b06c647d0a800fa0"
        )
        found = read(mail(("a.msg", compound({"__properties_version1.0": b"", "__substg1.0_10090102": packed_text}))))
        self.assertIn("hello world", all_of(found))


class MailTests(SynchronousTestCase):
    """The texts of the mail itself."""

    def _read(self, head: str, body: bytes) -> Reading:
        return read(f"From: a@example.org\r\nMIME-Version: 1.0\r\n{head}\r\n".encode() + body)

    def test_header_texts(self) -> None:
        """The subject and what people write in, decoded; not what programs write."""
        found = self._read("Subject: =?utf-8?q?caf=C3=A9?=\r\nKeywords: one\r\nReceived: from x by y\r\n", b"x\r\n")
        self.assertEqual(all_of(found, "subject"), "caf\xe9")
        self.assertIn("one", all_of(found, "header"))
        self.assertNotIn("by y", all_of(found))

    def test_charsets_that_lie(self) -> None:
        """What some program shows is read, whatever the label says."""
        secret = f"{SECRET}\r\n"
        for charset, octets in (
            ("utf-16", secret.encode("utf-16")),
            ("us-ascii", secret.encode("utf-16-le")),
            ("utf-16", secret.encode()),
            ("iso-8859-1", secret.encode("utf-16-be")),
            ("cp037", secret.encode()),
            ("utf-7", secret.encode()),
            ("no-such-charset", secret.encode()),
            ("koi8-r", f"\u0438 {secret}".encode("koi8-r")),
            ("iso-2022-jp", f"\u65e5 {secret}".encode("iso-2022-jp")),
        ):
            body = octets if b"\0" not in octets else base64.encodebytes(octets)
            encoding = "base64" if b"\0" in octets else "8bit"
            head = f"Content-Type: text/plain; charset={charset}\r\nContent-Transfer-Encoding: {encoding}\r\n"
            self.assertTrue(is_found(self._read(head, body)), charset)

    def test_texts_without_a_mark(self) -> None:
        """Files in UTF-16 without a mark, in scripts whose letters have no zero octet too."""
        for text in (SECRET, f"\u0441\u043b\u043e\u0432\u043e \u0438 \u0441\u043b\u043e\u0432\u043e {SECRET}"):
            for codec in ("utf-16-le", "utf-16-be"):
                self.assertTrue(is_found(read(mail(("a.dat", text.encode(codec))))), (text, codec))

    def test_pages(self) -> None:
        """Seen and hidden text, comments, values and script; and beyond the length that becomes a tree."""
        page = (
            f"<p>{CARD[:6]}<b>{CARD[6:]}</b></p><div style='display:none'>hid-1</div><!-- com-1 -->"
            "<img alt='alt-1'><input type=hidden value=val-1><script>var a = 'scr-1'</script>"
        )
        found = self._read("Content-Type: text/html\r\n", page.encode())
        self.assertIn(CARD, all_of(found, "html"))
        self.assertIn("hid-1", all_of(found, "hidden"))
        for wanted in ("com-1", "alt-1", "val-1", "scr-1"):
            self.assertIn(wanted, all_of(found, "aside"))
        long = f"<p>{'x' * 70} </p>" * 5000 + f"<p>{TOKEN[:4]}<i>{TOKEN[4:]}</i></p>"
        self.assertIn(TOKEN, all_of(self._read("Content-Type: text/html\r\n", long.encode()), "html"))

    def test_what_no_program_shows(self) -> None:
        """Before the first part and behind the last."""
        head = "Content-Type: multipart/mixed; boundary=b\r\n"
        body = f"{CARD}\r\n--b\r\n\r\nx\r\n--b--\r\n{TOKEN}\r\n"
        self.assertTrue(is_found(self._read(head, body.encode())))

    def test_messages_that_are_passed_on(self) -> None:
        """The subject, header and texts of a message in a message, and its files."""
        inner = mail(("a.docx", word(SECRET)), more="Keywords: word-1\r\n").replace(b"limit", b"other")
        inner = inner.replace(b"Subject: files", b"Subject: =?utf-8?q?inner-1?=")
        body = b"--b\r\nContent-Type: message/rfc822\r\n\r\n" + inner + b"\r\n--b--\r\n"
        found = self._read("Content-Type: multipart/mixed; boundary=b\r\n", body)
        self.assertTrue(is_found(found))
        self.assertIn("inner-1", all_of(found, "subject"))
        self.assertIn("word-1", all_of(found, "header"))

    def test_what_only_some_program_would_make_of_it(self) -> None:
        """A second reading of the same octets is read, and its faults are nobody's."""
        coded = base64.encodebytes(pdf(SECRET)).replace(b"\n", b"\r\n")
        # Some decoders stop at the foreign sign, so that their file is cut off.
        coded = coded[:200] + b"!" + coded[200:]
        head = 'Content-Type: application/pdf; name="a.pdf"\r\nContent-Transfer-Encoding: base64\r\n'
        found = self._read(head, coded)
        self.assertTrue(is_found(found))
        self.assertEqual(found.unread, ())

    def test_a_text_that_looks_like_a_program(self) -> None:
        """Whatever its first octets are taken for: letters are letters."""
        found = self._read("Content-Type: text/plain\r\n", b"\r\n\r\n" + SECRET.encode() + b"\r\n")
        self.assertTrue(is_found(found))
        self.assertEqual(found.unread, ())
        found = read(mail(("a.bat", b"\r\n\r\n" + SECRET.encode())))
        self.assertTrue(is_found(found))
        self.assertEqual(found.unread, ())

    def test_names_of_files(self) -> None:
        """They are texts too."""
        self.assertIn(TOKEN, all_of(read(mail(("a.zip", packed({f"{TOKEN}.png": b""})))), "name"))

    def test_encrypted_mail(self) -> None:
        """OpenPGP in a text and in a part, S/MIME."""
        armour = b"-----BEGIN PGP MESSAGE-----\r\n\r\nwy4D\r\n-----END PGP MESSAGE-----\r\n"
        self.assertEqual(whys(self._read("", armour)), {"encrypted"})
        self.assertEqual(whys(read(mail(("encrypted.asc", armour)))), {"encrypted"})
        enveloped = bytes.fromhex("3080060b2a864886f70d010703a0803080020100") + bytes(200)
        enveloped = enveloped.replace(bytes.fromhex("060b2a"), bytes.fromhex("06092a"))
        self.assertEqual(whys(read(mail(("smime.p7m", enveloped)))), {"encrypted"})
        noise = b"\x85\x02\x0c\x03" + random.Random(8).randbytes(600)
        self.assertEqual(whys(read(mail(("plan.docx.gpg", noise)))), {"encrypted"})
        self.assertEqual(
            whys(read(mail(("message_v2.rpmsg", bytes.fromhex("76e80460c411e386") + noise)))), {"encrypted"}
        )

    def test_an_archive_that_is_called_a_text(self) -> None:
        """Some program saves it and opens it; it is read as what it is, also where its first octets are letters."""
        inner = packed({"a.txt": b"x" * 5000, "b.docx": word(SECRET)}, how=0)
        head = "Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n"
        self.assertTrue(is_found(self._read(head, base64.encodebytes(inner).replace(b"\n", b"\r\n"))))

    def test_what_was_read_once(self) -> None:
        """The same octets under other names are read once."""
        found = read(mail(("a.zip", packed({f"{number}.txt": SECRET.encode() for number in range(50)}))))
        self.assertEqual(sum(CARD in piece.text for piece in found.pieces), 1)


class LockedTests(SynchronousTestCase):
    """What asks for a password is told; a password in the text opens it."""

    def test_locks(self) -> None:
        """Of archives, packages, PDF files and compound documents."""
        secret = SECRET.encode()
        office = word(SECRET)
        locked_book = compound({"Workbook": record(0x809, bytes(16)) + record(0x2F, bytes(6)) + biff(SECRET)})
        manifest = {"META-INF__manifest": "<m><manifest:encryption-data/></m>"}
        for name, content in (
            ("a.zip", seven("a.txt", secret, "zip", "-pgeheim")),
            ("aes.zip", seven("a.txt", secret, "zip", "-pgeheim", "-mem=AES256")),
            ("a.7z", seven("a.txt", secret, "7z", "-pgeheim")),
            ("names.7z", seven("a.txt", secret, "7z", "-pgeheim", "-mhe=on")),
            ("a.rar", rar5("a.txt", secret, is_locked=True)),
            ("old.rar", rar4("a.txt", secret, is_locked=True)),
            ("a.docx", locked_office(office, "geheim")),
            ("a.pdf", locked_pdf(SECRET, "geheim")),
            ("a.doc", doc(SECRET, flags=0x100)),
            ("a.xls", locked_book),
            ("a.ppt", ppt(SECRET, b"\xdf\xc4\xd1\xf3")),
            ("a.odt", odf("text", "", **manifest)),
        ):
            for found in (read(mail((name, content))), read(mail(("outer.zip", packed({name: content}))))):
                self.assertFalse(is_found(found), name)
                self.assertEqual(whys(found), {"encrypted"}, name)

    def test_a_password_in_the_text(self) -> None:
        """And one that opens for everybody."""
        secret = SECRET.encode()
        # The library that locks wants more than fits a short stream.
        long = docx({"word/media/a.png": random.Random(9).randbytes(9000)}, body=runs(SECRET))
        for name, content in (
            ("a.zip", seven("a.txt", secret, "zip", "-pgeheim99", "-mem=AES256")),
            ("a.docx", locked_office(long, "geheim99")),
            ("excel.docx", locked_office(long, "VelvetSweatshop")),
            ("a.pdf", locked_pdf(SECRET, "geheim99")),
            ("open.pdf", locked_pdf(SECRET, "")),
        ):
            found = read(mail((name, content), text="The password: geheim99"))
            self.assertTrue(is_found(found), name)
            self.assertEqual(found.unread, (), name)


class BrokenTests(SynchronousTestCase):
    """What is damaged is told and read as far as it goes."""

    def test_files_that_are_cut_off(self) -> None:
        """Every format with a structure of its own says so; those that can be read in part give that part."""
        for name, make in FORMATS.items():
            content = make(SECRET + " end " * 50)
            found = read(mail((name, content[: len(content) * 3 // 4])))
            if name.endswith(("x", ".odt", ".ods", ".odp", ".pdf", ".doc", ".xls", ".ppt", ".msg", ".dat", ".rtf")):
                self.assertEqual(whys(found), {"broken"}, name)
            if not name.endswith((".pdf", "winmail.dat")):
                self.assertIn(CARD[:6], all_of(found).replace("\\u0031", "1"), name)

    def test_archives_that_are_cut_off(self) -> None:
        """Each is told; a member that was whole is read."""
        noise = random.Random(2).randbytes(40_000)
        for name, pack in CONTAINERS.items():
            content = pack("a.bin", noise)
            found = whys(read(mail((name, content[: len(content) // 2]))))
            # A message that ends early is a shorter one.
            self.assertIn("unsupported" if name == "a.eml" else "broken", found, name)

    def test_a_pdf_file_without_its_structure(self) -> None:
        """The strings of its streams are taken."""
        content = pdf(SECRET)
        found = read(mail(("a.pdf", content[: content.rindex(b"endstream")].replace(b"/Pages", b"/Pbges"))))
        self.assertTrue(is_found(found))
        self.assertEqual(whys(found), {"broken"})

    def test_xml_that_is_not_well_formed(self) -> None:
        """The rest is read without its tags; entities are not made."""
        body = f"<w:document><w:p><w:t>first</w:t></w:q><w:t>{SECRET}</w:t>".encode()
        found = read(mail(("a.docx", docx({"word/document.xml": body}))))
        self.assertTrue(is_found(found))
        self.assertIn("first", all_of(found))
        self.assertEqual(whys(found), {"broken"})

    @settings(max_examples=150, deadline=None)
    @given(st.sampled_from(sorted(FORMATS)), st.data())
    def test_nothing_raises(self, name: str, data: st.DataObject) -> None:
        """Octets changed, dropped and doubled anywhere; every reason is a known one."""
        content = bytearray(FORMATS[name](SECRET))
        for _ in range(data.draw(st.integers(1, 8))):
            at = data.draw(st.integers(0, len(content)))
            what = data.draw(st.sampled_from(("change", "drop", "double")))
            piece = data.draw(st.binary(min_size=1, max_size=8))
            if what == "change":
                content[at : at + len(piece)] = piece
            elif what == "drop":
                del content[at : at + 40]
            else:
                content[at:at] = content[at : at + 200]
        found = read_file(bytes(content), name)
        self.assertTrue(whys(found) <= set(WHYS))
        for piece in found.pieces:
            piece.text.encode("utf-8")

    @settings(max_examples=60, deadline=None)
    @given(st.sampled_from(sorted(CONTAINERS)), st.integers(0, 2**32))
    def test_no_archive_raises(self, name: str, seed: int) -> None:
        """The same of containers."""
        rng = random.Random(seed)
        content = bytearray(CONTAINERS[name]("a.docx", word(SECRET)))
        for _ in range(rng.randrange(1, 12)):
            content[rng.randrange(len(content))] = rng.randrange(256)
        self.assertTrue(whys(read(mail((name, bytes(content))))) <= set(WHYS))


class LimitTests(SynchronousTestCase):
    """Bombs of all kinds end as facts."""

    def _whys(self, name: str, content: bytes, limits: Limits = Limits()) -> set[str]:  # noqa: B008
        return whys(read(mail((name, content)), limits))

    def test_bombs(self) -> None:
        """Files that would unpack to more than any honest one."""
        zeros = bytes(40 << 20)
        text = "<w:p><w:t>" + "a" * (40 << 20) + "</w:t></w:p>"
        pages = [
            b"<< /Type /Catalog /Pages 2 0 R >>",
            b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] /Contents 4 0 R /Resources << /ProcSet [/PDF] >> >>",
            stream(b"q Q " * 10_000_000),
        ]
        for name, content in (
            ("a.gz", gzip.compress(zeros)),
            ("a.zip", packed({"a.txt": zeros})),
            ("over.zip", overlapping(packed({"a.txt": bytes(1000)}), 300)),
            ("a.docx", docx(body=text)),
            ("a.pdf", numbered(pages)),
        ):
            self.assertEqual(self._whys(name, content), {"too-big"}, name)

    def test_a_string_that_is_named_again_and_again(self) -> None:
        """A small workbook whose cells would make a large text."""
        cells = '<c t="s"><v>0</v></c>' * 2000
        content = sheet(f"<row>{cells}</row>", xl__sharedStrings=f"<sst><si><t>{'abc ' * 5000}</t></si></sst>")
        found = read(mail(("a.xlsx", content)), Limits(file_letters=100_000))
        self.assertEqual(whys(found), {"too-big"})
        letters = len(all_of(found, "document")) + len(all_of(found, "aside"))
        self.assertTrue(99_900 <= letters <= 100_000, letters)

    def test_entities(self) -> None:
        """A document type ends the parser before it makes anything of entities."""
        body = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">]><w:document><w:p><w:t>&a;&a;</w:t></w:p></w:document>'
        found = read(mail(("a.docx", docx({"word/document.xml": body}))))
        self.assertNotIn("aaaaaaaaaaa", all_of(found, "document"))
        self.assertEqual(whys(found), {"broken"})

    def test_one_file_leaves_room_for_others(self) -> None:
        """A long one is cut, and the rest is read."""
        found = read(mail(("a.txt", b"x" * 50_000), ("b.txt", SECRET.encode())), Limits(file_letters=1000))
        self.assertTrue(is_found(found))
        self.assertEqual(found.unread, (Unread("a.txt", "too-big"),))

    def test_letters_of_all(self) -> None:
        """The end of them is told for each that had no room."""
        found = read(mail(("a.txt", b"x" * 900), ("b.txt", SECRET.encode())), Limits(letters=500))
        self.assertEqual({one.path for one in found.unread if one.why == "too-big"}, {"a.txt", "b.txt", ""})
        self.assertLessEqual(sum(len(piece.text) for piece in found.pieces), 500)

    def test_layers(self) -> None:
        """A layer too many is not opened; a text there is still read."""
        content = packed({"in.zip": packed({"deep.txt": SECRET.encode()})})
        for _ in range(2):
            content = packed({"l.zip": content})
        self.assertEqual(self._whys("a.zip", content, Limits(archive_depth=3)), {"too-deep"})
        found = read(mail(("a.zip", content)), Limits(archive_depth=4))
        self.assertTrue(is_found(found))
        self.assertEqual(found.unread, ())

    def test_files_without_number(self) -> None:
        """So many are opened and no more."""
        content = packed({f"{number}.txt": str(number).encode() for number in range(50)})
        found = read(mail(("a.zip", content)), Limits(archive_members=20))
        self.assertEqual(found.unread, (Unread("a.zip", "too-many"),))

    def test_members_that_are_long(self) -> None:
        """The beginning is read."""
        noise = random.Random(3).randbytes(200_000).hex().encode()
        found = read(mail(("a.zip", packed({"a.txt": SECRET.encode() + noise}))), Limits(file_octets=100_000))
        self.assertTrue(is_found(found))
        self.assertEqual(found.unread, (Unread("a.zip/a.txt", "too-big"),))

    def test_time(self) -> None:
        """What had no time is told, for the message and for one file."""
        self.assertEqual(self._whys("a.docx", word(SECRET), Limits(time_s=0.0)), {"late"})
        for name in ("a.docx", "shared.xlsx", "a.pdf", "a.doc", "a.xls", "a.ppt", "a.rtf", "a.odt"):
            self.assertEqual(self._whys(name, FORMATS[name](SECRET), Limits(file_s=0.0)), {"late"}, name)

    def test_nesting(self) -> None:
        """Groups in groups, containers of atoms without end."""
        self.assertEqual(self._whys("a.rtf", b"{\\rtf1" + b"{\\*\\x" * 100_000), {"broken"})
        endless = struct.pack("<HHI", 15, 1000, 0) * 100_000 + atoms(SECRET)
        self.assertTrue(is_found(read(mail(("a.ppt", compound({"PowerPoint Document": endless}))))))

    def test_hostile_pages(self) -> None:
        """Long runs of what begins tags and ends none; all is read, in one pass."""
        for piece in (b"<", b"<a ", b"<!--", b"<script ", b"&#", b'<a b="', b"]]>"):
            page = b"<html><p>" + SECRET.encode() + b"</p>" + piece * 100_000
            self.assertTrue(is_found(read(mail(("a.html", page)))), piece)
