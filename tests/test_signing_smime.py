"""Tests of smtpgate.signing.smime without OpenSSL: what is replaced, what stays, and who can be encrypted for."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.hazmat.primitives.serialization.pkcs7 import pkcs7_decrypt_der
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.config.entry import normal_address
from smtpgate.examine.canonical import body_start
from smtpgate.message.header import HeaderSection
from smtpgate.message.splice import apply, check, inverse
from smtpgate.signing.smime import (
    Entity,
    Sealed,
    Signer,
    addresses_of,
    encrypt,
    entity_of,
    is_of_mime,
    sign,
    splices,
    why_not,
    why_not_signed,
)

KEY: Any = rsa.generate_private_key(65537, 2048)
NOW = datetime(2026, 11, 27, tzinfo=UTC)
FIELDS = (
    b"From: a@example.org\r\n",
    b"Subject: x\r\n y\r\n",
    b"Content-Type: text/plain;\r\n\tcharset=utf-8\r\n",
    b"MIME-Version: 1.0\r\n",
    b"content-transfer-encoding : 8bit\r\n",
    b"no field\r\n",
    b"Content-Type: text/html\r\n",
)
SEALED = Sealed(b"MIME-Version: 1.0\r\nContent-Type: x/sealed\r\n", b"SEALED\r\n")


def certificate(*extensions: x509.ExtensionType, key: Any = KEY, mail: str = "", days: int = 10) -> Any:
    """A certificate with these extensions."""
    names = [x509.NameAttribute(NameOID.COMMON_NAME, "x")]
    names += [x509.NameAttribute(NameOID.EMAIL_ADDRESS, mail)] if mail else []
    name = x509.Name(names)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(x509.random_serial_number())
    made = made.not_valid_before(NOW - timedelta(days=5)).not_valid_after(NOW + timedelta(days=days))
    for one in extensions:
        made = made.add_extension(one, True)
    return made.sign(KEY, SHA256())


def usage(**given: bool) -> x509.KeyUsage:
    """What a key is for."""
    names = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
        "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**{name: given.get(name, False) for name in names})


class SpliceTests(SynchronousTestCase):
    """How the message becomes another."""

    @settings(max_examples=300, deadline=None)
    @given(
        st.lists(st.sampled_from(FIELDS), max_size=7),
        st.sampled_from([None, b"", b"body\r\n", b"no end", b"\r\n\r\n"]),
        st.booleans(),
    )
    def test_fields_stay_and_those_of_mime_are_ours(self, fields: list[bytes], body: bytes | None, cut: bool) -> None:
        """Whatever the header is, one without an empty line or a last line end too; and the way back is there."""
        content = b"".join(fields) + (b"" if body is None else b"\r\n" + body)
        if body is None and cut:
            content = content.removesuffix(b"\r\n")
        start = body_start(content)
        section = HeaderSection(content[:start])
        made = splices(section, len(content), SEALED, "rules/x")
        check(made, len(content))
        after = apply(made, content)
        at = body_start(after)
        self.assertEqual(after[at:], SEALED.body)
        found = HeaderSection(after[:at])
        self.assertEqual([one.raw for one in found.fields if is_of_mime(one)], SEALED.fields.splitlines(True))
        kept = [one.raw for one in section.fields if not is_of_mime(one)]
        self.assertEqual([one.raw for one in found.fields if not is_of_mime(one)], kept)
        self.assertEqual(apply(inverse(made, content), after), content)

    def test_the_entity_is_the_message_without_its_other_fields(self) -> None:
        """Body octet for octet; one without a type has that of RFC 2045."""
        for head, wanted in (
            (b"From: a\r\nContent-Type: a/b;\r\n c=d\r\nMIME-Version: 1.0\r\n", b"Content-Type: a/b;\r\n c=d\r\n"),
            (b"From: a\r\n", b"Content-Type: text/plain; charset=us-ascii\r\n"),
        ):
            for body in (b"", b"x", b"\r\n\r\nx\r\n"):
                self.assertEqual(entity_of(head + b"\r\n" + body), Entity(wanted + b"\r\n" + body))

    def test_what_is_closed_already(self) -> None:
        """By what it is where it is said to be encrypted, by what it says where it is said to be signed."""
        envelope = encrypt(Entity(b"\r\nx"), [certificate()])
        armour = b"--b\r\n\r\n-----BEGIN PGP MESSAGE-----\r\n"
        for head, body, seal in (
            (envelope.fields, envelope.body, "encrypted"),
            (envelope.fields, base64.b64decode(envelope.body), "encrypted"),
            *((envelope.fields, base64.b64decode(envelope.body)[:20] + b"A" * more, "encrypted") for more in range(4)),
            (envelope.fields, b"hello", ""),
            (envelope.fields, b"", ""),
            (b"Content-Type: multipart/encrypted; boundary=b\r\n", armour, "encrypted"),
            (b"Content-Type: multipart/encrypted; boundary=b\r\n", b"--b\r\n\r\nhello", ""),
            (b"Content-Type: multipart/signed; boundary=b\r\n", b"--b\r\n\r\nhello", "signed"),
            (b"Content-Type: application/pkcs7-mime; smime-type=signed-data\r\n", b"MII", "signed"),
            (b"Content-Type: text/plain\r\n", armour, ""),
        ):
            self.assertEqual(entity_of(head + b"\r\n" + body).seal, seal, (head, body))


class SealTests(SynchronousTestCase):
    """What is made."""

    def test_detached_only_where_it_survives(self) -> None:
        """8-bit octets, NUL, lone CR or LF and long lines are inside of the signature."""
        signer = Signer(certificate(), (), KEY)
        for body, is_detached in (
            (b"x" * 998 + b"\r\n", True),
            (b"x" * 999 + b"\r\n", False),
            (b"a\0b\r\n", False),
            (b"a\nb\r\n", False),
            (b"a\rb\r\n", False),
            ("é\r\n".encode(), False),
            (b"", True),
        ):
            made = sign(Entity(b"Content-Type: text/plain\r\n\r\n" + body), signer)
            self.assertEqual(b"multipart/signed" in made.fields, is_detached, body[:20])
            self.assertTrue(made.body.isascii())
            self.assertLess(max(map(len, made.body.split(b"\r\n"))), 999)

    def test_an_envelope_holds_the_entity(self) -> None:
        """Octet for octet, for each of those that it is for."""
        other: Any = rsa.generate_private_key(65537, 2048)
        pair = [(certificate(), KEY), (certificate(key=other), other)]
        made = encrypt(Entity(b"Content-Type: x/y\r\n\r\n\xff\x00 a\r\n"), [one for one, _ in pair])
        for one, key in pair:
            opened = pkcs7_decrypt_der(base64.b64decode(made.body), one, key, [])
            self.assertEqual(opened, b"Content-Type: x/y\r\n\r\n\xff\x00 a\r\n")


class CertificateTests(SynchronousTestCase):
    """For whom can be encrypted."""

    def test_addresses(self) -> None:
        """Those of the extension, and an old-fashioned one in the name."""
        san = x509.SubjectAlternativeName([x509.RFC822Name("Bob@Example.net"), x509.DNSName("example.net")])
        self.assertEqual(addresses_of(certificate(san, mail="B@example.net")), ("Bob@Example.net", "B@example.net"))
        self.assertEqual(addresses_of(certificate()), ())

    def test_addresses_beyond_ascii(self) -> None:
        """SmtpUTF8Mailbox, and domains however they are written."""
        kind = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.9")
        long = "ü" * 64 + "@" + "b" * 60 + ".example"
        for address, wanted in (
            ("Jörg@bücher.example", "jörg@xn--bcher-kva.example"),
            ("Jo\u0308rg@BÜCHER.example", "jörg@bücher.example"),
            (long, long),
        ):
            octets = address.encode()
            length = bytes([len(octets)]) if len(octets) < 128 else bytes([0x81, len(octets)])
            made = certificate(x509.SubjectAlternativeName([x509.OtherName(kind, b"\x0c" + length + octets)]))
            self.assertEqual(addresses_of(made), (address,))
            self.assertEqual(why_not_signed(made, wanted, normal_address, NOW), "")
        made = certificate(x509.SubjectAlternativeName([x509.OtherName(kind, b"\x16\x03a@b")]))
        self.assertRaises(ValueError, addresses_of, made)
        self.assertIn("cannot be read", why_not_signed(made, "a@b", normal_address, NOW))

    def test_why_not_signed(self) -> None:
        """The address of the author, dates, and what the key is for."""
        san = x509.SubjectAlternativeName([x509.RFC822Name("Bob@Example.net")])
        server = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
        for extensions, address, words in (
            ([san], "bob@example.NET", ""),
            ([san, usage(digital_signature=True)], "bob@example.net", ""),
            ([san, usage(content_commitment=True)], "bob@example.net", ""),
            ([san, usage(key_encipherment=True)], "bob@example.net", "it is not for signatures"),
            ([san, server], "bob@example.net", "it is not for mail"),
            ([san], "eve@example.net", "it is not for this address"),
            ([], "bob@example.net", "it is not for this address"),
        ):
            self.assertEqual(why_not_signed(certificate(*extensions), address, normal_address, NOW), words)
        self.assertIn(
            "expired", why_not_signed(certificate(san), "bob@example.net", normal_address, NOW + timedelta(days=11))
        )
        self.assertIn(
            "not valid before",
            why_not_signed(certificate(san), "bob@example.net", normal_address, NOW - timedelta(days=9)),
        )

    def test_what_cannot_be_read(self) -> None:
        """A key of a curve that is not known (prime239v1), and an extension that stands twice: a reason, no failure."""
        octets = certificate(key=ec.generate_private_key(ec.SECP256R1())).public_bytes(Encoding.DER)
        p256, unknown = bytes.fromhex("06082a8648ce3d030107"), bytes.fromhex("06082a8648ce3d030104")
        odd = x509.load_der_x509_certificate(octets.replace(p256, unknown))
        self.assertEqual(why_not(odd, NOW), "cannot be read: UnsupportedAlgorithm")
        two = (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), usage(key_encipherment=True))
        octets = certificate(*two).public_bytes(Encoding.DER)
        # 2.5.29.37 becomes 2.5.29.15.
        twice = x509.load_der_x509_certificate(octets.replace(bytes.fromhex("0603551d25"), bytes.fromhex("0603551d0f")))
        self.assertEqual(why_not(twice, NOW), "cannot be read: DuplicateExtension")
        self.assertEqual(why_not_signed(twice, "a@b", normal_address, NOW), "cannot be read: DuplicateExtension")

    def test_why_not(self) -> None:
        """Dates, and what the key is for."""
        mail, server = ExtendedKeyUsageOID.EMAIL_PROTECTION, ExtendedKeyUsageOID.SERVER_AUTH
        for extensions, words in (
            ([], ""),
            ([usage(key_encipherment=True), x509.ExtendedKeyUsage([server, mail])], ""),
            ([usage(digital_signature=True)], "it is not for encryption"),
            ([x509.ExtendedKeyUsage([server])], "it is not for mail"),
        ):
            self.assertEqual(why_not(certificate(*extensions), NOW), words)
        self.assertEqual(why_not(certificate(), NOW + timedelta(days=11)), "expired on 2026-12-07")
        self.assertEqual(why_not(certificate(), NOW - timedelta(days=9)), "not valid before 2026-11-22")
