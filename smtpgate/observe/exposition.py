"""Counts as Prometheus reads them: histograms, and families for `prometheus_client`.

The library writes the text; its counters and their locks are not used, since a count of ours is made for
every message.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from smtpgate.observe.catalogue import METRICS, Metric

PREFIX = "smtpgate_"

#: A number of ours: name of the catalogue, values of its labels in its order, value.
Number = tuple[str, tuple[str, ...], float]
#: A gauge that is read elsewhere: name, help, labels by name, value.
Gauge = tuple[str, str, dict[str, str], float]


class Histogram:
    """Counts by bucket.

    :ivar counts: one for each bound and one beyond; the hot path adds to these two by itself
    :ivar total: sum of the values
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        """One more value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def buckets(self) -> list[tuple[str, float]]:
        """Upper bounds, with the number of values up to each."""
        out: list[tuple[str, float]] = []
        running = 0
        for bound, count in zip((*map(repr, self.bounds), "+Inf"), self.counts, strict=True):
            running += count
            out.append((bound, running))
        return out


def _family(metric: Metric) -> Any:
    name = PREFIX + metric.name
    if metric.kind == "counter":
        return CounterMetricFamily(name.removesuffix("_total"), metric.about, labels=metric.labels)
    if metric.kind == "gauge":
        return GaugeMetricFamily(name, metric.about, labels=metric.labels)
    return HistogramMetricFamily(name, metric.about, labels=metric.labels)


def families(
    numbers: Iterable[Number],
    histograms: Iterable[tuple[str, tuple[str, ...], Histogram]],
    gauges: Iterable[Gauge],
) -> Iterator[Any]:
    """All metrics, ours in the order of the catalogue.

    A gauge that bears a name of ours, or other labels than the first of its name, is left out: a page that
    contradicts itself is refused as a whole.
    """
    made: dict[str, Any] = {}
    for name, labels, value in numbers:
        if name not in made:
            made[name] = _family(METRICS[name])
        made[name].add_metric(labels, value)
    for name, labels, histogram in histograms:
        if name not in made:
            made[name] = _family(METRICS[name])
        made[name].add_metric(labels, histogram.buckets(), histogram.total)
    yield from [made[name] for name in METRICS if name in made]
    others: dict[str, tuple[Any, tuple[str, ...]]] = {}
    for name, about, named, value in gauges:
        if name in METRICS or f"{name}_total" in METRICS:
            continue
        family, order = others.get(name) or (None, tuple(named))
        if family is None:
            family = GaugeMetricFamily(PREFIX + name, about, labels=order)
            others[name] = (family, order)
        if set(named) == set(order):
            family.add_metric([str(named[label]) for label in order], value)
    yield from [family for family, _ in others.values()]
