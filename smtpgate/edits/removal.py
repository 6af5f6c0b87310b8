"""Parts taken out of a message, and the short text that stands in their place.

`strip` takes a part out with its boundary line, `replace` puts a text there. A text is put in any case where the rest
would be no message of its kind: for the message itself, the only part of a multipart (or the first of those that all
go), the page of a multipart/related, and what is directly in a multipart/signed, encrypted, alternative or report.
A member of an archive or document cannot be taken out by itself: the part that holds it is. So is an attached message
that is encoded, for what is in it; in one that stands as it is, its part goes.

RFC 2046 section 5.1; RFC 2387; RFC 1847; RFC 6522.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import attrs

from smtpgate.edits.outline import CannotEdit, Outline, Piece
from smtpgate.edits.text import quoted
from smtpgate.edits.wanted import Change, Target, filled, safe
from smtpgate.edits.where import root_of
from smtpgate.message.splice import Splice

#: In the place of what was removed, where the rule says nothing else.
NOTICE: Final = "{name} ({kind}, {octets} octets) was removed by the mail gateway {hostname}: {rule}"
_NEED_ALL: Final = frozenset({"multipart/signed", "multipart/encrypted", "multipart/alternative", "multipart/report"})
_DELIMITER: Final = re.compile(rb"--[^\r\n]*\r\n\Z")


@attrs.frozen
class Removed:
    """A part that goes.

    :ivar before: kind, name and size
    :ivar has_text: a text stands in its place, and `said` is what
    """

    splice: Splice
    piece: Piece
    before: str
    has_text: bool
    said: str = ""


def planned(outline: Outline, change: Change, values: Mapping[str, str]) -> list[Removed]:
    """Each part that goes. Raises CannotEdit."""
    goes: dict[int, tuple[Piece, Target]] = {}
    for target in change.parts:
        piece = outline.named(target.number)
        if piece is None:
            raise CannotEdit("whole")
        goes.setdefault(id(piece), (piece, target))
    if not goes:
        raise CannotEdit("nothing")
    pieces = [(piece, target) for key, (piece, target) in goes.items() if not _is_inside(piece, goes)]
    made = []
    for piece, target in sorted(pieces, key=lambda one: one[0].start):
        if change.action == "replace" or _must_stand(piece, goes):
            said = _lines(filled(change.text or NOTICE, {**values, **of(target)}))
            splice = _text(outline, piece, said, change.author)
            made.append(Removed(splice, piece, described(target), True, said))
        else:
            made.append(Removed(_cut(outline, piece, change.author), piece, described(target), False))
    return made


def _lines(words: str) -> str:
    return words.replace("\r\n", "\n").replace("\r", "\n").strip("\n")


def _is_inside(piece: Piece, goes: Mapping[int, object]) -> bool:
    above = piece.parent
    while above is not None:
        if id(above) in goes:
            return True
        above = above.parent
    return False


def _must_stand(piece: Piece, goes: Mapping[int, object]) -> bool:
    parent = piece.parent
    if parent is None or not parent.media_type.startswith("multipart/") or parent.media_type in _NEED_ALL:
        return True
    if parent.media_type == "multipart/related" and root_of(parent) is piece:
        return True
    left = [child for child in parent.children if id(child) not in goes]
    return not left and parent.children[0] is piece


def _cut(outline: Outline, piece: Piece, author: str) -> Splice:
    """The part with the boundary line before it. Raises CannotEdit."""
    content = outline.content
    line = content.rfind(b"\n", 0, piece.start - 1) + 1
    if _DELIMITER.match(content, line, piece.start) is None:
        raise CannotEdit("ambiguous")
    if content[piece.end : piece.end + 4] == b"\r\n--":
        return Splice(line, piece.end + 2 - line, b"", author)
    # The last one of a multipart that nothing closes: the line end before its boundary line belongs to that.
    start = line - 2 if content[line - 2 : line] == b"\r\n" else line
    return Splice(start, piece.end - start, b"", author)


def _text(outline: Outline, piece: Piece, said: str, author: str) -> Splice:
    """A text part in its place."""
    octets = said.replace("\n", "\r\n").encode("utf-8", "replace")
    head = b"Content-Type: text/plain; charset=utf-8\r\n"
    if not octets.isascii() or max(map(len, octets.split(b"\r\n"))) > 76:
        head += b"Content-Transfer-Encoding: quoted-printable\r\n"
        octets = quoted(octets)
    content = outline.content
    kept = _kept(piece)
    if (piece.parent is None or piece.parent.media_type.startswith("message/")) and b"\nmime-version:" not in (
        b"\n" + kept.lower()
    ):
        head = b"MIME-Version: 1.0\r\n" + head
    ending = b"\r\n" if piece.end == len(content) and content.endswith(b"\r\n") else b""
    return Splice(piece.start, piece.end - piece.start, kept + head + b"\r\n" + octets + ending, author)


def of(target: Target) -> dict[str, str]:
    """What the placeholders of one that was removed stand for."""
    return {
        "name": target.name or "a part without a name",
        "kind": target.kind or "unknown",
        "media_type": target.media_type,
        "octets": str(target.octets),
    }


def described(target: Target) -> str:
    """What is told of it: kind, name and size, never its content."""
    name = f" {safe(target.name)}" if target.name else ""
    return f"{target.kind or target.media_type or 'part'}{name}, {target.octets} octets"


def _kept(piece: Piece) -> bytes:
    """The fields that stay: all of a message but those about its content (RFC 2045 section 9), none of a part."""
    if piece.parent is not None and piece.parent.media_type.startswith("multipart/"):
        return b""
    head, position = [], 0
    for field in piece.part.header.fields:
        if field.name.startswith("content-"):
            head.append(piece.head[position : field.start])
            position = field.start + len(field.raw)
    end = len(piece.head) - (2 if piece.head.endswith(b"\r\n\r\n") or piece.head == b"\r\n" else 0)
    return b"".join([*head, piece.head[position:end]])
