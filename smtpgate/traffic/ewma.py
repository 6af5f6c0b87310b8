"""A moving average over time: what is older counts less, whatever the number of values."""

from __future__ import annotations

import math
from typing import Final

#: What is so old counts 1/e.
WINDOW_S: Final = 10.0


class Average:
    """An exponentially weighted moving average that jumps up at once and comes down slowly (peak EWMA, as in Finagle):
    a server that has become slow is seen before it has answered many.

    :ivar value: 0.0 before the first
    """

    __slots__ = ("value", "_at", "_window_s")

    def __init__(self, window_s: float = WINDOW_S) -> None:
        self.value = 0.0
        self._at = 0.0
        self._window_s = window_s

    def add(self, value: float, now: float) -> None:
        """One more value."""
        if value >= self.value:
            self.value = value
        else:
            weight = math.exp(-(now - self._at) / self._window_s)
            self.value = self.value * weight + value * (1 - weight)
        self._at = now
