"""What is counted where it happens, for whoever asks later: numbers that are no event of anybody.

An event is told to all witnesses and costs what they make of it; that a command came, that a name was looked up, is
worth an addition and nothing else. One `Meter` lives as long as the process and is handed to the rooms that count;
`observe.metrics` reads it when somebody looks. The names and labels are those of `observe.catalogue`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from typing import Final

#: Upper bounds of the buckets, seconds.
LATENCY: Final = (
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0,
)  # fmt: skip


class Histogram:
    """Counts by bucket.

    :ivar counts: one for each bound and one beyond; a hot path may add to these two by itself
    :ivar total: sum of the values
    :ivar examples: the newest of each bucket: id, value, seconds since the epoch; None where none are kept
    """

    __slots__ = ("bounds", "counts", "total", "examples")

    def __init__(self, bounds: tuple[float, ...] = LATENCY) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0
        self.examples: list[tuple[str, float, float] | None] | None = None

    def add(self, value: float) -> None:
        """One more value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def copy(self) -> Histogram:
        """As it is now."""
        made = Histogram(self.bounds)
        made.counts, made.total = self.counts[:], self.total
        made.examples = None if self.examples is None else self.examples[:]
        return made

    def buckets(self) -> list[tuple[str, float]]:
        """Upper bounds, with the number of values up to each."""
        out: list[tuple[str, float]] = []
        running = 0
        for bound, count in zip((*map(repr, self.bounds), "+Inf"), self.counts, strict=True):
            running += count
            out.append((bound, running))
        return out


class Work:
    """The calls of one filter.

    :ivar passed: those that found nothing; `skipped`: those that were spared by an `accept`
    :ivar seconds: how long each took, whatever it found
    """

    __slots__ = ("passed", "skipped", "seconds")

    def __init__(self) -> None:
        self.passed = 0
        self.skipped = 0
        self.seconds = Histogram()


class Meter:
    """The counts of this process.

    :ivar counts: name of the metric and the values of its labels in the catalogue's order
    :ivar times: the same for histograms
    :ivar works: by name of the filter
    :ivar verbs: commands by listener and verb; `codes`: replies by listener and code
    """

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, ...]] = Counter()
        self.times: dict[tuple[str, ...], Histogram] = {}
        self.works: dict[str, Work] = {}
        self.verbs: dict[str, dict[str, int]] = {}
        self.codes: dict[str, dict[int, int]] = {}

    def count(self, name: str, *labels: str) -> None:
        """One more."""
        self.counts[(name, *labels)] += 1

    def took(self, seconds: float, name: str, *labels: str) -> None:
        """It took so long."""
        self.histogram(name, *labels).add(seconds)

    def histogram(self, name: str, *labels: str) -> Histogram:
        """That histogram, to be added to."""
        key = (name, *labels)
        found = self.times.get(key)
        if found is None:
            found = self.times[key] = Histogram()
        return found

    def expect(self, name: str, *labels: str) -> None:
        """Show a zero for what was not counted yet."""
        self.counts[(name, *labels)] += 0

    def begin(self) -> None:
        """Show zeros for what is counted whatever is configured."""
        for side in ("client", "backend"):
            self.histogram("tls_handshake_seconds", side)
        for cache in ("dns", "filters"):
            for result in ("hit", "miss"):
                self.expect("cache_requests_total", cache, result)

    def work(self, name: str) -> Work:
        """The calls of a filter, the same object whatever the revision."""
        return self.works.setdefault(name, Work())

    def talk(self, listener: str) -> tuple[dict[str, int], dict[int, int]]:
        """Commands by verb and replies by code of a listener, to be added to."""
        return self.verbs.setdefault(listener, {}), self.codes.setdefault(listener, {})
