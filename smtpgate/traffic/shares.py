"""Slots of one resource, shared out by class: a guaranteed part for each, and what is free lent out.

A class that uses less than its part is served first, in the order of the classes; what is left goes to whoever asks.
A slot that is lent comes back when its borrower has done, not before. So that those more deserving need not wait for
one, a quarter of what they do not use of their part is not lent, nor are as many of it as they had at a time lately
(`fade`), and one more. A gateway without users of its own keeps nothing for them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Final

from smtpgate.traffic.classes import CLASSES, RANK, SHARES

#: Part of an unused guarantee that is never lent to a less deserving class.
KEPT: Final = 0.25


class Shares:
    """The slots of one resource.

    :ivar capacity: how many there are
    :ivar used: how many each class has
    :ivar total: how many are in use
    """

    __slots__ = ("capacity", "used", "total", "_shares", "_promised", "_peaks", "_peaks_before")

    def __init__(self, capacity: int, shares: Mapping[str, float] = SHARES) -> None:
        """
        :param shares: part of each class, together 1 at most
        """
        if sum(shares.values()) > 1.0 + 1e-9 or any(share < 0 for share in shares.values()):
            raise ValueError(f"shares of {dict(shares)} are more than there is")
        self._shares = shares
        self.used = dict.fromkeys(CLASSES, 0)
        self.total = 0
        self.capacity = 0
        self._promised: dict[str, int] = {}
        #: How many each class had at a time since `fade` was called, and between that and the call before.
        self._peaks = dict.fromkeys(CLASSES, 0)
        self._peaks_before = dict.fromkeys(CLASSES, 0)
        self.resize(capacity)

    def resize(self, capacity: int) -> None:
        """There are more or fewer of them from now on; nobody loses what it has."""
        if capacity != self.capacity:
            self.capacity = capacity
            self._promised = {name: math.floor(self._shares.get(name, 0.0) * capacity + 1e-9) for name in CLASSES}

    def divide(self, shares: Mapping[str, float]) -> None:
        """Other parts are promised from now on."""
        if shares != self._shares:
            self._shares = shares
            capacity, self.capacity = self.capacity, -1
            self.resize(capacity)

    def promised(self, name: str) -> int:
        """The guaranteed part of a class, in slots."""
        return self._promised[name]

    def may(self, name: str) -> bool:
        """Whether a class may have one more now."""
        free = self.capacity - self.total
        if free <= 0:
            return False
        used = self.used
        if used[name] < self._promised[name]:
            return True
        return free > self._kept_from(name)

    def _kept_from(self, name: str) -> int:
        kept = 0
        for other in CLASSES[: RANK[name]]:
            peak = max(self._peaks[other], self._peaks_before[other])
            unused = self._promised[other] - self.used[other]
            if peak and unused > 0:
                kept += max(math.ceil(unused * KEPT), min(unused, peak + 1 - self.used[other]))
        return kept

    def take(self, name: str) -> None:
        """One more is in use. Whoever must have one takes it without asking `may`: the others wait for it."""
        used = self.used[name] = self.used[name] + 1
        self.total += 1
        if used > self._peaks[name]:
            self._peaks[name] = used

    def fade(self) -> None:
        """Some time has passed: what a class had before it, and no more in all of it, is not kept for it any more."""
        self._peaks_before, self._peaks = self._peaks, dict(self.used)

    def give_back(self, name: str) -> None:
        """One is free again."""
        self.used[name] -= 1
        self.total -= 1

    def next(self, waiting: Iterable[str]) -> str | None:
        """The class of those that wait which has the next slot; None where nobody may have one."""
        names = [name for name in waiting if self.may(name)]
        if not names:
            return None
        return min(names, key=lambda name: (self.used[name] >= self._promised[name], RANK[name]))

    def borrowed(self, name: str) -> int:
        """How many slots over its part a class has."""
        return max(0, self.used[name] - self._promised[name])
