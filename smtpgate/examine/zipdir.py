"""The two directories of a ZIP file, held against each other, and the content of its plain members.

A ZIP file names each member twice: in the central directory at its end, and before the content itself. Programs
choose one or the other, so a file can look harmless to one and not to the next. `read_directory` reads both and says
where they differ, what stands only before the content, and where members lie over one another. `blocks` unpacks what
is stored or deflated, which is nearly all; `archives` gives the rest to libarchive. `kinds` and `office` read through
this too.

Nothing raises but `blocks`, and that only `ZipBroken`. Everything is bounded by a number of members and is linear.

APPNOTE.TXT 6.3.10 sections 4.3 (records), 4.4.4 (flags), 4.5.3 (ZIP64), 4.6.9 (Unicode path).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Final

import attrs

_CENTRAL: Final = struct.Struct("<4s6H3I5H2I")
_LOCAL: Final = struct.Struct("<4s5H3I2H")
_END: Final = struct.Struct("<4s4H2IH")
#: Where the end record can begin: its own length and the longest comment.
_TAIL: Final = 22 + 0xFFFF
#: End records that are looked at: each stored archive inside has one.
_ENDS: Final = 16
#: Places between the members at which a header may begin.
_GAPS: Final = 2000
_METHODS: Final = frozenset({0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 12, 14, 16, 18, 19, 20, 93, 94, 95, 96, 97, 98, 99})
#: Octets of one piece of content.
PIECE: Final = 1 << 16


class ZipBroken(Exception):
    """The content of a member is not what its header says."""


@attrs.frozen
class Entry:
    """One member.

    :ivar name: as the central directory has it; as the local header has it where that is all
    :ivar others: further names that programs may show: of the local header, of the Unicode extra field
    :ivar offset: of the local header; :ivar start: of the content, -1 where no local header stands
    :ivar packed: octets as they stand; `octets` unpacked, as declared
    :ivar mode: Unix mode, 0 where there is none
    :ivar is_renamed: the local header has another name
    """

    name: str
    offset: int
    start: int
    packed: int
    octets: int
    method: int
    is_encrypted: bool = False
    others: tuple[str, ...] = ()
    mode: int = 0
    is_renamed: bool = False

    @property
    def is_folder(self) -> bool:
        """True for an entry that only names a folder."""
        return self.name.endswith(("/", "\\")) and not self.octets

    @property
    def is_link(self) -> bool:
        """True for a symbolic link; its content is the target."""
        return self.mode & 0o170000 == 0o120000


@attrs.frozen
class Directory:
    """What a ZIP file holds.

    :ivar hidden: members that stand only before their content: some programs see them, others do not
    :ivar is_cut: no central directory was found; the entries are those of the local headers
    :ivar is_sole: the central directory ends where the file ends, so that every program takes it for a ZIP file
    :ivar has_more: it holds more members than were read
    """

    entries: tuple[Entry, ...] = ()
    hidden: tuple[Entry, ...] = ()
    is_cut: bool = False
    is_broken: bool = False
    is_overlapping: bool = False
    is_sole: bool = True
    has_more: bool = False
    start: int = 0


def read_directory(content: bytes, most: int) -> Directory | None:
    """Both directories, at most `most` members of each; None where there is neither."""
    found = _find_end(content)
    if found is None:
        entries, has_more = _walk_local(content, most)
        return Directory(entries, is_cut=True, is_broken=True, has_more=has_more) if entries else None
    at, end, shift, is_sole = found
    entries_list: list[Entry] = []
    is_broken = has_more = False
    place = at
    while place + 46 <= end and content.startswith(b"PK\1\2", place):
        if len(entries_list) >= most:
            has_more = True
            break
        entry, place = _central(content, place, shift)
        is_broken |= entry.start < 0 or entry.start + entry.packed > at
        entries_list.append(entry)
    is_broken |= not has_more and place != end
    extents = sorted((entry.offset, max(entry.start + entry.packed, entry.offset)) for entry in entries_list)
    overlapping = any(after[0] < before[1] for before, after in zip(extents, extents[1:]))
    overlapping |= any(a == b and a[0] != a[1] for a, b in zip(extents, extents[1:]))
    hidden = () if has_more or overlapping else _hidden(content, extents, at, end, most)
    return Directory(
        tuple(entries_list), hidden, False, is_broken, overlapping, is_sole, has_more, extents[0][0] if extents else at
    )


def blocks(content: bytes, entry: Entry) -> Iterator[bytes]:
    """The content of a member that is stored or deflated, in pieces of at most `PIECE` octets times 16."""
    if entry.start < 0 or entry.method not in (0, 8) or entry.is_encrypted:
        raise ZipBroken("not readable here")
    end = entry.start + entry.packed
    if entry.method == 0:
        for at in range(entry.start, min(end, len(content)), PIECE):
            yield content[at : min(at + PIECE, end)]
        if end > len(content):
            raise ZipBroken("it is cut off")
        return
    inflate = zlib.decompressobj(-15)
    at = entry.start
    # Of a member without a declared length the end is where its deflate stream ends.
    stop = end if entry.packed else len(content)
    try:
        while at < min(stop, len(content)) and not inflate.eof:
            feed = content[at : min(at + PIECE, stop)]
            at += PIECE
            while feed and not inflate.eof:
                piece = inflate.decompress(feed, PIECE * 16)
                feed = inflate.unconsumed_tail
                if piece:
                    yield piece
    except zlib.error as error:
        raise ZipBroken(str(error)) from None
    if not inflate.eof:
        raise ZipBroken("it is cut off")


def read_entry(content: bytes, entry: Entry, most: int) -> bytes:
    """The first octets of a member's content, at most `most`; what could be read of a broken one."""
    pieces = []
    length = 0
    try:
        for piece in blocks(content, entry):
            pieces.append(piece)
            length += len(piece)
            if length >= most:
                break
    except ZipBroken:
        pass  # what came before the fault is what any program would show
    return b"".join(pieces)[:most]


def _find_end(content: bytes) -> tuple[int, int, int, bool] | None:
    """Begin and end of the central directory, what must be added to its offsets, and whether it ends the file."""
    low = max(0, len(content) - _TAIL)
    at = content.rfind(b"PK\5\6", low)
    for _ in range(_ENDS):
        if at < 0 or at + 22 > len(content):
            return None
        _, _, _, _, count, size, offset, comment = _END.unpack_from(content, at)
        end = at
        if count == 0xFFFF or size == 0xFFFFFFFF or offset == 0xFFFFFFFF:
            far = content.rfind(b"PK\6\6", max(0, at - PIECE), at)
            if far >= 0 and far + 56 <= at:
                count, size, offset = struct.unpack_from("<QQQ", content, far + 32)
                end = far
        is_sole = at + 22 + comment >= len(content)
        for begin in (end - size, offset):
            if 0 <= begin <= end and (content.startswith(b"PK\1\2", begin) or begin == end and not count):
                return begin, end, begin - offset if begin >= offset else 0, is_sole
        at = content.rfind(b"PK\5\6", low, at)
    return None


def _central(content: bytes, at: int, shift: int) -> tuple[Entry, int]:
    """One record of the central directory with its local header, and where the next begins."""
    fields = _CENTRAL.unpack_from(content, at)
    bits, method = fields[3], fields[4]
    packed, octets, lengths, external, offset = fields[8], fields[9], fields[10:13], fields[15], fields[16]
    name_end = at + 46 + lengths[0]
    raw = content[at + 46 : name_end]
    extra = content[name_end : name_end + lengths[1]]
    octets, packed, offset = _wide(extra, octets, packed, offset)
    name, other = _name(raw, bits), _unicode_name(extra)
    others = {other} if other else set()
    offset += shift
    start = -1
    is_encrypted, is_renamed = bool(bits & 1), False
    if offset + 30 <= len(content) and content.startswith(b"PK\3\4", offset):
        local = _LOCAL.unpack_from(content, offset)
        start = offset + 30 + local[9] + local[10]
        local_raw = content[offset + 30 : offset + 30 + local[9]]
        is_renamed = local_raw.replace(b"\\", b"/") != raw.replace(b"\\", b"/")
        others.add(_name(local_raw, local[2]))
        is_encrypted |= bool(local[2] & 1)
        if local[3] != method:
            # Two programs unpack two different things: let each reader fail on it, and say so.
            start = -1
    others.discard(name)
    mode = external >> 16 if fields[1] >> 8 == 3 else 0
    entry = Entry(name, offset, start, packed, octets, method, is_encrypted, tuple(sorted(others)), mode, is_renamed)
    return entry, name_end + lengths[1] + lengths[2]


def _local(content: bytes, at: int) -> Entry | None:
    """A member by its local header alone; None where none stands that a program would believe."""
    if at + 30 > len(content):
        return None
    _, version, bits, method, _, _, _, packed, octets, name_length, extra_length = _LOCAL.unpack_from(content, at)
    raw = content[at + 30 : at + 30 + name_length]
    if version & 0xFF > 63 or method not in _METHODS or not 0 < name_length <= 1024 or len(raw) < name_length:
        return None
    if any(octet < 32 for octet in raw):
        return None
    start = at + 30 + name_length + extra_length
    octets, packed, _ = _wide(content[at + 30 + name_length : start], octets, packed, 0)
    return Entry(_name(raw, bits), at, start, packed, octets, method, bool(bits & 1))


def _walk_local(content: bytes, most: int, at: int = 0, end: int = -1) -> tuple[tuple[Entry, ...], bool]:
    """Members by their local headers, from one to the next."""
    end = len(content) if end < 0 else end
    found: list[Entry] = []
    for _ in range(_GAPS):
        at = content.find(b"PK\3\4", at, end)
        if at < 0:
            return tuple(found), False
        entry = _local(content, at)
        if entry is None:
            at += 4
            continue
        if len(found) >= most:
            break
        found.append(entry)
        at = max(entry.start, min(entry.start + entry.packed, end))
    return tuple(found), True


def _hidden(content: bytes, extents: list[tuple[int, int]], at: int, end: int, most: int) -> tuple[Entry, ...]:
    """Members in the gaps between those of the central directory."""
    found: list[Entry] = []
    place = 0
    for begin, stop in [*extents, (at, end)]:
        if begin - place >= 30:
            found += _walk_local(content, most - len(found), place, begin)[0]
        place = max(place, stop)
        if len(found) >= most:
            break
    return tuple(found[:most])


def _wide(extra: bytes, octets: int, packed: int, offset: int) -> tuple[int, int, int]:
    """The lengths and the offset with those of the ZIP64 extra field in place of what does not fit 32 bits."""
    held = _extra(extra, 1)
    values = [octets, packed, offset]
    at = 0
    for number, value in enumerate(values):
        if value == 0xFFFFFFFF and at + 8 <= len(held):
            values[number] = int.from_bytes(held[at : at + 8], "little")
            at += 8
    return values[0], values[1], values[2]


def _extra(extra: bytes, wanted: int) -> bytes:
    """The extra field of that number; b"" where there is none."""
    at = 0
    while at + 4 <= len(extra):
        number, length = struct.unpack_from("<HH", extra, at)
        if number == wanted:
            return extra[at + 4 : at + 4 + length]
        at += 4 + length
    return b""


def _unicode_name(extra: bytes) -> str:
    return _extra(extra, 0x7075)[5:].decode("utf-8", "replace")


def _name(raw: bytes, bits: int) -> str:
    """UTF-8 where it says so or is so; else the code page of the format."""
    if bits & 0x800 or not raw.isascii():
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            pass
    return raw.decode("cp437")
