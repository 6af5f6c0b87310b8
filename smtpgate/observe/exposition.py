"""Counts as Prometheus reads them: histograms, and families for `prometheus_client`.

The library writes the text (`prometheus_client.generate_latest` and its OpenMetrics twin take any object with
`collect`); its counters and locks are not used, since a count of ours is made for every message.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from smtpgate.observe.catalogue import METRICS, Metric

PREFIX = "smtpgate_"

#: Name of a metric, its labels, and its value.
Sample = tuple[str, Mapping[str, str], float]


class Histogram:
    """Counts by bucket.

    :ivar counts: one for each bound and one beyond; whoever observes adds to these two directly
    :ivar total: sum of all values
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def buckets(self) -> list[tuple[str, float]]:
        """Upper bounds with the number of values up to each."""
        out: list[tuple[str, float]] = []
        running = 0
        for bound, count in zip((*self.bounds, None), self.counts, strict=True):
            running += count
            out.append(("+Inf" if bound is None else repr(bound), running))
        return out


def _family(metric: Metric) -> Any:
    if metric.kind == "counter":
        return CounterMetricFamily(PREFIX + metric.name.removesuffix("_total"), metric.about, labels=metric.labels)
    if metric.kind == "gauge":
        return GaugeMetricFamily(PREFIX + metric.name, metric.about, labels=metric.labels)
    return HistogramMetricFamily(PREFIX + metric.name, metric.about, labels=metric.labels)


def families(
    numbers: Iterable[tuple[str, tuple[str, ...], float]],
    histograms: Iterable[tuple[str, tuple[str, ...], Histogram]],
    samples: Iterable[Sample],
) -> Iterator[Any]:
    """All metrics in the order of the catalogue.

    :param numbers: counters and gauges of ours: name, label values in the catalogue's order, value
    :param samples: those read elsewhere; one of another name or with other labels is left out
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
    for name, named, value in samples:
        metric = METRICS.get(name)
        if metric is None or metric.kind == "histogram" or set(named) != set(metric.labels):
            continue
        if name not in made:
            made[name] = _family(metric)
        made[name].add_metric([str(named[label]) for label in metric.labels], value)
    return iter([made[name] for name in METRICS if name in made])
