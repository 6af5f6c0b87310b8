"""What each server was in the last 24 hours, over reloads and restarts.

Precedent: HAProxy's last change and downtime, drawn as the ribbons of status pages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import attrs

from smtpgate.proxy.counters import Row
from smtpgate.proxy.pool import Pool
from smtpgate.proxy.server import ServerState

#: So far back.
KEPT_S: Final = 86400.0
#: Changes of one server that are kept; of one that comes and goes all day the oldest go.
MOST: Final = 500
#: That the gateway runs is written down so often, so that a stop stands in the ribbon.
SEEN_S: Final = 60.0
#: What a server can be: "off" is a gateway that does not run.
STATES: Final = ("up", "unready", "drain", "maint", "ejected", "down", "unknown", "off")


@attrs.frozen
class Stretch:
    """What it was for a while; seconds since the epoch."""

    begin: float
    end: float
    state: str

    @property
    def length_s(self) -> float:
        """How long."""
        return self.end - self.begin


@attrs.define
class _Known:
    changes: list[tuple[float, str]] = attrs.field(factory=list)
    written: float = 0.0


def state_of(server: ServerState) -> str:
    """What a server is now, in one word of STATES."""
    if server.is_drained:
        return "maint" if server.is_maint else "drain"
    return "unready" if server.state == "up" and not server.is_ready else server.state


class Ribbons:
    """Of all servers, by backend and name."""

    def __init__(self, wall: Callable[[], float], pools: Callable[[], Iterable[Pool]]) -> None:
        """
        :param pools: those at work
        """
        self._wall = wall
        self._pools = pools
        self._known: dict[tuple[str, str], _Known] = {}

    def look(self) -> None:
        """Note what has changed."""
        now = self._wall()
        for pool in self._pools():
            for server in pool.servers:
                known = self._known.setdefault((pool.backend.name, server.name), _Known())
                state = state_of(server)
                if not known.changes or known.changes[-1][1] != state:
                    known.changes.append((now, state))
                    known.written = 0.0
                    self._cut(known, now)

    @staticmethod
    def _cut(known: _Known, now: float) -> None:
        """The last change before the day stays: it is what the day began with."""
        changes = known.changes
        first = next((place for place, (at, _) in enumerate(changes) if at > now - KEPT_S), len(changes))
        del changes[: max(0, first - 1, len(changes) - MOST)]

    def of(self, backend: str, server: str) -> list[Stretch]:
        """The last 24 hours of one; from when on it is known."""
        self.look()
        known, now = self._known.get((backend, server)), self._wall()
        if known is None:
            return []
        ends = [*(at for at, _ in known.changes[1:]), now]
        begin = now - KEPT_S
        return [Stretch(max(at, begin), end, state) for (at, state), end in zip(known.changes, ends) if end > begin]

    # What is kept over restarts

    def changed(self, wall: float, most: int) -> list[Row]:
        """As `proxy.counters.Counted`."""
        self.look()
        rows: list[Row] = []
        for (backend, server), known in self._known.items():
            # What is not configured any more is not looked at, and is forgotten in time.
            if known.changes and wall - known.written >= SEEN_S and len(rows) < most:
                known.written = wall
                rows.append((f"{backend} {server}", [wall, known.changes], wall + KEPT_S))
        return rows

    def restore(self, rows: list[Row], wall: float) -> None:
        """Take over rows; since it was written last the gateway did not run."""
        for key, (seen, changes), _ in rows:
            backend, _, server = key.partition(" ")
            kept = [(at, state) for at, state in changes if state in STATES]
            self._known[backend, server] = _Known([*kept, (seen, "off")])
