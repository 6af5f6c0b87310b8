"""Both sides of TLS, without a socket: which certificate a name gets, and what each side knows of the other."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import trustme
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.net.tls import ClientTLS, ServerTLS, TLSFailed, TLSLayer
from smtpgate.net.tls_context import load_pem
from smtpgate.policy.tlsa import TLSA


class HandshakeTests(SynchronousTestCase):
    """`TLSLayer` against `TLSLayer`."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.ca = trustme.CA()
        self.ca_file = self.folder / "ca.pem"
        self.ca.cert_pem.write_to_path(str(self.ca_file))

    def issue(self, *names: str) -> Path:
        """A certificate with key and chain in one file."""
        path = self.folder / f"{len(list(self.folder.iterdir()))}.pem"
        self.ca.issue_cert(*names).private_key_and_cert_chain_pem.write_to_path(str(path))
        return path

    def shake(self, server: ServerTLS, client: Any, host: str) -> tuple[Any, Any]:
        """The facts of client and server."""
        one, other = TLSLayer(client, host), TLSLayer(server)
        octets = one.start()
        while not (one.is_done and other.is_done):
            other.receive(octets)
            one.receive(other.outgoing())
            octets = one.outgoing()
        return one.facts, other.facts

    def test_the_certificate_of_a_name(self) -> None:
        """The one that has it, by itself or by a wildcard; the first for all others."""
        server = ServerTLS([self.issue("first.example"), self.issue("second.example", "*.third.example")])
        client = ClientTLS(verifies=False)
        for host, wanted in (
            ("first.example", "first.example"),
            ("second.example", "second.example"),
            ("SECOND.example", "second.example"),
            ("a.third.example", "second.example"),
            ("a.b.third.example", "first.example"),
            ("other.example", "first.example"),
        ):
            ours, theirs = self.shake(server, client, host)
            self.assertEqual((ours.peer_name, theirs.sni), (wanted, host.lower()))
            self.assertEqual((ours.is_verified, ours.proof), (False, ""))

    def test_what_a_certificate_is_proved_by(self) -> None:
        """Chain and name, or nothing; a look notes what is wrong and goes on."""
        server = ServerTLS([self.issue("a.example")])
        strict = ClientTLS(verifies=True, ca=self.ca_file)
        loose = ClientTLS(verifies=False, ca=self.ca_file)
        self.assertEqual(self.shake(server, strict, "a.example")[0].proof, "chain")
        self.assertEqual(self.shake(server, loose.verified(), "a.example")[0].proof, "chain")
        self.assertEqual(self.shake(server, loose.verified([["b.example", "a.example"]]), "x")[0].proof, "chain")
        with self.assertRaises(TLSFailed) as caught:
            self.shake(server, loose.verified([["a.example"], ["b.example"]]), "a.example")
        self.assertEqual(caught.exception.fault, "certificate-host-mismatch")
        looked, _ = self.shake(server, loose.looked_at(["b.example"], ["b.example"]), "a.example")
        self.assertEqual((looked.proof, looked.doubt), ("", "certificate-host-mismatch"))
        looked, _ = self.shake(server, loose.looked_at(["a.example"], ["b.example", "a.example"]), "a.example")
        self.assertEqual((looked.proof, looked.doubt), ("chain", ""))
        looked, _ = self.shake(server, loose.looked_at(["a.example"], ["b.example"]), "a.example")
        self.assertEqual((looked.proof, looked.doubt), ("", ""))
        path = self.folder / "other.pem"
        trustme.CA().issue_cert("a.example").private_key_and_cert_chain_pem.write_to_path(str(path))
        other = ServerTLS([path])
        looked, _ = self.shake(other, loose.looked_at(["a.example"], ["a.example"]), "a.example")
        self.assertEqual((looked.proof, looked.doubt), ("", "certificate-not-trusted"))
        with self.assertRaises(TLSFailed) as caught:
            self.shake(other, strict, "a.example")
        self.assertEqual(caught.exception.fault, "certificate-not-trusted")

    def test_certificates_that_cannot_be_read(self) -> None:
        """OpenSSL takes them. They prove nothing, and whoever asks for no proof goes on without their name."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a.example")])
        now = datetime.datetime.now(datetime.UTC)
        made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        made = made.serial_number(5).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=3))
        names = x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, b"\x30\x03\x82\x09a")
        octets = made.add_extension(names, False).sign(key, SHA256()).public_bytes(Encoding.PEM)
        client, ca_file = ClientTLS(verifies=False), self.folder / "odd-ca.pem"
        ca_file.write_bytes(octets)
        path = self.folder / "odd.pem"
        path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + octets)
        server = ServerTLS([self.issue("a.example")])
        load_pem(server.contexts[0], path)
        facts, _ = self.shake(server, client, "a.example")
        self.assertEqual((facts.proof, facts.peer_name), ("", ""))
        for strict in (ClientTLS(verifies=True, ca=ca_file), client.dane([TLSA(2, 0, 1, b"x" * 32)], ["a.example"])):
            self.assertRaises(TLSFailed, self.shake, server, strict, "a.example")
