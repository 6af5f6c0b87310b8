"""Numbers over time as managers ask for them: what the store has, and the minutes that it does not have yet.

Steps shorter than an hour are made of minutes, which are kept for 48 hours; longer ones of hours, kept for 400 days.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred

from smtpgate.control import timeline
from smtpgate.control.timeline import MEASURES, SPREADS, Distribution, Row, Series
from smtpgate.control.views import Invalid, Unavailable
from smtpgate.interfaces import StoreFailed
from smtpgate.observe.recorder import together
from smtpgate.policy.counted import COVERED

MINUTE: Final = 60
HOUR: Final = 3600
DAY: Final = 86400
#: Steps that may be asked for, by name: seconds.
STEPS: Final = {"1m": 60, "5m": 300, "15m": 900, "1h": HOUR, "6h": 6 * HOUR, "1d": DAY}
#: How far back minutes and hours go.
MINUTES_S: Final = 48 * HOUR
HOURS_S: Final = 400 * DAY
#: How often the store is asked anew because it was written to meanwhile.
_TRIES: Final = 3
#: Steps of one answer.
MOST_STEPS: Final = 3000


@attrs.frozen
class Range:
    """A time that is asked for.

    :ivar begin, end: seconds since the epoch, whole steps
    """

    begin: int
    end: int
    step_s: int

    @property
    def base_s(self) -> int:
        """The steps that are kept of which it is made."""
        return MINUTE if self.step_s < HOUR else HOUR

    @property
    def before(self) -> Range:
        """The same length of time before it."""
        return Range(2 * self.begin - self.end, self.begin, self.step_s)


@attrs.frozen
class Days:
    """Messages by day: rows of (day, seconds counted, counts by direction, counts by verdict).

    :ivar directions, verdicts: the columns
    """

    since: int | None
    directions: tuple[str, ...]
    verdicts: tuple[str, ...]
    rows: tuple[tuple[int, int, tuple[int, ...], tuple[int, ...]], ...]


@attrs.frozen
class Week:
    """Messages an hour by weekday and hour of the day in UTC, Monday first; None where nothing was counted."""

    since: int | None
    begin: int
    end: int
    hours: tuple[tuple[float | None, ...], ...]


class Statistics:
    """The numbers of the running gateway.

    :ivar store: an `interfaces.ISeriesStore`; set, as `recorder`, by whoever has the stores
    :ivar recorder: has what is not written yet: `unwritten()`
    """

    def __init__(self, wall: Callable[[], float], in_thread: Callable[..., Deferred[Any]]) -> None:
        self.store: Any = None
        self.recorder: Any = None
        self._wall = wall
        self._in_thread = in_thread

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._wall()

    def range(self, begin: float, end: float, step: str = "") -> Range:
        """A time in whole steps. Raises Invalid where it is none, or has too many steps.

        :param begin: 0 for a day back; `end`: 0 for now
        :param step: a name of STEPS; "" for one that suits the length
        """
        now = self._wall()
        end = min(end or now, now)
        begin = begin or end - DAY
        if begin >= end:
            raise Invalid("the time that was asked for ends before it begins, or has not come yet")
        begin = max(begin, now - HOURS_S)
        step_s = STEPS[step] if step else _suitable(end - begin, now - begin)
        if step_s < HOUR and now - begin > MINUTES_S + HOUR:
            raise Invalid("steps shorter than an hour are kept for 48 hours; take 1h or longer")
        if (end - begin) / step_s > MOST_STEPS:
            raise Invalid(f"that is more than {MOST_STEPS} steps; take a longer one")
        last = -(-int(end) // step_s) * step_s
        return Range(last - max(1, math.ceil((end - begin) / step_s)) * step_s, last, step_s)

    async def series(self, measure: str, group_by: str, asked: Range, only: Mapping[str, str] | None = None) -> Series:
        """Counts over time. Raises Invalid for a group that the measure does not have."""
        known = MEASURES[measure]
        _check(known.groups, group_by, only)
        rows = await self._rows((known.metric,), asked)
        arguments = (rows, known, group_by, asked.step_s, asked.begin, asked.end, await self.since(), only)
        made: Series = await self._in_thread(timeline.series, *arguments)
        return made

    async def distribution(
        self, of: str, group_by: str, asked: Range, only: Mapping[str, str] | None = None
    ) -> Distribution:
        """How values were spread. Raises Invalid for a group that there is not."""
        known = SPREADS[of]
        _check(known.groups, group_by, only)
        rows = await self._rows((known.metric,), asked)
        arguments = (rows, known, group_by, asked.step_s, asked.begin, asked.end, await self.since(), only)
        made: Distribution = await self._in_thread(timeline.distribution, *arguments)
        return made

    async def days(self, days: int) -> Days:
        """Messages of the last days in UTC, the newest first; days before the first are left out."""
        now = int(self._wall())
        asked = Range((now // DAY - days + 1) * DAY, (now // DAY + 1) * DAY, DAY)
        measure = MEASURES["messages"]
        rows, since = await self._rows((measure.metric,), asked), await self.since()

        def count() -> Days:
            ways = timeline.series(rows, measure, "direction", DAY, asked.begin, asked.end)
            verdicts = timeline.series(rows, measure, "verdict", DAY, asked.begin, asked.end)
            lines = [
                (way.at, way.covered_s, way.counts, verdict.counts)
                for way, verdict in zip(ways.steps, verdicts.steps)
                if since is not None and way.at + DAY > since
            ]
            return Days(since, ways.groups, verdicts.groups, tuple(reversed(lines)))

        made: Days = await self._in_thread(count)
        return made

    async def week(self, asked: Range) -> Week:
        """How the mail of an hour depends on the day of the week."""
        whole = Range(asked.begin // HOUR * HOUR, asked.end, HOUR)
        metric = MEASURES["messages"].metric
        rows = await self._rows((metric,), whole)
        hours = await self._in_thread(timeline.by_hour_of_week, rows, metric, _hour_of_week)
        return Week(await self.since(), whole.begin, whole.end, tuple(map(tuple, hours)))

    async def since(self) -> int | None:
        """When the first step began that is kept; None: nothing is."""
        found: list[int] = [minute for minute, _ in self._unwritten()]
        if self.store is not None:
            oldest = await self._ask(self.store.oldest())
            found += [oldest] if oldest is not None else []
        return min(found, default=None)

    async def _rows(self, metrics: tuple[str, ...], asked: Range) -> list[Row]:
        names = (*metrics, COVERED)
        base = asked.base_s
        minutes = self._unwritten()
        rows: list[Row] = []
        for _ in range(_TRIES):
            minutes, writes = self._unwritten(), self._writes
            if self.store is not None:
                rows = await self._ask(self.store.load(names, base, asked.begin, asked.end))
            # What was written meanwhile may be in both, or in neither.
            if writes == self._writes and writes % 2 == 0:
                break
        for (name, at), counts in together(minutes, base).items():
            if name in names and asked.begin <= at < asked.end:
                rows.append((name, at, counts))
        return rows

    @property
    def _writes(self) -> int:
        return self.recorder.writes if self.recorder is not None else 0

    def _unwritten(self) -> list[Any]:
        return self.recorder.unwritten() if self.recorder is not None else []

    async def _ask(self, asked: Deferred[Any]) -> Any:
        try:
            return await asked
        except StoreFailed as error:
            raise Unavailable(f"numbers over time cannot be read now: {error}") from error


def _check(groups: tuple[str, ...], group_by: str, only: Mapping[str, str] | None) -> None:
    for name in (group_by, *(only or ())):
        if name and name not in groups:
            known = f"by {', '.join(groups)}" if groups else "as a whole"
            raise Invalid(f"this is counted {known}, not by {name}")


def _suitable(length_s: float, age_s: float) -> int:
    """A step by which a picture has 48 to 180 columns."""
    steps = [step for step in STEPS.values() if step >= HOUR or age_s <= MINUTES_S]
    return next((step for step in steps if length_s / step <= 180), DAY)


def _hour_of_week(at: int) -> tuple[int, int]:
    moment = datetime.fromtimestamp(at, UTC)
    return moment.weekday(), moment.hour
