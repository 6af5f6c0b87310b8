"""Tests of smtpgate.config.check_files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import argon2
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.config import check_files as checks
from smtpgate.config.model import Settings
from smtpgate.config.problem import Fault, dotted
from smtpgate.config.surroundings import ReadFile, Surroundings
from tests.config_kit import backend, listener, tree

NOW = datetime.now(UTC)
FILE = Path("/etc/smtpgate/gate.pem")


def judged(
    check: Callable[[Settings, Surroundings], Iterator[Fault]], judged: Settings, *files: ReadFile
) -> list[Fault]:
    """The faults that a check finds in files."""
    return list(check(judged, Surroundings(NOW, {file.path: file for file in files})))


class CertificateTests(SynchronousTestCase):
    """`certificates_are_good`."""

    def setUp(self) -> None:
        """A small public key infrastructure: root, authority between, certificate."""
        root = trustme.CA()
        between = root.create_child_ca()
        self.leaf = between.issue_cert("gate.example.com", key_type=trustme.KeyType.ECDSA)
        self.key = self.leaf.private_key_pem.bytes()
        self.chain = [blob.bytes() for blob in self.leaf.cert_chain_pems]
        self.root = root.cert_pem.bytes()

    def found(self, octets: bytes, **given: object) -> list[tuple[str, str]]:
        """Severity and message about a file with these octets."""
        file = ReadFile(FILE, octets, **given)  # type: ignore[arg-type]
        door = listener(tls="optional", certificates=(FILE,))
        faults = judged(checks.certificates_are_good, tree([door]), file)
        for fault in faults:
            self.assertEqual(dotted(fault.where), "listeners.mx.certificates[0]")
            self.assertTrue(fault.hint)
        return [(fault.severity, fault.message.replace(str(FILE), "FILE")) for fault in faults]

    def self_signed(self, days: int, key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
        """A certificate of one key over ten days, beginning so many days from now."""
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gate.example.com")])
        start = NOW + timedelta(days=days)
        builder = x509.CertificateBuilder(name, name, key.public_key(), 1, start, start + timedelta(days=10))
        made = builder.sign(key, hashes.SHA256())
        return made.public_bytes(Encoding.PEM)

    def pem(self, key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
        """A key without a passphrase."""
        return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def test_key_and_chain_in_order_are_good(self) -> None:
        """With the root or without, the key first or last."""
        self.assertEqual(len(self.chain), 2)
        self.assertEqual(self.found(self.key + b"".join(self.chain)), [])
        self.assertEqual(self.found(b"".join(self.chain) + self.key), [])
        self.assertEqual(self.found(self.key + b"".join(self.chain) + self.root), [])
        self.assertEqual(self.found(self.key + self.chain[0]), [])

    def test_file_that_cannot_be_read_is_refused(self) -> None:
        """With the reason of the system."""
        self.assertEqual(
            self.found(b"", reason="permission denied"), [("error", "cannot read FILE: permission denied")]
        )

    def test_file_without_a_certificate_or_key_is_refused(self) -> None:
        """Each is told by itself."""
        self.assertEqual(self.found(b"hello"), [("error", "FILE has no certificate in it that can be read")])
        self.assertEqual(self.found(self.chain[0]), [("error", "FILE has no private key in it")])

    def test_key_that_is_broken_or_locked_is_refused(self) -> None:
        """Nobody is there to type a passphrase."""
        broken = b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
        self.assertEqual(self.found(broken + self.chain[0]), [("error", "FILE has a private key that cannot be read")])
        key = ec.generate_private_key(ec.SECP256R1())
        for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
            locked = key.private_bytes(Encoding.PEM, form, BestAvailableEncryption(b"x"))
            self.assertEqual(
                self.found(locked + self.chain[0]),
                [("error", "FILE has a key with a passphrase, and nobody could type it")],
            )

    def test_key_of_another_certificate_is_refused(self) -> None:
        """The commonest mistake of a renewal."""
        other = self.pem(ec.generate_private_key(ec.SECP256R1()))
        self.assertEqual(
            self.found(other + self.chain[0]), [("error", "FILE has a key that does not fit its certificate")]
        )

    def test_chain_in_the_wrong_order_is_refused(self) -> None:
        """The key's own first, each followed by its issuer."""
        wrong = [("error", "FILE has its certificates in the wrong order")]
        self.assertEqual(self.found(self.key + self.chain[1] + self.chain[0]), wrong)
        self.assertEqual(self.found(self.key + self.chain[0] + self.root + self.chain[1]), wrong)

    def test_certificate_of_another_chain_is_warned_about(self) -> None:
        """It does no harm but is not what was meant."""
        ((severity, message),) = self.found(self.key + self.chain[0] + trustme.CA().cert_pem.bytes())
        self.assertEqual(severity, "warning")
        self.assertIn("is not of the chain", message)

    def test_dates_are_warned_about(self) -> None:
        """Expired, or not valid yet; the gateway starts all the same."""
        key = ec.generate_private_key(ec.SECP256R1())
        for days, words in ((-20, "expired on"), (5, "is not valid before")):
            ((severity, message),) = self.found(self.pem(key) + self.self_signed(days, key))
            self.assertEqual(severity, "warning")
            self.assertIn(f"CN=gate.example.com {words}", message)
        self.assertEqual(self.found(self.pem(key) + self.self_signed(-5, key)), [])

    def test_key_that_openssl_refuses_is_refused(self) -> None:
        """A weak key loads fine and fails when it is to serve."""
        key = rsa.generate_private_key(65537, 1024)
        ((severity, message),) = self.found(self.pem(key) + self.self_signed(-5, key))
        self.assertEqual((severity, message), ("error", "OpenSSL refuses FILE: ee key too small"))

    def test_key_that_everybody_can_read_is_warned_about(self) -> None:
        """A group of its own may read it."""
        good = self.key + b"".join(self.chain)
        self.assertEqual(self.found(good, mode=0o640), [])
        ((severity, message),) = self.found(good, mode=0o644)
        self.assertEqual(severity, "warning")
        self.assertIn("can be read by everybody (mode 0644)", message)

    def test_certificate_of_a_backend_is_judged_too(self) -> None:
        """It is shown like any other."""
        group = backend(tls="verify", tls_certificate=FILE)
        (fault,) = judged(checks.certificates_are_good, tree(backends=[group]), ReadFile(FILE, b""))
        self.assertEqual(dotted(fault.where), "backends.mail.tls_certificate")


class AuthorityTests(SynchronousTestCase):
    """`authorities_are_readable`."""

    def test_files_of_authorities_must_hold_one(self) -> None:
        """An empty one would trust nobody."""
        given = tree([listener(tls="optional", client_ca=FILE)], [backend(tls="verify", tls_ca=FILE)])
        for file in (ReadFile(FILE, b""), ReadFile(FILE, reason="permission denied")):
            keys = [dotted(fault.where) for fault in judged(checks.authorities_are_readable, given, file)]
            self.assertEqual(keys, ["listeners.mx.client_ca", "backends.mail.tls_ca"])
        good = ReadFile(FILE, trustme.CA().cert_pem.bytes(), 0o644)
        self.assertEqual(judged(checks.authorities_are_readable, given, good), [])


class PasswordTests(SynchronousTestCase):
    """`password_files_are_good`."""

    def setUp(self) -> None:
        """A quick hash of a bad password."""
        self.hash = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("secret")

    def messages(self, text: str, **given: object) -> list[str]:
        """What is said about a password file."""
        door = listener(auth="local", password_file=FILE)
        file = ReadFile(FILE, text.encode("utf-8", "surrogateescape"), **given)  # type: ignore[arg-type]
        faults = judged(checks.password_files_are_good, tree([door]), file)
        self.assertTrue(all(fault.severity == "error" for fault in faults))
        return [fault.message.replace(str(FILE), "FILE") for fault in faults]

    def test_names_and_hashes_are_good(self) -> None:
        """With comments and empty lines, also from Windows."""
        self.assertEqual(self.messages(f"# users\n\nbob:{self.hash}\r\nalice@example.net:{self.hash}\n"), [])

    def test_bad_lines_are_told_by_number_and_not_by_content(self) -> None:
        """A clear password is a secret too, also in a wrong place."""
        text = f"bob:hunter2\nhunter2\n:{self.hash}\ncarol:$2b$12$abcdefghijklmnopqrstuv\n"
        found = self.messages(text)
        self.assertEqual(
            found,
            [
                "line 1 of FILE has no argon2 hash",
                "line 2 of FILE is not name:hash",
                "line 3 of FILE is not name:hash",
                "line 4 of FILE has no argon2 hash",
            ],
        )
        self.assertNotIn("hunter2", str(found))

    def test_user_twice_is_refused(self) -> None:
        """Nobody would know which password counts."""
        text = f"bob:{self.hash}\nbob:{self.hash}\n"
        self.assertEqual(self.messages(text), ["line 2 of FILE has the same user as line 1"])

    def test_only_the_first_bad_lines_are_told(self) -> None:
        """Another kind of file would fill the screen."""
        self.assertEqual(len(self.messages("nonsense\n" * 1000)), 5)

    def test_octets_that_are_no_text_are_refused(self) -> None:
        """The line is told."""
        self.assertEqual(self.messages("bob\udcff:x\n"), ["line 1 of FILE is not name:hash"])

    def test_file_that_others_can_read_is_refused(self) -> None:
        """Hashes can be tried at leisure; the gateway's own group may read them."""
        self.assertEqual(self.messages("", mode=0o644), ["FILE can be read by others (mode 0644)"])
        self.assertEqual(self.messages("", mode=0o640), [])

    def test_file_that_cannot_be_read_is_refused(self) -> None:
        """With the reason of the system."""
        self.assertEqual(self.messages("", reason="no such file or directory")[0][:19], "cannot read FILE: n"[:19])
