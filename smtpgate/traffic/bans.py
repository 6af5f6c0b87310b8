"""Who may not come in for a while: why, on what evidence, until when, and for how long the next time.

A ban ends by itself. One who earns the next soon after gets three times as long, up to a day; after a good week all is
forgotten. Strikes are small things that count together: enough of them within some minutes make a ban.

What an administrator says holds as it was said, whatever the gateway finds, and does not count as another time.
"""

from __future__ import annotations

from itertools import islice
from typing import Any, Final

import attrs

from smtpgate.traffic.changed import Changed

#: The first ban, and the longest.
FIRST_S: Final = 600.0
LONGEST_S: Final = 86400.0
#: Each next one is so many times as long.
GROWTH: Final = 3
#: After so many it grows no further, whatever the longest is: that would be longer than a man's life.
STEPS: Final = 14
#: Bans are remembered for so long after their end, to tell the next.
REMEMBERED_S: Final = 7 * 86400.0
#: Strikes fade to half in this time; so many make a ban.
STRIKE_HALF_S: Final = 600.0
STRIKES: Final = 10.0
#: Bans, and clients with strikes, that are remembered. Of the oldest bans the one goes that ends first.
MOST: Final = 50_000
#: Bans that are looked at for the one that goes.
_CANDIDATES: Final = 64
#: Who bans by itself.
GATEWAY: Final = "gateway"


@attrs.define
class Ban:
    """One client, or one network, that may not come in.

    :ivar key: an address, or a network as 192.0.2.0/24
    :ivar evidence: what was seen
    :ivar by: "gateway", or who asked for it
    :ivar times: how many the gateway has given this client, in all
    """

    key: str
    reason: str
    evidence: str
    since: float
    until: float
    by: str = GATEWAY
    times: int = 1

    @property
    def is_by_hand(self) -> bool:
        """Somebody asked for it."""
        return self.by != GATEWAY


class Bans:
    """All bans. Times are seconds since the epoch.

    :ivar strikes_of: by client, what its strikes weigh together, and since when
    """

    def __init__(self, first_s: float = FIRST_S, longest_s: float = LONGEST_S) -> None:
        self.first_s = first_s
        self.longest_s = longest_s
        self._bans: dict[str, Ban] = {}
        self.strikes_of: dict[str, tuple[float, float]] = {}
        self._changed: Changed[str] = Changed()

    def __len__(self) -> int:
        return len(self._bans)

    def ban(
        self, key: str, reason: str, evidence: str, now: float, seconds: float | None = None, by: str = GATEWAY
    ) -> Ban:
        """From now on.

        :param seconds: for so long; None: as long as it has earned. The gateway does not shorten a ban that holds, and
            leaves one by hand as it is
        """
        before = self._bans.get(key)
        if before is not None and now - before.until >= REMEMBERED_S:
            before = None
        holds = before is not None and before.until > now
        times = before.times if before is not None else 0
        if by == GATEWAY and not holds:
            # What it does while it is banned does not count as another time.
            times += 1
        if seconds is None:
            seconds = self.earned_s(times)
        until = now + seconds
        self.strikes_of.pop(key, None)
        if by == GATEWAY and before is not None and holds:
            if before.is_by_hand:
                return before
            until = max(until, before.until)
        self._changed.fresh[key] = None
        self._bans.pop(key, None)
        made = self._bans[key] = Ban(key, reason, evidence, now, until, by, times)
        if len(self._bans) > MOST:
            self._drop_one(now)
        return made

    def earned_s(self, times: int) -> float:
        """How long the ban is that somebody earns for so many times."""
        return min(self.longest_s, self.first_s * GROWTH ** min(max(0, times - 1), STEPS))

    def _drop_one(self, now: float) -> None:
        """Make room: what is over, or ends soonest. A ban by hand stays, as long as there is another."""
        old = (ban for ban in self._bans.values() if not (ban.is_by_hand and ban.until > now))
        least = min(islice(old, _CANDIDATES), key=lambda ban: ban.until, default=None)
        gone = least.key if least is not None else next(iter(self._bans))
        del self._bans[gone]
        self._changed.fresh[gone] = None

    def get(self, key: str, now: float) -> Ban | None:
        """The ban of just that key, where it holds."""
        return self.find((key,), now)

    def find(self, keys: tuple[str, ...], now: float) -> Ban | None:
        """The ban of any of these: a client's address and its networks."""
        for key in keys:
            ban = self._bans.get(key)
            if ban is not None and ban.until > now:
                return ban
        return None

    def lift(self, key: str) -> bool:
        """Let it in again, and forget that it was banned; whether it was."""
        self._changed.fresh[key] = None
        self.strikes_of.pop(key, None)
        return self._bans.pop(key, None) is not None

    def strike(self, key: str, weight: float, now: float) -> bool:
        """Something small; whether it is enough now."""
        weight_before, at = self.strikes_of.pop(key, (0.0, now))
        total = weight_before * 0.5 ** ((now - at) / STRIKE_HALF_S) + weight
        if total >= STRIKES:
            return True
        self.strikes_of[key] = (total, now)
        if len(self.strikes_of) > MOST:
            del self.strikes_of[next(iter(self.strikes_of))]
        return False

    def forgive(self, key: str, weight: float) -> None:
        """Something good: it takes strikes away."""
        found = self.strikes_of.get(key)
        if found is None:
            return
        if found[0] <= weight:
            del self.strikes_of[key]
        else:
            self.strikes_of[key] = (found[0] - weight, found[1])

    def newest(self, most: int, now: float) -> list[Ban]:
        """Those that hold now, the newest first, and so many at most."""
        return list(islice((ban for ban in reversed(self._bans.values()) if ban.until > now), most))

    def holding(self, now: float) -> int:
        """How many hold now."""
        return sum(ban.until > now for ban in self._bans.values())

    def holding_by(self, now: float) -> tuple[int, int]:
        """How many hold now by somebody's hand, and in all."""
        holding = [ban.is_by_hand for ban in self._bans.values() if ban.until > now]
        return sum(holding), len(holding)

    # What is kept over restarts

    def changed(self, wall: float, most: int) -> list[tuple[str, Any, float]]:
        """As `proxy.counters.Counted`."""
        rows: list[tuple[str, Any, float]] = []
        while len(rows) < most and (key := self._changed.pop()) is not None:
            ban = self._bans.get(key)
            if ban is None:
                rows.append((key, None, 0.0))
            else:
                rows.append((key, list(attrs.astuple(ban)), ban.until + REMEMBERED_S))
        return rows

    def restore(self, rows: list[tuple[str, Any, float]], wall: float) -> None:
        """Take over rows."""
        for ban in sorted((Ban(*value) for _, value, _ in rows), key=lambda one: one.since):
            self._bans[ban.key] = ban
        while len(self._bans) > MOST:
            self._drop_one(wall)
