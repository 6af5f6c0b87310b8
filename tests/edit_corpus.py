"""Messages of every build for the tests of edits: kinds of multiparts and their nests, character sets, transfer
encodings, and what honest and dishonest programs write. Written here octet by octet, not by a library that would mend.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from typing import Final

import attrs

WORDS: Final = {
    "us-ascii": "Hello, see you at nine.",
    "": "No charset at all.",
    "utf-8": "Grüße aus Köln, 你好, привет €",
    "iso-8859-1": "Grüße, déjà vu",
    "windows-1252": "Preis: 5 € – „gut“",
    "koi8-r": "Привет, как дела",
    "shift_jis": "こんにちは、表示ソ",
    "iso-2022-jp": "こんにちは <世界>",
    "gb18030": "你好，世界 €",
    "euc-kr": "안녕하세요",
    "big5": "中文郵件功能",
    "utf-16": "Wide letters, größer",
    "windows-1251": "Здравствуйте",
}
ENCODINGS: Final = ("8bit", "quoted-printable", "base64")
PDF: Final = (
    b'Content-Type: application/pdf; name="report.pdf"\r\nContent-Transfer-Encoding: base64\r\n'
    b'Content-Disposition: attachment; filename="report.pdf"\r\n\r\nJVBERi0xLjQKJcfs\r\nMQ==\r\n'
)
IMAGE: Final = (
    b"Content-Type: image/png\r\nContent-ID: <i@x>\r\nContent-Transfer-Encoding: base64\r\n\r\niVBORw0KGgo=\r\n"
)
CALENDAR: Final = (
    b"Content-Type: text/calendar; method=REQUEST; charset=utf-8\r\n\r\nBEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n"
)
HEAD: Final = (
    b"From: Ann <ann@example.org>\r\nTo: bob@example.net\r\nSubject: a letter\r\n"
    b"Date: Wed, 7 Jan 2026 11:59:00 +0000\r\nMessage-ID: <1@example.org>\r\n"
)


@attrs.frozen
class Case:
    """One message.

    :ivar texts: how many texts a banner is put in; 0 where none may be
    """

    name: str
    content: bytes
    texts: int


def coded(octets: bytes, encoding: str) -> bytes:
    """A body in a transfer encoding, its lines as people's programs write them."""
    if encoding == "base64":
        whole = base64.b64encode(octets)
        return b"".join(whole[at : at + 76] + b"\r\n" for at in range(0, len(whole), 76))
    if encoding == "quoted-printable":
        return binascii.b2a_qp(octets.replace(b"\r\n", b"\n")).replace(b"\n", b"\r\n")
    return octets


def text(charset: str, encoding: str, *, html: bool = False, more: str = "", tail: str = "\r\n") -> bytes:
    """A text part with its header."""
    words = WORDS[charset]
    said = f"{words}\r\n\r\n> quoted {words}\r\nlast = line{tail}"
    if html:
        said = (
            f"<html><head><title>{words}</title></head>\r\n<body bgcolor='#fff>'><p>{words} a=b</p>\r\n"
            f"<p>{words * 8}</p></body></html>{tail}"
        )
    octets = said.encode(charset or "ascii")
    kind = "html" if html else "plain"
    label = f"; charset={charset}" if charset else ""
    head = f"Content-Type: text/{kind}{label}{more}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
    return head.encode() + coded(octets, encoding)


def multi(
    kind: str, *parts: bytes, boundary: bytes = b"b1", more: bytes = b"", close: bool = True, around: bytes = b""
) -> bytes:
    """A multipart with its header.

    :param around: what stands before the first part, and behind the last
    """
    head = b"Content-Type: multipart/" + kind.encode() + b'; boundary="' + boundary + b'"' + more + b"\r\n\r\n"
    body = b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts)
    before = around + b"\r\n" if around else b""
    return head + before + body + (b"--" + boundary + b"--\r\n" + around if close else b"")


def message(entity: bytes, more: bytes = b"") -> bytes:
    """A whole message."""
    return HEAD + more + b"MIME-Version: 1.0\r\n" + entity


def encodings(charset: str) -> tuple[str, ...]:
    """Those in which a text of a charset can be."""
    if charset == "utf-16":
        return ("base64",)
    if charset in ("", "us-ascii", "iso-2022-jp"):
        return ("7bit", "quoted-printable", "base64")
    return ENCODINGS


def structures(charset: str, encoding: str) -> Iterator[Case]:
    """One text in every structure."""
    plain, html = text(charset, encoding), text(charset, encoding, html=True)
    note = text("us-ascii", "7bit")
    alternative = multi("alternative", plain, html, boundary=b"alt")
    related = multi("related", html, IMAGE, boundary=b"rel")
    letter = HEAD + b"MIME-Version: 1.0\r\n" + plain
    attached = b"Content-Type: message/rfc822\r\nContent-Disposition: attachment\r\n\r\n" + letter
    signed = multi(
        "signed",
        plain,
        b"Content-Type: application/pkcs7-signature\r\nContent-Transfer-Encoding: base64\r\n\r\nMIAG\r\n",
        boundary=b"sig",
        more=b'; protocol="application/pkcs7-signature"; micalg=sha-256',
    )
    encrypted = multi(
        "encrypted",
        b"Content-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n",
        b"Content-Type: application/octet-stream\r\n\r\n-----BEGIN PGP MESSAGE-----\r\n",
        boundary=b"enc",
    )
    status = b"Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; x\r\n\r\nAction: failed\r\n"
    for name, entity, texts in (
        ("plain", plain, 1),
        ("html", html, 1),
        ("alternative", alternative, 2),
        ("mixed", multi("mixed", plain, PDF), 1),
        ("mixed-alternative", multi("mixed", alternative, PDF), 2),
        ("related", related, 1),
        ("alternative-related", multi("alternative", plain, related, boundary=b"alt"), 2),
        (
            "alternative-mixed",
            multi("alternative", plain, multi("mixed", html, PDF, boundary=b"in"), boundary=b"out"),
            2,
        ),
        ("mixed-related-alternative", multi("mixed", multi("related", alternative, IMAGE, boundary=b"rel"), PDF), 2),
        ("mixed-attached", multi("mixed", plain, attached), 1),
        ("forwarded-alone", b"Content-Type: message/rfc822\r\n\r\n" + letter, 0),
        ("digest", multi("digest", b"\r\n" + letter, b"\r\n" + letter), 0),
        ("report", multi("report", plain, status, more=b"; report-type=delivery-status"), 1),
        ("signed", signed, 0),
        ("mixed-signed-footer", multi("mixed", signed, note), 0),
        ("encrypted", encrypted, 0),
        ("calendar", multi("alternative", plain, html, CALENDAR), 0),
        ("text-image-text", multi("mixed", plain, IMAGE, note), 1),
        ("around", multi("mixed", plain, PDF, around=b"This is a message in parts.\r\n"), 1),
        ("no-close", multi("mixed", plain, close=False), 1),
        ("no-close-two", multi("mixed", PDF, plain, close=False), 1),
        ("odd-boundary", multi("mixed", alternative, PDF, boundary=b"=_ a:b'c(d)+_,./?"), 2),
        ("long-boundary", multi("mixed", plain, PDF, boundary=b"x" * 70), 1),
        ("boundary-prefix", multi("mixed", multi("alternative", plain, html, boundary=b"bb"), PDF, boundary=b"b"), 2),
    ):
        yield Case(f"{name} {charset or 'undeclared'} {encoding}", message(entity), texts)


def alone() -> Iterator[Case]:
    """What comes once."""
    file = b"Content-Type: text/plain; name=log.txt\r\nContent-Disposition: attachment\r\n\r\nlog\r\n"
    ascii = text("us-ascii", "7bit")
    yield Case("only a file", message(PDF), 0)
    yield Case("only files", message(multi("mixed", PDF, PDF)), 0)
    yield Case("a text as a file", message(multi("mixed", file, PDF)), 0)
    yield Case("text and text file", message(multi("mixed", ascii, file)), 1)
    yield Case(
        "opaque signed", message(b"Content-Type: application/pkcs7-mime; smime-type=signed-data\r\n\r\nMIAG\r\n"), 0
    )
    yield Case(
        "opaque encrypted",
        message(b"Content-Type: application/x-pkcs7-mime; smime-type=enveloped-data\r\n\r\nMIAG\r\n"),
        0,
    )
    yield Case(
        "inline signed",
        message(
            b"\r\n-----BEGIN PGP SIGNED MESSAGE-----\r\nHash: SHA256\r\n\r\nhi\r\n-----BEGIN PGP SIGNATURE-----\r\n"
        ),
        0,
    )
    yield Case(
        "inline encrypted", message(b"Content-Type: text/plain\r\n\r\n-----BEGIN PGP MESSAGE-----\r\n\r\nwcBM\r\n"), 0
    )
    yield Case("no mime", HEAD + b"\r\nhello\r\n", 1)
    yield Case("no mime, no end of line", HEAD + b"\r\nhello", 1)
    yield Case("empty body", HEAD + b"\r\n", 1)
    yield Case("empty part", message(multi("mixed", b"\r\n", PDF)), 1)
    yield Case("headless part", message(multi("mixed", b"\r\nhi", PDF)), 1)
    yield Case("eight bits undeclared", HEAD + b"\r\nGr\xc3\xbc\xc3\x9fe\r\n", 1)
    yield Case("eight bits unknown", HEAD + b"\r\nGr\xfc\xdfe\r\n", 0)
    yield Case("long lines", message(b"Content-Type: text/plain\r\n\r\n" + b"word " * 400 + b"\r\n"), 1)
    yield Case("long html", message(b"Content-Type: text/html\r\n\r\n<body>" + b"<b>x</b>" * 400 + b"</body>\r\n"), 1)
    yield Case("empty html", message(b"Content-Type: text/html\r\n\r\n"), 1)
    yield Case(
        "base64 without padding lines",
        message(b"Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\naGVsbG8gd29ybGQ=\r\n"),
        1,
    )
    yield Case(
        "base64 in one line",
        message(
            b"Content-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\n"
            + base64.b64encode(b"<p>x</p>\n" * 50)
            + b"\r\n"
        ),
        1,
    )
    yield Case(
        "soft end",
        message(
            b"Content-Type: text/plain\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nhello =\r\nworld=\r\n"
        ),
        1,
    )
    for number, ending in enumerate((b"", b"; delsp=yes")):
        flowed = (
            b"Content-Type: text/plain; charset=utf-8; format=flowed"
            + ending
            + b"\r\n\r\n> quoted \r\n> more\r\nflows \r\nand ends \r\n"
        )
        yield Case(f"flowed {number}", message(flowed), 1)
    for number, html in enumerate(
        (
            b"<p>no body",
            b"<HTML><BODY\r\n onload=\"a>b\" class='x'>x</BODY></HTML>",
            b"<!-- </body> <body> --><body>x<!-- </body> -->y</body>",
            b"<style>a{content:'</body>'}</style><p>x</p>",
            b"x</body></html>y</body></html>",
            b"<body>x<!-- never ended </body>",
            b"<body>x<style>never ended </body>",
            b'<body>x<a href="never ended </body>',
            b"<script>if (a<b) '<body>'</script>text",
            b"<!DOCTYPE html>\r\n<html>\r\n<head><meta charset=utf-8></head>text",
            b"<table><tr><td>x",
            b'plain & simple < > "',
            b"<body>x</body><!-- tail -->\r\n",
            b"<textarea></body></textarea><b>x</b>",
        )
    ):
        yield Case(f"html {number}", message(b"Content-Type: text/html; charset=utf-8\r\n\r\n" + html + b"\r\n"), 1)
        yield Case(
            f"html {number} quoted",
            message(
                b"Content-Type: text/html\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
                + coded(html + b"\r\n", "quoted-printable")
            ),
            1,
        )
    # Of these two programs would read different things.
    yield Case("two types", message(b"Content-Type: text/plain\r\nContent-Type: text/html\r\n\r\n<b>x</b>\r\n"), 0)
    yield Case(
        "two encodings",
        message(
            b"Content-Type: text/plain\r\nContent-Transfer-Encoding: 7bit\r\n"
            b"Content-Transfer-Encoding: base64\r\n\r\naGVsbG8=\r\n"
        ),
        0,
    )
    yield Case(
        "unknown encoding",
        message(b"Content-Type: text/plain\r\nContent-Transfer-Encoding: x-rot13\r\n\r\nuryyb\r\n"),
        0,
    )
    yield Case("unknown charset", message(b"Content-Type: text/plain; charset=x-nobody\r\n\r\nhello\r\n"), 0)
    yield Case("boundary junk", message(multi("mixed", ascii, b"\r\n--b1 junk\r\n\r\nx")), 0)
    yield Case("parts after close", message(multi("mixed", ascii, PDF) + b"--b1\r\n" + PDF), 0)
    yield Case(
        "hidden before", message(multi("mixed", ascii, around=b"Content-Type: text/html\r\n\r\n<b>x</b>\r\n")), 0
    )
    yield Case("coded multipart", message(b"Content-Transfer-Encoding: base64\r\n" + multi("mixed", ascii)), 0)
    yield Case(
        "broken base64",
        message(b"Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\naGVs*bG8=\r\n"),
        0,
    )
    yield Case(
        "broken quoted",
        message(b"Content-Type: text/plain\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\na =ZZ b\r\n"),
        1,
    )
    yield Case("nul", message(b"Content-Type: text/plain\r\n\r\nx\0y\r\n"), 0)
    yield Case("same boundary", message(multi("mixed", multi("alternative", ascii, ascii), PDF)), 0)


def cases() -> list[Case]:
    """All."""
    made = [case for charset in WORDS for encoding in encodings(charset) for case in structures(charset, encoding)]
    return [*made, *alone()]
