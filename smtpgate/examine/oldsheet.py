"""The text of old workbooks (.xls, BIFF 5 and 8): cells row by row, notes, headers and names of sheets.

`oldtext` calls `read_workbook` with the workbook's stream. Records are read one after the other and once each; strings
go on over several of them, with their width told anew at each seam. Numbers are written as `celltext` shows them.

[MS-XLS] sections 2.1.4 (records), 2.4.265 (strings), 2.4.175 (numbers), 2.5.293 (text that goes on)."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import Final

from smtpgate.examine.celltext import Formats, Strings, of_double
from smtpgate.examine.gathering import Draft, Enough

_FORMULA, _HEADER, _FOOTER, _NOTE, _FILEPASS, _CONTINUE = 0x06, 0x14, 0x15, 0x1C, 0x2F, 0x3C
_SHEET, _MULRK, _RSTRING, _XF, _SST, _LABELSST, _TXO = 0x85, 0xBD, 0xD6, 0xE0, 0xFC, 0xFD, 0x1B6
_NUMBER, _LABEL, _STRING, _RK, _FORMAT, _BOF = 0x203, 0x204, 0x207, 0x27E, 0x41E, 0x809
#: Names, links, choices of cells and labels of charts, whose structure does not matter here.
_BESIDE: Final = frozenset({0x18, 0x1B8, 0x1BE, 0x100D})
_RUNS: Final = re.compile(rb"(?:[\x20-\x7e\xa0-\xff]\0){4,}|[\x20-\x7e]{4,}")
#: Strings of one workbook: more than 64,000 rows of some columns have.
_STRINGS: Final = 2_000_000


def read_workbook(stream: bytes, draft: Draft) -> None:
    """Write the text. Raises Enough, and struct.error for a stream that breaks off."""
    _Book(draft).run(stream)


class _Book:
    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._strings = Strings()
        self._formats = Formats()
        self._formats.begin()
        self._row = -1
        self._is_wide = True  # BIFF 8, whose strings say their width

    def run(self, stream: bytes) -> None:
        for count, (kind, pieces) in enumerate(_records(stream)):
            if count % 1024 == 0:
                self._draft.check()
            self._record(kind, pieces)
        self._draft.end_line()
        self._draft.aside(self._strings.unused())

    def _record(self, kind: int, pieces: list[bytes]) -> None:
        body = pieces[0]
        if kind == _FILEPASS:
            raise Enough("encrypted")
        if kind == _BOF:
            self._is_wide = body[:2] != b"\0\5"
            self._draft.end_line()
            self._row = -1
        elif kind == _SST:
            self._shared(pieces)
        elif kind == _FORMAT:
            self._formats.define(str(struct.unpack_from("<H", body)[0]), self._string(body, 2, 2))
        elif kind == _XF:
            self._formats.use(str(struct.unpack_from("<H", body, 2)[0]))
        elif kind == _LABELSST:
            self._cell(body, self._strings.get(struct.unpack_from("<I", body, 6)[0]))
        elif kind in (_LABEL, _RSTRING):
            self._cell(body, self._string(body, 6, 2))
        elif kind == _NUMBER:
            self._number(body, struct.unpack_from("<d", body, 6)[0])
        elif kind == _RK:
            self._number(body, _rk(struct.unpack_from("<I", body, 6)[0]))
        elif kind == _MULRK:
            row, first = struct.unpack_from("<HH", body)
            for number in range((len(body) - 6) // 6):
                use, value = struct.unpack_from("<HI", body, 4 + 6 * number)
                self._number(struct.pack("<HHH", row, first + number, use), _rk(value))
        elif kind == _FORMULA:
            if body[12:14] != b"\xff\xff":
                self._number(body, struct.unpack_from("<d", body, 6)[0])
            else:
                self._cell(body, "")
        elif kind == _STRING:
            self._draft.write(self._string(b"".join(pieces), 0, 2))
            self._draft.end_cell()
        elif kind in (_HEADER, _FOOTER) and body:
            self._draft.aside(self._string(body, 0, 2 if self._is_wide else 1))
        elif kind == _SHEET:
            self._draft.aside(self._string(body, 6, 1))
        elif kind == _TXO and len(pieces) > 1:
            self._draft.aside(_box(pieces))
        elif kind in _BESIDE:
            for run in _RUNS.findall(body):
                self._draft.aside(_letters(run, run[1:2] == b"\0"))
        elif kind == _NOTE and not self._is_wide:
            self._draft.aside(body[6:].decode("cp1252", "replace"))

    def _cell(self, head: bytes, text: str) -> None:
        row = struct.unpack_from("<H", head)[0]
        if row != self._row:
            self._draft.end_line()
            self._row = row
        if text:
            self._draft.write(text)
            self._draft.end_cell()

    def _number(self, head: bytes, number: float) -> None:
        use = struct.unpack_from("<H", head, 4)[0]
        self._cell(head, self._formats.shown(of_double(number), str(use)) if number == number else "")

    def _string(self, body: bytes, at: int, size: int) -> str:
        """A string whose count of letters takes `size` octets."""
        count = int.from_bytes(body[at : at + size], "little")
        at += size
        if not self._is_wide:
            return body[at : at + count].decode("cp1252", "replace")
        flags = body[at] if at < len(body) else 0
        at += 1
        at += (2 if flags & 8 else 0) + (4 if flags & 4 else 0)
        return _letters(body[at : at + count * (1 + (flags & 1))], bool(flags & 1))

    def _shared(self, pieces: list[bytes]) -> None:
        """The table of strings; each may go on in the next piece."""
        reader = _Pieces(pieces)
        reader.skip(4)
        total = min(int.from_bytes(reader.take(4), "little"), _STRINGS)
        for number in range(total):
            if number % 1024 == 0:
                self._draft.check()
            if reader.is_over:
                return
            text = reader.string()
            if not self._draft.keep(len(text)):
                raise Enough("too-big")
            self._strings.take(text)


def _records(stream: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """(kind, octets and those of the records that go on) one after the other."""
    at = 0
    kind = -1
    pieces: list[bytes] = []
    while at + 4 <= len(stream):
        following, length = struct.unpack_from("<HH", stream, at)
        body = stream[at + 4 : at + 4 + length]
        at += 4 + length
        if following == _CONTINUE and pieces:
            pieces.append(body)
            continue
        if pieces:
            yield kind, pieces
        kind, pieces = following, [body]
    if pieces:
        yield kind, pieces


class _Pieces:
    """Octets over several records, read on from one to the next."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces
        self._number = 0
        self._at = 0

    @property
    def is_over(self) -> bool:
        self._step()
        return self._number >= len(self._pieces)

    def _step(self) -> None:
        while self._number < len(self._pieces) and self._at >= len(self._pieces[self._number]):
            self._number += 1
            self._at = 0

    def take(self, count: int) -> bytes:
        out = b""
        while count > 0 and not self.is_over:
            got = self._pieces[self._number][self._at : self._at + count]
            self._at += len(got)
            count -= len(got)
            out += got
        return out

    def skip(self, count: int) -> None:
        while count > 0 and not self.is_over:
            step = min(count, len(self._pieces[self._number]) - self._at)
            self._at += step
            count -= step

    def string(self) -> str:
        """A string: letters, then runs of fonts and what phonetics say, which are passed."""
        head = self.take(3)
        if len(head) < 3:
            return ""
        count, flags = struct.unpack("<HB", head)
        runs = int.from_bytes(self.take(2), "little") if flags & 8 else 0
        extra = int.from_bytes(self.take(4), "little") if flags & 4 else 0
        out: list[str] = []
        is_wide = bool(flags & 1)
        while count > 0:
            number = self._number
            if self.is_over:
                break
            if self._number != number:
                # A seam: the width of what follows is told anew.
                is_wide = bool(self.take(1)[0] & 1)
            size = 2 if is_wide else 1
            piece = self._pieces[self._number]
            got = piece[self._at : self._at + count * size]
            got = got[: len(got) - len(got) % size]
            if not got:
                self._at = len(piece)
                continue
            self._at += len(got)
            count -= len(got) // size
            out.append(_letters(got, is_wide))
        self.skip(4 * runs + extra)
        return "".join(out)


def _box(pieces: list[bytes]) -> str:
    """The text of a box or note: in the records behind, before the runs of fonts, each with its own width."""
    left = int.from_bytes(pieces[0][10:12], "little")
    out: list[str] = []
    for piece in pieces[1:]:
        if out and left <= 0 or not piece:
            break
        # The first is text whatever the count says.
        text = _letters(piece[1:], bool(piece[0] & 1))
        out.append(text[:left] if out else text)
        left -= len(text)
    return "".join(out)


def _letters(octets: bytes, is_wide: bool) -> str:
    return octets.decode("utf-16-le", "replace") if is_wide else octets.decode("latin-1")


def _rk(value: int) -> float:
    """A number in 30 bits ([MS-XLS] section 2.5.217)."""
    if value & 2:
        whole = value >> 2
        number = float(whole - (1 << 30) if whole & 1 << 29 else whole)
    else:
        number = float(struct.unpack("<d", struct.pack("<Q", (value & 0xFFFFFFFC) << 32))[0])
    return number / 100 if value & 1 else number
