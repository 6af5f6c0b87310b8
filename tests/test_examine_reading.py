"""Tests of smtpgate.examine.reading: what of a message can be read as text, and what is said not to be."""

from __future__ import annotations

import base64

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.examine.reading import REASONS, ReadingLimits, read

HEAD = b"From: Ann <a@example.org>\r\nSubject: =?utf-8?q?secret_plan?=\r\nX-Note: falcon\r\nMIME-Version: 1.0\r\n"


def message(kind: str, content: bytes, more: str = "") -> bytes:
    """A message of one part in base64."""
    head = f"Content-Type: {kind}\r\nContent-Transfer-Encoding: base64\r\n{more}\r\n".encode()
    return HEAD + head + base64.encodebytes(content).replace(b"\n", b"\r\n")


class ReadingTests(SynchronousTestCase):
    """`read`."""

    def texts(self, content: bytes) -> dict[str, str]:
        """Of each source the text."""
        found: dict[str, str] = {}
        for piece in read(content).pieces:
            found[piece.source] = found.get(piece.source, "") + piece.text
        return found

    def test_fields_and_texts(self) -> None:
        """The subject, other fields, plain text, what a page shows and hides, files of text."""
        self.assertEqual(self.texts(message("text/plain", b"hello"))["subject"], "secret plan")
        self.assertIn("falcon", self.texts(message("text/plain", b"hello"))["header"])
        self.assertEqual(self.texts(message("text/plain; charset=utf-16", "Grüße".encode("utf-16")))["plain"], "Grüße")
        page = self.texts(message("text/html", b"<p>4111<b>1111</b></p><p style='display:none'>deep</p>"))
        self.assertEqual((page["html"].strip(), page["hidden"].strip()), ("41111111", "deep"))
        for kind in ("text/csv", "application/json", "application/octet-stream"):
            self.assertEqual(self.texts(message(f'{kind}; name="a.txt"', b"a,b\nc,d\n"))["file"], "a,b\nc,d\n")

    def test_long_pages_are_read_to_their_end(self) -> None:
        """B-171: what lies behind the part that becomes a tree too."""
        page = b"<p>filler words here</p>" * 30_000 + b"<p>the end</p>"
        self.assertIn("the end", self.texts(message("text/html", page))["html"])

    def test_what_is_not_read_is_told(self) -> None:
        """Files that are no text, pictures, and what lies beyond a limit."""
        self.assertEqual(
            read(message('application/pdf; name="a.pdf"', b"%PDF-1.4 x")).unread, (("a.pdf", "unsupported"),)
        )
        self.assertEqual(
            read(message('image/gif; name="a.gif"', b"GIF89a" + bytes(20))).unread, (("a.gif", "picture"),)
        )
        long = read(message("text/plain", b"abc " * 100), ReadingLimits(letters=100))
        self.assertEqual((long.unread, len(long.pieces[-1].text)), ((("1", "too-big"),), 100))
        together = read(message("text/plain", b"abc " * 100), ReadingLimits(total=50))
        self.assertEqual(together.unread, (("1", "too-big"),))
        self.assertEqual(sum(len(piece.text) for piece in together.pieces), 50)
        self.assertEqual(read(message("text/plain", b"abc")).unread, ())

    @given(st.binary(max_size=400))
    def test_anything_is_read(self, content: bytes) -> None:
        """Nothing raises, reasons are those that there are."""
        reading = read(HEAD + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" + content + b"\r\n--b--\r\n")
        self.assertTrue({why for _, why in reading.unread} <= set(REASONS))
