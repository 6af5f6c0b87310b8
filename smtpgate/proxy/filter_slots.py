"""How many messages one filter has at a time: an engine that is slow is not given more, and one that hangs holds up
nobody but those that ask it.

Slots are shared out by class, and who waits is served in class order. The time in line is part of the filter's own
budget, so its failure policy acts when that is over, whether it hung or was never asked.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from twisted.internet.defer import Deferred, succeed

from smtpgate.traffic.classes import CLASSES, SHARES
from smtpgate.traffic.shares import Shares


class FilterSlots:
    """The slots of one filter.

    :ivar shares: how many each class has
    """

    def __init__(self, capacity: int, shares: Mapping[str, float] = SHARES) -> None:
        self.shares = Shares(capacity, shares)
        self._waiting: dict[str, deque[Deferred[None]]] = {name: deque() for name in CLASSES}
        #: Who is served may be done at once, and the next one within it: too deep a nest for as many as wait.
        self._is_serving = False

    @property
    def waiting(self) -> int:
        """How many wait."""
        return sum(map(len, self._waiting.values()))

    @property
    def waiting_by_class(self) -> dict[str, int]:
        """The same by class."""
        return {name: len(waiters) for name, waiters in self._waiting.items()}

    @property
    def part(self) -> float:
        """The part of the slots that is in use; 1.0 only where somebody waits."""
        return 1.0 if self.waiting else min(0.99, self.shares.total / self.shares.capacity)

    def take(self, name: str) -> Deferred[None]:
        """Fires once a slot is taken. Cancelled while it waits, none is."""
        if self.shares.may(name):
            self.shares.take(name)
            return succeed(None)
        waiter: Deferred[None] = Deferred(self._waiting[name].remove)
        self._waiting[name].append(waiter)
        return waiter

    def give_back(self, name: str) -> None:
        """A slot is free: whoever deserves it most has it."""
        self.shares.give_back(name)
        if self._is_serving:
            return
        self._is_serving = True
        while (following := self.shares.next(one for one, waiters in self._waiting.items() if waiters)) is not None:
            self.shares.take(following)
            self._waiting[following].popleft().callback(None)
        self._is_serving = False
