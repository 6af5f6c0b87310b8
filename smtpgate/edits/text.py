"""Words put into a text part, at its top or bottom, so that every program shows them with what was there.

`plan` calls `put`. The words are written in the character set and the transfer encoding of the part, and only what must
change does: lines are put in; of base64 the groups from there on are coded anew. Where a plain text cannot say a
character it becomes UTF-8 as a whole; HTML says those as numbers (`&#8364;`), which are right whatever set a program
takes. Where 8-bit octets would come into a part that has none, or a line would be longer than 998 octets, the part
becomes quoted-printable. Texts in stateful and wide sets (ISO-2022, UTF-16, UTF-7) are coded anew as a whole.

Promised: a decoder finds the text that was there and the words, nothing else; that is looked at before it is done.
Refused (`CannotEdit`): texts that two programs decode differently, or whose character set is not known.

RFC 2045 section 6; RFC 3676 (format=flowed); RFC 5322 section 2.1.1 (998).
"""

from __future__ import annotations

import base64
import binascii
import codecs
import re
from typing import Final

import attrs

from smtpgate.edits import fields, markup
from smtpgate.edits.outline import CannotEdit, Piece
from smtpgate.message import transfer
from smtpgate.message.splice import Splice
from smtpgate.message.words import codec

#: Octets of a text that is changed; of longer ones no examination reads all letters either.
TEXT_OCTETS: Final = 4 << 20
_LINE: Final = 998
_COLUMNS: Final = 76
_ASCII: Final = frozenset({"", "us-ascii", "ascii", "ansi_x3.4-1968", "iso-646-us", "iso646-us", "us", "646"})
#: An octet, or a soft line end.
_ESCAPE: Final = re.compile(rb"=(?:([0-9A-Fa-f]{2})|[ \t]*\r?\n)")


@attrs.frozen
class Text:
    """A part decoded.

    :ivar octets: its body without the transfer encoding
    :ivar codec: that reads it; "" where only its ASCII letters are known
    :ivar writes: that writes in the set that is declared, which may be smaller
    :ivar is_plain: it is no HTML
    :ivar newline: as its lines end
    """

    octets: bytes
    codec: str
    writes: str
    is_plain: bool
    newline: str

    @property
    def is_simple(self) -> bool:
        """Each ASCII octet in it is that letter, so that octets can be looked at in place of letters."""
        name = self.codec or "ascii"
        if name.startswith(("iso2022", "hz", "utf_7", "utf_16", "utf_32")):
            return False
        ascii = bytes(range(0x20, 0x7F))
        return ascii.decode(name, "replace") == ascii.decode("ascii")

    def read(self) -> str:
        """As letters, for who only looks. Never raises."""
        if self.codec:
            return self.octets.decode(self.codec, "replace")
        return self.octets.decode("latin-1")


def text_of(piece: Piece) -> Text:
    """The text of a part. Raises CannotEdit."""
    part = piece.part
    if part.octets > 2 * TEXT_OCTETS:
        raise CannotEdit("too-large")
    if part.encoding not in transfer.IDENTITY and part.encoding not in ("base64", "quoted-printable"):
        raise CannotEdit("encoding")
    if part.readings():
        raise CannotEdit("encoding")
    octets = part.decoded()
    if len(octets) > TEXT_OCTETS:
        raise CannotEdit("too-large")
    lf = octets.count(b"\n")
    newline = "\n" if lf > octets.count(b"\r\n") else "\r\n"
    is_plain = piece.media_type != "text/html"
    label = part.charset.strip()
    if label in _ASCII:
        name = "ascii" if octets.isascii() else "utf_8" if _is_utf8(octets) else ""
        return Text(octets, name, "ascii" if name == "ascii" else name, is_plain, newline)
    name = codec(label)
    if not name:
        raise CannotEdit("charset")
    try:
        writes = codecs.lookup(label).name
    except LookupError:
        writes = name
    return Text(octets, name, writes, is_plain, newline)


def _is_utf8(octets: bytes) -> bool:
    try:
        octets.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def put(piece: Piece, text: Text, words: str, place: str, author: str) -> list[Splice]:
    """The splices that put words into a part. Raises CannotEdit.

    :param text: of that part
    :param words: lines that end in LF; HTML for a part that is HTML
    :param place: top or bottom
    """
    words = words.replace("\n", text.newline)
    if text.is_plain:
        at = 0 if place == "top" else len(text.octets)
        is_flowed = piece.content_type.text("format").lower() == "flowed"
        words = _plain(text, words, place, is_flowed)
    else:
        words = words.encode("ascii", "xmlcharrefreplace").decode("ascii")
        if not text.is_simple:
            return _anew(piece, text, words, place, author)
        find = markup.top if place == "top" else markup.bottom
        at = find(text.octets.decode("latin-1"))
    try:
        octets = words.encode(text.writes or "ascii")
    except UnicodeEncodeError:
        return _anew(piece, text, words, place, author)
    if not text.is_simple:
        return _anew(piece, text, words, place, author)
    return _spliced(piece, text.octets, at, octets, author)


def _plain(text: Text, words: str, place: str, is_flowed: bool) -> str:
    """The lines with an empty one between them and the text."""
    end = text.newline
    lines = [line.rstrip() if line != "-- " else line for line in words.split(end)]
    if is_flowed:
        # A line that begins so is stuffed (RFC 3676 section 4.4); none ends with a blank, so none flows.
        lines = [f" {line}" if line.startswith((" ", ">", "From ")) else line for line in lines]
    said = end.join(lines)
    if place == "top":
        return said + end + end
    old = text.read()
    if not old:
        return said + end
    # An empty line ends a paragraph that flows, too.
    return end + said + end if old.endswith("\n") else end + end + said


def _spliced(piece: Piece, old: bytes, at: int, octets: bytes, author: str) -> list[Splice]:
    """Octets put into the decoded body."""
    encoding = piece.part.encoding
    raw = bytes(piece.part.body)
    new = old[:at] + octets + old[at:]
    if encoding == "base64":
        made = _into_base64(raw, new, at)
    elif encoding == "quoted-printable":
        made = _into_quoted(raw, at, octets)
    elif _longest(octets) > _LINE or not octets.isascii() and old.isascii():
        return _whole(piece, new, author)
    else:
        made = (at, 0, octets)
    start, removed, coded = made
    result = raw[:start] + coded + raw[start + removed :]
    if transfer.decode(result, encoding) != new or transfer.readings(result, piece.part.encodings):
        return _whole(piece, new, author)
    return [Splice(piece.body + start, removed, coded, author)]


def _longest(octets: bytes) -> int:
    return max(map(len, octets.split(b"\n")))


def _into_base64(raw: bytes, new: bytes, at: int) -> tuple[int, int, bytes]:
    """From the group on in which something comes, all is coded anew; its lines go on as they stood."""
    group = at // 3
    left = 4 * group
    start, end = 0, len(raw.rstrip(b"\r\n"))
    for line in raw[:end].splitlines(keepends=True):
        letters = len(line.rstrip(b"\r\n"))
        if letters > left:
            start += left
            break
        left -= letters
        start += len(line)
    column = start - (raw.rfind(b"\n", 0, start) + 1)
    coded = base64.b64encode(new[3 * group :])
    first = max(_COLUMNS - column, 0)
    lines = [coded[:first], *(coded[one : one + _COLUMNS] for one in range(first, len(coded), _COLUMNS))]
    return start, end - start, b"\r\n".join(lines)


def _into_quoted(raw: bytes, at: int, octets: bytes) -> tuple[int, int, bytes]:
    """Lines of their own between what stands before and after."""
    start = _place_in_quoted(raw, at)
    coded = quoted(octets)
    before = raw[:start]
    if before.endswith(b"="):
        coded = b"\r\n" + coded
    elif before and not before.endswith(b"\n") and not octets.startswith((b"\r\n", b"\n")):
        coded = b"=\r\n" + coded
    if start < len(raw) and not coded.endswith(b"\n"):
        coded += b"=\r\n"
    return start, 0, coded


def _place_in_quoted(raw: bytes, at: int) -> int:
    """Where an octet of the decoded body stands, before a soft line end that stands there."""
    start = 0
    while at:
        escape = raw.find(b"=", start, start + at)
        if escape < 0:
            return start + at
        at -= escape - start
        if not at:
            return escape
        found = _ESCAPE.match(raw, escape)
        if found is None:
            # No escape: it stands for itself.
            start, at = escape + 1, at - 1
        else:
            start, at = found.end(), at - (1 if found[1] else 0)
    return start


def quoted(octets: bytes) -> bytes:
    """Octets as quoted-printable, with CRLF."""
    coded = binascii.b2a_qp(octets.replace(b"\r\n", b"\n"), quotetabs=False, istext=True)
    return coded.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def _anew(piece: Piece, text: Text, words: str, place: str, author: str) -> list[Splice]:
    """The text as a whole in its own set, or in UTF-8 where that cannot say it. Raises CannotEdit."""
    try:
        old = text.octets.decode(text.codec or "ascii")
        is_same = old.encode(text.writes or "ascii") == text.octets
    except UnicodeError:
        old, is_same = _strictly(text), False
    at = 0 if place == "top" else len(old)
    if not text.is_plain:
        at = (markup.top if place == "top" else markup.bottom)(old)
    mark = 1 if old[:1] == "\ufeff" and at == 0 else 0
    new = old[: at + mark] + words + old[at + mark :]
    if is_same:
        try:
            octets = new.encode(text.writes)
            start = len(old[:at].encode(text.writes))
            stop = len(octets) - len(text.octets) + start
            if text.octets == octets[:start] + octets[stop:]:
                return _spliced(piece, text.octets, start, octets[start:stop], author)
            if octets.decode(text.codec) == new:
                return _whole(piece, octets, author)
        except UnicodeError:
            pass
    return _whole(piece, new.removeprefix("\ufeff").encode("utf-8"), author, "utf-8")


def _strictly(text: Text) -> str:
    """Its letters; a text that is not in its set would lose some."""
    try:
        return text.octets.decode(text.codec or "ascii")
    except UnicodeError:
        raise CannotEdit("charset") from None


def _whole(piece: Piece, octets: bytes, author: str, charset: str = "") -> list[Splice]:
    """A body written anew, and what its header must say of it then. Raises CannotEdit.

    :param charset: the new one; "": it stays
    """
    encoding = piece.part.encoding
    new = encoding
    body = b""
    if encoding in transfer.IDENTITY and (charset or _longest(octets) > _LINE or not octets.isascii()):
        new = "quoted-printable"
    if new == "quoted-printable":
        body = quoted(octets)
        if transfer.decode(body, new) != octets:
            new = "base64"
    if new == "base64":
        coded = base64.b64encode(octets)
        body = b"\r\n".join(coded[one : one + _COLUMNS] for one in range(0, len(coded), _COLUMNS))
        body += b"\r\n" if bytes(piece.part.body[-2:]) == b"\r\n" else b""
    elif new != "quoted-printable":
        body = octets
    heads: list[Splice] = []
    if new != encoding:
        heads += fields.encoding(piece, new, author)
    if charset:
        heads += fields.charset(piece, charset, author)
    heads = fields.joined(piece, heads, author)
    return [*heads, Splice(piece.body, piece.end - piece.body, body, author)]
