"""One slice of a text under all detectors: what may be something, what it is, and how sure that is.

`scan` cuts texts into slices and calls `Slice.found`. Candidates come of three kinds: forms of digits and letters, from
one pass for all detectors; patterns; and patterns of the configuration, which are over text. Offsets are those in the
slice, in octets that are letters one for one.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

import attrs

from smtpgate.examine.dlp.checks import IBAN_LENGTHS, OF_DIGITS, iban
from smtpgate.examine.dlp.detector import LEVELS, Detector
from smtpgate.examine.dlp.fold import octets_of
from smtpgate.examine.dlp.tally import PATTERNS, Tally
from smtpgate.examine.dlp.wanted import Wanted

if TYPE_CHECKING:
    from smtpgate.examine.dlp.scan import Searcher

#: Letters around a slice that are looked at for evidence and the rest of what begins in it.
MARGIN: Final = 2048
#: Octets before a candidate that are its label, on its own line, and those around it that are close.
_LABEL: Final = 32
_CLOSE: Final = 64
_HEAD_LETTERS: Final = 2000
#: Candidates of a slice whose checks are remembered.
_REMEMBERED: Final = 10_000
_CLASS: Final = bytes(
    57 if 48 <= one <= 57 else 65 if 65 <= one <= 90 or 97 <= one <= 122 else one for one in range(256)
)
_SEPARATORS: Final = bytes(one for one in range(256) if not chr(one).isascii() or not chr(one).isalnum())
_ALNUM: Final = frozenset(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_JOINS: Final = frozenset(b".-/+")
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
    """The first line of a table: the names of its columns are evidence for what stands in them."""

    def __init__(self, text: str) -> None:
        line = text[:_HEAD_LETTERS].lstrip("\r\n \ufeff").partition("\n")[0].rstrip("\r")
        best = max(_DELIMITERS, key=line.count)
        is_table = line.count(best) >= 1 and "\n" in text and sum(one.isdigit() for one in line) < 8
        self.delimiter = best.encode() if is_table else b""
        self.cells = [octets_of(cell).lower() for cell in line.split(best)] if is_table else []


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
        self._classes = self._octets.translate(_CLASS)
        self._head = head
        #: Values of candidates with what their checks said.
        self._held: dict[bytes, tuple[str, list[tuple[Wanted, int]]]] = {}
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
        for found in shape.finditer(self._octets, self._first):
            start, end = found.span()
            if start >= self._last:
                return
            mask = self._classes[start:end]
            row = self._row(mask, rows, tally)
            made = self._of_row(row, start, end) if row else []
            if not made and not mask.isalnum():
                made = self._inside(mask, start, rows, tally)
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
            made = self._of_row(row, start + first, start + last) if row else []
            if made:
                return made
        return []

    def _of_row(self, row: Sequence[tuple[Wanted, int]], start: int, end: int) -> list[Found]:
        shown = self._octets[start:end]
        held = self._held.get(shown)
        if held is None:
            value = shown.translate(None, _SEPARATORS).decode("ascii").upper()
            held = value, [(one, level) for one, level in row if one.check(value)]
            if len(self._held) < _REMEMBERED:
                self._held[shown] = held
        value, holding = held
        if not holding or not self._stands_alone(start, end):
            return []
        made = (Found(start, end, one, *self._level(one, start, end, level), value) for one, level in holding)
        return [one for one in made if one.level >= 0]

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
            for found in pattern.finditer(self._octets, self._first):
                start, end = found.span()
                if start >= self._last or not tally.look(one.detector.name, PATTERNS):
                    break
                made = [*self._pattern(one, start, end, tally)]
                if not made and (inner := pattern.search(self._octets, start + 2, end)) is not None:
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
        evidence = one.evidence if one.number in self._present else None
        first = max(0, start - _LABEL)
        # What is before on its line and in its sentence.
        label = max(folded.rfind(b"\n", first, start) + 1, folded.rfind(b". ", first, start) + 1, first)
        label = _word(folded, label)
        is_doubted = against is not None and against.search(folded, label, start) is not None
        cell = self._cell(start)
        if evidence is not None:
            if evidence.search(folded, label, start) is not None or cell and evidence.search(cell) is not None:
                return max(level, one.near), 0
            for far, reach in ((1, _CLOSE), (2, one.detector.window)):
                from_, to = _word(folded, max(0, start - reach)), min(len(folded), end + reach)
                if reach <= one.detector.window and evidence.search(folded, from_, to) is not None:
                    return max(level, one.near) - is_doubted, far
        if not is_doubted and against is not None:
            is_doubted = cell != b"" and against.search(cell) is not None
            if not is_doubted:
                is_doubted = against.search(folded, _word(folded, max(0, start - _CLOSE)), start) is not None
        return level - (is_doubted or bool(one.detector.forms) and self._is_in_address(start)), 3

    def _cell(self, start: int) -> bytes:
        """The name of the column that a place is in; b"" outside of tables."""
        head = self._head
        if not head.cells:
            return b""
        line = self._octets.rfind(b"\n", max(0, start - MARGIN), start)
        if line < 0:
            return b""
        place = self._octets.count(head.delimiter, line, start)
        return head.cells[place] if place < len(head.cells) else b""

    def _is_in_address(self, start: int) -> bool:
        """In a URL, where numbers name pages."""
        before = self._octets[max(0, start - 200) : start]
        return before.rfind(b"://") > max(before.rfind(b" "), before.rfind(b"\n"), before.rfind(b"\t"))

    def _stands_alone(self, start: int, end: int) -> bool:
        """Whether it is no piece of something longer: of a number, a date, a version, an identifier with dashes."""
        octets, size = self._octets, len(self._octets)
        if start and octets[start - 1] in b"$":
            return False
        if start > 1 and octets[start - 1] in _JOINS:
            if _has_digit(octets[_back(octets, start - 1) : start - 1]):
                return False
        if end + 1 < size and octets[end] in _JOINS and octets[end] != 43:
            behind = octets[end + 1 : _ahead(octets, end + 1)]
            # A date of expiry is written behind a stroke, and the end of a sentence behind a point.
            if _has_digit(behind) and not (octets[end] == 47 and len(behind) <= 4 and end - start > 14):
                return False
        shown = octets[start:end]
        if b" " in shown:
            groups = shown.split(b" ")
            if start and octets[start - 1] == 32:
                before = octets[_back(octets, start - 1) : start - 1]
                if before.isdigit() and len(before) == len(groups[0]):
                    return False
            if end < size and octets[end] == 32:
                behind = octets[end + 1 : _ahead(octets, end + 1)]
                if behind.isdigit() and len(behind) == len(groups[-1]):
                    return False
        return True


def _word(folded: bytes, at: int) -> int:
    """Where the next word begins, so that no word is cut in two."""
    if at == 0 or folded[at - 1] not in _ALNUM:
        return at
    end = min(at + 24, len(folded))
    while at < end and folded[at] in _ALNUM:
        at += 1
    return at


def _back(octets: bytes, end: int) -> int:
    first = max(0, end - 24)
    while end > first and octets[end - 1] in _ALNUM:
        end -= 1
    return end


def _ahead(octets: bytes, start: int) -> int:
    last = min(len(octets), start + 24)
    while start < last and octets[start] in _ALNUM:
        start += 1
    return start


def _has_digit(octets: bytes) -> bool:
    return any(48 <= one <= 57 for one in octets)


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
        left -= octets[at] in _ALNUM
        at += 1
    if at == len(octets) or octets[at] not in _ALNUM:
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
