"""Tests of smtpgate.filters.content.identifiers: numbers that name a person or an account."""

from __future__ import annotations

import base64

from twisted.trial.unittest import SynchronousTestCase

from smtpgate.filters.content.identifiers import factory
from smtpgate.testing import Client, Gateway, complaints, use

HEAD = b"From: a@example.org\r\nTo: b@example.net\r\nSubject: x\r\nMIME-Version: 1.0\r\n"
CARD = "4111 1111 1111 1111"
SAID = "1 card (medium): visa 4111 **** **** 1111"
REFUSED = "550 5.7.1 The message is not accepted: it holds a payment card number"


def sent(content: bytes, options: str = "") -> tuple[str, Client]:
    """The reply to a message."""
    gateway = Gateway(use(factory, options))
    client = gateway.connect()
    client.helo()
    return client.message(HEAD + content), client


class IdentifierFilterTests(SynchronousTestCase):
    """`identifiers`."""

    def test_a_card_is_refused_however_it_is_coded(self) -> None:
        """B-158, B-167, B-169: plain, base64, UTF-16, HTML, an attachment of text, behind a megabyte (B-171)."""
        utf16 = base64.encodebytes(f"card {CARD}".encode("utf-16")).replace(b"\n", b"\r\n")
        for content in (
            f"\r\npay with {CARD} please\r\n".encode(),
            b"Content-Transfer-Encoding: base64\r\n\r\n" + base64.encodebytes(CARD.encode()).replace(b"\n", b"\r\n"),
            b"Content-Type: text/plain; charset=utf-16\r\nContent-Transfer-Encoding: base64\r\n\r\n" + utf16,
            b"Content-Type: text/html\r\n\r\n<p style='display:none'>4111<b> 1111 </b>1111 1111</p>\r\n",
            f'Content-Type: text/csv; name="a.csv"\r\nContent-Disposition: attachment\r\n\r\nx;{CARD}\r\n'.encode(),
            b"\r\n" + b"filler words here\r\n" * 70_000 + f"{CARD}\r\n".encode(),
        ):
            reply, client = sent(content)
            self.assertEqual(reply, REFUSED, content[:80])
            (finding,) = client.findings
            self.assertEqual((finding.reason, finding.detail.rpartition(" in ")[0]), ("identifier-card", SAID))

    def test_below_the_threshold_it_is_recorded(self) -> None:
        """B-173: one card is one finding, whatever else its digits look like."""
        reply, client = sent(f"\r\n{CARD}\r\n".encode(), 'kinds = ["card", "us-ssn", "phone"]\nleast = 2')
        self.assertEqual((reply, [one.reason for one in client.findings]), ("250 2.0.0 Ok", ["identifier-few"]))

    def test_distinct_numbers_are_counted(self) -> None:
        """The same twice is one."""
        reply, _ = sent(f"\r\n{CARD}\r\n{CARD}\r\n".encode(), "least = 2")
        self.assertEqual(reply, "250 2.0.0 Ok")
        reply, _ = sent(f"\r\n{CARD}\r\nDE89 3704 0044 0532 0130 00\r\n".encode(), "least = 2")
        self.assertTrue(reply.startswith("550 5.7.1"))

    def test_nothing_is_nothing(self) -> None:
        """No finding at all."""
        self.assertEqual(sent(b"\r\nhello 12345\r\n")[1].findings, [])

    def test_a_child_that_fails_defers(self) -> None:
        """What could not be looked at does not pass."""
        gateway = Gateway(use(factory))
        gateway.children.fails = "died"
        client = gateway.connect()
        client.helo()
        self.assertTrue(client.message(HEAD + b"\r\nx\r\n").startswith("451 4.3.0"))

    def test_options(self) -> None:
        """Known kinds only."""
        self.assertEqual(len(complaints(factory, 'kinds = ["cards"]')), 1)
        self.assertEqual(len(complaints(factory, "least = 0")), 1)
