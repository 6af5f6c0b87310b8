"""Tests of smtpgate.examine.signeddata: the message inside its own signature."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.examine.signeddata import signed_content
from tests.accuracy.malware import opaque

OID = b"\x06\x09" + bytes.fromhex("2a864886f70d010702")
DATA = b"\x06\x09" + bytes.fromhex("2a864886f70d010701")


def streamed(*pieces: bytes) -> bytes:
    """The same as programs write it that do not know the length: no length, octets in pieces."""
    octets = b"".join(b"\x04" + bytes((len(piece),)) + piece for piece in pieces)
    inside = b"\x30\x80" + DATA + b"\xa0\x80\x24\x80" + octets + b"\0\0" * 3
    signed = b"\x30\x80\x02\x01\x01\x31\x80\x05\0\0\0" + inside
    return b"\x30\x80" + OID + b"\xa0\x80" + signed + b"\0\0" * 3


class SignedDataTests(SynchronousTestCase):
    """What is found, and that nothing is raised."""

    def test_what_a_library_signs(self) -> None:
        """In DER, also where its length takes three octets."""
        for content in (b"From: a\r\n\r\nhello\r\n", b"x" * 70_000):
            self.assertEqual(signed_content(opaque(content)), content)

    def test_pieces_without_a_length(self) -> None:
        """BER."""
        self.assertEqual(signed_content(streamed(b"From: a\r\n", b"\r\nhello\r\n")), b"From: a\r\n\r\nhello\r\n")

    def test_what_holds_nothing(self) -> None:
        """Certificates alone, cut ones, other things."""
        whole = opaque(b"hello")
        for content in (b"", b"0", b"\x30\x80", whole[:30], b"-----BEGIN PKCS7-----", OID, b"\x30" * 5000):
            self.assertEqual(signed_content(content), b"", content[:20])

    @given(st.integers(0, 400), st.binary(max_size=9))
    def test_nothing_raises(self, at: int, octets: bytes) -> None:
        """Whatever is changed."""
        whole = opaque(b"hello")
        signed_content(whole[:at] + octets + whole[at + len(octets) :])
