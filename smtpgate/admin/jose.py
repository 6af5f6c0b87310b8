"""Signed tokens of others: JSON Web Signatures in the compact form, over keys of a key set, and nothing else of JOSE.

Pure functions over octets. What a token says of how it is to be checked is believed as far as the caller's list of
algorithms goes: no keys out of the token, no keys from addresses in it, no algorithm that is not for keys in pairs, and
each key for the algorithms of its own kind. Whatever is wrong is one error with a text for administrators, which says
nothing that the token said but short words.

RFC 7515, RFC 7517, RFC 7518, RFC 8725.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import attrs
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from smtpgate.admin.text import visible

#: Octets of a token (Entra's have 2 KB, and one with 200 groups 10 KB).
TOKEN_OCTETS: Final = 32 * 2**10
#: Keys of a set (Google has 2, Entra a dozen).
KEYS: Final = 100
#: RFC 7518 section 3.3 asks for 2048 bits at least; what is longer than 8192 only costs.
RSA_BITS: Final = (2048, 8192)
#: Algorithms of pairs of keys: kind of key, hash, and the curve (RFC 7518 section 3.1).
ALGORITHMS: Final[Mapping[str, tuple[str, type[hashes.HashAlgorithm], str]]] = {
    "RS256": ("RSA", hashes.SHA256, ""),
    "RS384": ("RSA", hashes.SHA384, ""),
    "RS512": ("RSA", hashes.SHA512, ""),
    "PS256": ("RSA", hashes.SHA256, ""),
    "ES256": ("EC", hashes.SHA256, "P-256"),
    "ES384": ("EC", hashes.SHA384, "P-384"),
}
_CURVES: Final[Mapping[str, tuple[type[ec.EllipticCurve], int]]] = {
    "P-256": (ec.SECP256R1, 32),
    "P-384": (ec.SECP384R1, 48),
}
#: Keys, and addresses of keys, that a token brings along (RFC 8725 section 3.10); and what this does not know.
_BROUGHT: Final = ("jku", "jwk", "x5u", "x5c", "crit", "b64", "zip", "enc")
_BASE64URL: Final = re.compile(rb"[A-Za-z0-9_-]*")


class Untrusted(Exception):
    """What a provider said is not believed; the text is for administrators."""


@attrs.frozen
class Token:
    """A token whose form is right, and whose signature nobody has looked at."""

    algorithm: str
    key_id: str
    claims: Mapping[str, Any]
    signed: bytes = attrs.field(repr=False)
    signature: bytes = attrs.field(repr=False)


def read_json(octets: bytes, what: str) -> dict[str, Any]:
    """A JSON object in which no key is there twice and each number is one. Raises Untrusted."""

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(found)
        if len(made) != len(found):
            raise Untrusted(f"{what} has a key twice")
        return made

    def constant(word: str) -> Any:
        raise Untrusted(f"{what} has {word} in it")

    try:
        value = json.loads(octets.decode("utf-8"), object_pairs_hook=pairs, parse_constant=constant)
    except (ValueError, RecursionError):
        raise Untrusted(f"{what} is no JSON") from None
    if not isinstance(value, dict):
        raise Untrusted(f"{what} is no JSON object")
    return value


def from_base64(text: bytes, what: str) -> bytes:
    """Octets of base64url without padding (RFC 7515 section 2), in its one form. Raises Untrusted."""
    try:
        if _BASE64URL.fullmatch(text) is None or len(text) % 4 == 1:
            raise Untrusted(f"{what} is not in base64url")
        octets = base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))
    except binascii.Error:
        raise Untrusted(f"{what} is not in base64url") from None
    if to_base64(octets).encode() != text:
        raise Untrusted(f"{what} is not in base64url")
    return octets


def to_base64(octets: bytes) -> str:
    """The same the other way."""
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode("ascii")


def read_token(text: str, algorithms: Collection[str]) -> Token:
    """A token in compact form, for one of some algorithms. Raises Untrusted."""
    octets = text.encode("utf-8", "replace")
    if len(octets) > TOKEN_OCTETS:
        raise Untrusted(f"the token has more than {TOKEN_OCTETS} octets")
    parts = octets.split(b".")
    if len(parts) != 3:
        raise Untrusted("the token has not three parts")
    header = read_json(from_base64(parts[0], "the header of the token"), "the header of the token")
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in algorithms or algorithm not in ALGORITHMS:
        raise Untrusted(f"the token is signed with {_word(algorithm)}, which is not one of {', '.join(algorithms)}")
    brought = [name for name in _BROUGHT if name in header]
    if brought:
        raise Untrusted(f"the header of the token has {brought[0]}")
    kind = header.get("typ", "JWT")
    if not isinstance(kind, str) or kind.upper() not in ("JWT", "APPLICATION/JWT"):
        raise Untrusted(f"the token is of type {_word(kind)}, which is no ID token")
    key_id = header.get("kid", "")
    if not isinstance(key_id, str) or "kid" in header and not key_id:
        raise Untrusted("the key of the token has no proper name")
    claims = read_json(from_base64(parts[1], "the claims of the token"), "the claims of the token")
    signature = from_base64(parts[2], "the signature of the token")
    return Token(algorithm, key_id, claims, parts[0] + b"." + parts[1], signature)


def find_key(keys: Sequence[Any], token: Token) -> Mapping[str, Any] | None:
    """The one key of a set that a token names; of a token that names none the only one that it can be. None: there is
    none. Raises Untrusted where several could be meant, or where the one is not for that algorithm.
    """
    kind = ALGORITHMS[token.algorithm][0]
    named = [one for one in keys[:KEYS] if isinstance(one, dict)]
    if token.key_id:
        named = [one for one in named if one.get("kid") == token.key_id]
        if not named:
            return None
        fitting = [one for one in named if _fits(one, kind, token.algorithm)]
        if not fitting:
            raise Untrusted(f"the key that the token names is not for {token.algorithm}")
    else:
        fitting = [one for one in named if _fits(one, kind, token.algorithm)]
    if len(fitting) > 1:
        raise Untrusted("the token could be signed with several keys")
    return fitting[0] if fitting else None


def _fits(key: Mapping[str, Any], kind: str, algorithm: str) -> bool:
    operations = key.get("key_ops", ["verify"])
    return (
        key.get("kty") == kind
        and key.get("use", "sig") == "sig"
        and key.get("alg", algorithm) == algorithm
        and (kind != "EC" or key.get("crv") == ALGORITHMS[algorithm][2])
        and isinstance(operations, list)
        and "verify" in operations
    )


def usable(keys: Sequence[Any], algorithms: Collection[str]) -> int:
    """How many keys of a set are for one of some algorithms."""
    named = [one for one in keys[:KEYS] if isinstance(one, dict)]
    return sum(any(_fits(one, ALGORITHMS[name][0], name) for name in algorithms) for one in named)


def verify(token: Token, key: Mapping[str, Any]) -> None:
    """Look at a signature. Raises Untrusted. A millisecond at most: for a thread."""
    kind, digest, curve = ALGORITHMS[token.algorithm]
    try:
        if kind == "RSA":
            public = _rsa_key(key)
            way: Any = padding.PKCS1v15()
            if token.algorithm.startswith("PS"):
                way = padding.PSS(padding.MGF1(digest()), digest().digest_size)
            public.verify(token.signature, token.signed, way, digest())
        else:
            size = _CURVES[curve][1]
            if len(token.signature) != 2 * size:
                raise Untrusted("the signature of the token is wrong")
            r, s = (int.from_bytes(part, "big") for part in (token.signature[:size], token.signature[size:]))
            _ec_key(key, curve).verify(encode_dss_signature(r, s), token.signed, ec.ECDSA(digest()))
    except InvalidSignature:
        raise Untrusted("the signature of the token is wrong") from None


def _number(key: Mapping[str, Any], name: str, most: int) -> int:
    text = key.get(name)
    if not isinstance(text, str) or len(text) > most * 2:
        raise Untrusted("a key of the provider is none")
    return int.from_bytes(from_base64(text.encode("utf-8", "replace"), "a key of the provider"), "big")


def _rsa_key(key: Mapping[str, Any]) -> rsa.RSAPublicKey:
    n, e = _number(key, "n", RSA_BITS[1] // 8), _number(key, "e", 8)
    if not RSA_BITS[0] <= n.bit_length() <= RSA_BITS[1] or e >= 2**32:
        raise Untrusted(f"a key of the provider has {n.bit_length()} bits; {RSA_BITS[0]} to {RSA_BITS[1]} are taken")
    try:
        return rsa.RSAPublicNumbers(e, n).public_key()
    except ValueError:
        raise Untrusted("a key of the provider is none") from None


def _ec_key(key: Mapping[str, Any], curve: str) -> ec.EllipticCurvePublicKey:
    made, size = _CURVES[curve]
    x, y = (_number(key, name, size) for name in ("x", "y"))
    try:
        return ec.EllipticCurvePublicNumbers(x, y, made()).public_key()
    except ValueError:
        raise Untrusted("a key of the provider is none") from None


def half_hash(algorithm: str, text: str) -> str:
    """What binds a token to another (`at_hash`, OpenID Connect Core 3.1.3.6): the left half of its digest."""
    digest = hashlib.new(ALGORITHMS[algorithm][1]().name, text.encode("utf-8", "replace")).digest()
    return to_base64(digest[: len(digest) // 2])


def _word(value: Any) -> str:
    return visible(value, 20) if isinstance(value, str) else "nothing known"
