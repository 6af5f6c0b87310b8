"""Certificates of listeners as a client of the world sees them; over the API, and in Chromium."""

from __future__ import annotations

import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.control import chains
from smtpgate.net.selfsigned import ensure
from tests.admin_kit import CONFIG, HOSTILE, ApiCase, Desk
from tests.browser_kit import BrowserCase, shoot

NOW = datetime(2026, 6, 1, tzinfo=UTC)
PEM = serialization.Encoding.PEM
TEXT = CONFIG.replace('tls = "off"', 'tls = "optional"', 1)


def make(
    name: str,
    key: Any,
    issuer: tuple[str, Any] | None = None,
    days: int = 90,
    names: tuple[str, ...] = (),
) -> x509.Certificate:
    """A certificate; an authority where it names no host."""
    who = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    above, signer = issuer or (name, key)
    by = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, above)])
    made = (
        x509.CertificateBuilder()
        .subject_name(who)
        .issuer_name(by)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - timedelta(days=10))
        .not_valid_after(NOW + timedelta(days=days))
        .add_extension(x509.BasicConstraints(not names, None), True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
    )
    if names:
        made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(one) for one in names]), False)
        made = made.add_extension(x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.SERVER_AUTH]), False)
    else:
        usage = dict.fromkeys(("digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
                               "key_agreement", "encipher_only", "decipher_only"), False)  # fmt: skip
        made = made.add_extension(x509.KeyUsage(key_cert_sign=True, crl_sign=True, **usage), True)
    return made.sign(signer, hashes.SHA256())


def pem(*parts: Any) -> bytes:
    """Keys and certificates as a file."""
    out = b""
    for part in parts:
        if isinstance(part, x509.Certificate):
            out += part.public_bytes(PEM)
        else:
            out += part.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return out


class ChainTests(SynchronousTestCase):
    """One file."""

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="smtpgate-tls-"))
        self.addCleanup(shutil.rmtree, self.folder, True)
        self.root_key, self.middle_key, self.key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
        self.root = make("Root", self.root_key, days=900)
        self.middle = make("Middle", self.middle_key, ("Root", self.root_key), 400)
        self.leaf = make("mx", self.key, ("Middle", self.middle_key), names=("mx.example.net", "*.example.org"))

    def read(self, *parts: Any, now: datetime = NOW) -> chains.Chain:
        path = self.folder / "one.pem"
        path.write_bytes(pem(*parts))
        authorities = [self.root.public_bytes(serialization.Encoding.DER), b"no certificate"]
        (found,) = chains.read([(path, ("mx",))], now.timestamp(), authorities)
        return found

    def test_a_whole_chain(self) -> None:
        """Is believed, wherever the key stands in the file."""
        for parts in ((self.key, self.leaf, self.middle), (self.leaf, self.middle, self.key)):
            found = self.read(*parts)
            self.assertEqual((found.problem, found.doubt, found.is_own_key), ("", "", True))
        self.assertEqual(found.names, ("mx.example.net", "*.example.org"))
        self.assertEqual(found.above, ("CN=Middle",))
        self.assertAlmostEqual(found.part_left(NOW.timestamp()), 0.9)
        self.assertIn("EC", found.key)

    def test_what_is_wrong(self) -> None:
        """Each in words that lead to its mend."""
        other = ec.generate_private_key(ec.SECP256R1())
        self.assertIn("issuer", self.read(self.key, self.leaf).doubt)
        self.assertIn("expired", self.read(self.key, self.leaf, self.middle, now=NOW + timedelta(days=91)).doubt)
        self.assertIn("not valid yet", self.read(self.key, self.leaf, now=NOW - timedelta(days=11)).doubt)
        self.assertEqual(self.read(self.key, self.leaf, now=NOW + timedelta(days=91)).part_left(2e9), 0)
        wrong = self.read(other, self.leaf, self.middle)
        self.assertEqual((wrong.has_key, wrong.is_own_key), (True, False))
        self.assertEqual((self.read(self.leaf, self.middle).has_key), False)
        nameless = make("mx", self.key, ("Middle", self.middle_key))
        self.assertIn("names no host", self.read(self.key, nameless, self.middle).doubt)
        stranger = make("mx", self.key, ("Middle", other), names=("mx.example.net",))
        self.assertNotEqual(self.read(self.key, stranger, self.middle).doubt, "")

    def test_our_own(self) -> None:
        """Encrypts, and nobody believes it."""
        path = ensure(self.folder, "gate.example.net", NOW)
        (found,) = chains.read([(path, ("mx",))], NOW.timestamp(), [])
        self.assertTrue(found.is_self_signed and found.is_own_key)
        self.assertIn("signed by itself", found.doubt)

    def test_no_certificate(self) -> None:
        """What cannot be read comes first, with why."""
        bad, good = self.folder / "bad.pem", self.folder / "good.pem"
        bad.write_text("no certificate")
        good.write_bytes(pem(self.key, self.leaf))
        files = [(good, ("a",)), (bad, ("b",)), (self.folder / "none.pem", ("c",))]
        found = chains.read(files, NOW.timestamp(), [])
        self.assertEqual([bool(one.problem) for one in found], [True, True, False])
        self.assertEqual(chains.read([], NOW.timestamp()), ())


def own_certificate(case: Any) -> None:
    """The desk's listeners have the certificate that the gateway makes."""
    folder = Path(tempfile.mkdtemp(prefix="smtpgate-tls-"))
    case.addCleanup(shutil.rmtree, folder, True)
    control = case.desk.control
    moment = datetime.fromtimestamp(control.engine.wall(), UTC)
    control.certificates.own = ensure(folder, "gate.example.com", moment)


class ApiTests(ApiCase):
    """Over HTTP."""

    def setUp(self) -> None:
        self.desk = Desk(TEXT)
        self.owner = self.desk.token("owner")
        own_certificate(self)

    def test_looked_at_and_read_again(self) -> None:
        """With whom it serves; what cannot be put to work leaves all as it was, and is told."""
        (one,) = self.desk.ask("GET", "/api/v1/tls/certificates", token=self.owner).json()["items"]
        self.assertEqual((one["is_self_signed"], one["is_own_key"], one["listeners"]), (True, True, ["mx"]))
        place = "/api/v1/tls/certificates/reload"
        self.assertEqual(self.desk.post_json(place, {}, token=self.owner).status, 200)
        control, before = self.desk.control, self.desk.control.revision

        def bad(*_: Any) -> Any:
            raise ValueError(HOSTILE[0])

        control._build = bad  # type: ignore[method-assign]
        answer = self.desk.post_json(place, {}, token=self.owner)
        self.assertEqual((answer.status, control.revision is before), (409, True))
        self.assertEqual([row["action"] for row in self.desk.users.rows], ["tls.reload"] * 3)
        self.assertEqual(self.desk.users.rows[2]["result"], "failed")
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        page = self.desk.ask("POST", "/tls/reload", token=self.owner, body=b"x=", headers=headers)
        self.assertEqual((page.status, HOSTILE[0] in page.text), (409, False))


class BrowserTests(BrowserCase):
    """One visit."""

    text = TEXT

    def fill(self) -> None:
        """A certificate of our own."""
        own_certificate(self)

    def test_certificates(self) -> Deferred[None]:
        """The warning says what to do; read again."""
        return self.visit(self.walk)

    def walk(self, page: Any) -> None:
        page.goto(f"{self.base}/tls")
        page.wait_for_selector(".mark:has-text('would not be believed')")
        page.wait_for_selector("text=What to do")
        shoot(page, "tls")
        page.click("button:text-is('Read the files again')")
        page.wait_for_url(f"{self.base}/tls")
