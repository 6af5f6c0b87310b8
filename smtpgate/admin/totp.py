"""One-time codes by the clock (RFC 6238, HOTP of RFC 4226 with SHA-1 and six digits: what every telephone can do).

Pure functions: the secret, the time and what was taken before are given.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from typing import Final
from urllib.parse import quote, urlencode

import attrs
import segno

STEP_S: Final = 30
DIGITS: Final = 6
#: RFC 4226 section 4, R6: 160 bits.
SECRET_OCTETS: Final = 20
#: Steps by which the telephone's clock may be off (RFC 6238 section 5.2).
DRIFT: Final = 1
RECOVERY_CODES: Final = 10
#: Of one: 80 bits of chance, so that a plain digest cannot be guessed back.
_RECOVERY_OCTETS: Final = 10


def fresh_secret() -> bytes:
    """For a new generator."""
    return secrets.token_bytes(SECRET_OCTETS)


def code_at(secret: bytes, step: int) -> str:
    """The code of a step."""
    mac = hmac.digest(secret, step.to_bytes(8, "big"), "sha1")
    place = mac[-1] & 15
    number = int.from_bytes(mac[place : place + 4], "big") & 0x7FFFFFFF
    return str(number % 10**DIGITS).zfill(DIGITS)


def step_of(secret: bytes, code: str, now: float, last: int) -> int | None:
    """The step of a code; None where it is none of now, or of a step up to `last`. All codes take the same time."""
    sent = code.encode("utf-8", "replace")
    found = None
    for step in range(int(now // STEP_S) - DRIFT, int(now // STEP_S) + DRIFT + 1):
        if hmac.compare_digest(code_at(secret, max(step, 0)).encode(), sent) and step > last:
            found = step
    return found


def key_of(secret: bytes) -> str:
    """The secret as people type it."""
    return base64.b32encode(secret).decode("ascii")


def uri_of(secret: bytes, issuer: str, name: str) -> str:
    """What a telephone reads from the picture (the otpauth form of Google Authenticator)."""
    label = f"{quote(issuer, safe='')}:{quote(name, safe='')}"
    return f"otpauth://totp/{label}?{urlencode({'secret': key_of(secret), 'issuer': issuer}, quote_via=quote)}"


@attrs.frozen
class Picture:
    """A QR code as the outline of its dark squares.

    :ivar size: squares on each side, with the blank border of four that readers want (ISO/IEC 18004)
    :ivar path: of an SVG path, one square being one unit
    """

    size: int
    path: str


def picture_of(text: str) -> Picture:
    """A QR code."""
    border = 4
    rows = [list(row) for row in segno.make(text, error="m", micro=False).matrix]
    path = []
    for down, row in enumerate(rows):
        across = 0
        while across < len(row):
            width = 0
            while across + width < len(row) and row[across + width]:
                width += 1
            if width:
                path.append(f"M{across + border} {down + border}h{width}v1h-{width}z")
            across += width or 1
    return Picture(len(rows) + 2 * border, "".join(path))


def fresh_recovery() -> list[str]:
    """Codes for the day when the telephone is lost, as people type them."""
    return [_grouped(secrets.token_bytes(_RECOVERY_OCTETS)) for _ in range(RECOVERY_CODES)]


def _grouped(octets: bytes) -> str:
    text = base64.b32encode(octets).decode("ascii").lower()
    return "-".join(text[place : place + 4] for place in range(0, len(text), 4))


def recovery_digest(code: str) -> str:
    """What is kept of one, however it was typed; "" for what cannot be one."""
    plain = code.replace("-", "").replace(" ", "").lower()
    return hashlib.sha256(plain.encode()).hexdigest() if len(plain) == 16 and plain.isascii() else ""
