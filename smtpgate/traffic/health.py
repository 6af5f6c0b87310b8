"""Whether a server takes traffic: seen down, put out for failing too often, tried again with one session, and then
brought back by degrees.

Outlier ejection as Envoy has it (failures in a row, 30 s, longer each time, 300 s at most), half-open trials of a
circuit breaker, slow start as in HAProxy and Envoy.

A server that cannot be reached is asked by one session at a time, and after a second failure that took long not
before as much time has passed again: a port that refuses costs nobody anything, one that swallows packets costs one
session its wait.
"""

from __future__ import annotations

from typing import Final

#: Failures in a row after which a server is put out (Envoy consecutive_gateway_failure).
FAILURES: Final = 5
#: For so long at first, and so long at most (Envoy base_ejection_time, max_ejection_time).
EJECTED_S: Final = 30.0
LONGEST_S: Final = 300.0
#: An ejection is forgotten after a good time of so many times its length.
_FORGIVEN: Final = 10
#: A slow start begins with this part of the weight and of the slots (Envoy min_weight_percent).
FIRST_PART: Final = 0.1


class Health:
    """What one server's answers say of it.

    :ivar is_down: the last try to reach it failed
    :ivar ejections: how often it was put out lately
    :ivar failures: how many failures in a row
    :ivar until: not before; 0.0 where it is not put out
    :ivar settled_at: the end of its slow start
    :ivar has_trial: a session tries it right now
    """

    __slots__ = (
        "is_down",
        "ejections",
        "failures",
        "until",
        "has_trial",
        "returned_at",
        "settled_at",
        "_slow_start_s",
        "_next_try",
        "_out_s",
        "_misses",
        "_failed_at",
    )

    def __init__(self, slow_start_s: float) -> None:
        self.is_down = False
        self.ejections = 0
        self.failures = 0
        self.until = 0.0
        self.has_trial = False
        self.returned_at = float("-inf")
        self._slow_start_s = slow_start_s
        self.settled_at = float("-inf")
        self._next_try = 0.0
        self._out_s = 0.0
        self._misses = 0
        self._failed_at = float("-inf")

    @property
    def is_ejected(self) -> bool:
        """It was put out, and has not come back yet."""
        return self.until > 0.0

    @property
    def needs_trial(self) -> bool:
        """One session at a time may go there, to see whether it works again."""
        return self.is_down or self.until > 0.0

    def may_try(self, now: float) -> bool:
        """Whether a session may go there now."""
        if not self.needs_trial:
            return True
        return not self.has_trial and now >= self._next_try and now >= self.until

    def wait_s(self, now: float) -> float:
        """Seconds until the next trial; 0.0 where none is needed."""
        return max(0.0, self._next_try - now, self.until - now) if self.needs_trial else 0.0

    def is_starting(self, now: float) -> bool:
        """Whether it is in a slow start."""
        return now < self.settled_at

    def part(self, now: float) -> float:
        """The part of its weight and its slots that it has now: 1.0 but for a slow start."""
        since = now - self.returned_at
        if since >= self._slow_start_s:
            return 1.0
        return max(FIRST_PART, since / self._slow_start_s)

    # What happened

    def unreachable(self, now: float, took_s: float) -> None:
        """A try to reach it failed after so long."""
        self.is_down = True
        self.has_trial = False
        self._misses += 1
        self._next_try = now + took_s if self._misses > 1 else now

    def reached(self, now: float) -> bool:
        """It could be reached; whether that brought it back. One that was put out must do some work first."""
        was_down, self.is_down = self.is_down, False
        self._misses = 0
        if self.is_ejected or not was_down:
            return False
        self.has_trial = False
        self._next_try = 0.0
        self._returned(now)
        return True

    def _returned(self, now: float) -> None:
        self.returned_at = now
        self.settled_at = now + self._slow_start_s

    def failed(self, now: float, begun: float, may_eject: bool) -> bool:
        """It was reached and did not do its work (421, silence, a broken connection); whether it is put out for that.

        :param begun: when it was asked to: what was at work together and broke together is one failure
        :param may_eject: others are there to take its mail
        """
        if begun <= self._failed_at:
            return False
        self._failed_at = now
        self.failures += 1
        self.has_trial = False
        if not (self.is_ejected or may_eject and self.failures >= FAILURES):
            return False
        if not self.is_ejected and now - self.returned_at > _FORGIVEN * self._out_s:
            self.ejections = 0
        self.ejections += 1
        self._out_s = min(LONGEST_S, EJECTED_S * self.ejections)
        self.until = now + self._out_s
        return True

    def worked(self, now: float) -> bool:
        """It did its work; whether that brought it back."""
        self.failures = 0
        self.has_trial = False
        if not self.is_down and not self.until:
            return False
        self.is_down = False
        self.until = self._next_try = 0.0
        self._returned(now)
        return True

    def pardon(self, now: float) -> None:
        """There is nobody else: it may be tried again before its time (Envoy panic_threshold)."""
        if self.is_ejected:
            self.until = min(self.until, now)

    def hasten(self, now: float) -> None:
        """A person says that it may be back: the next trial need not wait. One that is under way is not doubled."""
        self._next_try = min(self._next_try, now)
        self.pardon(now)

    def trial_ended(self) -> None:
        """The session that tried it went away before anything could be seen."""
        self.has_trial = False
