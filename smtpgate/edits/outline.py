"""The parts of a message as they stand in it, for who changes something there: header, body, and what is around.

`plan` makes an `Outline` of each state of a message. Programs do not always agree on where parts begin and end
(`message.mime`), and a change must mean the same to all of them: `Outline.doubt` names what they could disagree about,
and nothing is changed then. Parts inside encoded messages have no place of their own; the encoded one stands for them.

RFC 2046 section 5.1; RFC 5322 section 2.1.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import attrs

from smtpgate.message import params
from smtpgate.message.entity import QUIRKS
from smtpgate.message.header import Field
from smtpgate.message.mime import Message, Part, walk
from smtpgate.message.params import Value

#: Anomalies that leave the place of a part or the meaning of its header open. Others are about what is inside a part.
DOUBTS: Final = frozenset(
    {
        "bare-cr",
        "bare-lf",
        "nul",
        "broken-header-line",
        "blank-header-line",
        "no-header-end",
        "duplicate-content-type",
        "duplicate-encoding",
        "duplicate-disposition",
        "bad-content-type",
        "duplicate-parameter",
        "broken-parameter",
        "too-many-parameters",
        "no-boundary",
        "duplicate-boundary",
        "boundary-reused",
        "boundary-junk",
        "no-parts",
        "parts-after-close",
        "hidden-preamble",
        "hidden-epilogue",
        "encoded-multipart",
    }
)
_FILES: Final = QUIRKS["finds-files"]


class CannotEdit(Exception):
    """A change that is not made.

    :ivar reason: a stable word of `wanted.REASONS`
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@attrs.define(eq=False)
class Piece:
    """A part of the usual reading.

    :ivar start: where its header begins in the content; its body is at `body` to `end`
    :ivar is_here: it stands in the content; False inside something encoded, where `start` and the like mean nothing
    """

    part: Part
    parent: Piece | None
    start: int
    body: int
    end: int
    is_here: bool
    children: list[Piece] = attrs.field(factory=list)

    @property
    def media_type(self) -> str:
        """As the usual program takes it."""
        return self.part.media_type

    @property
    def number(self) -> str:
        """As IMAP counts."""
        return self.part.number

    @property
    def head(self) -> bytes:
        """Its header with the empty line."""
        return self.part.header.octets

    def fields(self, name: str) -> list[Field]:
        """Its fields of a name (lower case)."""
        return self.part.header.named(name)

    @property
    def content_type(self) -> Value:
        """Content-Type with its parameters."""
        return params.parse(self.part.header.first("content-type"))

    @property
    def is_attached(self) -> bool:
        """It is a file to people, and no text of the letter."""
        return self.part.disposition == "attachment" or bool(self.part.names)

    @property
    def is_of_letter(self) -> bool:
        """It is in no attached message, and stands in the content."""
        piece: Piece | None = self.parent
        while piece is not None:
            if piece.media_type.startswith("message/"):
                return False
            piece = piece.parent
        return self.is_here


class Outline:
    """All parts.

    :ivar root: the message itself
    """

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.message = walk(content)
        self._by_index: dict[int, Piece] = {}
        for index, part in enumerate(self.message.parts):
            if part.reading == 0:
                self._add(index, part)
        self.root = self._by_index[0]

    def _add(self, index: int, part: Part) -> None:
        parent = self._by_index.get(part.parent) if index else None
        is_here = part.source is self.message.parts[0].source
        start = part.start - len(part.header.octets)
        piece = Piece(part, parent, start, part.start, part.end, is_here)
        self._by_index[index] = piece
        if parent is not None:
            parent.children.append(piece)

    @property
    def pieces(self) -> Iterator[Piece]:
        """All, in their order."""
        return iter(self._by_index.values())

    def named(self, number: str) -> Piece | None:
        """The part of a number that stands in the content: it, or what encodes it."""
        found = next((one for one in self.pieces if one.number == number), None)
        while found is not None and not found.is_here:
            found = found.parent
        return found

    @property
    def doubt(self) -> str:
        """What programs could disagree about; "" where all see the same parts."""
        lines = self.content.count(b"\r\n")
        if not lines == self.content.count(b"\r") == self.content.count(b"\n"):
            # Where all lines end in LF alone no two programs disagree, but what is put ends its own with CRLF.
            return "bare-lf"
        return _doubt(self.message) or next((one.number for one in self.pieces if not self._is_sure(one)), "")

    def _is_sure(self, piece: Piece) -> bool:
        """Its header stands where it was counted to stand."""
        return not piece.is_here or self.content[max(piece.start, 0) : piece.body] == piece.head


def _doubt(message: Message) -> str:
    if message.limits:
        return message.limits[0]
    found = next((one.kind for one in message.anomalies if one.kind in DOUBTS), "")
    if found:
        return found
    others = {message.profiles[part.reading] for part in message.parts if part.reading}
    return next(iter(sorted(others - {_FILES})), "")
