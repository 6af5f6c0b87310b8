"""One file of a listener with key and certificates, looked at as a client of the world would: who it is for, until
when, whether its key fits, and whether it leads to an authority that this machine knows. For a thread: it reads files.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from smtpgate.config.unreadable import UNREADABLE

#: Octets of a file that are read, and names that are kept.
FILE_OCTETS: Final = 2**20
NAMES: Final = 100


@attrs.frozen
class Chain:
    """What is in one file. Times are seconds since the epoch.

    :ivar listeners: those that use it
    :ivar problem: why it cannot be read; "" where it can, and all else says something only then
    :ivar subject, issuer: as RFC 4514 writes them
    :ivar above: subjects of the certificates behind the first, in their order
    :ivar doubt: why a client of the world would not believe it; "" where it would
    """

    path: str
    listeners: tuple[str, ...]
    problem: str = ""
    subject: str = ""
    issuer: str = ""
    names: tuple[str, ...] = ()
    not_before: float = 0.0
    not_after: float = 0.0
    key: str = ""
    has_key: bool = False
    is_own_key: bool = False
    is_self_signed: bool = False
    above: tuple[str, ...] = ()
    doubt: str = ""
    fingerprint: str = ""
    serial: str = ""

    def part_left(self, now: float) -> float:
        """How much of its time is left, 0 to 1."""
        whole = self.not_after - self.not_before
        return min(1.0, max(0.0, (self.not_after - now) / whole)) if whole > 0 else 0.0


def read(files: Sequence[tuple[Path, tuple[str, ...]]], now: float, authorities: Any = None) -> tuple[Chain, ...]:
    """All of them, the soonest to expire first.

    :param authorities: certificates in DER of those that are believed; None: those of this machine
    """
    trusted = _trusted(authorities)
    found = [_read(path, listeners, now, trusted) for path, listeners in files]
    return tuple(sorted(found, key=lambda one: (not one.problem, one.not_after)))


def _trusted(authorities: Any) -> list[x509.Certificate]:
    if authorities is None:
        authorities = ssl.create_default_context().get_ca_certs(binary_form=True)
    trusted = []
    for der in authorities:
        try:
            trusted.append(x509.load_der_x509_certificate(der))
        except UNREADABLE:
            # One that this library does not read is no authority here.
            continue
    return trusted


def doubt_of(
    certificates: list[x509.Certificate], names: tuple[str, ...], now: float, authorities: Any = None, host: str = ""
) -> str:
    """Why a client of the world would not believe a chain; "" where it would.

    :param authorities: as `read`
    :param host: the one that it asked for; "": one of those that the chain is for
    """
    return _doubt(certificates, names, now, _trusted(authorities), host)


def _read(path: Path, listeners: tuple[str, ...], now: float, trusted: list[x509.Certificate]) -> Chain:
    try:
        with path.open("rb") as file:
            pem = file.read(FILE_OCTETS)
        certificates = x509.load_pem_x509_certificates(pem)
        first = certificates[0]
        names = names_of(first)
        subject, issuer = first.subject.rfc4514_string(), first.issuer.rfc4514_string()
        not_before, not_after = first.not_valid_before_utc.timestamp(), first.not_valid_after_utc.timestamp()
        fingerprint = first.fingerprint(hashes.SHA256()).hex()
        above = tuple(one.subject.rfc4514_string() for one in certificates[1:10])
        kind, (private, is_own) = _kind(first), _key(pem, first)
        doubt = _doubt(certificates, names, now, trusted)
    except (OSError, *UNREADABLE) as error:
        return Chain(str(path), listeners, str(error)[:200] or type(error).__name__)
    return Chain(
        str(path),
        listeners,
        "",
        subject,
        issuer,
        names[:NAMES],
        not_before,
        not_after,
        kind,
        private,
        is_own,
        first.subject == first.issuer,
        above,
        doubt,
        fingerprint,
        f"{first.serial_number:x}",
    )


def names_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """Hosts and addresses that a certificate is for; raises `UNREADABLE`."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    addresses = map(str, found.get_values_for_type(x509.IPAddress))
    return (*found.get_values_for_type(x509.DNSName), *addresses)


def _key(pem: bytes, certificate: x509.Certificate) -> tuple[bool, bool]:
    """Whether a private key is in the file, and whether it is the certificate's; of a kind that is not known it raises
    UnsupportedAlgorithm."""
    try:
        key = serialization.load_pem_private_key(pem, None)
    except (ValueError, TypeError):
        return False, False
    form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    return True, key.public_key().public_bytes(*form) == certificate.public_key().public_bytes(*form)


def _kind(certificate: x509.Certificate) -> str:
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA {key.key_size}"
    return f"EC {key.curve.name}" if isinstance(key, ec.EllipticCurvePublicKey) else type(key).__name__.lstrip("_")


def _doubt(
    certificates: list[x509.Certificate],
    names: tuple[str, ...],
    now: float,
    trusted: list[x509.Certificate],
    asked: str = "",
) -> str:
    first = certificates[0]
    if now >= first.not_valid_after_utc.timestamp():
        return "it has expired"
    if now < first.not_valid_before_utc.timestamp():
        return "it is not valid yet"
    if first.subject == first.issuer:
        return "it is signed by itself: it encrypts, and nobody believes it"
    hosts = [name for name in names if "." in name and not name.startswith("*.") and not name[:1].isdigit()]
    if not hosts and not names:
        return "it names no host (subjectAltName)"
    if not trusted:
        return "this machine knows no authority"
    host = asked or (hosts[0] if hosts else names[0].replace("*.", "mail."))
    builder = PolicyBuilder().store(Store(trusted)).time(datetime.fromtimestamp(now, UTC))
    try:
        builder.build_server_verifier(x509.DNSName(host)).verify(first, certificates[1:])
    except (VerificationError, *UNREADABLE) as error:
        above = {one.subject for one in certificates[1:]} | {one.subject for one in trusted}
        if first.issuer not in above:
            return "the certificate of its issuer is not in the file, and this machine does not know it"
        return str(error)[:200]
    return ""
