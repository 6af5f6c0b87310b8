"""Servers that an administrator took out of service: until somebody says ready, or until a time, over reloads and
restarts.

A drain is somebody's word about a server, not a state of it: so it holds for each revision that has a server of that
name, and is kept for one that is not configured for the moment.

Precedent: HAProxy server states, which its reload forgets unless they are saved to a file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import attrs

from smtpgate.policy.event import Happened
from smtpgate.proxy.counters import Row
from smtpgate.proxy.pool import Pool
from smtpgate.tasks import Clock
from smtpgate.traffic.changed import Changed

#: Kept for so long for a server that nobody has put into service.
KEEP_S: Final = 365 * 86400.0


@attrs.frozen
class Drain:
    """One server out of service. Times are seconds since the epoch.

    :ivar until: 0.0 until somebody says ready
    """

    reason: str
    since: float
    until: float = 0.0


class Drains:
    """All of them, by backend and server."""

    def __init__(
        self,
        clock: Clock,
        wall: Callable[[], float],
        pools: Callable[[], Iterable[Mapping[str, Pool]]],
        tell: Callable[[Any], None],
    ) -> None:
        """
        :param pools: of each revision that has sessions
        """
        self._clock = clock
        self._wall = wall
        self._pools = pools
        self._tell = tell
        self._drains: dict[tuple[str, str], Drain] = {}
        self._calls: dict[tuple[str, str], Any] = {}
        self._changed: Changed[tuple[str, str]] = Changed()
        #: Called when there is something to keep.
        self.on_change: Callable[[], None] | None = None

    def find(self, backend: str, server: str) -> Drain | None:
        """What was said of a server."""
        return self._drains.get((backend, server))

    def drain(self, backend: str, server: str, reason: str, seconds: float = 0.0) -> None:
        """Out of service from now on; for so long, or until somebody says ready."""
        now, place = self._wall(), (backend, server)
        self._drains[place] = Drain(reason, now, now + seconds if seconds else 0.0)
        self._note(place)
        self.apply()

    def ready(self, backend: str, server: str) -> None:
        """Into service again."""
        place = (backend, server)
        self._drains.pop(place, None)
        self._note(place)
        for pools in self._pools():
            pool = pools.get(backend)
            found = pool.server(server) if pool is not None else None
            if pool is not None and found is not None:
                pool.ready(found)

    def _note(self, place: tuple[str, str]) -> None:
        self._changed.fresh[place] = None
        self._schedule(place)
        if self.on_change is not None:
            self.on_change()

    def _schedule(self, place: tuple[str, str]) -> None:
        call = self._calls.pop(place, None)
        if call is not None and call.active():
            call.cancel()
        drain = self._drains.get(place)
        if drain is not None and drain.until:
            self._calls[place] = self._clock.callLater(max(0.0, drain.until - self._wall()), self._over, place)

    def _over(self, place: tuple[str, str]) -> None:
        drain = self._drains.get(place)
        if drain is None:
            return
        self.ready(*place)
        message = f"{place[0]}: {place[1]} is in service again: it was drained until now"
        fields = (("target", f"{place[0]}/{place[1]}"), ("reason", drain.reason))
        self._tell(Happened("drain.over", "info", message, fields))

    def apply(self) -> None:
        """Tell all pools: sessions that began before a reload hear of it too."""
        for pools in self._pools():
            for (backend, name), drain in self._drains.items():
                pool = pools.get(backend)
                server = pool.server(name) if pool is not None else None
                if pool is not None and server is not None:
                    pool.drain(server, drain.reason)

    def close(self) -> None:
        """No time runs out any more."""
        for call in self._calls.values():
            if call.active():
                call.cancel()
        self._calls.clear()

    # What is kept over restarts

    def changed(self, wall: float, most: int) -> list[Row]:
        """As `proxy.counters.Counted`: backend and server, and what was said."""
        rows: list[Row] = []
        while len(rows) < most and (place := self._changed.pop()) is not None:
            drain = self._drains.get(place)
            if drain is None:
                rows.append((" ".join(place), None, 0.0))
            else:
                rows.append((" ".join(place), list(attrs.astuple(drain)), drain.until or drain.since + KEEP_S))
        return rows

    def restore(self, rows: list[Row], wall: float) -> None:
        """Take over rows, before there is a revision."""
        for key, value, _ in rows:
            backend, _, server = key.partition(" ")
            self._drains[backend, server] = Drain(*value)
            self._schedule((backend, server))
