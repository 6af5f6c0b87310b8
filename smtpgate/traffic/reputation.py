"""What senders have earned: points for each reason, that fade.

A record has a sum of points for each reason, "delivered" for what was good and others for what was not. All fade with
one half-life, so that what somebody did last year neither condemns nor excuses; the sum of all is the size of the
sample, and what is said of a sender with a small one is nothing. Precedents: SenderBase classes, Haraka's karma
(history by address and network), FortiMail's sender reputation.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from itertools import islice
from typing import Any, Final

import attrs

from smtpgate.traffic.changed import Changed
from smtpgate.traffic.classes import KNOWN, SUSPECT

#: Points are worth half after so long.
HALF_LIFE_S: Final = 7 * 86400.0
#: What is good.
DELIVERED: Final = "delivered"
#: A sample that says something: of good senders, and of bad ones.
GOOD_SAMPLE: Final = 5.0
BAD_SAMPLE: Final = 3.0
#: The part of bad points up to which a sender is known as good, and from which on it is suspect.
GOOD_PART: Final = 0.05
BAD_PART: Final = 0.5
#: Reasons kept for one sender beside "delivered"; the least become one.
REASONS: Final = 6
OTHER: Final = "other reasons"
#: Records looked at to show the worst: some ten milliseconds for whoever waits meanwhile.
SHOWN: Final = 10_000
#: A record with less than this is as good as none.
LEAST: Final = 0.05


@attrs.define
class Record:
    """The points of one sender, as they were at `at`."""

    at: float
    points: dict[str, float]

    def fade(self, now: float) -> None:
        """Bring it up to now."""
        if now > self.at:
            factor = 0.5 ** ((now - self.at) / HALF_LIFE_S)
            self.points = {name: value * factor for name, value in self.points.items()}
            self.at = now

    def add(self, reason: str, points: float, now: float) -> None:
        """More points."""
        self.fade(now)
        held = self.points
        held[reason] = held.get(reason, 0.0) + points
        named = [name for name in held if name not in (DELIVERED, OTHER)]
        if len(named) > REASONS:
            held[OTHER] = held.get(OTHER, 0.0) + held.pop(min(named, key=held.__getitem__))

    def sample(self, now: float) -> float:
        """How much there is to judge by."""
        return sum(self.points.values()) * self._factor(now)

    def bad(self, now: float) -> float:
        """The points that are not good."""
        return sum(value for name, value in self.points.items() if name != DELIVERED) * self._factor(now)

    def _factor(self, now: float) -> float:
        return 0.5 ** (max(0.0, now - self.at) / HALF_LIFE_S)

    def standing(self, now: float, size: float = 1.0) -> str:
        """known, suspect, or "" where the sample says nothing.

        :param size: how many times as large the sample must be: what is said of many needs more
        """
        sample, bad = self.sample(now), self.bad(now)
        if sample >= GOOD_SAMPLE * size and bad <= sample * GOOD_PART:
            return KNOWN
        if bad >= BAD_SAMPLE * size and bad >= sample * BAD_PART:
            return SUSPECT
        return ""

    def lines(self, now: float) -> list[tuple[str, float]]:
        """Reason and points, the most first."""
        factor = self._factor(now)
        return sorted(((name, value * factor) for name, value in self.points.items()), key=lambda one: -one[1])

    def words(self, now: float) -> str:
        """The same as a sentence."""
        said = ", ".join(f"{name} {points:.1f}" for name, points in self.lines(now))
        return f"{self.bad(now):.1f} bad of {self.sample(now):.1f} points ({said})"


class Records:
    """The records of many senders, in bounded memory: those that were not heard of for longest go first."""

    __slots__ = ("_records", "_most", "_changed")

    def __init__(self, most: int) -> None:
        self._records: OrderedDict[str, Record] = OrderedDict()
        self._most = most
        self._changed: Changed[str] = Changed()

    def __len__(self) -> int:
        return len(self._records)

    def get(self, key: str) -> Record | None:
        """The record of a sender."""
        return self._records.get(key)

    def add(self, key: str, reason: str, points: float, now: float) -> None:
        """More points."""
        record = self._records.get(key)
        if record is None:
            record = self._records[key] = Record(now, {})
            self._bound()
        else:
            self._records.move_to_end(key)
        record.add(reason, points, now)
        self._changed.fresh[key] = None

    def put(self, key: str, record: Record) -> None:
        """Take over a record."""
        self._records[key] = record
        self._bound()

    def _bound(self) -> None:
        if len(self._records) > self._most:
            gone, _ = self._records.popitem(last=False)
            self._changed.fresh[gone] = None

    def forget(self, key: str) -> bool:
        """Forget a sender; whether it was there."""
        self._changed.fresh[key] = None
        return self._records.pop(key, None) is not None

    def changed(self, most: int) -> list[tuple[str, Record | None]]:
        """Those that changed since they were asked for here; None for what is forgotten."""
        rows: list[tuple[str, Record | None]] = []
        while len(rows) < most and (key := self._changed.pop()) is not None:
            rows.append((key, self._records.get(key)))
        return rows

    def worst(self, now: float, most: int) -> list[tuple[str, Any]]:
        """The records with most bad points, of those that were heard of last."""
        newest = islice(reversed(self._records.items()), SHOWN)
        return heapq.nlargest(most, newest, key=lambda one: one[1].bad(now))
