"""Private keys that sign, and the records of the DNS that their public halves are published in.

`config` reads the files and calls `read_key` at load; `dkim` signs with what comes of it; the command line makes new
ones. A key is never shown: it has no words for log and pages but its kind.

RFC 6376 sections 3.3 and 3.6.1; RFC 8301 (at least 1024 bits, 2048 recommended; rsa-sha1 is dead); RFC 8463 (Ed25519).
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any, Final, Literal

import attrs
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

#: RFC 8301 section 3.2 asks signers for 2048 bits; verifiers need not take more than 4096.
LEAST_BITS: Final = 2048
MOST_BITS: Final = 4096


class BadKey(ValueError):
    """A key that cannot be used; the text says why, as words behind the name of its file."""


@attrs.frozen(eq=False)
class SigningKey:
    """A private key.

    :ivar algorithm: rsa-sha256 or ed25519-sha256
    :ivar bits: of the key
    """

    algorithm: str
    bits: int
    _key: Any = attrs.field(repr=False)

    def sign(self, octets: bytes) -> bytes:
        """The signature over these octets. Takes a millisecond with RSA, so it belongs in a thread."""
        if self.algorithm == "rsa-sha256":
            made: bytes = self._key.sign(octets, PKCS1v15(), SHA256())
            return made
        # RFC 8463 section 3: what is signed is the hash.
        signed: bytes = self._key.sign(hashlib.sha256(octets).digest())
        return signed

    def record(self) -> str:
        """The text of its TXT record."""
        public = self._key.public_key()
        if self.algorithm == "rsa-sha256":
            kind, octets = "rsa", public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        else:
            kind, octets = "ed25519", public.public_bytes(Encoding.Raw, PublicFormat.Raw)
        return f"v=DKIM1; k={kind}; p={base64.b64encode(octets).decode('ascii')}"

    def pem(self) -> bytes:
        """The private key as a PEM file has it."""
        made: bytes = self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return made


def read_key(octets: bytes) -> SigningKey:
    """The key of a PEM file. Raises BadKey."""
    if b"ENCRYPTED" in octets:
        raise BadKey("has a key with a passphrase, and nobody could type it")
    try:
        key = load_pem_private_key(octets, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise BadKey("has no private key in it that can be read") from None
    return _of(key)


def _of(key: Any) -> SigningKey:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return SigningKey("ed25519-sha256", 256, key)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise BadKey("has a key that is neither RSA nor Ed25519")
    if not LEAST_BITS <= key.key_size <= MOST_BITS:
        raise BadKey(f"has a key of {key.key_size} bits; receivers take {LEAST_BITS} to {MOST_BITS}")
    return SigningKey("rsa-sha256", key.key_size, key)


def new_key(kind: Literal["rsa", "ed25519"]) -> SigningKey:
    """A key that nobody has. RSA of 2048 bits: a record of more needs care with some name servers."""
    if kind == "ed25519":
        return _of(ed25519.Ed25519PrivateKey.generate())
    return _of(rsa.generate_private_key(65537, LEAST_BITS))


def zone_line(domain: str, selector: str, record: str) -> str:
    """The record as a line of a zone file; strings of 255 octets at most (RFC 1035 section 3.3)."""
    strings = " ".join(f'"{record[at : at + 255]}"' for at in range(0, len(record), 255))
    return f"{selector}._domainkey.{domain}. IN TXT ( {strings} )"
