"""Messages with chains of ARC for the table of `arc_cases`, made step by step.

A step takes a message and gives one. `arc` puts a set on top: its edits are made to the text of a field before it is
signed, so that the signature is right for what it says, and only what it says can be wrong. Other steps change what is
made already. Canonical forms are those of dkimpy, keys those of `signing_kit`.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from functools import cache, reduce
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from dkim.canonicalization import CanonicalizationPolicy

from tests.signing_kit import keys, record, rsa_key, split

Step = Callable[[bytes], bytes]
Edits = Sequence[tuple[str, str]]

#: One part, and a body that is the same in both canonical forms.
PLAIN = (
    b"MIME-Version: 1.0\r\n"
    b"Return-Path: <alice@example.net>\r\n"
    b"Authentication-Results: mx.example.org; spf=pass smtp.mailfrom=example.net\r\n"
    b"Message-ID: <plain@example.net>\r\n"
    b"Date: Wed, 7 Jan 2026 11:00:00 +0000\r\n"
    b"From: Alice A. <alice@example.net>\r\n"
    b"To: team@example.org\r\n"
    b"Subject: minutes\r\n"
    b"\r\n"
    b"Dear team,\r\n"
    b"the minutes are done.\r\n"
    b"Alice\r\n"
)
#: Two parts, and fields that come twice or are folded.
PARTS = (
    b"MIME-Version: 1.0\r\n"
    b"Received: from a.example.net by b.example.net;\r\n"
    b"\tWed, 7 Jan 2026 11:00:02 +0000\r\n"
    b"Received: from c.example.net by a.example.net;\r\n"
    b"\tWed, 7 Jan 2026 11:00:01 +0000\r\n"
    b"MIME-Version: 1.0\r\n"
    b"Message-ID: <parts@example.net>\r\n"
    b"Date: Wed, 7 Jan 2026 11:00:00 +0000\r\n"
    b"From: Bob B. <bob@example.net>\r\n"
    b"To: team@example.org\r\n"
    b"Subject: agenda\r\n"
    b"Content-Type: multipart/alternative; boundary=cut\r\n"
    b"\r\n"
    b"--cut\r\n"
    b"Content-Type: text/plain\r\n"
    b"\r\n"
    b"Here it is.\r\n"
    b"\r\n"
    b"--cut\r\n"
    b"Content-Type: text/html\r\n"
    b"\r\n"
    b"<p>Here it is.</p>\r\n"
    b"\r\n"
    b"--cut--\r\n"
)
RESULTS, SIGNATURE, SEAL = "ARC-Authentication-Results", "ARC-Message-Signature", "ARC-Seal"
#: The three fields of a set as they are before any edit; what is in braces is put in when it is signed.
_RESULTS = (
    " i={i}; mx.example.org;\r\n\tspf=pass smtp.mailfrom=example.net;\r\n\tdmarc=pass header.from=example.net\r\n"
)
_SIGNATURE = (
    " a=rsa-sha256; b={b};\r\n\tbh={bh}; c=relaxed/relaxed; d=example.org;\r\n"
    "\th=from:to:date:subject:mime-version:arc-authentication-results; i={i}; s=s; t=1767780000\r\n"
)
_SEAL = " a=rsa-sha256; b={b};\r\n\tcv={cv}; d=example.org; i={i}; s=s; t=1767780000\r\n"
_RELAXED = CanonicalizationPolicy.from_c_value(b"relaxed/relaxed")
_SIMPLE = CanonicalizationPolicy.from_c_value(b"relaxed/simple")


@cache
def short_key() -> Any:
    """A key of RSA of 512 bits, from the two greatest primes of 256 bits, since no library makes such keys."""
    p, q = 2**256 - 189, 2**256 - 357
    d = pow(65537, -1, (p - 1) * (q - 1))
    public = rsa.RSAPublicNumbers(65537, p * q)
    return rsa.RSAPrivateNumbers(p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p), public).private_key()


def known() -> dict[str, Any]:
    """The DNS of all cases: selectors s and twin have one key, and those of other lengths stand beside them."""
    return keys(
        s=record(),
        twin=record(),
        r512=record(short_key()),
        r1024=record(rsa_key(1024)),
        r2048=record(rsa_key(2048)),
        broken="v=DKIM1; k=rsa; p",
        gone="nxdomain",
    )


def made(base: bytes, steps: Sequence[Step]) -> bytes:
    """A message after all steps."""
    return reduce(lambda message, step: step(message), steps, base)


def arc(
    number: int = 1,
    results: Edits = (),
    signature: Edits = (),
    seal: Edits = (),
    after: Edits = (),
    key: Any = None,
    order: str = "",
    change: Callable[[str], str] = str,
) -> Step:
    """Put a set on top, with a hop below it.

    :param results: edits of the ARC-Authentication-Results; those of the other fields likewise
    :param after: more edits of the signature, which is made anew when the seal is on it
    :param order: names that are signed in place of those that h= says
    :param change: of the value of the signature, before the seal is on it
    """
    key = key or rsa_key()

    def step(message: bytes) -> bytes:
        told = _edited(_RESULTS.replace("{i}", str(number)), results)
        message = (
            f"{RESULTS}:{told}Received: by hop {number}; Wed, 7 Jan 2026 11:5{number}:00 +0000\r\n".encode() + message
        )
        text = _edited(_SIGNATURE.replace("{i}", str(number)), signature)
        signed = _signed(message, text, key, order, change) + message
        cv = "none" if number == 1 else "pass"
        text = _edited(_SEAL.replace("{i}", str(number)).replace("{cv}", cv), seal)
        names = {name.lower().encode() for name in (RESULTS, SIGNATURE, SEAL)}
        # The newest set stands on top, so that from below all are in their order.
        below = [field for field in split(signed)[0][::-1] if field[0].lower() in names]
        sealed = _put(SEAL, text, below, key, str)
        if after:
            text = _edited(_SIGNATURE.replace("{i}", str(number)), [*signature, *after])
            signed = _signed(message, text, key, order, change) + message
        return sealed + signed

    return step


def _edited(text: str, edits: Edits) -> str:
    for old, new in edits:
        assert old in text, (old, text)
        text = text.replace(old, new, 1)
    return text


def _tag(text: str, name: str) -> str:
    pairs = (spec.partition("=") for spec in text.split(";"))
    return next((value.strip() for tag, _, value in pairs if tag.strip().lower() == name), "")


def _signed(message: bytes, text: str, key: Any, order: str, change: Callable[[str], str]) -> bytes:
    fields, body = split(message)
    # Header fields are in the relaxed form whatever c= says.
    policy = _SIMPLE if _tag(text, "c") == "relaxed/simple" else _RELAXED
    hasher = hashlib.sha1 if _tag(text, "a") == "rsa-sha1" else hashlib.sha256
    text = text.replace("{bh}", base64.b64encode(hasher(policy.canonicalize_body(body)).digest()).decode("ascii"))
    chosen = []
    for name in (order or _tag(text, "h")).split(":"):
        found = [at for at, field in enumerate(fields) if field[0].strip().lower() == name.strip().lower().encode()]
        if found:
            chosen.append(fields.pop(found[-1]))
    return _put(SIGNATURE, text, chosen, key, change)


def _put(name: str, text: str, over: Sequence[tuple[bytes, bytes]], key: Any, change: Callable[[str], str]) -> bytes:
    own = (name.encode(), text.replace("{b}", "").encode())
    octets = b"".join(name + b":" + value for name, value in _RELAXED.canonicalize_headers([*over, own]))
    form = SHA1() if _tag(text, "a") == "rsa-sha1" else SHA256()  # noqa: S303
    found = _folded(base64.b64encode(key.sign(octets.removesuffix(b"\r\n"), PKCS1v15(), form)).decode("ascii"))
    return f"{name}:{text.replace('{b}', change(found))}".encode()


def _folded(value: str) -> str:
    return "\r\n\t ".join(value[at : at + 70] for at in range(0, len(value), 70))


def new(old: str, text: str) -> Step:
    """Put a text in place of the first that is like it."""

    def step(message: bytes) -> bytes:
        assert old.encode() in message, old
        return message.replace(old.encode(), text.encode(), 1)

    return step


def _blocks(message: bytes, name: str) -> tuple[int, int]:
    """Where the uppermost field of a name begins and ends."""
    start = message.index(f"{name}:".encode())
    end = message.index(b"\r\n", start) + 2
    while message[end : end + 1] in (b" ", b"\t"):
        end = message.index(b"\r\n", end) + 2
    return start, end


def drop(name: str) -> Step:
    """Take the uppermost field of a name away."""

    def step(message: bytes) -> bytes:
        start, end = _blocks(message, name)
        return message[:start] + message[end:]

    return step


def twice(*names: str, edits: Edits = ()) -> Step:
    """Put a copy of the uppermost field of each name on top."""

    def step(message: bytes) -> bytes:
        copies = b"".join(message[slice(*_blocks(message, name))] for name in names)
        return _edited(copies.decode(), edits).encode() + message

    return step


def value(name: str, change: Callable[[str], str]) -> Step:
    """Change the value of b= in the uppermost field of a name."""

    def step(message: bytes) -> bytes:
        start, end = _blocks(message, name)
        head, mark, rest = message[start:end].decode().partition("; b=")
        octets, colon, tail = rest.partition(";")
        return message[:start] + f"{head}{mark}{change(octets)}{colon}{tail}".encode() + message[end:]

    return step


def cut(octets: str) -> str:
    """Base64 without its first letter: none any more."""
    return octets[1:]


def other(octets: str) -> str:
    """Base64 with another first letter."""
    return ("B" if octets[0] == "A" else "A") + octets[1:]


def blanks(octets: str) -> str:
    """Base64 with blanks where they do not count."""
    return f"{octets[:5]} {octets[5:20]} {octets[20:]}"
