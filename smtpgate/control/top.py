"""Who sends and gets most, over a time: the hours and days that are kept, and the running hour."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred

from smtpgate.control.statistics import DAY, HOUR, Range
from smtpgate.control.views import Unavailable
from smtpgate.interfaces import StoreFailed
from smtpgate.observe.talkers import KINDS
from smtpgate.policy.sketch import Row, Sketch

__all__ = ["KINDS", "Talker", "Top", "TopList"]

#: Up to this length hours are put together, above it days: what is short of a day at its ends is left whole then.
HOURS_S: Final = 48 * HOUR
#: Somebody is new who was not seen in the hours before.
NEW_S: Final = 24 * HOUR
#: Names that are put together.
_MOST: Final = 2000


@attrs.frozen
class Talker:
    """One name.

    :ivar counts: messages, in the order of `policy.sketch.PLACES`
    :ivar before: messages in the same length of time before; None where nothing is kept of that
    :ivar is_new: seen in this hour, and not among those that are kept of the 24 hours before
    """

    name: str
    count: int
    counts: tuple[int, ...]
    before: int | None
    is_new: bool


@attrs.frozen
class TopList:
    """The largest of one kind.

    :ivar begin, end: what was put together: whole hours, or whole days
    :ivar missing: whoever is not here was seen no oftener, and a count is short by no more
    """

    kind: str
    begin: int
    end: int
    missing: int
    talkers: tuple[Talker, ...]


class Top:
    """Top talkers of the running gateway.

    :ivar store: an `interfaces.ITalkerStore`; set, as `talkers`, by whoever has the stores
    :ivar talkers: has the running hour: `rows(kind)`, `hour`
    """

    def __init__(self, wall: Callable[[], float], in_thread: Callable[..., Deferred[Any]]) -> None:
        self.store: Any = None
        self.talkers: Any = None
        self._wall = wall
        self._in_thread = in_thread

    async def top(self, kind: str, asked: Range, limit: int) -> TopList:
        """The largest of a kind in a time. Raises Unavailable."""
        step = HOUR if asked.end - asked.begin <= HOURS_S else DAY
        begin, end = asked.begin // step * step, -(-asked.end // step) * step
        kept = await self._kept(kind, step, begin, end)
        before = await self._kept(kind, step, 2 * begin - end, begin)
        now = int(self._wall()) // HOUR * HOUR
        recent: list[tuple[int, list[Row], int]] = []
        here: list[Row] = []
        if begin <= now < end:
            recent = await self._kept(kind, HOUR, now - NEW_S, now)
            here = next((rows for at, rows, _ in await self._kept(kind, HOUR, now, now + HOUR) if at == now), [])
        made: TopList = await self._in_thread(_list, kind, begin, end, limit, kept, before, recent, here)
        return made

    async def _kept(self, kind: str, step: int, begin: int, end: int) -> list[tuple[int, list[Row], int]]:
        """What is kept, with the running hour as it is in memory; of its day the hours."""
        found: list[tuple[int, list[Row], int]] = []
        hour = self.talkers.hour if self.talkers is not None else None
        today = hour // DAY * DAY if hour is not None and step == DAY else None
        if self.store is not None:
            try:
                found = await self.store.load(kind, step, begin, end)
                if today is not None and begin <= today < end:
                    hours = await self.store.load(kind, HOUR, today, today + DAY)
                    found = [one for one in found if one[0] != today] + hours
            except StoreFailed as error:
                raise Unavailable(f"who sends most cannot be read now: {error}") from error
        if hour is not None and begin <= hour < end:
            found = [one for one in found if one[0] != hour]
            found.append((hour, *self.talkers.rows(kind)))
        return found


def _list(
    kind: str,
    begin: int,
    end: int,
    limit: int,
    kept: list[tuple[int, list[Row], int]],
    before: list[tuple[int, list[Row], int]],
    recent: list[tuple[int, list[Row], int]],
    here: list[Row],
) -> TopList:
    whole, earlier = Sketch(_MOST), Sketch(_MOST)
    for _, rows, floor in kept:
        whole.merge(rows, floor)
    for _, rows, floor in before:
        earlier.merge(rows, floor)
    were = {name: sum(counts) for name, counts in earlier.rows()}
    known = {name for _, rows, _ in recent for name, _ in rows}
    fresh = {name for name, _ in here} - known if recent else set()
    talkers = [
        Talker(name, sum(counts), counts, were.get(name, 0) if before else None, name in fresh)
        for name, counts in list(whole.rows())[:limit]
    ]
    return TopList(kind, begin, end, whole.left_out(limit), tuple(talkers))
