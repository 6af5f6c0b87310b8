"""What somebody said about a thing while the gateway runs: it holds until it is taken back or for a while, over reloads
and restarts. What is said is no state of the thing: so it holds for each revision that has a thing of that name, and is
kept for one that is not configured for the moment.

Precedent: HAProxy server states, which its reload forgets unless they are saved to a file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Generic, Protocol, TypeVar

import attrs

from smtpgate.policy.event import Happened
from smtpgate.proxy.counters import Row
from smtpgate.tasks import Clock
from smtpgate.traffic.changed import Changed

#: Kept for so long where nobody takes it back.
KEEP_S: Final = 365 * 86400.0


class Lasting(Protocol):
    """Something that was said. Times are seconds since the epoch.

    :ivar until: 0.0 until it is taken back
    """

    @property
    def reason(self) -> str:
        """Why."""

    @property
    def since(self) -> float:
        """From when on."""

    @property
    def until(self) -> float:
        """Until when."""


T = TypeVar("T", bound=Lasting)
Place = tuple[str, str]


class Said(Generic[T]):
    """All of one kind, by a place of two names."""

    def __init__(
        self,
        clock: Clock,
        wall: Callable[[], float],
        tell: Callable[[Any], None],
        read: Callable[..., T],
        over: tuple[str, str],
    ) -> None:
        """
        :param read: a value from what is kept of it
        :param over: name and words of the event that tells that one's time is over; {0} and {1} are its place
        """
        self._clock = clock
        self._wall = wall
        self._tell = tell
        self._read = read
        self._told_over = over
        self._known: dict[Place, T] = {}
        self._calls: dict[Place, Any] = {}
        self._changed: Changed[Place] = Changed()
        #: Called when there is something to keep.
        self.on_change: Callable[[], None] | None = None

    def find(self, first: str, second: str) -> T | None:
        """What was said of one."""
        return self._known.get((first, second))

    def all(self) -> list[tuple[Place, T]]:
        """Everything, in order of its places."""
        return sorted(self._known.items(), key=lambda one: one[0])

    def say(self, place: Place, value: T) -> None:
        """It holds from now on."""
        self._known[place] = value
        self._note(place)
        self.apply()

    def take_back(self, place: Place) -> bool:
        """It holds no more; whether it did."""
        was = self._known.pop(place, None)
        self._note(place)
        self._end(place)
        return was is not None

    def until(self, seconds: float) -> float:
        """When something is over that holds for so long; 0.0 for ever."""
        return self._wall() + seconds if seconds else 0.0

    # For whoever knows the things

    def apply(self) -> None:
        """Tell all things, those of older revisions too."""

    def _end(self, place: Place) -> None:
        """Tell the thing that nothing is said of it any more."""

    def _note(self, place: Place) -> None:
        self._changed.fresh[place] = None
        self._schedule(place)
        if self.on_change is not None:
            self.on_change()

    def _schedule(self, place: Place) -> None:
        call = self._calls.pop(place, None)
        if call is not None and call.active():
            call.cancel()
        value = self._known.get(place)
        if value is not None and value.until:
            self._calls[place] = self._clock.callLater(max(0.0, value.until - self._wall()), self._over, place)

    def _over(self, place: Place) -> None:
        value = self._known.get(place)
        if value is None:
            return
        self.take_back(place)
        name, words = self._told_over
        fields = (("target", f"{place[0]}/{place[1]}"), ("reason", value.reason))
        self._tell(Happened(name, "info", words.format(*place), fields))

    def close(self) -> None:
        """No time runs out any more."""
        for call in self._calls.values():
            if call.active():
                call.cancel()
        self._calls.clear()

    # What is kept over restarts

    def changed(self, wall: float, most: int) -> list[Row]:
        """As `proxy.counters.Counted`: the place, and what was said."""
        rows: list[Row] = []
        while len(rows) < most and (place := self._changed.pop()) is not None:
            value = self._known.get(place)
            if value is None:
                rows.append((" ".join(place), None, 0.0))
            else:
                rows.append((" ".join(place), list(attrs.astuple(value)), value.until or value.since + KEEP_S))  # type: ignore[arg-type]
        return rows

    def restore(self, rows: list[Row], wall: float) -> None:
        """Take over rows, before there is a revision."""
        for key, value, _ in rows:
            first, _, second = key.partition(" ")
            self._known[first, second] = self._read(*value)
            self._schedule((first, second))
