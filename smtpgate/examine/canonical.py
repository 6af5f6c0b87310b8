"""The canonical forms that signatures are made over, and the hash of a body in them.

`signatures` and `chain` use it. A body is read by pieces, once for all signatures of a message: each form is made and
hashed as it goes by, and hashes over the first octets only (`l=`) are taken on the way. So a message of any size costs
a few pieces of memory, and one pass over it.

Promised: the same hash wherever the pieces are cut; time in proportion to the octets, for bodies that are nothing but
blanks or empty lines too. Refused: other hashes than SHA-256, as RFC 8301 has it.

RFC 6376 sections 3.4 (canonical forms), 3.5 (l=) and 3.7 (what is hashed).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from smtpgate.message.header import Field

#: Octets of a body in hand at a time.
PIECE_OCTETS: Final = 1 << 18
#: A form of a body, and so many octets of it; -1 for all.
Extent = tuple[bool, int]

_CRLF: Final = b"\r\n"
_BLANK_RUN: Final = re.compile(rb"  +")
_LINES: Final = _CRLF * 4096


def body_start(content: Any) -> int:
    """Where the body of a message begins; its length where it has none.

    :param content: octets or a map of a file, with CRLF line ends
    """
    if content[:2] == _CRLF:
        return 2
    end = content.find(b"\r\n\r\n")
    return len(content) if end < 0 else end + 4


def canonical_field(raw: bytes, is_relaxed: bool) -> bytes:
    """A header field with its line end, in the relaxed or the simple form."""
    if not is_relaxed:
        return raw
    name, _, value = raw.partition(b":")
    value = _one_blank(value.replace(_CRLF, b"")).strip(b" ")
    return name.rstrip(b" \t").lower() + b":" + value + _CRLF


def _one_blank(octets: bytes) -> bytes:
    return _BLANK_RUN.sub(b" ", octets.replace(b"\t", b" "))


def unsigned(raw: bytes) -> bytes:
    """A signature field as it was when it was signed: the value of b= is empty."""
    name, colon, value = raw.partition(b":")
    specs = value.split(b";")
    for at, spec in enumerate(specs):
        tag, equals, _ = spec.partition(b"=")
        if equals and tag.strip() == b"b":
            specs[at] = tag + equals
            break
    return name + colon + b";".join(specs)


def signed_fields(fields: Mapping[str, Sequence[Field]], names: Iterable[str], is_relaxed: bool) -> Iterable[bytes]:
    """The fields that a signature names, in its order and its form; the last one of a name first.

    :param fields: those of the message by name, in their order
    :param names: lower case; one that comes more often than there are fields stands for nothing
    """
    left = {name: list(found) for name, found in fields.items()}
    for name in names:
        found = left.get(name)
        if found:
            yield canonical_field(found.pop().raw, is_relaxed)


class _Sum:
    """A hash over octets that come by pieces, and those over the first of them."""

    def __init__(self, lengths: Iterable[int]) -> None:
        self._lengths = sorted(set(lengths) - {-1})
        self._hash = hashlib.sha256()
        self._octets = 0
        self.digests: dict[int, bytes] = {}

    def update(self, piece: bytes) -> None:
        octets = self._octets
        while self._lengths and self._lengths[0] <= octets + len(piece):
            length = self._lengths.pop(0)
            part = self._hash.copy()
            part.update(piece[: length - octets])
            self.digests[length] = part.digest()
        self._hash.update(piece)
        self._octets = octets + len(piece)

    @property
    def octets(self) -> int:
        return self._octets

    def finish(self) -> dict[int, bytes]:
        self.update(b"")
        return self.digests | {-1: self._hash.digest()}


class _Form:
    """A body on its way into one form.

    What a line end may follow, blanks and a CR, is held until it is known; so are line ends, which count for nothing at
    the end of a body.
    """

    def __init__(self, is_relaxed: bool, lengths: Iterable[int]) -> None:
        self._is_relaxed = is_relaxed
        self._sum = _Sum(lengths)
        self._held = b""
        self._line_ends = 0

    def feed(self, piece: bytes) -> None:
        octets = self._held + piece
        end = len(octets) - octets.endswith(b"\r")
        held = octets[end:]
        if self._is_relaxed and octets[end - 1 : end] in (b" ", b"\t"):
            end = len(octets[:end].rstrip(b" \t"))
            # Any number of blanks is one.
            held = b" " + held
        self._held = held
        self._take(octets[:end])

    def finish(self) -> dict[int, bytes]:
        if self._held != b" ":
            self._take(self._held)
        if self._sum.octets or not self._is_relaxed:
            # A body ends with one line end, whether it had none or many; an empty one is relaxed to nothing.
            self._sum.update(_CRLF)
        return self._sum.finish()

    def _take(self, octets: bytes) -> None:
        if self._is_relaxed:
            octets = _one_blank(octets).replace(b" \r\n", _CRLF)
        tail = octets[len(octets.rstrip(_CRLF)) :].replace(_CRLF, b"\0\0")
        ends = (len(tail) - len(tail.rstrip(b"\0"))) // 2
        kept = len(octets) - 2 * ends
        if not kept:
            self._line_ends += ends
            return
        while self._line_ends:
            count = min(self._line_ends, 4096)
            self._sum.update(_LINES[: 2 * count])
            self._line_ends -= count
        self._sum.update(octets[:kept])
        self._line_ends = ends


class BodyHash:
    """SHA-256 of a body in the relaxed form that goes by, as whoever signs it needs it."""

    def __init__(self) -> None:
        self._form = _Form(True, ())

    def feed(self, piece: bytes) -> None:
        """Take the next octets in."""
        self._form.feed(piece)

    def finish(self) -> bytes:
        """The body has ended: its hash."""
        return self._form.finish()[-1]


def body_hashes(content: Any, start: int, extents: Iterable[Extent]) -> dict[Extent, bytes]:
    """SHA-256 of a body in the forms that are wanted.

    :param start: where it begins
    :param extents: (is_relaxed, octets of that form, -1 for all)
    :return: one with more octets than the body has is left out
    """
    wanted = set(extents)
    forms = {
        is_relaxed: _Form(is_relaxed, {length for form, length in wanted if form is is_relaxed})
        for is_relaxed in {form for form, _ in wanted}
    }
    if forms:
        for at in range(start, len(content), PIECE_OCTETS):
            piece = bytes(content[at : at + PIECE_OCTETS])
            for form in forms.values():
                form.feed(piece)
    found = {(name, length): one for name, form in forms.items() for length, one in form.finish().items()}
    return {extent: one for extent, one in found.items() if extent in wanted}
