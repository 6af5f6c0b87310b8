"""Public keys of signatures as they stand in the DNS, and the check of a signature with one.

`signatures` and `chain` ask for a key by the name of its record; the answers of the DNS came with the request. What
keeps a key from being used is a `Fault`: trouble with the look-up is temporary, a key that is missing, revoked, too
short or made for something else is not.

Promised: no other error than Fault, whatever the records hold. Refused: RSA keys under 1024 bits; those over 16384
bits and exponents that cost time, both of which OpenSSL refuses itself.

RFC 6376 sections 3.6.1 and 6.1.2; RFC 8301 section 3.2; RFC 8463 section 4.
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from typing import Any, Final

import attrs
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from smtpgate.message.signature import read_tags

#: RFC 8301 section 3.2.
LEAST_BITS: Final = 1024
#: Algorithms, and the kind of key of each.
ALGORITHMS: Final[Mapping[str, str]] = {"rsa-sha256": "rsa", "ed25519-sha256": "ed25519"}


class Fault(Exception):
    """Why a signature is not good, with the word of RFC 8601 for it."""

    def __init__(self, result: str, reason: str) -> None:
        super().__init__(reason)
        self.result = result
        self.reason = reason


@attrs.frozen
class Key:
    """A key.

    :ivar kind: rsa or ed25519
    :ivar flags: y (a test), s (no subdomains in i=)
    """

    kind: str
    bits: int
    flags: frozenset[str]
    public: Any

    def fits(self, signature: bytes, digest: bytes) -> bool:
        """Whether a signature was made over a SHA-256 digest with this key's other half."""
        try:
            if self.kind == "rsa":
                self.public.verify(signature, digest, PKCS1v15(), Prehashed(SHA256()))
            else:
                self.public.verify(signature, digest)
        except (InvalidSignature, ValueError):
            return False
        return True


def octets_of(value: bytes) -> bytes | None:
    """Octets in base64, folded as it may be; None where it is none."""
    try:
        return binascii.a2b_base64(b"".join(value.split()), strict_mode=True)
    except binascii.Error:
        return None


def find_key(keys: Mapping[str, Any], name: str, algorithm: str) -> Key:
    """The key under a name. Raises Fault.

    :param keys: by name: `status` as of `policy.names.Answer`, and `records`, texts whose letters are octets
    """
    answer = keys.get(name)
    status = answer["status"] if answer is not None else "not looked up"
    if status in ("nodata", "nxdomain"):
        raise Fault("permerror", f"there is no key {name}")
    if answer is None or status != "ok":
        raise Fault("temperror", f"key {name}: {status}")
    for record in answer["records"]:
        tags = read_tags(record.encode("latin-1", "replace"))
        # Other records may stand there too; of several keys any may be taken (RFC 6376 section 3.6.2.2).
        if tags is not None and "p" in tags and tags.get("v", b"DKIM1") == b"DKIM1":
            return _read_key(tags, ALGORITHMS[algorithm])
    raise Fault("permerror", f"there is no key in the record {name}")


def _words(tags: Mapping[str, bytes], name: str, otherwise: bytes = b"") -> set[str]:
    return {one.strip().decode("latin-1").lower() for one in tags.get(name, otherwise).split(b":")}


def _read_key(tags: Mapping[str, bytes], kind: str) -> Key:
    if not tags["p"]:
        raise Fault("permerror", "the key is revoked")
    if tags.get("k", b"rsa").decode("latin-1").lower() != kind:
        raise Fault("permerror", "the key is for another algorithm")
    if "sha256" not in _words(tags, "h", b"sha256"):
        raise Fault("permerror", "the key is for another hash")
    if not _words(tags, "s", b"*") & {"*", "email"}:
        raise Fault("permerror", "the key is not for mail")
    octets = octets_of(tags["p"])
    if not octets:
        raise Fault("permerror", "the key cannot be read")
    public, bits = _read_rsa(octets) if kind == "rsa" else _read_ed25519(octets)
    if kind == "rsa" and bits < LEAST_BITS:
        raise Fault("permerror", f"the key has {bits} bits only")
    return Key(kind, bits, frozenset(_words(tags, "t")), public)


def _read_rsa(octets: bytes) -> tuple[Any, int]:
    try:
        # Both forms are in use: SubjectPublicKeyInfo, and the bare RSAPublicKey that RFC 6376 speaks of.
        public = load_der_public_key(octets)
    except (ValueError, UnsupportedAlgorithm):
        raise Fault("permerror", "the key cannot be read") from None
    if not isinstance(public, RSAPublicKey):
        raise Fault("permerror", "the key is none of RSA")
    return public, public.key_size


def _read_ed25519(octets: bytes) -> tuple[Any, int]:
    try:
        return Ed25519PublicKey.from_public_bytes(octets), 256
    except ValueError:
        raise Fault("permerror", "the key cannot be read") from None
