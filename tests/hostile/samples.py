"""Messages made to hurt whoever reads them: bombs, floods, depths, patterns, garbage. All are made, none is real.

Each aims at one thing that parsers do in more than linear time, without a bound on memory, or by recursion.
"""

from __future__ import annotations

import base64
import gzip
import io
import random
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Final

HEAD: Final = (
    b"From: Alice <alice@example.org>\r\nTo: Bob <bob@example.net>\r\nSubject: sample\r\n"
    b"Date: Mon, 02 Mar 2026 10:00:00 +0000\r\nMessage-ID: <1@example.org>\r\nMIME-Version: 1.0\r\n"
)


def _text(body: bytes, kind: str = "text/plain; charset=utf-8", head: bytes = b"") -> bytes:
    return HEAD + head + f"Content-Type: {kind}\r\n\r\n".encode() + body + b"\r\n"


def _attached(content: bytes, name: str, kind: str = "application/octet-stream") -> bytes:
    coded = base64.encodebytes(content).replace(b"\n", b"\r\n")
    return (
        HEAD
        + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nsee attached\r\n"
        b"--b\r\nContent-Type: " + kind.encode() + b"\r\nContent-Transfer-Encoding: base64\r\n"
        b'Content-Disposition: attachment; filename="' + name.encode() + b'"\r\n\r\n' + coded + b"--b--\r\n"
    )


def _zipped(members: dict[str, bytes], level: int = 9) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=level) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def _zip_bomb() -> bytes:
    return _attached(_zipped({"zeros": bytes(200 * 2**20)}), "bomb.zip")


def _zip_of_zips() -> bytes:
    inner = _zipped({f"{n}.bin": bytes(10 * 2**20) for n in range(10)})
    for depth in range(4):
        inner = _zipped({f"{depth}-{n}.zip": inner for n in range(10)})
    return _attached(inner, "nested.zip")


def _deep_zip() -> bytes:
    inner = b"at last"
    for depth in range(400):
        inner = _zipped({f"{depth}.zip": inner}, 1)
    return _attached(inner, "deep.zip")


def _many_members() -> bytes:
    return _attached(_zipped({f"{n}": b"" for n in range(60_000)}, 1), "many.zip")


def _overlapping_zip() -> bytes:
    """Many directory entries that all name one compressed member."""
    whole = _zipped({"a": bytes(20 * 2**20)})
    start, size = whole.rfind(b"PK\x05\x06"), whole.rfind(b"PK\x01\x02")
    entry, count = whole[size:start], 5000
    end = bytearray(whole[start:])
    end[8:10] = end[10:12] = count.to_bytes(2, "little")
    end[12:16] = (len(entry) * count).to_bytes(4, "little")
    return _attached(whole[:size] + entry * count + bytes(end), "overlap.zip")


def _gzip_bomb() -> bytes:
    return _attached(gzip.compress(gzip.compress(bytes(300 * 2**20))), "bomb.gz", "application/gzip")


def _tar_of_links() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for n in range(20_000):
            member = tarfile.TarInfo(f"../../{n}" * 5)
            member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(member)
    return _attached(out.getvalue(), "links.tar.gz")


def _parts() -> bytes:
    part = b"--b\r\nContent-Type: text/plain\r\n\r\nx\r\n"
    return HEAD + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + part * 10_000 + b"--b--\r\n"


def _levels() -> bytes:
    out = [HEAD]
    for level in range(1000):
        out.append(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (level, level))
    return (
        b"".join(out)
        + b"Content-Type: text/plain\r\n\r\nx\r\n"
        + b"".join(b"--b%d--\r\n" % n for n in range(999, -1, -1))
    )


def _messages() -> bytes:
    return HEAD + b"Content-Type: message/rfc822\r\n\r\n" * 1000 + b"Content-Type: text/plain\r\n\r\nx\r\n"


def _prefix_boundaries() -> bytes:
    lines = b"".join(b"--" + b"a" * (n % 70 + 1) + b"\r\n" for n in range(50_000))
    return HEAD + b"Content-Type: multipart/mixed; boundary=" + b"a" * 70 + b"\r\n\r\n" + lines


def _header_flood() -> bytes:
    return b"".join(b"X-%d: x\r\n" % n for n in range(60_000)) + _text(b"x")


def _content_types() -> bytes:
    fields = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n" % n for n in range(5000))
    return HEAD + fields + b"\r\n" + b"".join(b"--b%d\r\n\r\nx\r\n" % n for n in range(5000))


def _recipients() -> bytes:
    return _text(b"x", head=b"Cc: " + b",\r\n ".join(b"user%d@example.org" % n for n in range(30_000)) + b"\r\n")


def _html(body: bytes) -> bytes:
    return _text(b"<html><body>" + body + b"</body></html>", "text/html; charset=utf-8")


def _urls() -> bytes:
    return _text(b"".join(b"http://host%d.example.org/p%d?q=%d\r\n" % (n, n, n) for n in range(200_000)))


def _pdf_streams() -> bytes:
    bomb = zlib.compress(bytes(100 * 2**20), 9)
    objects = b"".join(
        b"%d 0 obj<</Length %d/Filter/FlateDecode>>stream\n%b\nendstream endobj\n" % (n, len(bomb), bomb)
        for n in range(2, 12)
    )
    return _attached(
        b"%PDF-1.7\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n" + objects + b"trailer<</Root 1 0 R>>", "a.pdf"
    )


def _pdf_loop() -> bytes:
    kids = b"".join(
        b"%d 0 obj<</Type/Pages/Count 1/Kids[%d 0 R %d 0 R]>>endobj\n" % (n, n + 1, n + 1) for n in range(2, 60)
    )
    return _attached(
        b"%PDF-1.7\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n" + kids + b"trailer<</Root 1 0 R>>", "loop.pdf"
    )


def _garbage(magic: bytes, name: str, size: int = 3 * 2**20) -> bytes:
    return _attached(magic + random.Random(name).randbytes(size), name)


def _png_bomb() -> bytes:
    """60,000 by 60,000 pixels of nothing."""

    def piece(kind: bytes, content: bytes) -> bytes:
        return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")

    side = (60_000).to_bytes(4, "big")
    image = b"\x89PNG\r\n\x1a\n" + piece(b"IHDR", side + side + b"\x01\x00\x00\x00\x00")
    image += piece(b"IDAT", zlib.compress(bytes(60_000 * 7501), 9)) + piece(b"IEND", b"")
    return _attached(image, "wide.png", "image/png")


def _xml_entities() -> bytes:
    entities = b'<!ENTITY a0 "aaaaaaaaaa">' + b"".join(
        b'<!ENTITY a%d "%b">' % (n, b"&a%d;" % (n - 1) * 10) for n in range(1, 12)
    )
    rels = b'<?xml version="1.0"?><!DOCTYPE x [' + entities + b"]><Relationships>&a11;</Relationships>"
    return _attached(
        _zipped({"[Content_Types].xml": b"<Types/>", "word/document.xml": rels, "_rels/.rels": rels}), "laughs.docx"
    )


SAMPLES: Final[dict[str, Callable[[], bytes]]] = {
    "zip bomb": _zip_bomb,
    "zip of zips": _zip_of_zips,
    "400 zips deep": _deep_zip,
    "60,000 members": _many_members,
    "overlapping zip": _overlapping_zip,
    "gzip bomb": _gzip_bomb,
    "tar of links": _tar_of_links,
    "10,000 parts": _parts,
    "1,000 levels": _levels,
    "1,000 messages": _messages,
    "prefix boundaries": _prefix_boundaries,
    "header flood": _header_flood,
    "5,000 Content-Types": _content_types,
    "100,000 semicolons": lambda: HEAD + b"Content-Type: text/plain" + b";" * 100_000 + b"\r\n\r\nx\r\n",
    "RFC 2231 pieces": lambda: _text(
        b"x", "application/x; " + "; ".join(f"name*{n}*=utf-8''%41" for n in range(20_000))
    ),
    "encoded words": lambda: _text(b"x", head=b"X-S: " + b"=?utf-8?q?=41?= " * 50_000 + b"\r\n"),
    "encoded subject": lambda: HEAD.replace(b"sample", b"=?utf-8?q?=41?=\r\n " * 20_000) + b"\r\nx\r\n",
    "open brackets": lambda: HEAD.replace(b"Alice <", b"(" * 100_000 + b"<") + b"\r\nx\r\n",
    "30,000 addresses": _recipients,
    "200,000 URLs": _urls,
    "URL of marks": lambda: _text(b"http://" + b"!" * 300_000 + b"<\r\n" + b"http://" * 50_000),
    "long host": lambda: _text(b"http://" + b"a." * 500_000 + b"example.org/"),
    "open tags": lambda: _html(b"<a " * 500_000),
    "deep tags": lambda: _html(b"<div>" * 200_000),
    "tables in tables": lambda: _html(b"<table><tr><td>" * 30_000),
    "formatting": lambda: _html(b"<b><i><a href=x><p>" * 50_000),
    "entities": lambda: _html(b"&amp" * 500_000 + b"&#x" + b"9" * 500_000),
    "attributes": lambda: _html(b"<a " + b"".join(b"a%d=1 " % n for n in range(200_000)) + b">x</a>"),
    "style": lambda: _html(b'<p style="' + b"color:red;" * 200_000 + b'">x</p>'),
    "one long line": lambda: _text(b"a" * 900_000 + b" " + b"b" * 900_000),
    "spaced words": lambda: _text(b"f r e e " * 300_000),
    "urgent words": lambda: _text(b"urgent verify account password click now " * 50_000),
    "base64 junk": lambda: _text(b"=" * 2_000_000, head=b"Content-Transfer-Encoding: base64\r\n"),
    "quoted junk": lambda: _text(b"=" * 2_000_000, head=b"Content-Transfer-Encoding: quoted-printable\r\n"),
    "uuencoded": lambda: _text(b"begin 644 a\r\n" * 100_000),
    "PDF streams": _pdf_streams,
    "PDF loop": _pdf_loop,
    "PDF garbage": lambda: _garbage(b"%PDF-1.7\n", "a.pdf"),
    "OLE garbage": lambda: _garbage(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a.doc"),
    "RTF garbage": lambda: _attached(b"{\\rtf1" + b"{\\object\\objdata " * 100_000, "a.rtf"),
    "TNEF garbage": lambda: _garbage(b"\x78\x9f\x3e\x22", "winmail.dat"),
    "7z garbage": lambda: _garbage(b"7z\xbc\xaf\x27\x1c\x00\x04", "a.7z"),
    "RAR garbage": lambda: _garbage(b"Rar!\x1a\x07\x01\x00", "a.rar"),
    "PNG bomb": _png_bomb,
    "XML entities": _xml_entities,
    "random octets": lambda: _text(random.Random(7).randbytes(1_000_000).replace(b"\n", b"\r\n").replace(b"\r", b" ")),
}


def samples() -> Iterator[tuple[str, bytes]]:
    """Name and content, with CRLF line ends."""
    for name, make in SAMPLES.items():
        yield name, make()
