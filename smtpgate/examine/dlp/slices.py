"""One slice of a text under all detectors: what may be something, what it is, and how sure that is.

`scan` cuts texts into slices and calls `Slice.found`. Candidates come of three kinds: forms of digits and letters, from
one pass for all detectors; patterns; and patterns of the configuration, which are over text. Offsets are those in the
slice, in octets that are letters one for one.
"""

from __future__ import annotations

import re
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import attrs

from smtpgate.examine.dlp.alone import ALNUM, borders, word_from
from smtpgate.examine.dlp.checks import IBAN_LENGTHS, OF_DIGITS, iban
from smtpgate.examine.dlp.detector import LEVELS, Detector
from smtpgate.examine.dlp.fold import octets_of
from smtpgate.examine.dlp.tally import LISTS, PATTERNS, Tally
from smtpgate.examine.dlp.wanted import Wanted

if TYPE_CHECKING:
    from smtpgate.examine.dlp.scan import Searcher

#: Letters around a slice that are looked at for evidence and the rest of what begins in it.
MARGIN: Final = 2048
#: Octets before a candidate that are its label, on its own line, and those around it that are close.
_LABEL: Final = 32
_CLOSE: Final = 64
_HEAD_LETTERS: Final = 2000
_HEAD_LINES: Final = 12
_QUOTED: Final = re.compile(rb'"[^"]*"')
#: Candidates of a slice whose checks are remembered.
_REMEMBERED: Final = 10_000
_CLASS: Final = bytes(
    57 if 48 <= one <= 57 else 65 if 65 <= one <= 90 or 97 <= one <= 122 else one for one in range(256)
)
_SEPARATORS: Final = bytes(one for one in range(256) if not chr(one).isascii() or not chr(one).isalnum())
_GROUP: Final = re.compile(rb"[9A]+")
#: Detectors whose pattern takes along what may be another of them.
_GREEDY: Final = frozenset({"iban", "eu-vat"})
_DELIMITERS: Final = ("\t", ";", "|", ",")


@attrs.frozen(eq=False, slots=True)
class Found:
    start: int
    end: int
    wanted: Wanted
    level: int
    far: int
    value: str


class Head:
    """The line of a table that names its columns: the names are evidence for what stands in them."""

    def __init__(self, text: str) -> None:
        lines = [line.rstrip("\r") for line in text[:_HEAD_LETTERS].lstrip("\r\n \ufeff").split("\n")[:_HEAD_LINES]]
        # Titles and dates stand before: a line whose cells go on in the next one is surer than the first.
        line = next((one for one, after in pairwise(lines) if '"' not in one and _is_head(one, after)), lines[0])
        best = max(_DELIMITERS, key=line.count)
        is_table = line.count(best) >= 1 and "\n" in text and sum(one.isdigit() for one in line) < 8
        self.delimiter = best.encode() if is_table else b""
        self.cells = [octets_of(cell).lower() for cell in line.split(best)] if is_table else []


def _is_head(line: str, after: str) -> bool:
    best = max(_DELIMITERS, key=line.count)
    count = line.count(best)
    cells = _QUOTED.sub(b"", octets_of(after)).count(best.encode())
    return count >= (2 if best == "," else 1) and cells == count and sum(map(str.isdigit, line)) < 8


class Slice:
    """One slice of a text. Offsets are those in it."""

    def __init__(self, searcher: Searcher, text: str, first: int, last: int, head: Head) -> None:
        """
        :param first, last: where what is looked for here may begin
        """
        self._s = searcher
        self._text = text
        self._first = first
        self._last = min(last, len(text))
        self._octets = octets_of(text)
        self._folded = self._octets.lower()
        #: An underscore is a letter to RE2, and none to those who write numbers.
        self._parted = self._octets.replace(b"_", b"\x7f")
        self._classes = self._octets.translate(_CLASS)
        self._head = head
        #: Values of candidates with what their checks said.
        self._held: dict[bytes, tuple[str, list[tuple[Wanted, int]]]] = {}
        self._beside: dict[tuple[int, bool, bytes], bool] = {}
        self._present = searcher.words(self._folded)
        if head.cells:
            self._present |= searcher.words(b"\n".join(head.cells))

    def found(self, tally: Tally) -> Iterator[tuple[Detector, int, str]]:
        """What counts, none over another: detector, level, value."""
        found: list[Found] = []
        for candidates in (self._shapes, self._tokens, self._of_patterns, self._of_own):
            found += candidates(tally)
        # The surest, then the one whose words are nearest, then that with the harder check, then the longest.
        found.sort(key=lambda one: (-one.level, one.far, -one.wanted.detector.weight, one.start - one.end, one.start))
        for one in _apart(found):
            yield one.wanted.detector, one.level, one.value

    def _shapes(self, tally: Tally) -> Iterator[Found]:
        searcher = self._s
        shape = searcher.all_forms if searcher.needy & self._present else searcher.sure_forms
        if shape is None:
            return
        rows: dict[bytes, list[tuple[Wanted, int]]] = {}
        octets = self._parted
        forms = shape.finditer(octets, self._first)
        while (found := next(forms, None)) is not None:
            start, end = found.span()
            if start >= self._last or "numbers" in tally.cut:
                return
            mask = self._classes[start:end]
            row = self._row(mask, rows, tally)
            made = self._of_row(row, start, end, tally) if row else []
            if not made and not mask.isalnum():
                made = self._inside(mask, start, rows, tally)
                group = _GROUP.match(mask)
                if group is not None and not tally.cut:
                    # What it took along may be the beginning of another.
                    forms = shape.finditer(octets, max((one.end for one in made), default=start + group.end()))
            yield from made

    def _row(self, mask: bytes, rows: dict[bytes, list[tuple[Wanted, int]]], tally: Tally) -> list[tuple[Wanted, int]]:
        """The detectors that a form is to be looked at for in this slice."""
        row = rows.get(mask)
        if row is None:
            row = rows[mask] = [
                (one, level)
                for one, level in self._s.masks.get(mask, ())
                if (level >= 0 or one.number in self._present) and not tally.is_full(one.detector.name)
            ]
        return row if row and tally.look("numbers") else []

    def _inside(
        self, mask: bytes, start: int, rows: dict[bytes, list[tuple[Wanted, int]]], tally: Tally
    ) -> list[Found]:
        """What is in groups that together are nothing: shorter forms, from each group on."""
        for first, last in self._s.inner(mask):
            row = self._row(mask[first:last], rows, tally)
            made = self._of_row(row, start + first, start + last, tally) if row else []
            if made:
                return made
        return []

    def _of_row(self, row: Sequence[tuple[Wanted, int]], start: int, end: int, tally: Tally) -> list[Found]:
        shown = self._octets[start:end]
        held = self._held.get(shown)
        if held is None:
            value = shown.translate(None, _SEPARATORS).decode("ascii").upper()
            held = value, [(one, level) for one, level in row if one.check(value)]
            if len(self._held) < _REMEMBERED:
                self._held[shown] = held
        value, holding = held
        sides = borders(self._octets, start, end) if holding else None
        if sides is None:
            return []
        if sides != (-1, -1):
            holding = [(one, level) for one, level in holding if self._is_listed(one, *sides, tally)]
        made = (Found(start, end, one, *self._level(one, start, end, level), value) for one, level in holding)
        return [one for one in made if one.level >= 0]

    def _is_listed(self, one: Wanted, before: int, behind: int, tally: Tally) -> bool:
        """Whether others of the same kind stand there, each beyond what joins them; -1 for where there is nothing."""
        if not tally.look("lists", LISTS):
            return False
        return (before < 0 or self._is_beside(one, before, is_before=True)) and (
            behind < 0 or self._is_beside(one, behind, is_before=False)
        )

    def _is_beside(self, one: Wanted, at: int, *, is_before: bool) -> bool:
        octets, size = self._octets, len(self._octets)
        key = one.number, is_before, octets[max(0, at - _LABEL) : at] if is_before else octets[at : at + _LABEL]
        found = self._beside.get(key)
        if found is None:
            found = False
            for length, masks in self._s.own_masks[one.number].items():
                start, end = (at - length, at) if is_before else (at, at + length)
                if start < 0 or self._classes[start:end] not in masks:
                    continue
                if start and octets[start - 1] in ALNUM or end < size and octets[end] in ALNUM:
                    continue
                if one.check(octets[start:end].translate(None, _SEPARATORS).decode("ascii").upper()):
                    found = True
                    break
            if len(self._beside) < _REMEMBERED:
                self._beside[key] = found
        return found

    def _tokens(self, tally: Tally) -> Iterator[Found]:
        searcher = self._s
        if searcher.tokens is None:
            return
        for found in searcher.tokens.finditer(self._octets, self._first):
            if found.start() >= self._last or not tally.look("tokens"):
                return
            one = searcher.joined[found.lastindex - 1]
            yield from self._pattern(one, found.start(), found.end(), tally)

    def _of_patterns(self, tally: Tally) -> Iterator[Found]:
        for one, pattern in self._s.patterns:
            if not one.detector.level and one.number not in self._present:
                continue
            is_greedy = one.detector.name in _GREEDY
            octets = self._parted if is_greedy else self._octets
            places = pattern.finditer(octets, self._first)
            while (found := next(places, None)) is not None:
                start, end = found.span()
                if start >= self._last or not tally.look(one.detector.name, PATTERNS):
                    break
                made = [*self._pattern(one, start, end, tally)]
                if is_greedy:
                    stop = made[0].end if made else start + 2
                    places = pattern.finditer(octets, stop) if stop < end else places
                elif not made and (inner := pattern.search(self._octets, start + 2, end)) is not None:
                    # What was none may hold another that begins later in it.
                    start, end = inner.span()
                    made = [*self._pattern(one, start, end, tally)]
                yield from made

    def _pattern(self, one: Wanted, start: int, end: int, tally: Tally) -> Iterator[Found]:
        if tally.is_full(one.detector.name):
            return
        level = LEVELS.index(one.detector.level) if one.detector.level else -1
        for stop, value in _VALUES.get(one.detector.name, _whole)(self._octets, start, end):
            made = self._judged(one, start, stop, level, value)
            if made is not None:
                yield made
                return

    def _of_own(self, tally: Tally) -> Iterator[Found]:
        if not self._s.own:
            return
        octets = self._text.encode("utf-8", "surrogatepass")
        is_same = len(octets) == len(self._text)
        for one, pattern in self._s.own:
            level = LEVELS.index(one.detector.level) if one.detector.level else -1
            if level < 0 and one.number not in self._present:
                continue
            at = done = 0
            for found in pattern.finditer(octets):
                if is_same:
                    start, end = found.span()
                else:
                    # Octets to letters, going on from the match before.
                    done += len(octets[at : found.start()].decode("utf-8", "surrogatepass"))
                    at, start = found.start(), done
                    end = start + len(found[0].decode("utf-8", "surrogatepass"))
                if start < self._first or end <= start:
                    continue
                name = one.detector.name
                if start >= self._last or tally.is_full(name) or not tally.look(name, PATTERNS):
                    break
                shown = self._text[start:end]
                is_wanted = str.isdecimal if one.detector.check in OF_DIGITS else str.isalnum
                value = "".join(filter(is_wanted, shown)).upper()
                made = self._judged(one, start, end, level, value or shown)
                if made is not None:
                    yield made

    def _judged(self, one: Wanted, start: int, end: int, level: int, value: str) -> Found | None:
        """A candidate that holds, and how sure it is."""
        if not one.check(value):
            return None
        made = Found(start, end, one, *self._level(one, start, end, level), value)
        return made if made.level >= 0 else None

    def _level(self, one: Wanted, start: int, end: int, level: int) -> tuple[int, int]:
        """How sure, below 0 for nothing, and how far off the evidence is: 0 beside it to 3 for nowhere."""
        folded, against = self._folded, one.against
        is_present = one.number in self._present
        evidence = one.evidence if is_present else None
        first = max(0, start - _LABEL)
        # What is before on its line and in its sentence.
        label = max(folded.rfind(b"\n", first, start) + 1, folded.rfind(b". ", first, start) + 1, first)
        label = word_from(folded, label)
        is_doubted = against is not None and against.search(folded, label, start) is not None
        cell = self._cell(start)
        if is_present and one.label is not None:
            # On the line before too, as over a field of a form.
            beside = one.label.search(folded[word_from(folded, first) : start]) is not None
            if beside or cell and one.label.search(cell.strip(b"\"' ")) is not None:
                return max(level, one.near), 0
        if evidence is not None:
            if evidence.search(folded, label, start) is not None or cell and evidence.search(cell) is not None:
                return max(level, one.near), 0
            for far, reach in ((1, _CLOSE), (2, one.detector.window)):
                from_, to = word_from(folded, max(0, start - reach)), min(len(folded), end + reach)
                if reach <= one.detector.window and evidence.search(folded, from_, to) is not None:
                    # A word beside a link says nothing of the numbers in it.
                    is_doubted = is_doubted or bool(one.detector.forms) and self._is_in_address(start)
                    return max(level, one.near) - is_doubted, far
        if not is_doubted and against is not None:
            is_doubted = cell != b"" and against.search(cell) is not None
            if not is_doubted:
                is_doubted = against.search(folded, word_from(folded, max(0, start - _CLOSE)), start) is not None
        return level - (is_doubted or bool(one.detector.forms) and self._is_in_address(start)), 3

    def _cell(self, start: int) -> bytes:
        """The name of the column that a place is in; b"" outside of tables."""
        head = self._head
        if not head.cells:
            return b""
        line = self._octets.rfind(b"\n", max(0, start - MARGIN), start)
        if line < 0:
            return b""
        row = self._octets[line:start]
        place = (_QUOTED.sub(b"", row) if b'"' in row else row).count(head.delimiter)
        return head.cells[place] if place < len(head.cells) else b""

    def _is_in_address(self, start: int) -> bool:
        """In a URL, where numbers name pages."""
        before = self._octets[max(0, start - 200) : start]
        return before.rfind(b"://") > max(before.rfind(b" "), before.rfind(b"\n"), before.rfind(b"\t"))


def _apart(found: Iterable[Found]) -> Iterator[Found]:
    """Those that lie over none before."""
    taken: list[tuple[int, int]] = []
    for one in found:
        place = bisect_left(taken, (one.end, 0))
        if place > 0 and taken[place - 1][1] > one.start:
            continue
        insort(taken, (one.start, one.end))
        yield one


Values = Callable[[bytes, int, int], Iterator[tuple[int, str]]]


def _whole(octets: bytes, start: int, end: int) -> Iterator[tuple[int, str]]:
    yield end, octets[start:end].decode("latin-1")


def _bare(octets: bytes, start: int, end: int) -> Iterator[tuple[int, str]]:
    yield end, octets[start:end].translate(None, _SEPARATORS).decode("latin-1").upper()


def _iban(octets: bytes, start: int, end: int) -> Iterator[tuple[int, str]]:
    """As long as its country says, and not into the middle of a word or group."""
    length = IBAN_LENGTHS.get(octets[start : start + 2].decode("ascii").upper(), 99)
    value = octets[start : min(end, start + 2 * length)].translate(None, _SEPARATORS)[:length].decode("ascii").upper()
    # Before its end is looked for: most that begin like one are none.
    if len(value) < length or not iban(value):
        return
    at, left = start, length
    while left:
        left -= octets[at] in ALNUM
        at += 1
    if at == len(octets) or octets[at] not in ALNUM:
        yield at, value


def _vat(octets: bytes, start: int, end: int) -> Iterator[tuple[int, str]]:
    """Words behind it may have been taken along: as long as it is, and shorter by groups."""
    while end - start > 8:
        yield from _bare(octets, start, end)
        blank = octets.rfind(b" ", start, end)
        if blank < 0:
            return
        end = blank


_VALUES: Final[dict[str, Values]] = {
    "iban": _iban,
    "eu-vat": _vat,
    "gb-vat": _bare,
    "phone": _bare,
    "gb-account": lambda octets, start, end: iter(
        [(end, bytes(one for one in octets[start:end] if 48 <= one <= 57).decode())]
    ),
}
