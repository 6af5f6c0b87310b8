"""Fingerprints of documents: which part of a registered one is in a text, told by keyed hashes alone.

A text is words in lower case; every run of `RUN` words is hashed, and of each `WINDOW` hashes in a row the least is
kept (winnowing). So whatever of `RUN + WINDOW - 1` words or more two texts share is found, wherever it stands and
however it is laid out, and runs shorter than `RUN` words never are. What is stored of a document is those hashes with
their places: without the key nobody can tell a document from them, and not even try guesses.

`sketch` makes what is stored, `Marks` gathers those of a message, `share` holds one against the other. All is linear; a
million words take some seconds.

S. Schleimer, D. Wilkerson, A. Aiken: Winnowing: Local Algorithms for Document Fingerprinting, SIGMOD 2003. There runs
of letters; words are as robust against layout and a fifth of the work.
"""

from __future__ import annotations

import re
import unicodedata
from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from typing import Any, Final

import attrs

#: Words of one run: fewer are shared by texts that have nothing to do with each other.
RUN: Final = 6
#: Hashes of which one is kept; so 13 words in a row are always found, a line and a half of print.
WINDOW: Final = 8
#: A document with fewer words than this has no fingerprint that says something.
LEAST_WORDS: Final = 40
#: Octets of one hash and one place as they are stored.
HASH_OCTETS: Final = 8
PLACE_OCTETS: Final = 4
#: Words whose hashes are kept while a text is read: a language has fewer in use.
_WORDS: Final = 100_000
#: Letters of a text that are made words at a time.
_PIECE_LETTERS: Final = 1 << 18
_PRIME: Final = (1 << 61) - 1
#: What is one word: letters and digits in a row, and each sign of a script that sets no blanks.
_WORD: Final = re.compile(
    r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]"
    r"|(?:(?![\u0e00-\u0eff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af])\w)+"
)
_ASCII_WORD: Final = re.compile(r"\w+", re.ASCII)
#: A word that is cut at the end of a line.
_CUT: Final = re.compile(r"(?<=[^\W\d_])[-\u00ad\u2010]\r?\n[ \t]{0,20}(?=[^\W\d_])")


def words(text: str, check: Callable[[], None]) -> Iterator[str]:
    """Words as they are compared: whole, in lower case, without marks of width and ligatures."""
    at = 0
    while at < len(text):
        check()
        end = min(len(text), at + _PIECE_LETTERS)
        while end < len(text) and end - at < 2 * _PIECE_LETTERS and not text[end].isspace():
            end += 1
        piece = _CUT.sub("", text[at:end])
        at = end
        if piece.isascii():
            yield from _ASCII_WORD.findall(piece.lower())
        else:
            yield from _WORD.findall(unicodedata.normalize("NFKC", piece).casefold())


def marks(text: str, key: bytes, check: Callable[[], None], window: int = WINDOW) -> Iterator[tuple[int, int]]:
    """(hash, number of its first word) of what is kept of a text, in its order.

    :param key: 32 octets
    :param window: hashes of which one is kept; 1 for all
    """
    base = int.from_bytes(blake2b(b"base", key=key, digest_size=8).digest(), "big") % _PRIME
    last = pow(base, RUN - 1, _PRIME)
    known: dict[str, int] = {}
    run: deque[int] = deque(maxlen=RUN)
    least: deque[tuple[int, int]] = deque()
    total = 0
    told = -1
    for number, word in enumerate(words(text, check)):
        value = known.get(word)
        if value is None:
            if len(known) >= _WORDS:
                known.clear()
            octets = blake2b(word.encode("utf-8", "replace"), key=key, digest_size=8).digest()
            value = known[word] = int.from_bytes(octets, "big") % _PRIME
        if len(run) == RUN:
            total -= run[0] * last
        run.append(value)
        total = (total * base + value) % _PRIME
        place = number - RUN + 1
        if place < 0:
            continue
        while least and least[-1][0] >= total:
            least.pop()
        least.append((total, place))
        if least[0][1] <= place - window:
            least.popleft()
        if place >= window - 1 and least[0][1] != told:
            told = least[0][1]
            yield _kept(least[0][0], key), told


def _kept(value: int, key: bytes) -> int:
    """What is stored of a hash: sums of words would tell something of them to who has many."""
    return int.from_bytes(blake2b(value.to_bytes(8, "big"), key=key, digest_size=HASH_OCTETS).digest(), "big")


def sketch(
    texts: Iterable[str], key: bytes, without: Iterable[str] = (), check: Callable[[], None] = lambda: None
) -> tuple[int, bytes]:
    """How many hashes a document has, and what is stored: hashes in their order, then their places.

    Raises ValueError for one that is too short.

    :param without: texts that other documents have too; no run of words that stands in one of them is kept
    """
    # All of them, since which are kept of a text rests on what stands around it.
    passed = {value for text in without for value, _ in marks(text, key, check, 1)}
    found: dict[int, int] = {}
    first = 0
    for text in texts:
        count = 0
        for value, place in marks(text, key, check):
            if value not in passed:
                found.setdefault(value, first + place)
            count = place
        # Nothing runs from one text into the next.
        first += count + 2 * (RUN + WINDOW)
    if len(found) < LEAST_WORDS // WINDOW:
        rest = " beside those of --without" if passed else ""
        raise ValueError(f"it has fewer than {LEAST_WORDS} words{rest}, and so short a text has no fingerprint")
    order = sorted(found)
    return len(order), array("Q", order).tobytes() + array("I", (found[one] for one in order)).tobytes()


@attrs.frozen
class Share:
    """What of a document is in a message.

    :ivar share: of its hashes, from 0.0 to 1.0
    :ivar longest: words of the longest part that stands there in one go, about
    """

    share: float
    longest: int


class Marks:
    """The hashes of all texts of a message."""

    def __init__(self, texts: Iterable[str], key: bytes, check: Callable[[], None]) -> None:
        self._found: set[int] = set()
        for text in texts:
            self._found.update(value for value, _ in marks(text, key, check))
        self._ordered = sorted(self._found)

    def share(self, count: int, stored: Any) -> Share:
        """How much of a document is in the message.

        :param count: its hashes; `stored` as `sketch` gave them
        """
        hashes = memoryview(stored)[: count * HASH_OCTETS].cast("Q")
        found = self._both(hashes)
        if not found:
            return Share(0.0, 0)
        places = memoryview(stored)[count * HASH_OCTETS : count * (HASH_OCTETS + PLACE_OCTETS)].cast("I")
        order = sorted(range(count), key=places.__getitem__)
        there = set(found)
        longest = run = begin = 0
        for index in order:
            if index not in there:
                run = 0
                continue
            begin = begin if run else places[index]
            run = places[index] - begin + RUN
            longest = max(longest, run)
        return Share(len(found) / count, longest)

    def _both(self, hashes: Any) -> list[int]:
        """Numbers of the hashes that are in the message too, by the way that takes fewer steps."""
        if len(self._found) * 20 < len(hashes):
            numbers = ((bisect_left(hashes, value), value) for value in self._ordered)
            return [number for number, value in numbers if number < len(hashes) and hashes[number] == value]
        return [number for number, value in enumerate(hashes) if value in self._found]
