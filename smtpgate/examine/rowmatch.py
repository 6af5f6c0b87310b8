"""Exact rows of tables: whether values of one row stand together in a text, told by keyed hashes alone.

Of a table of customers the chosen columns are registered: of each cell a hash under a key of that table, with the
number of its row and column, and nothing else. A row is found where values of at least `least` of its columns stand
within `window` letters of one text. A first name alone is in every mail; with the account number beside it, it is a
customer.

Cells are compared without case, accents, blanks, dashes and points, and end where a script begins that sets no blanks:
many systems write Jose for José, and a number stands at once behind a word of Chinese. A cell with a digit in it is
looked for as one run of digits and letters, however these are grouped (4111-1111..., DE89 3704...); other cells word by
word, by the hash of their first word. Values that stand in more than `COMMON` rows find no row by themselves, but
support one.

Stored are four sorted arrays that a child process maps and searches by halving: 13 octets for each cell, so a million
rows of four columns are 50 MiB in a file and nearly nothing in memory. A hash is HMAC-SHA256 cut to 8 octets: among
four million cells a word of a message is taken for one by chance once in 10^12.

RFC 2104, RFC 4868 section 2.6 (cutting).
"""

from __future__ import annotations

import hashlib
import hmac
import re
import unicodedata
from array import array
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import attrs

#: Rows that one value may stand in and still find them.
COMMON: Final = 1000
#: Letters and digits of the shortest cell that is registered, and of the longest.
SHORTEST, LONGEST = 3, 100
#: Words of the longest cell, and groups of the longest run of digits.
WORDS: Final = 8
GROUPS: Final = 9
#: Cells and rows of one table.
CELLS: Final = 8_000_000
ROWS: Final = 2_000_000
COLUMNS: Final = 16
#: Rows of one table that are counted: who judges asks for a few, or for many.
MOST: Final = 10_000
#: Values that stand near another and are looked at together with it.
NEAR: Final = 64
#: Rows that are kept in sets, so that the same values need not be read again.
_HELD: Final = 500_000
#: Kana, Han and Hangul.
_SOLID: Final = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
_HAN: Final = re.compile(f"[{_SOLID}]")
_MARKS: Final = "\u0300-\u036f\u00ad"
#: How words are found and compared, by the number that a table has of it: one of before is searched as it was hashed.
_WORDS: Final = {
    1: re.compile(r"[^\W_]+"),
    2: re.compile(rf"[{_SOLID}]+|[^\W_{_SOLID}](?:[^\W_{_SOLID}]|[{_MARKS}])*"),
}
_FOLD: Final = 2
_MARK: Final = re.compile(f"[{_MARKS}]+")
#: Letters with a stroke and double ones, which are none with a mark to Unicode.
_LETTERS: Final = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "æ": "ae", "œ": "oe", "ı": "i"})
#: Hashes of words that are kept while a text is read.
_KNOWN: Final = 100_000
_NONE: Final = (0, 0, 0)


def _plain(text: str, fold: int = _FOLD) -> str:
    if text.isascii():
        return text.lower()
    folded = unicodedata.normalize("NFKC", text).casefold()
    if fold == 1:
        return folded
    return unicodedata.normalize("NFC", _MARK.sub("", unicodedata.normalize("NFKD", folded))).translate(_LETTERS)


def _hash(text: str, key: bytes) -> int:
    return int.from_bytes(hmac.digest(key, text.encode("utf-8", "replace"), hashlib.sha256)[:8], "big")


def _is_code(words: Sequence[str]) -> bool:
    """Whether it is written as one run in groups: digits, and letters in short groups beside them."""
    return any(any(sign.isdigit() for sign in word) for word in words) and all(
        len(word) <= 4 or any(sign.isdigit() for sign in word) for word in words
    )


def build(rows: Iterable[Sequence[str]], key: bytes, columns: int) -> tuple[Mapping[str, Any], bytes]:
    """What is stored of a table: numbers about it, and its arrays.

    :param rows: the chosen cells of each
    :param key: of this table

    Raises ValueError where there is nothing in it, or too much.
    """
    cells: list[int] = []
    firsts: dict[int, int] = {}
    lengths: set[int] = set()
    number = -1
    for number, row in enumerate(rows):
        if number >= ROWS:
            raise ValueError(f"a table has at most {ROWS:,} rows")
        for column, cell in enumerate(row[:columns]):
            words = _WORDS[_FOLD].findall(_plain(cell))
            whole = "".join(words)
            # A name of two signs says as much as one of four letters.
            if not SHORTEST - (_HAN.search(whole) is not None) <= len(whole) <= LONGEST:
                continue
            if _is_code(words):
                lengths.add(len(whole))
            elif len(words) <= WORDS:
                first = _hash(words[0], key)
                firsts[first] = max(firsts.get(first, 0), len(words))
            else:
                continue
            # One number for all three, which sorts as they do.
            cells.append(_hash(whole, key) << 32 | number << 8 | column)
        if len(cells) > CELLS:
            raise ValueError(f"a table has at most {CELLS:,} cells that can be looked for")
    if not cells:
        raise ValueError(f"no cell has {SHORTEST} letters or digits, so there is nothing to look for")
    cells.sort()
    hashes = array("Q", (one >> 32 for one in cells))
    places = array("I", (one >> 8 & 0xFFFFFF for one in cells))
    which = array("B", (one & 0xFF for one in cells))
    order = sorted(firsts)
    counts = array("B", (firsts[one] for one in order))
    about = {
        "cells": len(cells), "rows": number + 1, "firsts": len(order), "lengths": sorted(lengths), "fold": _FOLD,
    }  # fmt: skip
    body = hashes.tobytes() + array("Q", order).tobytes() + places.tobytes() + which.tobytes() + counts.tobytes()
    return about, body


class _Hit(NamedTuple):
    """A value in a text: where, its range in the arrays, a mask of the columns that it stands in."""

    place: int
    low: int
    high: int
    mask: int


@attrs.frozen
class Rows:
    """Rows of one table that stand in a message.

    :ivar count: distinct ones; `columns`: names of the columns whose values were there
    """

    count: int
    columns: tuple[str, ...]


class Table:
    """A table that is looked for."""

    def __init__(self, about: Mapping[str, Any], body: Any, key: bytes) -> None:
        """
        :param about: of `build`, and `columns` (names), `least` and `window`
        :param body: its arrays, mapped
        """
        cells, firsts = about["cells"], about["firsts"]
        view = memoryview(body)
        self._hashes = view[: 8 * cells].cast("Q")
        self._firsts = view[8 * cells : 8 * (cells + firsts)].cast("Q")
        at = 8 * (cells + firsts)
        self._rows = view[at : at + 4 * cells].cast("I")
        self._which = view[at + 4 * cells : at + 5 * cells]
        self._counts = view[at + 5 * cells : at + 5 * cells + firsts]
        if len(self._counts) != firsts or len(view) != at + 5 * cells + firsts:
            raise ValueError("a table that breaks off")
        self._lengths = frozenset(about["lengths"])
        self._longest = max(self._lengths, default=0)
        self._names: tuple[str, ...] = tuple(about["columns"])
        self._least: int = about["least"]
        self._window: int = about["window"]
        self._fold: int = about.get("fold", 1)
        self._word = _WORDS[self._fold]
        self._key = key
        self._known: dict[str, tuple[int, int, int]] = {}
        self._pairs: dict[tuple[int, int], tuple[int, ...]] = {}
        self._sets: dict[int, frozenset[int]] = {}
        self._held = 0
        self._begins: dict[str, int] = {}

    def search(self, texts: Iterable[str], check: Callable[[], None]) -> Rows:
        """Rows that stand in some of these texts; at most `MOST` are counted."""
        found: dict[int, int] = {}
        for text in texts:
            self._look(text, found, check)
        columns = 0
        for mask in found.values():
            columns |= mask
        names = tuple(name for number, name in enumerate(self._names) if columns >> number & 1)
        return Rows(len(found), names)

    def _look(self, text: str, found: dict[int, int], check: Callable[[], None]) -> None:
        """Rows of one text, with a mask of their columns."""
        near: OrderedDict[int, _Hit] = OrderedDict()
        for count, hit in enumerate(self._hits(text, check)):
            if count % 256 == 0:
                check()
            if len(found) >= MOST:
                return
            near.pop(hit.low, None)
            while near and (self._window and hit.place - next(iter(near.values())).place > self._window):
                near.popitem(last=False)
            if len(near) >= NEAR:
                near.popitem(last=False)
            if self._least == 1:
                for row in self._rows[hit.low : min(hit.high, hit.low + MOST)]:
                    found[row] = found.get(row, 0) | hit.mask
            else:
                for other in near.values():
                    # Two values of one column are no two columns.
                    if (hit.mask | other.mask).bit_count() > 1:
                        for row in self._both(hit, other):
                            if row not in found or hit.mask & ~found[row]:
                                self._judge(row, (hit, *near.values()), found)
            near[hit.low] = hit

    def _judge(self, row: int, hits: Iterable[_Hit], found: dict[int, int]) -> None:
        """Whether enough of a row is near: so many values in so many columns."""
        values = mask = 0
        for hit in hits:
            index = bisect_left(self._rows, row, hit.low, hit.high)
            if index < hit.high and self._rows[index] == row:
                values += 1
            while index < hit.high and self._rows[index] == row:
                mask |= 1 << self._which[index]
                index += 1
        if values >= self._least and mask.bit_count() >= self._least:
            found[row] = found.get(row, 0) | mask

    def _both(self, one: _Hit, other: _Hit) -> Iterable[int]:
        """Rows that two values have in common; none where both are too common."""
        pair = (one.low, other.low) if one.low < other.low else (other.low, one.low)
        rows = self._pairs.get(pair)
        if rows is None:
            rare, much = (one, other) if one.high - one.low <= other.high - other.low else (other, one)
            if rare.high - rare.low > COMMON:
                rows = ()
            elif much.high - much.low > COMMON:
                rows = tuple(row for row in self._rows_of(rare) if self._has(much, row))
            else:
                rows = tuple(self._rows_of(rare) & self._rows_of(much))
            if len(self._pairs) >= _KNOWN:
                self._pairs.clear()
            self._pairs[pair] = rows
        return rows

    def _has(self, hit: _Hit, row: int) -> bool:
        index = bisect_left(self._rows, row, hit.low, hit.high)
        return index < hit.high and self._rows[index] == row

    def _rows_of(self, hit: _Hit) -> frozenset[int]:
        rows = self._sets.get(hit.low)
        if rows is None:
            rows = frozenset(self._rows[hit.low : hit.high])
            self._held += len(rows)
            if self._held > _HELD:
                self._sets.clear()
                self._held = len(rows)
            self._sets[hit.low] = rows
        return rows

    def _hits(self, text: str, check: Callable[[], None]) -> Iterator[_Hit]:
        """Values that the table has, in the order of the text."""
        words: list[tuple[str, int]] = []
        for count, found in enumerate(self._word.finditer(text)):
            if count % 4096 == 0:
                check()
            words.append((_plain(found[0], self._fold), found.start()))
            if len(words) >= GROUPS:
                yield from self._from(words)
                del words[0]
        while words:
            yield from self._from(words)
            del words[0]

    def _from(self, words: Sequence[tuple[str, int]]) -> Iterator[_Hit]:
        """Values that begin with the first of these words."""
        first, place = words[0]
        most = self._begin(first)
        whole = ""
        for count, (word, _) in enumerate(words, 1):
            whole += word
            is_run = count <= GROUPS and len(whole) <= self._longest
            if count > most and not is_run:
                return
            if count <= most or len(whole) in self._lengths:
                low, high, mask = self._range(whole)
                if high:
                    yield _Hit(place, low, high, mask)

    def _begin(self, word: str) -> int:
        """Words of the longest cell that begins with a word; 0 where none does."""
        most = self._begins.get(word)
        if most is None:
            value = _hash(word, self._key)
            index = bisect_left(self._firsts, value)
            is_there = index < len(self._firsts) and self._firsts[index] == value
            most = self._counts[index] if is_there else 0
            if len(self._begins) >= _KNOWN:
                self._begins.clear()
            self._begins[word] = most
        return most

    def _range(self, whole: str) -> tuple[int, int, int]:
        """Where a value stands in the arrays, and its columns; (0, 0, 0) where it does not."""
        found = self._known.get(whole)
        if found is None:
            value = _hash(whole, self._key)
            low = bisect_left(self._hashes, value)
            if low < len(self._hashes) and self._hashes[low] == value:
                high = bisect_right(self._hashes, value, low)
                mask = 0
                for column in set(self._which[low:high].tobytes()):
                    mask |= 1 << column
                found = low, high, mask
            else:
                found = _NONE
            if len(self._known) >= _KNOWN:
                self._known.clear()
            self._known[whole] = found
        return found
