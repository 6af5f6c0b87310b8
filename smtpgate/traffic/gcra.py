"""The generic cell rate algorithm: one time stamp for each key says all that a rate limit must remember.

The stamp is the *theoretical arrival time* (TAT): when the next unit would come if all came evenly. A unit conforms as
long as it does not come earlier than the burst's depth before that time; taking it moves the stamp on by one interval.
So an idle key needs no memory, no counter is ever reset on the hour, and a unit given back moves the stamp back.

ITU-T I.371 (the virtual scheduling form); the same as a leaky bucket as a meter. Times are seconds of a clock that
began not long ago: a stamp is a sum of many intervals, and the float of a date has too few digits for that.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from itertools import islice
from operator import itemgetter

import attrs

from smtpgate.traffic.changed import Changed

#: What sums of intervals may be off by, seconds: a unit that comes when it was told to is never early.
SLACK_S = 1e-6
#: Keys looked at for each new one, so that what is idle goes away without a sweep of all.
_LOOKED_AT = 2
#: Keys looked at to show some: ten milliseconds for whoever waits meanwhile.
_SHOWN = 50_000
#: Keys looked at for one that has to go because there is no room.
_CANDIDATES = 8


@attrs.frozen
class Rate:
    """So many units in a time, of which `burst` may come at once.

    :ivar interval_s: between two units
    :ivar burst: at least 1
    """

    interval_s: float = attrs.field(validator=attrs.validators.gt(0))
    burst: float = attrs.field(validator=attrs.validators.ge(1))

    @property
    def depth_s(self) -> float:
        """How far the stamp may run ahead of now."""
        return self.interval_s * self.burst

    def wait(self, tat: float, now: float, cost: float = 1.0) -> float:
        """Seconds until `cost` units conform; 0.0 where they do now.

        What costs more than a whole burst conforms when nothing else was taken: it would never come in otherwise.
        """
        ahead = max(tat, now) - now
        wait = ahead + min(cost, self.burst) * self.interval_s - self.depth_s
        return wait if wait > SLACK_S else 0.0

    def take(self, tat: float, now: float, cost: float = 1.0) -> float:
        """The stamp once `cost` units were taken, whether they conform or not."""
        return max(tat, now) + cost * self.interval_s

    def settle(self, tat: float, now: float, base: float, cost: float, final: float) -> float:
        """The stamp once what was taken as `cost` units turns out to be `final`; 0.0 of them: all is given back.

        What has run out of it meanwhile is nobody's any more: giving it back would let in more than the rate allows.

        :param base: the stamp before, or the time at which they were taken where that was later
        """
        taken_s, final_s = cost * self.interval_s, final * self.interval_s
        if final_s >= taken_s:
            return max(tat, now) + final_s - taken_s
        return tat - max(0.0, taken_s - max(final_s, now - base))

    def rescale(self, tat: float, now: float, before: Rate) -> float:
        """The stamp where the rate was another up to now: as many units are in use, and a whole burst at most, so that
        nobody is kept out for longer than anybody who used up this one."""
        return now + min((tat - now) * self.interval_s / before.interval_s, self.depth_s)

    def level(self, tat: float, now: float) -> float:
        """How full the bucket is, in units: 0.0 for an idle key; over `burst` where more was taken than conforms."""
        return max(0.0, tat - now) / self.interval_s


class Stamps:
    """The stamps of many keys, in bounded memory.

    A stamp that lies in the past is the same as none, so it is dropped when it is come by. Where there is no room for a
    new key, the one of the oldest that comes free first is forgotten: that forgives least.

    :ivar most: keys that there is room for
    :ivar evicted: keys that were forgotten though they were not free
    """

    __slots__ = ("evicted", "most", "_stamps", "_changed", "_kept")

    def __init__(self, most: int) -> None:
        self.evicted = 0
        self._stamps: OrderedDict[str, float] = OrderedDict()
        self.most = most
        self._changed: Changed[str] = Changed()
        #: The stamps that `changed` gave: what is on the disk.
        self._kept: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._stamps)

    def get(self, key: str) -> float:
        """The stamp of a key; 0.0 for none."""
        return self._stamps.get(key, 0.0)

    def take(self, key: str, now: float, cost_s: float, room_s: float) -> float:
        """Move a stamp on, where it is not too far ahead; its base (`Rate.settle`), or -1.0 where it stays."""
        stamps = self._stamps
        tat = stamps.get(key)
        if tat is None:
            self._make_room(now)
        else:
            if tat > now:
                if tat - now > room_s:
                    return -1.0
                stamps[key] = tat + cost_s
                stamps.move_to_end(key)
                self._changed.fresh[key] = None
                return tat
            stamps.move_to_end(key)
        stamps[key] = now + cost_s
        self._changed.fresh[key] = None
        return now

    def put(self, key: str, tat: float, now: float) -> None:
        """Keep a stamp."""
        stamps = self._stamps
        self._changed.fresh[key] = None
        if key in stamps:
            stamps[key] = tat
            stamps.move_to_end(key)
            return
        self._make_room(now)
        stamps[key] = tat

    def _make_room(self, now: float) -> None:
        stamps = self._stamps
        for _ in range(_LOOKED_AT):
            if not stamps:
                return
            key, tat = stamps.popitem(last=False)
            if tat > now:
                # Still in use: it goes to the end of those that are looked at.
                stamps[key] = tat
            else:
                self._drop(key, now)
        if len(stamps) < self.most:
            return
        oldest = [stamps.popitem(last=False) for _ in range(min(_CANDIDATES, len(stamps)))]
        oldest.sort(key=lambda one: one[1])
        self.evicted += oldest[0][1] > now
        self._drop(oldest[0][0], now)
        for key, tat in oldest[1:]:
            stamps[key] = tat

    def rescale(self, now: float, before: Rate, after: Rate) -> None:
        """Another rate from now on."""
        for key, tat in self._stamps.items():
            if tat > now:
                # The key is there: the order, which is iterated over, stays.
                self._stamps[key] = after.rescale(tat, now, before)
                self._changed.fresh[key] = None

    def resize(self, most: int, now: float) -> None:
        """Room for so many keys from now on."""
        self.most = most
        for key, tat in heapq.nsmallest(len(self._stamps) - most, self._stamps.items(), key=itemgetter(1)):
            del self._stamps[key]
            self.evicted += tat > now
            self._drop(key, now)

    def _drop(self, key: str, now: float) -> None:
        """A key is gone: what is on the disk of it must go too, where it is not over by itself."""
        if self._kept.get(key, 0.0) > now:
            self._changed.fresh[key] = None
        else:
            self._kept.pop(key, None)
            self._changed.fresh.pop(key, None)

    def restore(self, key: str, tat: float) -> None:
        """Take over a stamp that is on the disk."""
        self._stamps[key] = self._kept[key] = tat

    def kept(self) -> list[str]:
        """Keys of which there is a stamp on the disk."""
        return list(self._kept)

    def fullest(self, most: int) -> list[tuple[str, float]]:
        """The keys whose stamps lie furthest ahead, and these; of many keys those that were used last are looked at."""
        newest = islice(reversed(self._stamps.items()), _SHOWN)
        return heapq.nlargest(most, newest, key=itemgetter(1))

    def items(self) -> list[tuple[str, float]]:
        """All of them; a copy."""
        return list(self._stamps.items())

    def forget(self, key: str) -> bool:
        """Forget a key; whether it was there."""
        self._changed.fresh[key] = None
        return self._stamps.pop(key, None) is not None

    def changed(self, now: float, lead_s: float, most: int) -> list[tuple[str, float]]:
        """Keys whose stamps changed since they were asked for here, and these; 0.0 for what is to be forgotten.

        :param lead_s: what comes free earlier than that is left out: it would be free before anybody reads it
        """
        rows: list[tuple[str, float]] = []
        stamps, changed, kept = self._stamps, self._changed, self._kept
        while len(rows) < most and (key := changed.pop()) is not None:
            tat = stamps.get(key, 0.0)
            if tat > now + lead_s:
                rows.append((key, tat))
                kept[key] = tat
            elif kept.pop(key, 0.0) > now:
                rows.append((key, 0.0))
        return rows
