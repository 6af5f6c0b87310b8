"""Counts as Prometheus reads them: histograms, and families for `prometheus_client`.

The library writes the text; its counters and their locks are not used, since a count of ours is made for
every message.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from prometheus_client.core import CounterMetricFamily, Exemplar, GaugeMetricFamily, HistogramMetricFamily

from smtpgate.observe.catalogue import METRICS, Metric
from smtpgate.policy.meter import Histogram

PREFIX = "smtpgate_"

#: A number of ours: name of the catalogue, values of its labels in its order, value.
Number = tuple[str, tuple[str, ...], float]


def _family(metric: Metric) -> Any:
    name = PREFIX + metric.name
    if metric.kind == "counter":
        return CounterMetricFamily(name.removesuffix("_total"), metric.about, labels=metric.labels)
    if metric.kind == "gauge":
        return GaugeMetricFamily(name, metric.about, labels=metric.labels)
    return HistogramMetricFamily(name, metric.about, labels=metric.labels)


def families(numbers: Iterable[Number], histograms: Iterable[tuple[str, tuple[str, ...], Histogram]]) -> Iterator[Any]:
    """All metrics, in the order of the catalogue."""
    made: dict[str, Any] = {}
    for name, labels, value in numbers:
        if name not in made:
            made[name] = _family(METRICS[name])
        made[name].add_metric(labels, value)
    for name, labels, histogram in histograms:
        if name not in made:
            made[name] = _family(METRICS[name])
        made[name].add_metric(labels, _buckets(histogram), histogram.total)
    yield from [made[name] for name in METRICS if name in made]


def _buckets(histogram: Histogram) -> list[Any]:
    """With an example where there is one: the session that was counted last in that bucket."""
    if histogram.examples is None:
        return histogram.buckets()
    out: list[Any] = []
    for bucket, example in zip(histogram.buckets(), histogram.examples, strict=True):
        shown = None if example is None else Exemplar({"session_id": example[0]}, example[1], example[2])
        out.append((*bucket, shown))
    return out
