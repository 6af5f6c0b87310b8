"""Banners and disclaimers: words put where people begin or end to read, in each form that the letter has.

`plan` calls `planned`. Plain texts get the plain words, HTML the words as HTML in a block of their own, whose class is
the mark by which the next message of the thread shows that it has them; plain texts have no place for a mark, there the
words themselves are looked for. Where there is no text that may be changed, the whole message becomes a part of a new
one with the words beside it, if the rule says so (`Change.wrap`).
"""

from __future__ import annotations

import hashlib
import html
import re
from collections.abc import Mapping
from typing import Final

import attrs

from smtpgate.edits import fields, markup, text
from smtpgate.edits.outline import CannotEdit, Outline, Piece
from smtpgate.edits.wanted import Change, filled, literals
from smtpgate.edits.where import armour_of, seal_of, texts_of
from smtpgate.message.splice import Splice

#: Letters and digits of a text by which it is found again; fewer may stand in any text.
_ENOUGH: Final = 12
#: What a style sheet of the message would hide stays to be seen, as far as that can be said in one place.
_STYLE: Final = "display:block!important;visibility:visible!important;opacity:1!important;max-height:none!important"
#: Reasons for which a message may be wrapped.
_WRAPPED: Final = frozenset({"no-text", "signed", "encrypted", "calendar", "charset", "encoding", "too-large"})


@attrs.frozen
class Words:
    """Words put into one part.

    :ivar where: number and type of the part
    :ivar said: what people read there, of HTML with its tags
    """

    where: str
    said: str


@attrs.frozen
class Made:
    """What a banner comes to.

    :ivar wrap: top or bottom where the message is a part of a new one; else ""
    """

    splices: tuple[Splice, ...]
    words: tuple[Words, ...]
    wrap: str = ""


def planned(outline: Outline, change: Change, values: Mapping[str, str]) -> Made:
    """The splices. Raises CannotEdit."""
    plain = _lines(filled(change.text, values))
    try:
        return _in_texts(outline, change, values, plain)
    except CannotEdit as error:
        if not change.wrap or error.reason not in _WRAPPED:
            raise
        return Made(_wrapped(outline, plain, change), (Words("", plain),), change.place)


def _in_texts(outline: Outline, change: Change, values: Mapping[str, str], plain: str) -> Made:
    found = [(piece, text.text_of(piece)) for piece in texts_of(outline, change.place, change.invitations)]
    for _, one in found:
        seal = armour_of(one.octets) if one.is_plain else ""
        if seal:
            raise CannotEdit(seal)
    if change.once and any(_is_there(one, change) for _, one in found):
        raise CannotEdit("there")
    splices: list[Splice] = []
    words = []
    for piece, one in found:
        said = plain if one.is_plain else _block(change, values)
        splices += text.put(piece, one, said, change.place, change.author)
        words.append(Words(f"{piece.number} {piece.media_type}", said.strip()))
    return Made(tuple(sorted(splices, key=lambda one: one.offset)), tuple(words))


def _lines(words: str) -> str:
    """Without line ends around it."""
    return words.replace("\r\n", "\n").replace("\r", "\n").strip("\n")


def mark_of(rule: str) -> str:
    """The class of a block of HTML."""
    return f"smtpgate-{rule}"


def _block(change: Change, values: Mapping[str, str]) -> str:
    if change.html:
        inner = _lines(filled(change.html, values, is_html=True))
    else:
        inner = "<br>\n".join(html.escape(line) for line in _lines(filled(change.text, values)).split("\n"))
    return f'\n<div class="{mark_of(change.rule)}" style="{_STYLE}">{inner}</div>\n'


def _is_there(one: text.Text, change: Change) -> bool:
    """Whether the thread has it: programs put letters before a class, never behind."""
    said = one.read()
    if not one.is_plain:
        if re.search(re.escape(mark_of(change.rule)) + "(?=[\"' >])", said) is not None:
            return True
        said = markup.words(said)
    pieces = [letters for letters in map(markup.letters, literals(change.text)) if letters]
    if sum(map(len, pieces)) < _ENOUGH:
        return False
    there = markup.letters(said)
    at = 0
    for piece in pieces:
        at = there.find(piece, at)
        if at < 0:
            return False
        at += len(piece)
    return True


def _wrapped(outline: Outline, plain: str, change: Change) -> tuple[Splice, ...]:
    """The message as a part beside a text: its fields about content go with it, its body stays as it is."""
    root, content, author = outline.root, outline.content, change.author
    if not root.head.endswith(b"\r\n\r\n") and root.head != b"\r\n":
        raise CannotEdit("no-text")
    inner = [field for field in root.part.header.fields if field.name.startswith("content-")]
    boundary = _boundary(content)
    octets = plain.replace("\n", "\r\n").encode("utf-8", "replace")
    head = b"Content-Type: text/plain; charset=utf-8\r\n"
    if not octets.isascii() or max(map(len, octets.split(b"\r\n"))) > 76:
        head += b"Content-Transfer-Encoding: quoted-printable\r\n"
        octets = text.quoted(octets)
    part = b"--" + boundary + b"\r\n" + head + b"\r\n" + octets + b"\r\n"
    whole = b"--" + boundary + b"\r\n" + b"".join(field.raw for field in inner) + b"\r\n"
    close = b"--" + boundary + b"--\r\n"
    new = b'Content-Type: multipart/mixed;\r\n\tboundary="' + boundary + b'"\r\n'
    if not root.fields("mime-version"):
        new = b"MIME-Version: 1.0\r\n" + new
    splices = [Splice(field.start, len(field.raw), b"", author) for field in inner]
    splices.append(fields.behind(root, new, author))
    is_top = change.place == "top"
    splices.append(Splice(root.body, 0, part + whole if is_top else whole, author))
    splices.append(Splice(len(content), 0, b"\r\n" + (close if is_top else part + close), author))
    return tuple(splices)


def _boundary(content: bytes) -> bytes:
    """One that is not in the content."""
    digest = hashlib.sha256(content).hexdigest()
    number = 0
    while True:
        boundary = f"=_{digest[:32]}_{number}".encode("ascii")
        if boundary not in content:
            return boundary
        number += 1


def seals_of(outline: Outline) -> list[Piece]:
    """The signed parts of a letter."""
    return [piece for piece in outline.pieces if piece.is_of_letter and seal_of(piece) == "signed"]
