"""How messages ended: in all, and by the minute for two days, which is what the plot of the first page shows."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import Final

#: Minutes that are kept.
KEPT_MINUTES: Final = 2880
_KINDS: Final = {
    "delivered": 1,
    "unacked": 1,
    "refused": 2,
    "deferred": 3,
    "unknown": 3,
    "held": 1,
    "discarded": 1,
    "redirected": 1,
}


class Outcomes:
    """Counts since the start.

    :ivar total: messages by outcome (`policy.transaction.OUTCOMES`)
    :ivar rows: (minute since the epoch, accepted, refused, deferred), only those in which something happened
    """

    def __init__(self, wall: Callable[[], float]) -> None:
        self.total: Counter[str] = Counter()
        self.rows: deque[list[int]] = deque(maxlen=KEPT_MINUTES)
        self._wall = wall

    def add(self, outcome: str) -> None:
        """A message has ended."""
        self.total[outcome] += 1
        kind = _KINDS.get(outcome)
        if kind is not None:
            minute = int(self._wall()) // 60
            rows = self.rows
            if not rows or rows[-1][0] != minute:
                rows.append([minute, 0, 0, 0])
            rows[-1][kind] += 1
