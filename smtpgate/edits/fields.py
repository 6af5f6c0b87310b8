"""Fields of MIME written into the header of a part, in place of what stands there or behind it.

RFC 2045 sections 4, 5 and 6.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from smtpgate.edits.outline import CannotEdit, Piece
from smtpgate.message import params
from smtpgate.message.splice import Splice

_CHARSET: Final = re.compile(rb"(;\s*charset\s*=\s*)(\"[^\"]*\"|[^;\s()]+)", re.IGNORECASE)


def behind(piece: Piece, raw: bytes, author: str) -> Splice:
    """A field behind the last of a header."""
    end = piece.body
    if piece.head.endswith(b"\r\n\r\n") or piece.head == b"\r\n":
        end -= 2
    return Splice(end, 0, raw, author)


def replace(piece: Piece, name: str, raw: bytes, author: str) -> Splice:
    """A field in place of the one of that name (lower case), behind all others where there is none."""
    found = piece.fields(name)
    if not found:
        return behind(piece, raw, author)
    return Splice(piece.start + found[0].start, len(found[0].raw), raw, author)


def encoding(piece: Piece, word: str, author: str) -> list[Splice]:
    """The transfer encoding."""
    raw = b"Content-Transfer-Encoding: " + word.encode("ascii") + b"\r\n"
    return [replace(piece, "content-transfer-encoding", raw, author), *version(piece, author)]


def charset(piece: Piece, label: str, author: str) -> list[Splice]:
    """The character set; the rest of the field stays as it is. Raises CannotEdit where it cannot be told apart."""
    found = piece.fields("content-type")
    wanted = label.encode("ascii")
    if not found:
        raw = b"Content-Type: " + piece.media_type.encode("ascii") + b"; charset=" + wanted + b"\r\n"
        return [behind(piece, raw, author), *version(piece, author)]
    old = found[0].raw
    new, count = _CHARSET.subn(rb"\g<1>" + wanted, old)
    if not count:
        new = old.rstrip(b" \t\r\n;") + b";\r\n\tcharset=" + wanted + b"\r\n"
    value = params.parse(new.partition(b":")[2].replace(b"\r\n", b"").strip())
    if count > 1 or value.text("charset").lower() != label or value.main != piece.media_type or value.oddities:
        raise CannotEdit("charset")
    return [Splice(piece.start + found[0].start, len(old), new, author), *version(piece, author)]


def version(piece: Piece, author: str) -> list[Splice]:
    """MIME-Version, where a message that has fields of MIME is to have it and has it not."""
    if piece.parent is not None and piece.parent.media_type.startswith("multipart/"):
        return []
    return [] if piece.fields("mime-version") else [behind(piece, b"MIME-Version: 1.0\r\n", author)]


def joined(piece: Piece, splices: Iterable[Splice], author: str) -> list[Splice]:
    """Splices of one header in their order; those that come to the same place as one, nothing twice."""
    by_place: dict[tuple[int, int], list[bytes]] = {}
    for one in splices:
        there = by_place.setdefault((one.offset, one.removed), [])
        if one.put not in there:
            there.append(one.put)
    return [Splice(offset, removed, b"".join(puts), author) for (offset, removed), puts in sorted(by_place.items())]
