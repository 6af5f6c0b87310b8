"""Keys and signatures for the tests of DKIM and ARC.

Signatures are made here from canonical forms of dkimpy and keys of cryptography, not from code that is tested. Every
tag can be replaced or left out, so that each way to be wrong can be made, with a value of b= that is right for it.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from dkim.canonicalization import CanonicalizationPolicy

NOW_S = 1_767_787_200  # 2026-01-07 12:00, where the clock of an in-memory gateway stands
MESSAGE = (
    b"Received: from a by b; Wed, 7 Jan 2026 11:59:00 +0000\r\n"
    b"From: Alice <alice@example.org>\r\n"
    b"To: bob@example.net\r\n"
    b"Subject: dinner\r\n"
    b"Message-ID: <1@example.org>\r\n"
    b"\r\n"
    b"Is it  ready? \r\n"
    b"\r\n"
    b"Alice\r\n"
    b"\r\n"
)
SEALED = "from:to:subject:message-id"


@cache
def rsa_key(bits: int = 2048) -> Any:
    """A key of RSA, the same for all tests."""
    return rsa.generate_private_key(65537, bits)


@cache
def ed25519_key() -> Any:
    """A key of Ed25519."""
    return ed25519.Ed25519PrivateKey.generate()


def pem(key: Any) -> bytes:
    """A key as dkimpy takes it."""
    form = serialization.PrivateFormat.TraditionalOpenSSL
    octets: bytes = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    return octets


def record(key: Any = None, tags: str = "v=DKIM1; ", is_bare: bool = False) -> str:
    """The record of a key.

    :param is_bare: as RSAPublicKey
    """
    public = (key or rsa_key()).public_key()
    if isinstance(public, ed25519.Ed25519PublicKey):
        form = (serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        tags += "k=ed25519; "
    elif is_bare:
        form = (serialization.Encoding.DER, serialization.PublicFormat.PKCS1)
    else:
        form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return f"{tags}p={base64.b64encode(public.public_bytes(*form)).decode('ascii')}"


def keys(**records: Any) -> dict[str, Any]:
    """Answers of the DNS by selector, for example.org: a record, several, or the status of none."""
    found = {}
    for selector, given in (records or {"s": record()}).items():
        is_status = isinstance(given, str) and "=" not in given
        several = [] if is_status else [given] if isinstance(given, str) else given
        answer = {"status": given if is_status else "ok", "records": several}
        found[f"{selector}._domainkey.example.org"] = answer
    return found


def split(message: bytes) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Fields, each with what follows its colon, and the body."""
    header, _, body = message.partition(b"\r\n\r\n")
    fields: list[tuple[bytes, bytes]] = []
    for line in header.split(b"\r\n"):
        if line[:1] in (b" ", b"\t"):
            name, value = fields.pop()
            fields.append((name, value + line + b"\r\n"))
        else:
            name, _, value = line.partition(b":")
            fields.append((name, value + b"\r\n"))
    return fields, body


def _made(key: Any, octets: bytes, algorithm: str) -> bytes:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(hashlib.sha256(octets).digest())
    made: bytes = key.sign(octets, PKCS1v15(), SHA1() if algorithm.endswith("sha1") else SHA256())  # noqa: S303
    return made


def sign(message: bytes = MESSAGE, key: Any = None, field: str = "DKIM-Signature", **tags: Any) -> bytes:
    """A message with a signature on top.

    :param tags: in place of the usual ones or beside them; None leaves one out
    """
    key = key or rsa_key()
    algorithm = "ed25519-sha256" if isinstance(key, ed25519.Ed25519PrivateKey) else "rsa-sha256"
    usual: dict[str, Any] = {"v": 1, "a": algorithm, "c": "relaxed/relaxed", "d": "example.org", "s": "s", "h": SEALED}
    usual |= tags
    policy = CanonicalizationPolicy.from_c_value((usual["c"] or "simple/simple").encode())
    fields, body = split(message)
    canonical = policy.canonicalize_body(body)
    length = usual.get("l")
    if length is not None and str(length).isdigit():
        canonical = canonical[: int(length)]
    hasher = hashlib.sha1 if usual["a"] == "rsa-sha1" else hashlib.sha256
    usual.setdefault("bh", base64.b64encode(hasher(canonical).digest()).decode("ascii"))
    text = "".join(f" {name}={value};" for name, value in usual.items() if value is not None and name != "b")
    names = [name.strip().lower().encode() for name in str(usual["h"] or "").split(":")]
    chosen, left = [], list(fields)
    for name in names:
        for at in range(len(left) - 1, -1, -1):
            if left[at][0].strip().lower() == name:
                chosen.append(left.pop(at))
                break
    own = policy.canonicalize_headers([(field.encode(), f"{text} b=\r\n".encode())])
    octets = b"".join(name + b":" + value for name, value in policy.canonicalize_headers(chosen))
    octets += own[0][0] + b":" + own[0][1].removesuffix(b"\r\n")
    value = usual.get("b", base64.b64encode(_made(key, octets, str(usual["a"]))).decode("ascii"))
    end = "" if value is None else f" b={value}"
    return f"{field}:{text}{end}\r\n".encode() + message


def seal(
    message: bytes = MESSAGE,
    instance: int = 1,
    claims: str = "mx.example.org; dmarc=pass header.from=example.org",
    key: Any = None,
    signature: dict[str, Any] | None = None,
    **tags: Any,
) -> bytes:
    """A message with one more set of ARC on top.

    :param signature: tags of the ARC-Message-Signature, in place of the usual ones
    :param tags: those of the ARC-Seal
    """
    key = key or rsa_key()
    made = sign(message, key, "ARC-Message-Signature", **({"v": None, "i": instance} | (signature or {})))
    made = f"ARC-Authentication-Results: i={instance}; {claims}\r\n".encode() + made
    usual: dict[str, Any] = {"i": instance, "a": "rsa-sha256", "cv": "none" if instance == 1 else "pass"}
    usual |= {"d": "example.org", "s": "s"} | tags
    text = "".join(f" {name}={value};" for name, value in usual.items() if value is not None)
    policy = CanonicalizationPolicy.from_c_value(b"relaxed/relaxed")
    order = [b"arc-authentication-results", b"arc-message-signature", b"arc-seal"]
    fields = [(name.lower(), value) for name, value in split(made)[0] if name.lower() in order]
    # The newest stand on top, and each set as it was put there.
    sets = [fields[at : at + 3] for at in range(2, len(fields), 3)][::-1]
    chosen = [one for these in sets for one in sorted(these, key=lambda one: order.index(one[0]))]
    chosen += sorted(fields[:2], key=lambda one: order.index(one[0]))
    chosen.append((b"ARC-Seal", f"{text} b=\r\n".encode()))
    octets = b"".join(name + b":" + value for name, value in policy.canonicalize_headers(chosen))
    value = base64.b64encode(_made(key, octets.removesuffix(b"\r\n"), "rsa-sha256")).decode("ascii")
    return f"ARC-Seal:{text} b={value}\r\n".encode() + made
