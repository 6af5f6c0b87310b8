"""Slots of one resource, shared out by class: a guaranteed part for each, and what is free lent out.

A class that uses less than its part is served first, in the order of the classes; what is left goes to whoever asks.
A slot that is lent comes back when its borrower has done, not before, so of the parts of those more deserving that are
not used a quarter is not lent: the first of them need not wait for a borrower. That holds for classes that had a slot
lately (`fade`); a gateway without users of its own keeps nothing for them.
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

    __slots__ = ("capacity", "used", "total", "_shares", "_promised", "_seen", "_seen_before")

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
        #: Classes that had a slot since `fade` was called, and since it was called before that.
        self._seen: set[str] = set()
        self._seen_before: set[str] = set()
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
            unused = self._promised[other] - self.used[other]
            if unused > 0 and (other in self._seen or other in self._seen_before):
                kept += math.ceil(unused * KEPT)
        return kept

    def take(self, name: str) -> None:
        """One more is in use. Whoever must have one takes it without asking `may`: the others wait for it."""
        self.used[name] += 1
        self.total += 1
        self._seen.add(name)

    def fade(self) -> None:
        """Some time has passed: for a class that had no slot in all of it nothing is kept any more."""
        self._seen_before, self._seen = self._seen, {name for name in CLASSES if self.used[name]}

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
