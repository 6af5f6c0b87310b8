"""What rate and concurrency limits remember, over the revisions of the configuration and over restarts.

A limit is the same as long as it has its name and counts the same by the same keys: another rate or burst for it begins
with what is in use, in its own measure. Else it begins anew.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final
from urllib.parse import quote

from smtpgate.config.model import Settings
from smtpgate.config.model_traffic import ConcurrencyLimit, RateLimit
from smtpgate.proxy.limit_rules import Rule
from smtpgate.proxy.limiter import Limits
from smtpgate.tasks import Clock
from smtpgate.traffic.gcra import Rate, Stamps

#: What comes free sooner than that is not kept over a restart, which takes as long.
LEAD_S: Final = 5.0

Row = tuple[str, Any, float]


class Limiter:
    """The memory of all limits of the gateway.

    :ivar stamps: of each rate limit that is at work, by its name; `counts`: the same of concurrency limits
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._epoch = clock.seconds()
        self.stamps: dict[str, Stamps] = {}
        self.counts: dict[str, Counter[str]] = {}
        self._identities: dict[str, str] = {}
        self._rates: dict[str, Rate] = {}
        self._restored: dict[str, list[tuple[str, float, Rate]]] = {}
        self._met: dict[str, Counter[str]] = {}

    def now(self) -> float:
        """Seconds on the clock of the stamps, which began with the process."""
        return self._clock.seconds() - self._epoch

    def limits(self, settings: Settings) -> Limits:
        """The limits of one revision."""
        rates = [limit for limit in settings.rate_limits if limit.mode != "off"]
        at_work = [limit for limit in settings.concurrency_limits if limit.mode != "off"]
        most = settings.limits.rate_keys // max(1, len(rates))
        stamps = {limit.name: self._stamps(limit, most) for limit in rates}
        # They are counted in every mode: what is at work now would be missing once one is on.
        counts = {
            limit.name: self.counts[limit.name] if self._is_same(limit) else Counter[str]()
            for limit in settings.concurrency_limits
        }
        names = [limit.name for limit in rates] + [limit.name for limit in at_work]
        met = {name: self._met.get(name, Counter()) for name in names}
        self.stamps, self.counts, self._met = stamps, counts, met
        self._identities = {limit.name: _identity(limit) for limit in rates}
        self._identities |= {limit.name: _identity(limit) for limit in settings.concurrency_limits}
        self._rates = {limit.name: _rate(limit) for limit in rates}
        self._restored.clear()
        rules = [Rule(limit, self._rates[limit.name], stamps[limit.name], None, met[limit.name]) for limit in rates]
        rules += [Rule(limit, None, None, counts[limit.name], met[limit.name]) for limit in at_work]
        return Limits(rules, self.now)

    def _is_same(self, limit: RateLimit | ConcurrencyLimit) -> bool:
        return self._identities.get(limit.name) == _identity(limit)

    def _stamps(self, limit: RateLimit, most: int) -> Stamps:
        """What is remembered of a limit, in its own measure."""
        now, rate = self.now(), _rate(limit)
        if self._is_same(limit):
            stamps, before = self.stamps[limit.name], self._rates[limit.name]
            stamps.most = most
            if rate != before:
                stamps.rescale(now, before, rate)
            return stamps
        stamps = Stamps(most)
        for key, tat, before in self._restored.get(_identity(limit), ()):
            stamps.put(key, tat if rate == before else rate.rescale(tat, now, before), now)
        return stamps

    # What is kept over restarts

    def restore(self, rows: list[Row], wall: float) -> None:
        """Take over what was kept, for the limits that the first revision will have: a key is the limit's identity, a
        blank and what it counts; a value the stamp in seconds since the epoch, interval and burst."""
        now = self.now()
        for key, (at, interval_s, burst), _ in rows:
            identity, _, counted = key.partition(" ")
            tat = at - wall + now
            if tat > now:
                self._restored.setdefault(identity, []).append((counted, tat, Rate(interval_s, burst)))

    def changed(self, wall: float, most: int) -> list[Row]:
        """What changed since the last time, as `restore` takes it."""
        now = self.now()
        rows: list[Row] = []
        for name, stamps in self.stamps.items():
            identity, rate = self._identities[name], self._rates[name]
            for key, tat in stamps.changed(now, LEAD_S, most - len(rows)):
                at = tat - now + wall
                value = [at, rate.interval_s, rate.burst] if tat else None
                rows.append((f"{identity} {key}", value, at if tat else 0.0))
        return rows


def _identity(limit: RateLimit | ConcurrencyLimit) -> str:
    """What makes it the same limit in another revision or process: its name, what it counts, and by what. No blank."""
    return f"{quote(limit.name, safe='')}:{limit.count}:{'+'.join(limit.by)}:{limit.prefix4}:{limit.prefix6}"


def _rate(limit: RateLimit) -> Rate:
    return Rate(limit.interval_s, float(limit.burst))
