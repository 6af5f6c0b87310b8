"""Counts by second and by minute, for the picture of the traffic: a bounded ring in memory.

300 seconds and 48 hours of minutes are kept. To count is to add one to a list; the rings turn when a new
second begins, and gaps in which nothing happened are filled with zeros only when somebody looks.
"""

from __future__ import annotations

from collections import deque
from typing import Final

SECONDS: Final = 300
MINUTES: Final = 48 * 60

#: What is counted, in the order of a row.
COUNTED: Final = ("accepted", "refused", "deferred", "aborted", "error", "sessions")


class Series:
    """Two rings.

    :ivar row: the counts of the running second, one for each of COUNTED; the owner adds to it after `turn`
    :ivar second: that second, since the epoch
    """

    __slots__ = ("row", "second", "_seconds", "_minute", "_minute_row", "_minutes")

    def __init__(self) -> None:
        self.row = [0] * len(COUNTED)
        self.second = -1
        self._seconds: deque[tuple[int, list[int]]] = deque(maxlen=SECONDS)
        self._minute = -1
        self._minute_row = [0] * len(COUNTED)
        self._minutes: deque[tuple[int, list[int]]] = deque(maxlen=MINUTES)

    def turn(self, second: int) -> list[int]:
        """The row of a second that begins. A clock that was set back a little goes on in the old row; behind one that
        was set back by more, what was counted in a time still to come is forgotten."""
        if second <= self.second:
            if self.second - second <= SECONDS:
                return self.row
            self._set_back(second)
        row = self.row
        if any(row):
            self._seconds.append((self.second, row))
            self._add(self.second // 60 * 60, row)
        self.second = second
        self.row = [0] * len(COUNTED)
        return self.row

    def _set_back(self, second: int) -> None:
        self._seconds = deque((entry for entry in self._seconds if entry[0] < second), SECONDS)
        self._minutes = deque((entry for entry in self._minutes if entry[0] + 60 <= second), MINUTES)
        self.row = [0] * len(COUNTED)
        self._minute = -1
        self._minute_row = [0] * len(COUNTED)

    def _add(self, minute: int, row: list[int]) -> None:
        if minute != self._minute:
            if self._minute >= 0:
                self._minutes.append((self._minute, self._minute_row))
            self._minute = minute
            self._minute_row = [0] * len(COUNTED)
        self._minute_row = [a + b for a, b in zip(self._minute_row, row)]

    def look(self, now: float) -> dict[str, object]:
        """Both rings, every second and minute up to `now`, as plain rows with their time in front."""
        self.turn(int(now))
        seconds = dict(self._seconds)
        seconds[self.second] = self.row
        minutes = dict(self._minutes)
        if self._minute >= 0:
            minutes[self._minute] = self._minute_row
        last = self.second // 60 * 60
        zeros = [0] * len(COUNTED)
        if any(self.row):
            minutes[last] = [a + b for a, b in zip(minutes.get(last, zeros), self.row)]
        return {
            "counted": list(COUNTED),
            "seconds": [[at, *seconds.get(at, zeros)] for at in range(self.second - SECONDS + 1, self.second + 1)],
            "minutes": [[at, *minutes.get(at, zeros)] for at in range(last - 60 * (MINUTES - 1), last + 60, 60)],
        }
