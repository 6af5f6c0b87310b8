"""Documents of every kind with a text planted in them, made as they are needed: for what reads them."""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import lzma
import struct
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from xml.sax.saxutils import escape

from tests.files_kit import compound, docx, mapi, numbered, packed, rar4, rar5, stream, tnef

CARD = "4111111111111111"
TOKEN = "tok_Zq8vN2xLw7Rk"
#: What is planted: a number that must stay whole, and a word.
SECRET = f"card {CARD} and {TOKEN}"


def mail(*files: tuple[str, bytes], text: str = "See the file.", more: str = "") -> bytes:
    """A message with files, each with its name."""
    parts = [f"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n{text}".encode()]
    for name, content in files:
        head = f'Content-Type: application/octet-stream; name="{name}"\r\nContent-Transfer-Encoding: base64\r\n\r\n'
        parts.append(head.encode() + base64.encodebytes(content).replace(b"\n", b"\r\n"))
    head = f"From: a@example.org\r\nSubject: files\r\n{more}MIME-Version: 1.0\r\n"
    head += "Content-Type: multipart/mixed; boundary=limit\r\n\r\n"
    return head.encode() + b"".join(b"--limit\r\n" + part + b"\r\n" for part in parts) + b"--limit--\r\n"


# Office packages


def runs(text: str) -> str:
    """A paragraph of Word whose text is cut into runs of five letters."""
    pieces = [text[at : at + 5] for at in range(0, len(text), 5)]
    body = "".join(f'<w:r><w:t xml:space="preserve">{escape(piece)}</w:t></w:r>' for piece in pieces)
    return f"<w:p>{body}</w:p>"


def word(text: str) -> bytes:
    return docx(body=runs(text))


_MAIN = "application/vnd.openxmlformats-officedocument"


def package(kind: str, parts: Mapping[str, str]) -> bytes:
    """A package whose main part has that content type."""
    types = f'<Types><Override PartName="/main.xml" ContentType="{_MAIN}.{kind}.main+xml"/></Types>'
    held = {name: text.encode() for name, text in parts.items()}
    return packed({"[Content_Types].xml": types.encode(), "_rels/.rels": b"<Relationships/>", **held})


def sheet(cells: str, **parts: str) -> bytes:
    """A workbook with one sheet of these rows; parts by their path with "__" for a slash."""
    book = {"xl/workbook.xml": '<workbook><sheets><sheet name="Sheet one" sheetId="1"/></sheets></workbook>'}
    book["xl/worksheets/sheet1.xml"] = f"<worksheet><sheetData>{cells}</sheetData></worksheet>"
    book |= {name.replace("__", "/") + ".xml": text for name, text in parts.items()}
    return package("spreadsheetml.sheet", book)


def shared(text: str) -> bytes:
    """A workbook whose only string is shared, in runs."""
    strings = f"<sst><si><r><t>{escape(text[:7])}</t></r><r><t>{escape(text[7:])}</t></r></si></sst>"
    return sheet('<row><c t="s"><v>0</v></c></row>', xl__sharedStrings=strings)


def inline(text: str) -> bytes:
    return sheet(f'<row><c t="inlineStr"><is><t>{escape(text)}</t></is></c></row>')


def slides(text: str) -> bytes:
    half = len(text) // 2
    body = f"<a:p><a:r><a:t>{escape(text[:half])}</a:t></a:r><a:r><a:t>{escape(text[half:])}</a:t></a:r></a:p>"
    return package("presentationml.presentation", {"ppt/slides/slide1.xml": f"<p:sld>{body}</p:sld>"})


def notes(text: str) -> bytes:
    body = f"<p:notes><a:p><a:r><a:t>{escape(text)}</a:t></a:r></a:p></p:notes>"
    return package("presentationml.presentation", {"ppt/notesSlides/notesSlide1.xml": body})


def odf(kind: str, body: str, **more: str) -> bytes:
    """An OpenDocument."""
    content = f"<office:document-content><office:body>{body}</office:body></office:document-content>"
    held = {name.replace("__", "/") + ".xml": text.encode() for name, text in more.items()}
    told = f"application/vnd.oasis.opendocument.{kind}".encode()
    return packed({"mimetype": told, "content.xml": content.encode(), **held})


def odt(text: str) -> bytes:
    spans = "".join(f"<text:span>{escape(text[at : at + 4])}</text:span>" for at in range(0, len(text), 4))
    return odf("text", f"<office:text><text:p>{spans}</text:p></office:text>")


def ods(text: str) -> bytes:
    cell = f"<table:table-cell><text:p>{escape(text)}</text:p></table:table-cell>"
    return odf("spreadsheet", f"<table:table><table:table-row>{cell}</table:table-row></table:table>")


def odp(text: str) -> bytes:
    return odf("presentation", f"<draw:page><draw:text-box><text:p>{escape(text)}</text:p></draw:text-box></draw:page>")


# PDF

_FONT = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"


def pdf(text: str, pages: int = 1) -> bytes:
    """A PDF file that shows the text on its last page."""
    kids = b" ".join(b"%d 0 R" % (4 + number) for number in range(pages))
    bodies = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [" + kids + b"] /Count %d >>" % pages,
        _FONT,
    ]
    for number in range(pages):
        head = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 500 500] /Resources << /Font << /F1 3 0 R >> >> /Contents"
        bodies.append(head + b" %d 0 R >>" % (4 + pages + number))
    for number in range(pages):
        shown = text if number == pages - 1 else f"page {number}"
        bodies.append(stream(b"BT /F1 12 Tf 10 10 Td (" + shown.encode() + b") Tj ET"))
    return numbered(bodies)


def locked_pdf(text: str, password: str) -> bytes:
    """A PDF file that asks for a password."""
    from pypdf import PdfReader, PdfWriter

    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(pdf(text))))
    writer.encrypt(password, "owner", algorithm="AES-256")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


# Compound documents


def doc(text: str, is_wide: bool = False, flags: int = 0) -> bytes:
    """A document of Word 97 whose text stands in two pieces."""
    half = len(text) // 2
    codec = "utf-16-le" if is_wide else "cp1252"
    first, second = text[:half].encode(codec), (text[half:] + "\r").encode(codec)
    main = bytearray(0x600)
    struct.pack_into("<HH", main, 0, 0xA5EC, 0xC1)
    struct.pack_into("<H", main, 10, 0x200 | flags)
    # The second half stands before the first, as after an edit.
    places = [0x600 + len(second), 0x600]
    main += second + first
    pieces = struct.pack("<III", 0, half, len(text) + 1)
    for place in places:
        pieces += struct.pack("<HIH", 0, place if is_wide else place * 2 | 0x40000000, 0)
    table = b"\2" + struct.pack("<I", len(pieces)) + pieces
    struct.pack_into("<II", main, 0x1A2, 16, len(table))
    return compound({"WordDocument": bytes(main), "1Table": bytes(16) + table})


def record(kind: int, body: bytes) -> bytes:
    """A record of a workbook."""
    return struct.pack("<HH", kind, len(body)) + body


def biff(text: str, *more: bytes) -> bytes:
    """The stream of a workbook whose first string goes on in a second record, in the other width."""
    half = len(text) // 2
    first = struct.pack("<IIHB", 1, 1, len(text), 0) + text[:half].encode("latin-1")
    second = b"\1" + text[half:].encode("utf-16-le")
    head = record(0x809, struct.pack("<HHHHII", 0x600, 5, 0, 0, 0, 0)) + record(0xFC, first) + record(0x3C, second)
    cells = record(0x809, struct.pack("<HHHHII", 0x600, 0x10, 0, 0, 0, 0)) + record(
        0xFD, struct.pack("<HHHI", 0, 0, 0, 0)
    )
    return head + cells + b"".join(more) + record(0x0A, b"")


def xls(text: str, *more: bytes) -> bytes:
    return compound({"Workbook": biff(text, *more)})


def atoms(text: str) -> bytes:
    """The stream of a presentation: an atom in two octets in two containers."""
    raw = text.encode("utf-16-le")
    atom = struct.pack("<HHI", 0, 4000, len(raw)) + raw
    for kind in (4080, 1000):
        atom = struct.pack("<HHI", 15, kind, len(atom)) + atom
    return atom


def ppt(text: str, token: bytes = b"\x5f\xc0\x91\xe3") -> bytes:
    return compound({"PowerPoint Document": atoms(text), "Current User": bytes(12) + token})


def msg(text: str) -> bytes:
    """A message of Outlook with a body."""
    return compound({"__properties_version1.0": bytes(32), "__substg1.0_1000001F": text.encode("utf-16-le")})


def winmail(text: str) -> bytes:
    """A winmail.dat with the text in its message."""
    value = mapi((0x1F, 0x1000, text.encode("utf-16-le")))
    base = tnef()
    return base + struct.pack("<BII", 1, 0x00069003, len(value)) + value + struct.pack("<H", sum(value) & 0xFFFF)


# Texts


def rtf(text: str) -> bytes:
    half = len(text) // 2
    return b"{\\rtf1\\ansi{\\fonttbl{\\f0 Arial;}}" + f"{text[:half]}\\b0 {text[half:]}".encode() + b"\\par}"


def html(text: str) -> bytes:
    return f"<html><body><p>{escape(text[:8])}<b>{escape(text[8:])}</b></p></body></html>".encode()


def ics(text: str) -> bytes:
    half = len(text) // 2
    body = f"BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nDESCRIPTION:{text[:half]}\r\n {text[half:]}\r\nEND:VEVENT\r\n"
    return f"{body}END:VCALENDAR\r\n".encode()


def vcf(text: str) -> bytes:
    half = len(text) // 2
    body = f"NOTE;ENCODING=QUOTED-PRINTABLE:{text[:half]}=\r\n{text[half:]}\r\n"
    return f"BEGIN:VCARD\r\nVERSION:2.1\r\n{body}END:VCARD\r\n".encode()


#: Every format that is read, by the name that a file of it has.
FORMATS: Mapping[str, Callable[[str], bytes]] = {
    "a.docx": word,
    "shared.xlsx": shared,
    "inline.xlsx": inline,
    "a.pptx": slides,
    "notes.pptx": notes,
    "a.odt": odt,
    "a.ods": ods,
    "a.odp": odp,
    "a.pdf": pdf,
    "long.pdf": lambda text: pdf(text, 120),
    "a.doc": doc,
    "wide.doc": lambda text: doc(text, is_wide=True),
    "a.xls": xls,
    "a.ppt": ppt,
    "a.msg": msg,
    "winmail.dat": winmail,
    "a.rtf": rtf,
    "a.html": html,
    "a.csv": lambda text: f"name;note\r\nx;{text}\r\n".encode(),
    "a.xml": lambda text: f"<?xml version='1.0'?><row><note>{text}</note></row>".encode(),
    "attribute.xml": lambda text: f"<?xml version='1.0'?><row note='{text}'/>".encode(),
    "a.json": lambda text: ('{"note": "' + text.replace("1", "\\u0031") + '"}').encode(),
    "a.eml": lambda text: mail(text=text),
    "a.ics": ics,
    "a.vcf": vcf,
    "utf8.txt": str.encode,
    "utf16.txt": lambda text: text.encode("utf-16"),
    "utf16be": lambda text: text.encode("utf-16-be"),
    "latin.log": lambda text: f"{text} \xe9\xe8".encode("latin-1"),
    "a.py": lambda text: f'#!/usr/bin/python\nkey = "{text}"\n'.encode(),
    "key.pem": lambda text: f"-----BEGIN RSA PRIVATE KEY-----\n{text}\n".encode(),
    "fodt.xml": lambda text: (
        f"<?xml version='1.0'?><office:document xmlns:office='x' office:mimetype='application/vnd.oasis.opendocument"
        f".text'><office:body><text:p>{text[:6]}<text:span>{text[6:]}</text:span></text:p></office:body></office:document>"
    ).encode(),
}


# Containers


def tar(name: str, content: bytes, how: str = "w") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=how) as archive:  # type: ignore[call-overload]
        member = tarfile.TarInfo(name)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


def seven(name: str, content: bytes, kind: str = "7z", *options: str) -> bytes:
    """An archive by the program 7z."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / name).write_bytes(content)
        subprocess.run(
            ["7z", "a", f"-t{kind}", *options, f"out.{kind}", name], cwd=folder, check=True, capture_output=True
        )
        return (Path(folder) / f"out.{kind}").read_bytes()


def in_word(name: str, content: bytes) -> bytes:
    """A document with an embedded file."""
    return docx({f"word/embeddings/{name}": content})


def in_pdf(name: str, content: bytes) -> bytes:
    """A PDF file with a file inside."""
    from pypdf import PdfReader, PdfWriter

    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(pdf("cover"))))
    writer.add_attachment(name, content)
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


CONTAINERS: Mapping[str, Callable[[str, bytes], bytes]] = {
    "a.zip": lambda name, content: packed({f"folder/{name}": content}),
    "a.tar": tar,
    "a.tar.gz": lambda name, content: tar(name, content, "w:gz"),
    "a.gz": lambda name, content: gzip.compress(content),
    "a.bz2": lambda name, content: bz2.compress(content),
    "a.xz": lambda name, content: lzma.compress(content),
    "a.rar": rar5,
    "old.rar": rar4,
    "a.eml": lambda name, content: mail((name, content)),
    "a.docx": in_word,
    "a.pdf": in_pdf,
    "winmail.dat": lambda name, content: tnef((name.encode(), content)),
    "a.msg": lambda name, content: compound(
        {
            "__properties_version1.0": bytes(32),
            "__attach_version1.0_#00000000/__substg1.0_3707001F": name.encode("utf-16-le"),
            "__attach_version1.0_#00000000/__substg1.0_37010102": content,
        }
    ),
}
