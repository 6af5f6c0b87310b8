"""Writes down once a minute what was counted in it: numbers over time that need no other program and outlive this one.

What is kept are differences of the metrics (`KEPT`), not the metrics themselves: a start begins from zero and adds to
what is there, and a minute in which no gateway ran has no row. What the store does not take waits, as many minutes as
`WAITING`; then the oldest are dropped and counted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol

from twisted.internet.defer import ensureDeferred

from smtpgate.interfaces import StoreFailed
from smtpgate.policy.counted import COVERED, Rows, add, since
from smtpgate.policy.event import Happened
from smtpgate.tasks import Clock

#: The metrics that are kept, all of closed label sets (`observe.catalogue`).
KEPT: Final = (
    "connections_total", "messages_total", "recipients_total", "rejections_total", "bytes_total",
    "tls_handshakes_total", "encryption_total", "auth_attempts_total", "auth_results_total", "filter_runs_total",
    "ratelimit_decisions_total", "backend_replies_total", "backend_failures_total", "message_size_bytes",
    "message_duration_seconds", "stage_duration_seconds", "backend_reply_seconds", "backend_connect_seconds",
    "backend_queue_seconds", "filter_duration_seconds", "spam_score",
)  # fmt: skip
MINUTE_S: Final = 60
#: Minutes that wait for the store.
WAITING: Final = 60


class Counting(Protocol):
    """Whoever counts."""

    def kept(self, names: frozenset[str]) -> Rows:
        """The counts of these metrics as they are now."""


class Recorder:
    """Keeps the counts of one process.

    :ivar dropped: minutes that were lost because the store failed
    :ivar writes: beginnings and ends of writing: odd while it is under way
    """

    def __init__(
        self, counting: Counting, clock: Clock, wall: Callable[[], float], store: Any, tell: Callable[[Any], None]
    ) -> None:
        """
        :param store: an `interfaces.ISeriesStore`
        """
        self.dropped = 0
        self.writes = 0
        self._counting = counting
        self._clock = clock
        self._wall = wall
        self._store = store
        self._tell = tell
        self._names = frozenset(KEPT)
        self._before: Rows = {}
        self._since = 0.0
        self._waiting: deque[tuple[int, Rows]] = deque()
        self._call: Any = None
        self._is_writing = False
        self._is_failing = False

    def start(self) -> None:
        """Count from now on."""
        self._before = self._counting.kept(self._names)
        self._since = self._wall()
        self._wait()

    def _wait(self) -> None:
        self._call = self._clock.callLater(MINUTE_S - self._wall() % MINUTE_S, self._turn)

    def _turn(self) -> None:
        self._wait()
        self._take()
        ensureDeferred(self._write())

    def _take(self) -> None:
        """What was counted since the last time, as a minute's that waits."""
        at, rows, now = self._look()
        self._before, self._since = now, self._wall()
        if rows:
            self._waiting.append((at, rows))
        while len(self._waiting) > WAITING:
            self._waiting.popleft()
            self.dropped += 1

    def _look(self) -> tuple[int, Rows, Rows]:
        """The minute, what is new in it, and the counts as they stand."""
        now, counted = self._wall(), self._counting.kept(self._names)
        rows = since(counted, self._before)
        # By a clock that was set back no time went by; a timer that was late belongs to the minute that is over.
        seconds = max(round(max(0.0, now - self._since)), bool(rows))
        at = int(self._since) // MINUTE_S * MINUTE_S
        if now < self._since:
            at = int(now) // MINUTE_S * MINUTE_S
        if seconds:
            rows[COVERED] = {(): min(seconds, MINUTE_S)}
        return at, rows, counted

    async def _write(self) -> None:
        if self._is_writing:
            return
        self._is_writing = True
        self.writes += 1
        try:
            while self._waiting:
                minutes = list(self._waiting)
                await self._store.put(minutes)
                for minute in minutes:
                    if self._waiting and self._waiting[0] is minute:
                        self._waiting.popleft()
            if self._is_failing:
                self._is_failing = False
                self._tell(Happened("series.works", "info", "counts by the minute are kept again"))
        except StoreFailed as error:
            if not self._is_failing:
                self._is_failing = True
                message = f"counts by the minute are not kept; they wait for {WAITING} minutes: {error}"
                self._tell(Happened("series.failing", "error", message[:500]))
        finally:
            self._is_writing = False
            self.writes += 1

    def unwritten(self) -> list[tuple[int, Rows]]:
        """What the store does not have yet, the running minute too."""
        at, rows, _ = self._look()
        waiting = [(minute, {name: dict(counts) for name, counts in kept.items()}) for minute, kept in self._waiting]
        return [*waiting, (at, rows)] if self._call is not None and rows else waiting

    async def close(self) -> None:
        """Write what there is, and count no more."""
        if self._call is None:
            return
        self._call.cancel()
        self._take()
        self._call = None
        await self._write()


def together(minutes: list[tuple[int, Rows]], step: int) -> dict[tuple[str, int], Any]:
    """Minutes as steps: counts by metric and when the step began."""
    out: dict[tuple[str, int], Any] = {}
    for minute, rows in minutes:
        for name, counts in rows.items():
            add(out.setdefault((name, minute // step * step), {}), counts)
    return out
