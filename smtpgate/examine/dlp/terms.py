"""Dictionaries: weighted terms that are counted in a text, however many there are, in one pass.

A text is cut into words, and terms are a tree of words, so that the time is that of the words and not of the terms, a
term stands at the bounds of words, and whatever is between its words does not matter. A term that ends with a star is
the beginning of a word. Terms in writings without blanks are found inside of texts, by one pattern. Case and width of
letters make no difference, accents do.

A term counts `most` times at most, so that a word that is repeated is no subject. Of a text that comes twice, plain and
as a page, the one that says it more often counts.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import attrs

from smtpgate.examine.dlp.wanted import compiled

#: Words of one term.
WORDS: Final = 12
#: A star stands behind so many letters at least: with fewer it would be most words.
_HEAD: Final = 2
#: Letters that are cut into words at once.
_SLICE: Final = 1 << 20
_WORD: Final = re.compile(r"[^\W_]+")
#: Writings without blanks between words: Thai to Myanmar, Khmer, kana, Han.
_SOLID: Final = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]"
)
#: Terms that are told, the heaviest first.
SAMPLES: Final = 10
_SAMPLE_LETTERS: Final = 60
_PATHS: Final = 20


class BadTerm(ValueError):
    """A term that can never be found."""


@attrs.frozen
class Dictionary:
    """Terms with their weights.

    :ivar threshold: sum from which on it is a match
    :ivar most: how often a term counts
    """

    name: str
    terms: Sequence[tuple[str, float]]
    threshold: float = 1.0
    most: int = 5


def folded(text: str) -> str:
    """Letters as they are compared."""
    return text.lower() if text.isascii() else unicodedata.normalize("NFKC", text).casefold()


def words_of(term: str) -> tuple[str, ...]:
    """The words of a term; one whole for a writing without blanks. Raises BadTerm."""
    text = folded(term.strip())
    if _SOLID.search(text) is not None:
        return ("".join(text.removesuffix("*").split()),)
    found = tuple(_WORD.findall(text))
    if not found or len(found) > WORDS:
        raise BadTerm(f"a term has 1 to {WORDS} words")
    if "*" in text.removesuffix("*"):
        raise BadTerm("a star stands at the end of a term only")
    if text.endswith("*") and len(found[-1]) < _HEAD:
        raise BadTerm(f"a star stands behind {_HEAD} letters at least")
    return found


class _Node:
    """Terms that go on in the same way."""

    __slots__ = ("begins", "ends", "lengths", "next")

    def __init__(self) -> None:
        self.next: dict[str, _Node] = {}
        self.ends = -1
        self.begins: dict[str, int] = {}
        self.lengths: tuple[int, ...] = ()


class Terms:
    """Dictionaries, made ready together."""

    def __init__(self, dictionaries: Sequence[Dictionary]) -> None:
        self.dictionaries = dictionaries
        self._root = _Node()
        #: Of each different term its places: dictionary and weight.
        self.places: list[list[tuple[int, float]]] = []
        self.shown: list[str] = []
        self._solid: dict[str, int] = {}
        known: dict[tuple[tuple[str, ...], bool], int] = {}
        for number, dictionary in enumerate(dictionaries):
            for term, weight in dictionary.terms:
                key = (words_of(term), term.rstrip().endswith("*"))
                if key not in known:
                    known[key] = self._add(*key, term.strip())
                self.places[known[key]].append((number, weight))
        self._order(self._root)
        self._heads = {begin[:_HEAD] for begin in self._root.begins}
        text = "|".join(map(re.escape, self._solid))
        self._pattern: Any = compiled(text, is_longest=True, is_text=True) if text else None

    def _add(self, words: tuple[str, ...], is_beginning: bool, shown: str) -> int:
        place = len(self.places)
        self.places.append([])
        self.shown.append(shown)
        if _SOLID.search(words[0]) is not None:
            self._solid[words[0]] = place
            return place
        node = self._root
        for word in words[:-1] if is_beginning else words:
            node = node.next.setdefault(word, _Node())
        if is_beginning:
            node.begins[words[-1]] = place
        else:
            node.ends = place
        return place

    def _order(self, root: _Node) -> None:
        stack = [root]
        while stack:
            node = stack.pop()
            node.lengths = tuple(sorted({len(one) for one in node.begins}, reverse=True))
            stack += node.next.values()

    def count(self, text: str) -> Counter[int]:
        """How often each term is in a text."""
        found: Counter[int] = Counter()
        for words in _windows(text):
            self._count(words, found)
        if self._pattern is not None:
            for begin in range(0, len(text), _SLICE):
                piece = "".join(folded(text[begin : begin + _SLICE]).split())
                for one in self._pattern.finditer(piece.encode("utf-8", "replace")):
                    found[self._solid[one[0].decode()]] += 1
        return found

    def _count(self, words: Sequence[str], found: Counter[int]) -> None:
        root = self._root
        first, lengths, begins, heads = root.next, root.lengths, root.begins, self._heads
        # The different words of a text are few, and most begin nothing.
        starts = {
            word
            for word in set(words)
            if word in first or word[:_HEAD] in heads and any(word[:length] in begins for length in lengths)
        }
        if not starts:
            return
        last = len(words) if words[-1] == "" else len(words) - WORDS + 1
        for place in [place for place, word in enumerate(words[: max(0, last)]) if word in starts]:
            node: _Node | None = root
            for at in range(place, len(words)):
                if node is None:
                    break
                word = words[at]
                for length in node.lengths:
                    term = node.begins.get(word[:length])
                    if term is not None:
                        found[term] += 1
                        break
                node = node.next.get(word)
                if node is not None and node.ends >= 0:
                    found[node.ends] += 1


def _windows(text: str) -> Iterator[list[str]]:
    """The words of a text, in lists; those at the end of one are at the beginning of the next. The last ends with an
    empty word."""
    held: list[str] = []
    at, size = 0, len(text)
    while at < size:
        end = min(at + _SLICE, size)
        if end < size:
            # Not in the middle of a word, where it has an end.
            cut = text.rfind(" ", at, end)
            end = cut if cut > at else end
        held += _WORD.findall(folded(text[at:end]))
        at = end
        if at >= size:
            held.append("")
        yield held
        held = held[-WORDS + 1 :]


class TermTally:
    """What of dictionaries was found in a message."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._counts: dict[str, Counter[int]] = {"plain": Counter(), "html": Counter(), "file": Counter()}
        self._paths: dict[int, dict[str, None]] = {}

    def search(self, text: str, path: str, source: str) -> None:
        """A text; `source` as of `reading.Piece`."""
        found = self._terms.count(text)
        kind = source if source in ("plain", "html") else "file"
        self._counts[kind].update(found)
        for term in found:
            for number, _ in self._terms.places[term]:
                paths = self._paths.setdefault(number, {})
                if len(paths) < _PATHS:
                    paths[path] = None

    def matches(self) -> list[dict[str, Any]]:
        """As those of `tally.Tally`: of each dictionary whose threshold was reached."""
        plain, html, files = self._counts["plain"], self._counts["html"], self._counts["file"]
        total = (plain | html) + files
        rows = []
        for number, dictionary in enumerate(self._terms.dictionaries):
            held = self._of(number, total, dictionary.most)
            score = sum(weight * count for weight, count in held.values())
            if held and score >= dictionary.threshold:
                rows += [self._row(number, held, score, level) for level in ("high", "medium", "low")]
        return rows

    def _of(self, number: int, total: Mapping[int, int], most: int) -> dict[int, tuple[float, int]]:
        return {
            term: (weight, min(count, most))
            for term, count in total.items()
            for place, weight in self._terms.places[term]
            if place == number
        }

    def _row(self, number: int, held: Mapping[int, tuple[float, int]], score: float, level: str) -> dict[str, Any]:
        order = sorted(held, key=lambda term: -held[term][0] * held[term][1])
        return {
            "detector": self._terms.dictionaries[number].name,
            "group": "dictionary",
            "country": "",
            "confidence": level,
            "count": sum(count for _, count in held.values()),
            "distinct": len(held),
            "score": float(score),
            "paths": list(self._paths.get(number, {})),
            "samples": [self._terms.shown[term][:_SAMPLE_LETTERS] for term in order[:SAMPLES]],
        }
