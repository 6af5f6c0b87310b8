"""Saying the same thing once: what repeats is counted, not written.

A backend that is away fails every message, and a flood is refused a thousand times a second; the log says so
once, and how often. Both classes hold a bounded number of keys.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

#: Most keys held at once; the names in them come from the configuration, so it is never reached by peers.
KEYS = 1000


class Repeats:
    """The first of a kind is said, then one in each period with the number of those between."""

    __slots__ = ("_period", "_said")

    def __init__(self, period_s: float) -> None:
        self._period = period_s
        self._said: dict[Hashable, list[float]] = {}

    def left_out(self, key: Hashable, now: float) -> int:
        """How many of that kind were left out since the last that was said; -1: leave this one out too."""
        entry = self._said.get(key)
        if entry is None:
            if len(self._said) >= KEYS:
                self._said.clear()
            self._said[key] = [now, 0]
            return 0
        if now - entry[0] < self._period:
            entry[1] += 1
            return -1
        count = int(entry[1])
        entry[0], entry[1] = now, 0
        return count

    def forget(self, matches: Callable[[Any], bool]) -> int:
        """The matter is over: the next of these is said at once. Gives how many were left out."""
        keys = [key for key in self._said if matches(key)]
        return sum(int(self._said.pop(key)[1]) for key in keys)


class Flood:
    """At most so many of a kind in one second; the rest is counted."""

    __slots__ = ("_most", "_seconds")

    def __init__(self, most: int) -> None:
        self._most = most
        self._seconds: dict[Hashable, list[int]] = {}

    def __bool__(self) -> bool:
        return bool(self._seconds)

    def is_let_through(self, key: Hashable, second: int) -> bool:
        """Whether this one is to be said. Those of a second that is over are to be settled before."""
        entry = self._seconds.get(key)
        if entry is None:
            if len(self._seconds) >= KEYS:
                return False
            entry = self._seconds[key] = [second, 0]
        entry[1] += 1
        return entry[1] <= self._most

    def settle(self, second: int) -> list[tuple[Any, int]]:
        """The kinds whose second is over, with the number left out where that is more than none."""
        out = []
        for key, (then, count) in list(self._seconds.items()):
            if then != second:
                del self._seconds[key]
                if count > self._most:
                    out.append((key, count - self._most))
        return out
