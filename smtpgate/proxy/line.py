"""A line of those who wait for a slot, by class: who deserves it most comes first, among equals who came first.

Each waits as long as its class may (`traffic.classes.WAITS`) and then goes away with nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from smtpgate.tasks import Signal
from smtpgate.traffic.classes import CLASSES


class Waiter:
    """One who waits.

    :ivar suits: what it can do with the slot that is free; None for nothing
    """

    __slots__ = ("name", "suits", "signal")

    def __init__(self, name: str, suits: Callable[[], Any]) -> None:
        self.name = name
        self.suits = suits
        self.signal = Signal()


class Line:
    """All who wait for slots of one resource.

    :ivar count: how many
    """

    __slots__ = ("count", "_waiting")

    def __init__(self) -> None:
        self.count = 0
        self._waiting: dict[str, deque[Waiter]] = {name: deque() for name in CLASSES}

    def counts(self) -> dict[str, int]:
        """How many of each class wait."""
        return {name: len(waiters) for name, waiters in self._waiting.items()}

    def classes(self) -> Iterator[str]:
        """The classes of which somebody waits."""
        return (name for name, waiters in self._waiting.items() if waiters)

    async def wait(self, name: str, suits: Callable[[], Any], deadline: float) -> Any:
        """Wait for a slot; what `suits` gave for it. Raises TimeUp at `deadline`."""
        waiter = Waiter(name, suits)
        waiter.signal.deadline = deadline
        waiters = self._waiting[name]
        waiters.append(waiter)
        self.count += 1
        try:
            return await waiter.signal
        finally:
            if waiter in waiters:
                waiters.remove(waiter)
                self.count -= 1

    def first(self, name: str) -> tuple[Waiter, Any] | None:
        """The first of a class that a free slot suits, taken out of the line, and what suits it."""
        waiters = self._waiting[name]
        for waiter in waiters:
            found = waiter.suits()
            if found is not None:
                waiters.remove(waiter)
                self.count -= 1
                return waiter, found
        return None
