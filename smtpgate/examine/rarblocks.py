"""Which members of a RAR 5 archive are locked, since libarchive unpacks those without a word and gives noise.

`archives` asks `locked_members` before it walks. Only the heads of blocks are read, at most `_BLOCKS` of them.

RAR 5.0 archive format, "General archive structure" and "File encryption record".
"""

from __future__ import annotations

from typing import Final

_MARK: Final = b"Rar!\x1a\7\1\0"
_BLOCKS: Final = 5000
_FILE, _LOCK, _END = 2, 4, 5
#: Number of the record in a file's head that says how it is encrypted.
_ENCRYPTION: Final = 1


def locked_members(content: bytes) -> tuple[frozenset[int], bool]:
    """Positions of locked members, from 0 on, and whether the names are locked too. Raises nothing."""
    locked: set[int] = set()
    at = len(_MARK)
    if not content.startswith(_MARK):
        return frozenset(), False
    position = 0
    for _ in range(_BLOCKS):
        size, begin = _number(content, at + 4)
        kind, place = _number(content, begin)
        bits, place = _number(content, place)
        extra = data = 0
        if bits & 1:
            extra, place = _number(content, place)
        if bits & 2:
            data, place = _number(content, place)
        end = begin + size
        if size <= 0 or end > len(content) or kind == _END:
            break
        if kind == _LOCK:
            return frozenset(locked), True
        if kind == _FILE:
            if _has_record(content, max(end - extra, place), end):
                locked.add(position)
            position += 1
        at = end + data
    return frozenset(locked), False


def _has_record(content: bytes, at: int, end: int) -> bool:
    """True where an encryption record stands between the two places."""
    while at < end:
        size, begin = _number(content, at)
        kind, _ = _number(content, begin)
        if size <= 0:
            return False
        if kind == _ENCRYPTION:
            return True
        at = begin + size
    return False


def _number(content: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits an octet, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(content):
            break
        octet = content[at]
        at += 1
        value |= (octet & 0x7F) << shift
        if octet < 0x80:
            break
    return value, at
