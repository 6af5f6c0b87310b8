"""Counters that outlive the process: limits, reputation, bans. They are kept in memory, where they are asked about for
every message; what changed goes to the store in groups, so that no mail ever waits for a disk.

Killed, the gateway forgets the last seconds; stopped, nothing. The store is a port (`interfaces.ICounterStore`): a
database of this machine, or an engine that several gateways share.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from twisted.internet.defer import ensureDeferred

from smtpgate.interfaces import StoreFailed
from smtpgate.policy.event import Happened
from smtpgate.tasks import Clock

#: What changed is written so often, and at most so many rows of each kind at a time.
SAVE_S: Final = 10.0
SAVE_ROWS: Final = 5000
#: Where more had changed than that, the rest follows after so long.
NEXT_S: Final = 0.5

Row = tuple[str, Any, float]


class Counted(Protocol):
    """Something that is kept: it says what changed, and takes over what was kept."""

    def changed(self, wall: float, most: int) -> list[Row]:
        """Rows that changed since the last time: key, plain value (None to forget), and when it means nothing more."""

    def restore(self, rows: list[Row], wall: float) -> None:
        """Take over rows."""


class Counters:
    """Keeps all that is counted."""

    def __init__(
        self,
        clock: Clock,
        wall: Callable[[], float],
        store: Any,
        counted: Mapping[str, Counted],
        tell: Callable[[Any], None],
    ) -> None:
        """
        :param store: an `interfaces.ICounterStore`
        :param counted: by the name of its space
        """
        self._clock = clock
        self._wall = wall
        self._store = store
        self._counted = counted
        self._tell = tell
        self._call: Any = None
        self._waiting: dict[str, list[Row]] = {}
        self._is_failing = False
        self._is_closed = False
        self._is_urgent = False
        self._has_more = False

    def restore(self) -> None:
        """Take over what was kept, before anything is served."""
        wall = self._wall()
        for space, counted in self._counted.items():
            counted.restore(self._store.load_now(space, wall), wall)

    def start(self) -> None:
        """Write from now on."""
        self._call = self._clock.callLater(SAVE_S, self._again)

    def soon(self) -> None:
        """Something that must not be lost has changed: write at once."""
        if self._call is not None and self._call.active():
            self._call.reset(0)
        else:
            # It is being written: again, once that is done.
            self._is_urgent = True

    async def _save(self, most: int) -> int:
        """Write what changed; how many rows the largest group had."""
        largest = 0
        for space, counted in self._counted.items():
            # What the store did not take the last time goes first: while it fails no more is asked for.
            await self._put(space, self._waiting.get(space, []))
            rows = counted.changed(self._wall(), most)
            largest = max(largest, len(rows))
            await self._put(space, rows)
        return largest

    async def _put(self, space: str, rows: list[Row]) -> None:
        if rows:
            self._waiting[space] = rows
            await self._store.put(space, rows)
            del self._waiting[space]

    def _again(self) -> None:
        self._call = None
        saving = ensureDeferred(self._save(SAVE_ROWS))
        saving.addCallbacks(self._saved, self._failed)
        saving.addBoth(self._go_on)

    def _go_on(self, result: Any) -> Any:
        if not self._is_closed:
            self._call = self._clock.callLater(NEXT_S if self._has_more else SAVE_S, self._again)
            self._has_more = False
            if self._is_urgent:
                self._is_urgent = False
                self.soon()
        return result

    def _saved(self, largest: int) -> None:
        self._has_more = largest == SAVE_ROWS
        if self._is_failing:
            self._is_failing = False
            self._tell(Happened("counters.works", "info", "counters are kept again"))

    def _failed(self, failure: Any) -> None:
        failure.trap(StoreFailed)
        if not self._is_failing:
            self._is_failing = True
            message = f"counters are not kept; limits and bans hold, and end with the process: {failure.value}"
            self._tell(Happened("counters.failing", "error", message[:500]))

    async def close(self) -> None:
        """Write all that changed, and no more after that."""
        self._is_closed = True
        if self._call is not None and self._call.active():
            self._call.cancel()
        try:
            while await self._save(SAVE_ROWS) == SAVE_ROWS:
                pass
        except StoreFailed as error:
            self._tell(Happened("counters.failing", "error", f"the last counters were not kept: {error}"[:500]))
