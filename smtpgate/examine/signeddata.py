"""The content of a CMS SignedData: the message that an opaque signature holds.

`files` asks for it. One path through the ASN.1 and no more: ContentInfo, SignedData, EncapsulatedContentInfo, its
octets; in BER too, since programs write lengths that they do not know yet. Whether the signature is good is nobody's
question here: anybody can make one.

RFC 5652 sections 3, 5.1 and 5.2; ITU-T X.690 section 8.1.
"""

from __future__ import annotations

from typing import Final

_SIGNED_DATA: Final = bytes.fromhex("2a864886f70d010702")
_DATA: Final = bytes.fromhex("2a864886f70d010701")
_SEQUENCE, _OID, _CONTENT, _OCTETS, _OCTETS_IN_PIECES = 0x30, 0x06, 0xA0, 0x04, 0x24
_PIECES: Final = 100_000


class _Broken(ValueError):
    """No ASN.1, or another thing in it."""


def signed_content(content: bytes) -> bytes:
    """The octets that are signed; b"" where there are none inside, or it is no SignedData."""
    try:
        at, _, _ = _open(content, 0, _SEQUENCE)
        at = _expect(content, at, _SIGNED_DATA)
        at, _, _ = _open(content, at, _CONTENT)
        at, _, _ = _open(content, at, _SEQUENCE)
        at = _skip(content, at)  # version
        at = _skip(content, at)  # digest algorithms
        at, _, _ = _open(content, at, _SEQUENCE)
        at = _expect(content, at, _DATA)
        at, _, _ = _open(content, at, _CONTENT)
        return _string(content, at)
    except (_Broken, IndexError):
        return b""


def _header(content: bytes, at: int) -> tuple[int, int, int]:
    """Tag, where the inside begins, and where it ends: -1 for a length that only an end mark tells."""
    tag, length = content[at], content[at + 1]
    at += 2
    if length == 0x80:
        return tag, at, -1
    if length > 0x80:
        size = length & 0x7F
        if size > 5:
            raise _Broken
        length = int.from_bytes(content[at : at + size], "big")
        at += size
    return tag, at, at + length


def _open(content: bytes, at: int, wanted: int) -> tuple[int, int, int]:
    tag, inside, end = _header(content, at)
    if tag != wanted:
        raise _Broken
    return inside, end, tag


def _expect(content: bytes, at: int, oid: bytes) -> int:
    inside, end, _ = _open(content, at, _OID)
    if content[inside:end] != oid:
        raise _Broken
    return end


def _skip(content: bytes, at: int, depth: int = 0) -> int:
    """Behind one value, whatever it is."""
    _, inside, end = _header(content, at)
    if end >= 0:
        return end
    if depth > 16:
        raise _Broken
    for _ in range(_PIECES):
        if content[inside : inside + 2] == b"\0\0":
            return inside + 2
        inside = _skip(content, inside, depth + 1)
    raise _Broken


def _string(content: bytes, at: int) -> bytes:
    """An octet string, whole or in pieces."""
    tag, inside, end = _header(content, at)
    if tag == _OCTETS and end >= 0:
        return content[inside:end]
    if tag != _OCTETS_IN_PIECES:
        raise _Broken
    pieces: list[bytes] = []
    last = len(content) if end < 0 else min(end, len(content))
    while inside < last and content[inside : inside + 2] != b"\0\0" and len(pieces) < _PIECES:
        piece_at, piece_end, _ = _open(content, inside, _OCTETS)
        if piece_end < 0:
            raise _Broken
        pieces.append(content[piece_at:piece_end])
        inside = piece_end
    return b"".join(pieces)
