"""Checks of the files that the configuration names: certificates, keys, authorities, passwords.

The loader has read them; here they are judged, as functions of the tree, the octets and the time.
Certificates are read with `cryptography` and then given to OpenSSL as the listener will do it: only OpenSSL
knows what it accepts. No message repeats what a file holds, but for names and dates of certificates.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

import argon2
from argon2.exceptions import InvalidHashError
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from OpenSSL import SSL, crypto

from smtpgate.config.model import Settings
from smtpgate.config.problem import BadValue, Fault, Where, warning
from smtpgate.config.surroundings import ReadFile, Surroundings
from smtpgate.config.unreadable import UNREADABLE

_KEY_BLOCK = re.compile(rb"-----BEGIN ([A-Z ]*PRIVATE KEY)-----.*?-----END \1-----\r?\n?", re.S)
_PEM_HINT = "it must be a PEM file with the private key, the certificate and its chain, in this order"
_CA_HINT = "it must be a PEM file with the certificates of the authorities"
#: Faults of one password file that are told; after that it is probably some other kind of file.
_LINES_TOLD = 5


def _fault(where: Where, message: str, hint: str) -> Fault:
    """A file is judged by what is in it, whatever else stands beside its name."""
    return Fault(where, message, hint, keys=())


def _warning(where: Where, message: str, hint: str) -> Fault:
    return warning(where, message, hint, keys=())


def certificates_are_good(tree: Settings, around: Surroundings) -> Iterator[Fault]:
    """What listeners and backends show as their certificate must be one that OpenSSL takes."""
    for where, path in _certificate_files(tree):
        file = around.files.get(path, ReadFile(path, reason="not looked at"))
        if file.reason:
            yield _fault(where, f"cannot read {path}: {file.reason}", _PEM_HINT)
        else:
            yield from _judge_certificate(where, file, around.now)


def _certificate_files(tree: Settings) -> Iterator[tuple[Where, Path]]:
    for name, listener in tree.listeners.items():
        for number, path in enumerate(listener.certificates):
            yield ("listeners", name, "certificates", number), path
    for name, backend in tree.backends.items():
        if backend.tls_certificate is not None:
            yield ("backends", name, "tls_certificate"), backend.tls_certificate


def _judge_certificate(where: Where, file: ReadFile, now: datetime) -> Iterator[Fault]:
    try:
        chain = _certificates(file.octets)
        key = _private_key(file.octets)
    except BadValue as error:
        yield _fault(where, f"{file.path} {error.message}", error.hint)
        return
    if file.is_open_to_all:
        yield _warning(
            where,
            f"{file.path} holds a private key and can be read by everybody (mode {file.mode:04o})",
            f"chmod 600 {file.path}",
        )
    if not _fits(key, chain[0]):
        if any(_fits(key, one) for one in chain[1:]):
            message, hint = (
                "has its certificates in the wrong order",
                "the one that the key belongs to comes first",
            )
        else:
            message, hint = (
                "has a key that does not fit its certificate",
                "put the key of this certificate in it",
            )
        yield _fault(where, f"{file.path} {message}", hint)
        return
    yield from _judge_order(where, file, chain)
    refusal = _openssl_refusal(key, chain)
    if refusal:
        yield _fault(where, f"OpenSSL refuses {file.path}: {refusal}", "get a certificate with a stronger key")
    for one in chain:
        yield from _judge_dates(where, file, one, now)


def _certificates(octets: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(octets)
    except UNREADABLE:
        raise BadValue("has no certificate in it that can be read", _PEM_HINT) from None


def _private_key(octets: bytes) -> PrivateKeyTypes:
    block = _KEY_BLOCK.search(octets)
    if block is None:
        raise BadValue("has no private key in it", _PEM_HINT)
    if block[1].startswith(b"ENCRYPTED") or b"ENCRYPTED" in block[0].split(b"\n\n")[0]:
        raise BadValue("has a key with a passphrase, and nobody could type it", "write the key without one")
    try:
        return load_pem_private_key(block[0], None)
    except UNREADABLE:
        raise BadValue("has a private key that cannot be read", _PEM_HINT) from None


def _fits(key: PrivateKeyTypes, certificate: x509.Certificate) -> bool:
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    try:
        return key.public_key().public_bytes(*form) == certificate.public_key().public_bytes(*form)
    except UNREADABLE:
        return False


def _issued(one: x509.Certificate, other: x509.Certificate) -> bool:
    """True when `other` issued `one`."""
    try:
        one.verify_directly_issued_by(other)
    except (InvalidSignature, *UNREADABLE):
        return False
    return True


def _judge_order(where: Where, file: ReadFile, chain: Sequence[x509.Certificate]) -> Iterator[Fault]:
    """Each certificate must be followed by its issuer; many clients look no further."""
    for number in range(len(chain) - 1):
        if _issued(chain[number], chain[number + 1]):
            continue
        others = [one for place, one in enumerate(chain) if place not in (number, number + 1)]
        if any(_issued(chain[number], one) for one in others):
            yield _fault(
                where,
                f"{file.path} has its certificates in the wrong order",
                "each must be followed by the one that issued it",
            )
        else:
            yield _warning(
                where,
                f"{file.path} has a certificate that is not of the chain: {_subject(chain[number + 1])}",
                "remove it, or put what is missing between",
            )
        return


def _subject(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string()[:100] or "without a name"


def _judge_dates(where: Where, file: ReadFile, one: x509.Certificate, now: datetime) -> Iterator[Fault]:
    start, end = one.not_valid_before_utc, one.not_valid_after_utc
    if end < now:
        yield _warning(where, f"{file.path}: {_subject(one)} expired on {end:%Y-%m-%d}", "renew the certificate")
    elif start > now:
        yield _warning(
            where,
            f"{file.path}: {_subject(one)} is not valid before {start:%Y-%m-%d %H:%M} UTC",
            "check the clock of this machine, or use the certificate later",
        )


def _openssl_refusal(key: PrivateKeyTypes, chain: Sequence[x509.Certificate]) -> str:
    """Why OpenSSL will not serve with this key and chain, or ''."""
    context = SSL.Context(SSL.TLS_METHOD)
    try:
        context.use_certificate(crypto.X509.from_cryptography(chain[0]))
        context.use_privatekey(crypto.PKey.from_cryptography_key(key))  # type: ignore[arg-type]
        context.check_privatekey()
        for one in chain[1:]:
            context.add_extra_chain_cert(crypto.X509.from_cryptography(one))
    except SSL.Error as error:
        reasons = error.args[0] if error.args and isinstance(error.args[0], list) else []
        return ", ".join(str(reason[-1]) for reason in reasons) or "no reason given"
    except TypeError as error:
        return str(error)
    return ""


def authorities_are_readable(tree: Settings, around: Surroundings) -> Iterator[Fault]:
    """A file of trusted authorities that holds none would trust nobody."""
    named: list[tuple[Where, Path | None]] = [
        *((("listeners", name, "client_ca"), listener.client_ca) for name, listener in tree.listeners.items()),
        *((("backends", name, "tls_ca"), backend.tls_ca) for name, backend in tree.backends.items()),
    ]
    for where, path in named:
        if path is None:
            continue
        file = around.files.get(path, ReadFile(path, reason="not looked at"))
        if file.reason:
            yield _fault(where, f"cannot read {path}: {file.reason}", _CA_HINT)
            continue
        try:
            _certificates(file.octets)
        except BadValue as error:
            yield _fault(where, f"{path} {error.message}", _CA_HINT)


def password_files_are_good(tree: Settings, around: Surroundings) -> Iterator[Fault]:
    """Every line is a user and a hash; the user of a bad line could not log in, and nobody would know why."""
    for name, listener in tree.listeners.items():
        path = listener.password_file
        if path is None:
            continue
        where = ("listeners", name, "password_file")
        file = around.files.get(path, ReadFile(path, reason="not looked at"))
        if file.reason:
            yield _fault(where, f"cannot read {path}: {file.reason}", "it must hold lines of name:hash")
            continue
        if file.is_open_to_all:
            yield _fault(
                where,
                f"{path} can be read by others (mode {file.mode:04o})",
                f"make it 0640: chmod 640 {path}",
            )
        yield from _judge_passwords(where, file)


def _judge_passwords(where: Where, file: ReadFile) -> Iterator[Fault]:
    hint = "write name:hash, with a hash as argon2 makes it ($argon2id$v=19$...)"
    seen: dict[str, int] = {}
    told = 0
    for number, line in enumerate(file.octets.decode("utf-8", "replace").split("\n"), 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        user, colon, hashed = text.partition(":")
        message = ""
        if not colon or not user or "\ufffd" in text:
            message = "is not name:hash"
        elif not _is_argon2(hashed):
            message = "has no argon2 hash"
        elif user in seen:
            message = f"has the same user as line {seen[user]}"
        if message:
            yield _fault(where, f"line {number} of {file.path} {message}", hint)
            told += 1
            if told == _LINES_TOLD:
                return
        seen.setdefault(user, number)


def _is_argon2(hashed: str) -> bool:
    try:
        argon2.extract_parameters(hashed)
    except InvalidHashError:
        return False
    return True
