"""Who may not come in for a while: why, on what evidence, until when, and for how long the next time.

A ban ends by itself. One who earns the next soon after gets three times as long, up to a day; after a good week all is
forgotten. Strikes are small things that count together: enough of them within some minutes make a ban.
"""

from __future__ import annotations

from typing import Any, Final

import attrs

#: The first ban, and the longest.
FIRST_S: Final = 600.0
LONGEST_S: Final = 86400.0
#: Each next one is so many times as long.
GROWTH: Final = 3
#: Bans are remembered for so long after their end, to tell the next.
REMEMBERED_S: Final = 7 * 86400.0
#: Strikes fade to half in this time; so many make a ban.
STRIKE_HALF_S: Final = 600.0
STRIKES: Final = 10.0
#: Bans, and clients with strikes, that are remembered; the oldest go.
MOST: Final = 50_000


@attrs.define
class Ban:
    """One client, or one network, that may not come in.

    :ivar key: an address, or a network as 192.0.2.0/24
    :ivar evidence: what was seen
    :ivar by: "gateway", or who asked for it
    :ivar times: which one it is of this client
    """

    key: str
    reason: str
    evidence: str
    since: float
    until: float
    by: str = "gateway"
    times: int = 1


class Bans:
    """All bans. Times are seconds since the epoch."""

    def __init__(self, first_s: float = FIRST_S, longest_s: float = LONGEST_S) -> None:
        self.first_s = first_s
        self.longest_s = longest_s
        self._bans: dict[str, Ban] = {}
        self._strikes: dict[str, tuple[float, float]] = {}
        self._changed: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._bans)

    def ban(
        self, key: str, reason: str, evidence: str, now: float, seconds: float | None = None, by: str = "gateway"
    ) -> Ban:
        """From now on, for so long, or as long as it has earned. One that is banned already is not banned shorter."""
        before = self._bans.pop(key, None)
        times = before.times + 1 if before is not None and now - before.until < REMEMBERED_S else 1
        if before is not None and before.until > now:
            # It is banned; what it does meanwhile does not count as another time.
            times = before.times
        earned = min(self.longest_s, self.first_s * GROWTH ** (times - 1))
        until = now + (earned if seconds is None else seconds)
        if before is not None:
            until = max(until, before.until)
        made = self._bans[key] = Ban(key, reason, evidence, now, until, by, times)
        self._changed[key] = None
        self._strikes.pop(key, None)
        while len(self._bans) > MOST:
            gone = next(iter(self._bans))
            del self._bans[gone]
            self._changed[gone] = None
        return made

    def find(self, keys: tuple[str, ...], now: float) -> Ban | None:
        """The ban of any of these: a client's address and its networks."""
        for key in keys:
            ban = self._bans.get(key)
            if ban is not None and ban.until > now:
                return ban
        return None

    def lift(self, key: str) -> bool:
        """Let it in again, and forget that it was banned; whether it was."""
        self._changed[key] = None
        self._strikes.pop(key, None)
        return self._bans.pop(key, None) is not None

    def strike(self, key: str, weight: float, now: float) -> bool:
        """Something small; whether it is enough now."""
        weight_before, at = self._strikes.pop(key, (0.0, now))
        total = weight_before * 0.5 ** ((now - at) / STRIKE_HALF_S) + weight
        if total >= STRIKES:
            return True
        self._strikes[key] = (total, now)
        if len(self._strikes) > MOST:
            del self._strikes[next(iter(self._strikes))]
        return False

    def forgive(self, key: str, weight: float) -> None:
        """Something good: it takes strikes away."""
        found = self._strikes.get(key)
        if found is None:
            return
        if found[0] <= weight:
            del self._strikes[key]
        else:
            self._strikes[key] = (found[0] - weight, found[1])

    def active(self, now: float) -> list[Ban]:
        """Those that hold now, the newest first."""
        return sorted((ban for ban in self._bans.values() if ban.until > now), key=lambda ban: -ban.since)

    # What is kept over restarts

    def changed(self, wall: float, most: int) -> list[tuple[str, Any, float]]:
        """As `proxy.counters.Counted`."""
        rows: list[tuple[str, Any, float]] = []
        while self._changed and len(rows) < most:
            key, _ = self._changed.popitem()
            ban = self._bans.get(key)
            if ban is None:
                rows.append((key, None, 0.0))
            else:
                rows.append((key, list(attrs.astuple(ban)), ban.until + REMEMBERED_S))
        return rows

    def restore(self, rows: list[tuple[str, Any, float]], wall: float) -> None:
        """Take over rows."""
        for key, value, _ in rows:
            self._bans[key] = Ban(*value)
