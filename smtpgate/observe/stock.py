"""What lies on the disk, for the metrics: looked at once a minute in threads, for a scrape must not wait for a disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import Deferred, ensureDeferred

from smtpgate.interfaces import StoreFailed
from smtpgate.observe.exposition import Number
from smtpgate.tasks import Clock

LOOK_S: Final = 60.0


class Stock:
    """Held messages, the size of the database and the last backup, as they were at the last look."""

    def __init__(
        self,
        clock: Clock,
        totals: Callable[[], Deferred[list[dict[str, Any]]]],
        in_thread: Callable[..., Deferred[Any]],
        oldest: Callable[[], Deferred[dict[str, float]]],
        backup: Callable[[], tuple[float, int] | None],
        database: Path,
        room: Callable[[], tuple[int, tuple[str, ...]]],
    ) -> None:
        """
        :param totals: held messages by class and state: `held_as`, `count`, `octets`
        :param oldest: by class when the oldest was held that waits still
        :param backup: when the last backup was made, and its octets; reads a file
        :param room: octets that there is room for, and the classes
        """
        self._clock = clock
        self._totals = totals
        self._in_thread = in_thread
        self._oldest = oldest
        self._backup = backup
        self._database = database
        self._room = room
        self._numbers: list[Number] = []
        self._call: Any = None

    def start(self) -> None:
        """Look now, and again and again."""
        ensureDeferred(self._look())
        self._call = self._clock.callLater(LOOK_S, self.start)

    def close(self) -> None:
        """Look no more."""
        if self._call is not None and self._call.active():
            self._call.cancel()

    async def _look(self) -> None:
        try:
            found = await self._totals()
            oldest = await self._oldest()
            size = await self._in_thread(_size, self._database)
            backup = await self._in_thread(self._backup)
        except (StoreFailed, OSError):
            # What is wrong with the store is told by whoever needs it; a number of an hour ago would be a lie.
            self._numbers = []
            return
        count, octets = Counter(dict.fromkeys(self._room()[1], 0)), Counter[str]()
        for row in found:
            count[row["held_as"]] += row["count"]
            octets[row["held_as"]] += row["octets"]
        numbers: list[Number] = [("store_bytes", ("state",), size)]
        for kind in count:
            numbers.append(("quarantine_messages", (kind,), count[kind]))
            numbers.append(("quarantine_bytes", (kind,), octets[kind]))
        numbers += [("quarantine_oldest_timestamp_seconds", (kind,), at) for kind, at in oldest.items()]
        if backup is not None:
            numbers.append(("backup_last_timestamp_seconds", (), backup[0]))
        self._numbers = numbers

    def rows(self) -> Iterator[Number]:
        """For the metrics."""
        yield from self._numbers
        yield "quarantine_limit_bytes", (), self._room()[0]


def _size(database: Path) -> int:
    """Of the file, and of what SQLite has beside it."""
    beside = database.with_name(database.name + "-wal")
    return database.stat().st_size + (beside.stat().st_size if beside.exists() else 0)
