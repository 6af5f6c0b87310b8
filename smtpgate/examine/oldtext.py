"""The text of compound documents: .doc, .xls, .ppt and .msg, those embedded in others, and their properties.

`reading` calls `read_compound` with a draft. Of Word the piece table says which octets are text and in which width; of
PowerPoint the atoms of text are gone through; workbooks are read by `oldsheet`; of a message of Outlook every property
that is a text is taken. Embedded and attached files come from `compound`, which also opens what is locked with a
password that stands in the message. Where a structure is broken, the strings that stand in its stream are taken and
the file is told as broken.

[MS-DOC] sections 2.5 (Fib), 2.8.35 and 2.9.177 (pieces), 2.4.1 (how to find text); [MS-PPT] sections 2.9.42 to 2.9.44;
[MS-OXMSG] section 2.4; [MS-OLEPS] (properties)."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from typing import Any, Final

from smtpgate.examine.budget import Member, hush
from smtpgate.examine.compound import look_at_compound
from smtpgate.examine.gathering import Draft, Enough
from smtpgate.examine.oldsheet import read_workbook
from smtpgate.examine.plaintext import tagless
from smtpgate.examine.rtftext import read_rtf, unpacked
from smtpgate.message.words import raw_text

_STREAMS: Final = 4000
#: Pieces of one Word document: one that was edited for years has some thousand.
_PIECES: Final = 500_000
_WORD8, _WORD6 = 0xA5EC, 0xA5DC
#: Signs of Word that are none of a text: paragraph, cell, line, page, column, hyphens, and marks of objects.
_SIGNS: Final = {
    0x01: None, 0x02: None, 0x03: None, 0x04: None, 0x05: None, 0x07: "\t", 0x08: None, 0x0B: "\n", 0x0C: "\n",
    0x0D: "\n", 0x0E: "\n", 0x1E: "-", 0x1F: None, 0xAD: None,
}  # fmt: skip
_FIELD: Final = re.compile("\x13([^\x13\x14\x15]*)\x14?")
#: Atoms of PowerPoint with text: in two octets, in one, and names.
_WIDE, _NARROW, _NAME = 4000, 4008, 4026
_RECORDS: Final = 1_000_000
_STRINGS: Final = re.compile(rb"(?:[\x20-\x7e\t\r\n]\0){6,}|[\x20-\x7e\t\r\n\xa0-\xff]{8,}")
_PROPERTIES: Final = ("\x05SummaryInformation", "\x05DocumentSummaryInformation")
#: Streams of Outlook: text in two octets and in one, the body in HTML, and in packed RTF.
_TEXTS: Final = {"001F": "utf-16-le", "001E": "cp1252"}
_HTML, _PACKED = "10130102", "10090102"
_RTF_OCTETS: Final = 16 << 20


def read_compound(content: bytes, draft: Draft, words: Sequence[str]) -> Iterator[Member]:
    """Write the text of a document, and give its members. Raises Enough, and what olefile raises.

    :param words: passwords to try
    """
    looked = look_at_compound(content, draft.budget, words, with_macros=False)
    yield from looked.members
    if "broken" in looked.flags and not looked.members:
        # Where its streams are cannot be told; their strings stand somewhere.
        draft.spend(len(content))
        draft.write(_strings(content))
        raise Enough("broken")
    if "encrypted" in looked.flags:
        raise Enough("encrypted")
    is_opened = "password-in-text" in looked.flags or any("by itself" in note for note in looked.notes)
    if is_opened and looked.members:
        return
    hush("olefile")
    import olefile

    ole = olefile.OleFileIO(content)
    paths = [path for path in ole.listdir(streams=True, storages=False)[:_STREAMS] if path]
    is_broken = "broken" in looked.flags
    for path in paths:
        draft.check()
        try:
            _stream(ole, path, draft)
        except Enough:
            raise
        except Exception:
            # olefile and struct raise for what is cut off; what the stream has is read as it stands.
            is_broken = True
            draft.end_line()
            draft.write(_strings(_read(ole, path, draft)))
            draft.end_line()
    if is_broken:
        raise Enough("broken")


def _stream(ole: Any, path: list[str], draft: Draft) -> None:
    name = path[-1].lower()
    if name == "worddocument":
        main = _read(ole, path, draft)
        names = ("1Table", "0Table") if len(main) > 11 and main[11] & 2 else ("0Table", "1Table")
        table = next((place for one in names if ole.exists(place := [*path[:-1], one])), None)
        _word(main, _read(ole, table, draft) if table else b"", draft)
    elif name in ("workbook", "book"):
        read_workbook(_read(ole, path, draft), draft)
    elif name == "powerpoint document":
        _slides(_read(ole, path, draft), draft)
    elif path[-1] in _PROPERTIES:
        _properties(ole, path, draft)
    elif path[-1].startswith("__substg1.0_"):
        _outlook(_read(ole, path, draft), path[-1][12:].upper(), draft)
    elif name in ("contents", "visiodocument", "text", "quill"):
        # Of Works, Visio and Publisher no structure is known here.
        draft.write(_strings(_read(ole, path, draft)))
    draft.end_line()


def _read(ole: Any, path: list[str], draft: Draft) -> bytes:
    draft.spend(ole.get_size(path))
    return bytes(ole.openstream(path).read())


def _word(main: bytes, table: bytes, draft: Draft) -> None:
    """A Word document. Raises struct.error and ValueError where it is broken."""
    mark = struct.unpack_from("<H", main)[0]
    if mark == _WORD6 or mark != _WORD8 and not table:
        first, last = struct.unpack_from("<II", main, 0x18)
        _say(main[first:last].decode("cp1252", "replace"), draft)
        return
    if struct.unpack_from("<H", main, 10)[0] & 0x100:
        raise Enough("encrypted")
    at, length = struct.unpack_from("<II", main, 0x1A2)
    pieces = _pieces(table[at : at + length])
    count = (len(pieces) - 4) // 12
    if count < 1 or count > _PIECES:
        raise ValueError("no pieces")
    places = struct.unpack_from(f"<{count + 1}I", pieces)
    held: list[str] = []
    for number in range(count):
        if number % 1024 == 0:
            draft.check()
        letters = places[number + 1] - places[number]
        where = struct.unpack_from("<I", pieces, 4 * (count + 1) + 8 * number + 2)[0]
        if letters <= 0:
            raise ValueError("pieces out of order")
        if where & 0x40000000:
            start = (where & 0x3FFFFFFF) // 2
            draft.spend(letters)
            held.append(main[start : start + letters].decode("cp1252", "replace"))
        else:
            draft.spend(2 * letters)
            held.append(main[where : where + 2 * letters].decode("utf-16-le", "replace"))
    _say("".join(held), draft)


def _pieces(table: bytes) -> bytes:
    """The piece table behind what else stands before it."""
    at = 0
    while at < len(table) and table[at] == 1:
        at += 3 + struct.unpack_from("<H", table, at + 1)[0]
    if table[at : at + 1] != b"\2":
        raise ValueError("no piece table")
    length = struct.unpack_from("<I", table, at + 1)[0]
    return table[at + 5 : at + 5 + length]


def _say(text: str, draft: Draft) -> None:
    """Text of Word with its own signs; the instructions of fields stand aside."""
    if "\x13" in text:
        for found in _FIELD.findall(text):
            draft.aside(found)
        text = _FIELD.sub("", text)
    text = text.replace("\x07\x07", "\t\n").replace("\x0d\x07", "\x07").translate(_SIGNS)
    draft.write(text.replace("\x14", "").replace("\x15", ""))


def _slides(stream: bytes, draft: Draft) -> None:
    """Text atoms of PowerPoint, wherever they stand: containers are gone into, all else is passed by its length."""
    at = 0
    for number in range(_RECORDS):
        if at + 8 > len(stream):
            return
        if number % 1024 == 0:
            draft.check()
        head, kind, length = struct.unpack_from("<HHI", stream, at)
        at += 8
        if head & 15 == 15:
            continue
        if kind in (_WIDE, _NAME, _NARROW):
            octets = stream[at : at + length]
            text = octets.decode("utf-16-le" if kind != _NARROW else "latin-1", "replace")
            draft.write(text.replace("\r", "\n").replace("\x0b", "\n").rstrip("\0"))
            draft.end_line()
        if at + length > len(stream):
            raise ValueError("cut off")
        at += length
    raise Enough("too-many")


def _properties(ole: Any, path: list[str], draft: Draft) -> None:
    for value in ole.getproperties(path, convert_time=False).values():
        for one in value if isinstance(value, list) else (value,):
            if isinstance(one, bytes):
                draft.aside(raw_text(one).rstrip("\0"))
            elif isinstance(one, str):
                draft.aside(one.rstrip("\0"))


def _outlook(octets: bytes, name: str, draft: Draft) -> None:
    # Of several values each has a stream, with its number behind the type.
    kind = name[4:] if len(name) == 8 else "0" + name[5:8]
    codec = _TEXTS.get(kind)
    if codec is not None and name[:4] == _HTML[:4]:
        for one in tagless(octets.decode(codec, "replace") if codec != "cp1252" else raw_text(octets)):
            draft.write(one)
            draft.end_line()
    elif codec is not None:
        draft.write((octets.decode(codec, "replace") if codec != "cp1252" else raw_text(octets)).rstrip("\0"))
        draft.end_line()
    elif name == _HTML:
        for one in tagless(raw_text(octets)):
            draft.write(one)
            draft.end_line()
    elif name == _PACKED:
        plain = unpacked(octets, _RTF_OCTETS)
        draft.spend(len(plain))
        read_rtf(plain, draft)
        draft.end_line()


def _strings(octets: bytes) -> str:
    """Runs of letters in octets of unknown structure."""
    out = []
    for found in _STRINGS.finditer(octets):
        run = found[0]
        out.append(run.decode("utf-16-le") if run[1:2] == b"\0" else run.decode("cp1252", "replace"))
    return "\n".join(out)
