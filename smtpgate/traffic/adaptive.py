"""How many transactions a server may have at a time, learned from how it answers: up slowly, down at once.

Additive increase, multiplicative decrease, as in TCP (RFC 5681) and Postfix's concurrency feedback. A server that
answers in its usual time gets one more after a round of answers while the limit is in use; one that says that it is
busy, stays silent, or takes much longer than usual gets half, once a second at most.
"""

from __future__ import annotations

from typing import Final

from smtpgate.traffic.ewma import Average

#: An answer this quick is never slow, whatever is usual.
QUICK_S: Final = 1.0
#: More than so many times the usual time is slow.
SLOW: Final = 4.0
#: The usual time follows a server that has become slower by so much in a minute, so that it is no longer punished one
#: day for what it was the day before; a quicker one it follows at once.
DRIFT: Final = 0.1
#: Not lowered again before so long: the answers of those that are on their way say the same.
REST_S: Final = 1.0
#: Fewer than this it never comes to (Envoy's adaptive concurrency has 3): so few are no load, and a server that gets
#: nothing cannot show that it is well again.
LEAST: Final = 4.0


class AdaptiveLimit:
    """The limit of one server.

    :ivar limit: transactions that it may have at a time; a fraction counts for the next one
    :ivar usual_s: time of its usual answer; 0.0 before the first
    """

    __slots__ = ("limit", "usual_s", "_most", "_lowered_at", "_seen_at", "average")

    def __init__(self, most: int) -> None:
        self.limit = float(most)
        self.usual_s = 0.0
        self.average = Average()
        self._most = float(most)
        self._lowered_at = float("-inf")
        self._seen_at = 0.0

    @property
    def slots(self) -> int:
        """The limit in whole transactions."""
        return int(self.limit)

    def answered(self, seconds: float, now: float, outstanding: int) -> None:
        """It answered.

        :param outstanding: transactions that it had, that one among them
        """
        self.average.add(seconds, now)
        usual = self.usual_s
        if not usual or seconds < usual:
            self.usual_s = seconds if not usual else usual + (seconds - usual) / 4
        else:
            minutes = min(1.0, (now - self._seen_at) / 60)
            self.usual_s = min(seconds, usual * (1 + DRIFT * minutes))
        self._seen_at = now
        if seconds > max(QUICK_S, SLOW * self.usual_s):
            self.busy(now, outstanding)
        elif self.limit < self._most and outstanding * 2 >= self.limit:
            self.limit = min(self._most, self.limit + 1 / self.limit)

    def busy(self, now: float, outstanding: int) -> None:
        """It said that it is busy, or did not answer in time."""
        if now - self._lowered_at >= REST_S:
            self._lowered_at = now
            self.limit = max(min(LEAST, self._most), min(self.limit, float(outstanding)) / 2)
