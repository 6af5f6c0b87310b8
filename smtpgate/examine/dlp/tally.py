"""What was found in a message, counted: how often, how many different ones, how sure, where; and what may be shown.

Values stay here: what leaves is numbers and masked samples. A value is as sure as where it was surest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import attrs

from smtpgate.examine.dlp.checks import scheme_of
from smtpgate.examine.dlp.detector import LEVELS, Detector

#: Different values of one detector that are counted: past that it is "so many at least". Microsoft counts to 500.
DISTINCT: Final = 10_000
#: Masked samples and paths that are told of each.
SAMPLES: Final = 5
PATHS: Final = 20
_SAMPLE_LETTERS: Final = 80
#: Candidates of one kind that are looked at closer in a message: three times the rows of a large table.
LOOKS: Final = 300_000
#: Of one pattern, whose check may cost more.
PATTERNS: Final = 150_000
#: Of those that hold and stand beside something, whose neighbours are looked at too.
LISTS: Final = 100_000


@attrs.define
class _Count:
    """Of one detector.

    :ivar values: how sure each is; `times`: how often something was as sure
    :ivar samples: masked, with how sure they are
    """

    detector: Detector
    values: dict[str, int] = attrs.field(factory=dict)
    times: Counter[int] = attrs.field(factory=Counter)
    paths: dict[int, dict[str, None]] = attrs.field(factory=dict)
    samples: dict[int, dict[str, None]] = attrs.field(factory=dict)


class Tally:
    """Counts of one message."""

    def __init__(self) -> None:
        self._counts: dict[str, _Count] = {}
        self._looks: Counter[str] = Counter()
        #: Kinds of candidates of which not all were looked at.
        self.cut: set[str] = set()

    def look(self, kind: str, most: int = LOOKS) -> bool:
        """Leave to look at one more."""
        self._looks[kind] += 1
        if self._looks[kind] > most:
            self.cut.add(kind)
            return False
        return True

    def is_full(self, name: str) -> bool:
        """Whether enough of a detector was found."""
        held = self._counts.get(name)
        return held is not None and len(held.values) >= DISTINCT

    def take(self, found: Iterable[tuple[Detector, int, str]], path: str) -> None:
        """Detector, level and value of each that was found in a text."""
        for detector, level, value in found:
            held = self._counts.get(detector.name)
            if held is None:
                held = self._counts[detector.name] = _Count(detector)
            if len(held.values) >= DISTINCT and value not in held.values:
                continue
            held.times[level] += 1
            held.values[value] = max(level, held.values.get(value, 0))
            paths = held.paths.setdefault(level, {})
            if len(paths) < PATHS:
                paths[path] = None
            samples = held.samples.setdefault(level, {})
            if len(samples) < SAMPLES:
                samples[masked(value, detector)] = None

    def values(self) -> Iterator[str]:
        """All that was found."""
        for held in self._counts.values():
            yield from held.values

    def matches(self) -> list[dict[str, Any]]:
        """For each detector and each level that something reached: what is at least so sure; the surest first."""
        rows = []
        for held in self._counts.values():
            for level in reversed(range(max(held.values.values()) + 1)):
                rows.append(_row(held, level))
        return rows


def _row(held: _Count, level: int) -> dict[str, Any]:
    detector = held.detector
    above = range(len(LEVELS) - 1, level - 1, -1)
    country = detector.country
    return {
        "detector": detector.name,
        "group": detector.group,
        "country": country,
        "confidence": LEVELS[level],
        "count": sum(held.times[one] for one in above),
        "distinct": sum(one >= level for one in held.values.values()),
        "score": 0.0,
        "paths": _first((held.paths.get(one, {}) for one in above), PATHS),
        "samples": _first((held.samples.get(one, {}) for one in above), SAMPLES),
    }


def _first(held: Iterable[Mapping[str, None]], most: int) -> list[str]:
    return list(dict.fromkeys(one for row in held for one in row))[:most]


def masked(value: str, detector: Detector) -> str:
    """What may be shown: of cards the first and last four (PCI DSS 3.4.1 allows more), of others less."""
    first, last = detector.shown
    if detector.name == "card":
        groups = f"{value[:4]} **** **** {value[-4:]}"
        return f"{scheme_of(value)} {groups}"
    if detector.name == "private-key":
        head = value.partition("-----")[2].partition("-----")[0]
        return f"-----{head}-----"[:_SAMPLE_LETTERS]
    if 2 * (first + last) > len(value):
        first, last = 0, min(2, len(value) // 4)
    shown = f"{value[:first]}****{value[len(value) - last :] if last else ''}"
    return "".join(one if one.isprintable() else "?" for one in shown)[:_SAMPLE_LETTERS]
