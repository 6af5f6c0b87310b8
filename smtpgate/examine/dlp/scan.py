"""The search for all wanted detectors in a text, in a few passes over it, and what becomes of a candidate.

`Searcher` is compiled once for a set of detectors and kept; `search` goes through one text and puts what it finds into
a `Tally`. A text is looked at in slices that overlap, so that memory does not grow with it. In each slice one pass
finds everything of digits that has a wanted form, one finds tokens, and one each the patterns that remain; words of
evidence are looked for once a slice, and near a candidate once more. All patterns are RE2, so time grows with the text
and no faster; what is looked at closer is bounded (`tally.LOOKS`), and where that ends the tally says so.

A candidate must not be a piece of something longer, must hold before its check, and is as sure as its form, or as the
words near it make it. Of those that lie over each other the surest counts, so that a number is one thing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import product
from typing import Any, Final

import re2

from smtpgate.examine.dlp.detector import LEVELS, Detector
from smtpgate.examine.dlp.fold import visible
from smtpgate.examine.dlp.slices import MARGIN, Head, Slice
from smtpgate.examine.dlp.tally import Tally
from smtpgate.examine.dlp.wanted import PATTERN_OCTETS, Wanted, compiled, evidence_pattern, make_wanted

#: Letters of one slice.
SLICE: Final = 1 << 18
_BLANKS: Final = re.compile(r"[ \u00a0]{2,8}")
_GROUP: Final = re.compile(rb"[0-9A-Za-z]+")
#: A line end in the middle of groups: behind a short group or a dash, before a short group.
_WRAP: Final = re.compile(r"\n(?<=[0-9 -]\n)(?:> ?){0,9}(?=[0-9]{1,6}(?![0-9A-Za-z]))")
_WRAPPED: Final = re.compile(r"(?:[ \u00a0:(][0-9A-Z]{2,6}|(?P<dash>[0-9]-)) ?\Z")
#: Letters of a line that a program broke: most break at 72 to 78, and a word earlier.
_FULL: Final = range(50, 1000)
#: Forms whose inner ones are remembered.
_INNER: Final = 5000
_MASK: Final = {"9": "[0-9]", "A": "[A-Za-z]", "X": "[0-9A-Za-z]"}
#: Patterns that lead others on, so that they cannot stand in one pass with them.
_BY_THEMSELVES: Final = frozenset({"password", "url-password", "private-key", "aws-secret-key"})


class Searcher:
    """Compiled detectors."""

    def __init__(self, detectors: Iterable[Detector], own: Iterable[Detector] = ()) -> None:
        """
        :param own: detectors of the configuration, whose patterns are over text and not over folded octets. Raises
            LookupError for a check that there is not, re2.error for a pattern that is none
        """
        own = tuple(own)
        names = {one.name for one in own}
        self._inner: dict[bytes, tuple[tuple[int, int], ...]] = {}
        self._wanted = [
            make_wanted(one, number, is_own=one.name in names) for number, one in enumerate((*detectors, *own))
        ]
        self.masks: dict[bytes, list[tuple[Wanted, int]]] = {}
        always: dict[str, None] = {}
        shapes: dict[str, None] = {}
        for one in self._wanted:
            for mask, level in one.detector.forms.items():
                shape = "".join(_MASK.get(part) or re2.escape(part) for part in mask)
                shapes[shape] = None
                if level:
                    always[shape] = None
                for concrete in product(*("9A" if part == "X" else part for part in mask)):
                    row = self.masks.setdefault("".join(concrete).encode(), [])
                    row.append((one, LEVELS.index(level) if level else -1))
        #: The masks of each detector by its number, and how long they are.
        self.own_masks: dict[int, dict[int, set[bytes]]] = {}
        for octets, found in self.masks.items():
            for one, _ in found:
                self.own_masks.setdefault(one.number, {}).setdefault(len(octets), set()).add(octets)
        #: All forms, and those that count without evidence, for slices that have none.
        self.all_forms = _shape(shapes)
        self.sure_forms = _shape(always) if len(always) < len(shapes) else self.all_forms
        self.needy = frozenset(one.number for one in self._wanted if "" in one.detector.forms.values())
        with_pattern = [one for one in self._wanted if one.detector.pattern and one.detector.name not in names]
        joined = [
            one for one in with_pattern if one.detector.group == "secret" and one.detector.name not in _BY_THEMSELVES
        ]
        self.joined = joined
        self.tokens = compiled("|".join(f"({_plain(one.detector.pattern)})" for one in joined)) if joined else None
        self.patterns = [(one, compiled(one.detector.pattern)) for one in with_pattern if one not in joined]
        self.own = [
            (one, compiled(one.detector.pattern, is_text=True)) for one in self._wanted if one.detector.name in names
        ]
        self.words = _word_set([one for one in self._wanted if one.evidence is not None or one.label is not None])

    def inner(self, mask: bytes) -> tuple[tuple[int, int], ...]:
        """The forms that a longer one begins with, by their places, the longest first; what begins later in it is
        looked for from there."""
        found = self._inner.get(mask)
        if found is None:
            ends = [one.end() for one in _GROUP.finditer(mask)]
            found = tuple((0, end) for end in reversed(ends[:-1]) if mask[:end] in self.masks)
            if len(self._inner) < _INNER:
                self._inner[mask] = found
        return found

    def search(self, text: str, path: str, tally: Tally) -> None:
        """All of a text."""
        # Step by step: each text is as large as the message, and is held no longer than it takes to make the next.
        text = visible(text)
        text = text.replace("\r\n", "\n")
        text = _unwrapped(text)
        text = _BLANKS.sub(" ", text)
        head = Head(text)
        for begin in range(0, len(text), SLICE):
            first = max(0, begin - MARGIN)
            piece = text[first : begin + SLICE + MARGIN]
            one = Slice(self, piece, begin - first, begin - first + SLICE, head)
            tally.take(one.found(tally), path)


def _unwrapped(text: str) -> str:
    """Numbers that were broken over the end of a full line are whole."""

    def join(found: re.Match[str]) -> str:
        text, at = found.string, found.start()
        line = text.rfind("\n", max(0, at - _FULL.stop), at) + 1
        before = _WRAPPED.search(text, max(line, at - 9), at)
        if before is None or at - line not in _FULL or line == 0 and at > _FULL.stop:
            return found[0]
        return "" if before["dash"] else " "

    return _WRAP.sub(join, text)


def _shape(shapes: Iterable[str]) -> Any:
    text = "|".join(shapes)
    return compiled(rf"\b(?:{text})\b", is_longest=True) if text else None


def _plain(pattern: str) -> str:
    """Without groups that would be counted."""
    return re.sub(r"(?<!\\)\((?!\?)", "(?:", pattern)


def _word_set(wanted: Sequence[Wanted]) -> Callable[[bytes], frozenset[int]]:
    """Which detectors have a word of evidence in an octet string."""
    if not wanted:
        return lambda folded: frozenset()
    options = re2.Options()
    options.log_errors = False
    options.max_mem = 2 * PATTERN_OCTETS
    options.encoding = re2.Options.Encoding.LATIN1
    words = re2.Set.SearchSet(options)
    for one in wanted:
        words.Add(evidence_pattern((*one.detector.evidence, *one.detector.labels)).encode("latin-1"))
    words.Compile()
    return lambda folded: frozenset(wanted[place].number for place in words.Match(folded) or ())
