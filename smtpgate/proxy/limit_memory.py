"""What rate and concurrency limits remember, over the revisions of the configuration and over restarts.

A limit is the same as long as it has its name and counts the same by the same keys: another rate or burst for it begins
with what is in use, in its own measure. Else it begins anew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote
from weakref import WeakSet

import attrs

from smtpgate.config.model import Settings
from smtpgate.config.model_traffic import ConcurrencyLimit, RateLimit
from smtpgate.proxy.limit_rules import Rule
from smtpgate.proxy.limiter import Limits
from smtpgate.tasks import Clock
from smtpgate.traffic.gcra import Rate, Stamps

#: What comes free sooner than that is not kept over a restart, which takes as long.
LEAD_S: Final = 5.0

Row = tuple[str, Any, float]


@attrs.define(eq=False)
class _Meter:
    """What one rate limit remembers, and the rate in whose measure that is."""

    identity: str
    stamps: Stamps
    rate: Rate


class Limiter:
    """The memory of all limits of the gateway."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._epoch = clock.seconds()
        self._meters: dict[str, _Meter] = {}
        self._counts: dict[str, tuple[str, Counter[str]]] = {}
        self._restored: dict[str, list[tuple[str, float, Rate]]] = {}
        self._met: dict[str, Counter[str]] = {}
        #: Rows of limits that are no more, and are on the disk still.
        self._withdrawn: list[str] = []
        #: Those of all revisions that have sessions.
        self._rules: WeakSet[Rule] = WeakSet()

    def now(self) -> float:
        """Seconds on the clock of the stamps, which began with the process."""
        return self._clock.seconds() - self._epoch

    @property
    def stamps(self) -> dict[str, Stamps]:
        """Of each rate limit that was begun, by its name; one that is off has them too."""
        return {name: meter.stamps for name, meter in self._meters.items()}

    @property
    def counts(self) -> dict[str, Counter[str]]:
        """The same of concurrency limits."""
        return {name: counts for name, (_, counts) in self._counts.items()}

    def limits(self, settings: Settings) -> Limits:
        """The limits of one revision. Nothing of those that are at work is changed until `Limits.begin`: the revision
        may come to nothing."""
        # One that is off remembers what it knew: off and on again is no way to forget.
        most = settings.limits.rate_keys // max(1, len(settings.rate_limits))
        meters = {limit.name: self._meter(limit, most) for limit in settings.rate_limits}
        counts = {limit.name: self._count(limit) for limit in settings.concurrency_limits}
        names = (*meters, *counts)
        met = {name: self._met.get(name, Counter()) for name in names}
        rules = [
            Rule(limit, _rate(limit), meters[limit.name].stamps, None, met[limit.name])
            for limit in settings.rate_limits
            if limit.mode != "off"
        ]
        rules += [
            Rule(limit, None, None, counts[limit.name][1], met[limit.name])
            for limit in settings.concurrency_limits
            if limit.mode != "off"
        ]

        def begin() -> None:
            rates = {limit.name: _rate(limit) for limit in settings.rate_limits}
            self._begin(meters, rates, most)
            self._counts, self._met = counts, met
            self._rules.update(rules)

        return Limits(rules, self.now, begin)

    def _begin(self, meters: dict[str, _Meter], rates: Mapping[str, Rate], most: int) -> None:
        """These are at work from now on. Sessions of older revisions go on with their own rules, in the new measure."""
        now = self.now()
        for name, meter in meters.items():
            meter.stamps.resize(most, now)
            if meter.rate != rates[name]:
                meter.stamps.rescale(now, meter.rate, rates[name])
                meter.rate = rates[name]
                for rule in self._rules:
                    if rule.stamps is meter.stamps:
                        rule.set_rate(meter.rate, now)
        identities = {meter.identity for meter in meters.values()}
        for meter in self._meters.values():
            if meter.identity not in identities:
                self._withdrawn += [f"{meter.identity} {key}" for key in meter.stamps.kept()]
        for identity, restored in self._restored.items():
            if identity not in identities:
                self._withdrawn += [f"{identity} {key}" for key, _, _ in restored]
        self._meters = meters
        self._restored.clear()

    def _meter(self, limit: RateLimit, most: int) -> _Meter:
        identity, rate = _identity(limit), _rate(limit)
        known = self._meters.get(limit.name)
        if known is not None and known.identity == identity:
            return known
        stamps, now = Stamps(most), self.now()
        for key, tat, before in self._restored.get(identity, ()):
            if rate == before:
                stamps.restore(key, tat)
            else:
                stamps.put(key, rate.rescale(tat, now, before), now)
        return _Meter(identity, stamps, rate)

    def _count(self, limit: ConcurrencyLimit) -> tuple[str, Counter[str]]:
        """What is at work; of a limit that was off what began since it is on."""
        identity = _identity(limit)
        known = self._counts.get(limit.name)
        return known if known is not None and known[0] == identity else (identity, Counter())

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
        rows: list[Row] = [(key, None, 0.0) for key in self._withdrawn[:most]]
        del self._withdrawn[:most]
        for meter in self._meters.values():
            for key, tat in meter.stamps.changed(now, LEAD_S, most - len(rows)):
                at = tat - now + wall
                value = [at, meter.rate.interval_s, meter.rate.burst] if tat else None
                rows.append((f"{meter.identity} {key}", value, at if tat else 0.0))
        return rows


def _identity(limit: RateLimit | ConcurrencyLimit) -> str:
    """What makes it the same limit in another revision or process: its name, what it counts, and by what. No blank."""
    return f"{quote(limit.name, safe='')}:{limit.count}:{'+'.join(limit.by)}:{limit.prefix4}:{limit.prefix6}"


def _rate(limit: RateLimit) -> Rate:
    return Rate(limit.interval_s, float(limit.burst))
