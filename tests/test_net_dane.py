"""TLSA records: which can be used, and which certificates they are about (RFC 6698, 7671, 7672)."""

from __future__ import annotations

import datetime
import hashlib
import struct
from typing import Any

import trustme
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.net import dns_wire
from smtpgate.net.dane import fault_of, matches, proves
from smtpgate.policy.tlsa import TLSA, read, usable

NAME = "mx.example.org"


def chain(issued: trustme.LeafCert, *more: trustme.CA) -> list[x509.Certificate]:
    """A server's certificates, its own first."""
    octets = b"".join(one.bytes() for one in issued.cert_chain_pems) + b"".join(ca.cert_pem.bytes() for ca in more)
    return x509.load_pem_x509_certificates(octets)


def der(certificate: x509.Certificate, selector: int) -> bytes:
    """What a record of that selector is about."""
    if selector == 0:
        return certificate.public_bytes(serialization.Encoding.DER)
    return certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def record(certificate: x509.Certificate, usage: int, selector: int = 1, matching: int = 1) -> TLSA:
    """A record that fits."""
    octets = der(certificate, selector)
    digest = {0: octets, 1: hashlib.sha256(octets).digest(), 2: hashlib.sha512(octets).digest()}
    return TLSA(usage, selector, matching, digest[matching])


class RecordTests(SynchronousTestCase):
    """`policy.tlsa`."""

    def test_presentation_form(self) -> None:
        """As a zone has it, in one piece or several."""
        self.assertEqual(read("3 1 1 " + "ab" * 32), TLSA(3, 1, 1, b"\xab" * 32))
        self.assertEqual(read("3 1 1 abab " + "ab" * 30), TLSA(3, 1, 1, b"\xab" * 32))
        for text in ("", "3 1 1", "x 1 1 ab", "3 1 1 xyz", "3 1 1 abc", "-3 1 1 ab", "3333 1 1 ab"):
            self.assertIsNone(read(text), text)

    def test_what_cannot_be_used(self) -> None:
        """Usages of the Web (RFC 7672 section 3.1.3), numbers that nobody knows, digests of another length."""
        good = "ab" * 32
        for text in (
            *(f"0 1 1 {good}", f"1 1 1 {good}", f"4 1 1 {good}", f"255 1 1 {good}", f"3 2 1 {good}"),
            *(f"3 1 3 {good}", f"3 1 1 {good[2:]}", f"3 1 2 {good}"),
        ):
            self.assertEqual(usable([text]), (), text)
        self.assertEqual(len(usable([f"3 1 1 {good}", f"2 0 1 {good}", f"1 0 1 {good}"])), 2)

    def test_the_strongest_digest(self) -> None:
        """Of one usage and selector; others stand for themselves (RFC 7671 section 9)."""
        short, long = "ab" * 32, "cd" * 64
        found = usable([f"3 1 1 {short}", f"3 1 2 {long}", f"3 0 1 {short}", "3 1 0 abcd"])
        self.assertEqual([(one.usage, one.selector, one.matching) for one in found], [(3, 1, 2), (3, 0, 1), (3, 1, 0)])

    def test_on_the_wire(self) -> None:
        """A record that cannot be used does not spoil those beside it."""
        query = dns_wire.question("_25._tcp.mx.example.org", "TLSA")
        records = [bytes((3, 1, 1)) + b"\xab" * 32, bytes((3, 1, 1)) + b"short", bytes((3, 1, 9)) + b"\x00"]
        answers = b"".join(b"\xc0\x0c" + struct.pack("!HHIH", 52, 1, 300, len(one)) + one for one in records)
        head = struct.pack("!HHHHHH", query.id, 0x81A0, 1, len(records), 0, 0)
        reading = dns_wire.read(head + query.asked + answers, query)
        self.assertEqual((reading.status, reading.is_authentic), ("ok", True))
        self.assertEqual([read(one) is not None for one in reading.records], [True] * 3)
        self.assertEqual(usable(reading.records), (TLSA(3, 1, 1, b"\xab" * 32),))
        broken = b"\xc0\x0c" + struct.pack("!HHIH", 52, 1, 300, 2) + b"\x03\x01"
        head = struct.pack("!HHHHHH", query.id, 0x81A0, 1, 1, 0, 0)
        self.assertRaises(dns_wire.Broken, dns_wire.read, head + query.asked + broken, query)


class ProofTests(SynchronousTestCase):
    """`net.dane.proves`."""

    def setUp(self) -> None:
        self.root = trustme.CA()
        self.inner = self.root.create_child_ca()
        self.leaf = chain(self.inner.issue_cert(NAME), self.root)
        self.named = 0

    def proves(self, records: list[TLSA], given: list[x509.Certificate] | None = None, is_named: bool = True) -> str:
        """What is wrong."""

        def name() -> bool:
            self.named += 1
            return is_named

        return proves(self.leaf if given is None else given, records, name)

    def test_every_selector_and_digest(self) -> None:
        """Of the server's own certificate, of its authority, and of the authority above."""
        own, inner, root = self.leaf
        for selector in (0, 1):
            for matching in (0, 1, 2):
                for certificate, usage in ((own, 3), (inner, 2), (root, 2)):
                    one = record(certificate, usage, selector, matching)
                    self.assertTrue(matches(certificate, one))
                    self.assertEqual(self.proves([one]), "", (selector, matching, usage))

    def test_own_certificate_needs_neither_name_nor_date(self) -> None:
        """RFC 7671 section 5.1."""
        day = datetime.timedelta(days=1)
        now = datetime.datetime.now(datetime.UTC)
        old = chain(self.root.issue_cert("other.example", not_before=now - 9 * day, not_after=now - day))
        self.assertEqual(self.proves([record(old[0], 3)], old, is_named=False), "")
        self.assertEqual(self.named, 0)

    def test_an_authority_needs_name_and_date(self) -> None:
        """RFC 7671 section 5.2, RFC 7672 section 3.2."""
        root = self.leaf[-1]
        self.assertEqual(self.proves([record(root, 2)], is_named=False), "certificate-host-mismatch")
        day = datetime.timedelta(days=1)
        now = datetime.datetime.now(datetime.UTC)
        old = chain(self.root.issue_cert(NAME, not_before=now - 9 * day, not_after=now - day), self.root)
        self.assertEqual(self.proves([record(root, 2)], old), "certificate-expired")

    def test_an_authority_that_was_not_sent(self) -> None:
        """A digest of it proves nothing; the whole certificate in the record does."""
        alone = chain(self.root.issue_cert(NAME))
        root = self.leaf[-1]
        self.assertEqual(self.proves([record(root, 2)], alone), "validation-failure")
        self.assertEqual(self.proves([record(root, 2, 0, 0)], alone), "")
        self.assertEqual(self.proves([TLSA(2, 0, 0, b"no certificate")], alone), "validation-failure")

    def test_an_authority_that_has_signed_nothing(self) -> None:
        """It stands in the chain, and the server's certificate is of another."""
        other = trustme.CA()
        given = [*chain(self.root.issue_cert(NAME)), *chain(other.issue_cert("x"), other)[1:]]
        self.assertEqual(self.proves([record(given[-1], 2)], given), "certificate-not-trusted")

    def test_a_key_of_an_unknown_kind(self) -> None:
        """In the chain or in the record: nothing is proved by it, and what else there is still counts."""
        issued = chain(trustme.CA().issue_cert(NAME))
        octets, kind = der(issued[0], 0), bytes.fromhex("06072a8648ce3d0201")
        self.assertIn(kind, octets)
        odd = x509.load_der_x509_certificate(octets.replace(kind, kind[:-1] + b"\x63"))
        self.assertRaises(UnsupportedAlgorithm, odd.public_key)
        for usage in (2, 3):
            digest = hashlib.sha256(b"another").digest()
            self.assertTrue(proves([odd], [TLSA(usage, 1, 1, digest)], lambda: True))
            self.assertTrue(proves([*issued, odd], [TLSA(usage, 1, 1, digest)], lambda: True))
            self.assertEqual(
                proves([*issued, odd], [TLSA(usage, 1, 1, digest), record(issued[0], 3)], lambda: True), ""
            )
        self.assertTrue(proves(issued, [TLSA(2, 0, 0, der(odd, 0))], lambda: True))

    def test_another_certificate(self) -> None:
        """None of the records fits; or there is no certificate at all; usages are not mixed up."""
        own, inner, _ = self.leaf
        other = chain(trustme.CA().issue_cert(NAME))[0]
        for records in ([record(other, 3)], [record(other, 2)], [record(inner, 3)], []):
            self.assertEqual(self.proves(records), "validation-failure")
        self.assertEqual(self.proves([record(own, 3)], []), "validation-failure")
        self.assertEqual(self.proves([record(other, 3), record(own, 3)]), "")

    def test_words_for_what_openssl_finds(self) -> None:
        """RFC 8460 section 4.3."""
        words: list[tuple[int, Any]] = [
            (10, "certificate-expired"),
            (9, "certificate-expired"),
            (62, "certificate-host-mismatch"),
            (18, "certificate-not-trusted"),
            (20, "certificate-not-trusted"),
        ]
        for number, word in words:
            self.assertEqual(fault_of(number), word)
