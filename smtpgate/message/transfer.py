"""Transfer encodings undone: what most programs would make of a body, and what others would.

`mime` calls `decode` and `readings` for the octets of a part, `oddities` for what is wrong with them, and `blocks`
for files that stand inside texts. Decoders disagree about base64 that is not clean, so there are readings: behind
padding in the middle some go on and some stop, at a foreign character some skip and some stop. The usual reading goes
on behind padding where only base64 follows (that is one file in two runs), and stops where text follows (that is a
footer of a mailing list).

Everything works on whole buffers in C, and takes linear time. Memory is a small multiple of the body; what is decoded
is never longer than the body. It never raises.

RFC 2045 section 6; POSIX uuencode; yEnc 1.3 (which has no RFC).
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Sequence
from io import BytesIO
from typing import Final

import attrs

from smtpgate.message.words import lenient_base64, raw_text

#: Encodings that change nothing.
IDENTITY: Final = frozenset({"", "7bit", "8bit", "binary"})
#: Encodings that are undone.
CODED: Final = frozenset({"base64", "quoted-printable", "x-uuencode", "x-yenc"})
#: Readings of one body besides the usual one.
READINGS: Final = 6
#: Runs of base64 in one body that are decoded one by one, a fifth of a second; what follows is taken as one.
RUNS: Final = 100_000
#: Files in one text. A post of old newsgroups held a few.
BLOCKS: Final = 100

_NAMES: Final = {
    "base-64": "base64",
    "b64": "base64",
    "x-base64": "base64",
    "quotedprintable": "quoted-printable",
    "quoted printable": "quoted-printable",
    "qp": "quoted-printable",
    "uuencode": "x-uuencode",
    "x-uue": "x-uuencode",
    "uue": "x-uuencode",
    "x-uu": "x-uuencode",
    "yenc": "x-yenc",
    "7-bit": "7bit",
    "8-bit": "8bit",
}
_BLANKS: Final = b" \t\r\n"
_ALPHABET: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_NO_PADDING: Final = _ALPHABET + _BLANKS
_FOREIGN: Final = re.compile(rb"[^A-Za-z0-9+/=\s]")
_URL_SAFE: Final = bytes.maketrans(b"-_", b"+/")
_BAD_ESCAPE: Final = re.compile(rb"=(?![0-9A-Fa-f]{2}|[ \t]*\r?\n|[ \t\r]*\Z)")
_SOFT_BREAK: Final = re.compile(rb"=[ \t]+(?=\r?\n)")
_BEGIN: Final = re.compile(
    rb"^(?:begin(?P<base64>-base64)? [0-7]{3,4} (?P<uu>[^\r\n]{1,255})|=ybegin (?P<yenc>[^\r\n]{1,500}))\r?\n",
    re.MULTILINE,
)
_YENC: Final = bytes((octet - 42) & 255 for octet in range(256))
_YENC_ESCAPE: Final = re.compile(rb"=.", re.DOTALL)
_YENC_ESCAPED: Final = {bytes((61, octet)): bytes(((octet - 64) & 255,)) for octet in range(256)}


@attrs.frozen
class Block:
    """A file inside a text.

    :ivar kind: the encoding that undoes it: x-uuencode, base64 or x-yenc
    :ivar start: where its first line begins; `end` behind its last
    :ivar data: where the line after its first begins
    """

    kind: str
    name: str
    start: int
    data: int
    end: int


def normal(name: str) -> str:
    """The usual name of an encoding, lower case; an unknown one as it stands."""
    name = name.strip(" \t\"'").lower()
    return _NAMES.get(name, name)


def decode(body: bytes | memoryview, encoding: str, cap: int | None = None) -> bytes:
    """What most programs make of a body.

    :param encoding: as `normal` gives it; one that is unknown changes nothing
    :param cap: octets of the result; ask for one more to know whether there were more
    """
    if encoding not in CODED:
        return bytes(body[:cap])
    octets = bytes(body)
    if encoding == "base64":
        plain = _base64(octets)
    elif encoding == "quoted-printable":
        plain = _quoted_printable(octets)
    elif encoding == "x-uuencode":
        plain = _first_block(octets, "x-uuencode") or _uudecode(octets)
    else:
        plain = _first_block(octets, "x-yenc")
    return plain if cap is None or len(plain) <= cap else plain[:cap]


def readings(body: bytes | memoryview, encodings: Sequence[str], cap: int | None = None) -> tuple[bytes, ...]:
    """What other programs make of it: without the usual reading, without repeats, at most `READINGS`.

    :param encodings: all that the part declares; the usual reading goes by the first
    """
    octets = bytes(body)
    first = encodings[0] if encodings else ""
    found: dict[bytes, None] = {}
    for encoding in dict.fromkeys(encodings):
        if encoding != first:
            found[decode(octets, encoding)] = None
        if encoding == "base64":
            found.update(dict.fromkeys(_other_base64(octets)))
        elif encoding == "quoted-printable" and _BAD_ESCAPE.search(octets):
            found[octets] = None
        elif encoding in ("x-uuencode", "x-yenc"):
            found.update((decode_block(octets, block), None) for block in blocks(octets)[1:READINGS])
            found[octets] = None
        elif encoding not in IDENTITY and encoding not in CODED:
            found[_base64(octets)] = None
            found[_quoted_printable(octets)] = None
    found.pop(decode(octets, first), None)
    return tuple(one if cap is None else one[:cap] for one in found)[:READINGS]


def oddities(body: bytes | memoryview, encodings: Sequence[str]) -> tuple[str, ...]:
    """What is wrong with a body in the encodings that the part declares, as kinds of `anomaly.ANOMALIES`."""
    found: dict[str, None] = {}
    if len(set(encodings)) > 1:
        found["duplicate-encoding"] = None
    if any(encoding not in IDENTITY and encoding not in CODED for encoding in encodings):
        found["unknown-encoding"] = None
    if "base64" in encodings:
        octets = bytes(body)
        padding = octets.find(b"=")
        if padding >= 0 and octets[padding:].strip(b"=" + _BLANKS):
            found["base64-padding"] = None
        elif padding < 0 and len(octets.translate(None, _BLANKS)) % 4:
            found["base64-unpadded"] = None
        if octets.translate(None, _NO_PADDING).strip(b"="):
            found["base64-foreign"] = None
    if "quoted-printable" in encodings and _BAD_ESCAPE.search(bytes(body)):
        found["quoted-printable-broken"] = None
    return tuple(found)


def blocks(text: bytes) -> list[Block]:
    """The uuencoded, begin-base64 and yEnc files in a text, at most `BLOCKS`, each up to its end or to the next."""
    found: list[Block] = []
    if b"begin" not in text:
        return found
    begins = _BEGIN.finditer(text)
    following = next(begins, None)
    while following is not None and len(found) < BLOCKS:
        begin, following = following, next(begins, None)
        limit = following.start() if following else len(text)
        data = begin.end()
        if begin["yenc"] is not None:
            kind, name, last = "x-yenc", begin["yenc"].partition(b"name=")[2], b"=yend"
        elif begin["base64"]:
            kind, name, last = "base64", begin["uu"], b"===="
        else:
            kind, name, last = "x-uuencode", begin["uu"], b"end"
            if not _is_uu_line(text[data : data + 100].partition(b"\n")[0].rstrip(b"\r")):
                continue
        end = text.find(b"\n" + last, data - 1, limit)
        if end >= 0:
            line = text.find(b"\n", end + 1, limit)
            limit = line + 1 if line >= 0 else limit
        found.append(Block(kind, raw_text(name.strip(b' \t"')), begin.start(), data, limit))
    return found


def decode_block(text: bytes, block: Block, cap: int | None = None) -> bytes:
    """The octets of a file that `blocks` found in that text."""
    data = text[block.data : block.end]
    if block.kind == "base64":
        plain = _base64(data.rpartition(b"\n====")[0] or data)
    elif block.kind == "x-yenc":
        plain = _yenc(data)
    else:
        plain = _uudecode(data)
    return plain if cap is None else plain[:cap]


def _first_block(octets: bytes, kind: str) -> bytes:
    return next((decode_block(octets, block) for block in blocks(octets) if block.kind == kind), b"")


def _base64(octets: bytes) -> bytes:
    padding = octets.find(b"=")
    if padding < 0:
        return lenient_base64(octets)
    rest = octets[padding:].strip(b"=" + _BLANKS)
    if not rest or rest.translate(None, _NO_PADDING + b"="):
        return lenient_base64(octets[:padding])
    return _runs(octets)


def _runs(octets: bytes) -> bytes:
    """Base64 decoder that begins anew behind padding."""
    plain = bytearray()
    position = 0
    for _ in range(RUNS):
        padding = octets.find(b"=", position)
        if padding < 0:
            break
        if padding > position:
            plain += lenient_base64(octets[position:padding])
        position = padding + 1
    plain += lenient_base64(octets[position:].replace(b"=", b""))
    return bytes(plain)


def _other_base64(octets: bytes) -> list[bytes]:
    found = []
    padding = octets.find(b"=")
    if padding >= 0 and octets[padding:].strip(b"=" + _BLANKS):
        found += [lenient_base64(octets[:padding]), _runs(octets), lenient_base64(octets.replace(b"=", b""))]
    foreign = _FOREIGN.search(octets)
    if foreign:
        found += [_base64(octets[: foreign.start()]), octets]
        if b"-" in octets or b"_" in octets:
            found.append(_base64(octets.translate(_URL_SAFE)))
    return found


def _quoted_printable(octets: bytes) -> bytes:
    # The library's decoder drops everything from "=" CR up to the next LF, and knows no blanks after "=".
    octets = octets.replace(b"=\r\n", b"=\n").replace(b"=\r", b"=\n")
    if b"= " in octets or b"=\t" in octets:
        octets = _SOFT_BREAK.sub(b"=", octets)
    return binascii.a2b_qp(octets)


def _is_uu_line(line: bytes) -> bool:
    """Whether a line's first character counts the others, give or take what programs add or trim."""
    if not line or not 0x20 < line[0] <= 0x60:
        return False
    expected = (((line[0] - 32) & 63) + 2) // 3 * 4
    return expected > 0 and expected - 3 <= len(line) - 1 <= expected + 2


def _uudecode(octets: bytes) -> bytes:
    plain = bytearray()
    for line in BytesIO(octets):
        line = line.rstrip(b"\r\n")
        # A short line stands for blanks that were trimmed, and gives zeros: so few octets could become many.
        if line == b"end" or len(plain) > len(octets):
            break
        if not line:
            continue
        try:
            plain += binascii.a2b_uu(line)
        except binascii.Error:
            # Some encoders write more characters than the first one counts.
            try:
                plain += binascii.a2b_uu(line[: (((line[0] - 32) & 63) * 4 + 5) // 3])
            except binascii.Error:
                continue
    return bytes(plain[: len(octets)])


def _yenc(octets: bytes) -> bytes:
    if octets.startswith(b"=ypart"):
        octets = octets.partition(b"\n")[2]
    octets = octets.partition(b"\n=yend")[0].replace(b"\r", b"").replace(b"\n", b"")
    # The escaped octet loses 64 here and 42 with all others.
    return _YENC_ESCAPE.sub(lambda match: _YENC_ESCAPED[match[0]], octets).translate(_YENC)
