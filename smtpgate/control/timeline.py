"""Counts over time as questions are asked of them: by group, by step, as distributions. Pure; run in a thread."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import attrs

from smtpgate.observe.catalogue import METRICS, SCORE, SIZE
from smtpgate.policy.counted import COVERED, Counts
from smtpgate.policy.meter import LATENCY

#: (metric, when its step began, counts), as `interfaces.ISeriesStore.load` gives them.
Row = tuple[str, int, Counts]


@attrs.frozen
class Measure:
    """Something that is counted, and by what it may be told apart.

    :ivar about: in words
    :ivar groups: the labels of its metric
    """

    name: str
    metric: str
    about: str

    @property
    def groups(self) -> tuple[str, ...]:
        """By what it may be told apart."""
        return METRICS[self.metric].labels


MEASURES: Final = {
    one.name: one
    for one in (
        Measure("messages", "messages_total", "Messages"),
        Measure("recipients", "recipients_total", "Recipients"),
        Measure("refusals", "rejections_total", "Commands, recipients and messages refused"),
        Measure("connections", "connections_total", "Connections"),
        Measure("octets", "bytes_total", "Octets"),
        Measure("handshakes", "tls_handshakes_total", "TLS handshakes"),
        Measure("encryption", "encryption_total", "Messages sent on, by protection"),
        Measure("logins", "auth_attempts_total", "AUTH commands"),
        Measure("authentication", "auth_results_total", "What was found of senders"),
        Measure("filter_runs", "filter_runs_total", "Calls of filters"),
        Measure("limits", "ratelimit_decisions_total", "Limits that were met"),
        Measure("backend_replies", "backend_replies_total", "Replies to the end of data"),
        Measure("backend_failures", "backend_failures_total", "Links that failed"),
    )
}


@attrs.frozen
class Spread:
    """A distribution that is kept.

    :ivar bounds: upper ends of its buckets
    :ivar unit: of these
    """

    name: str
    metric: str
    about: str
    bounds: tuple[float, ...]
    unit: str

    @property
    def groups(self) -> tuple[str, ...]:
        """By what it may be told apart."""
        return METRICS[self.metric].labels


SPREADS: Final = {
    one.name: one
    for one in (
        Spread("duration", "message_duration_seconds", "From MAIL to the last reply", LATENCY, "s"),
        Spread("stage", "stage_duration_seconds", "Parts of a transaction", LATENCY, "s"),
        Spread("filter", "filter_duration_seconds", "A call of a filter", LATENCY, "s"),
        Spread("backend", "backend_reply_seconds", "The server's time after the end of data", LATENCY, "s"),
        Spread("connect", "backend_connect_seconds", "Until a link was ready", LATENCY, "s"),
        Spread("wait", "backend_queue_seconds", "Waiting for a slot", LATENCY, "s"),
        Spread("size", "message_size_bytes", "Size of content", SIZE, "B"),
        Spread("score", "spam_score", "Sum of scores", SCORE, "points"),
    )
}


@attrs.frozen
class Step:
    """What happened in one step of time.

    :ivar at: when it began, seconds since the epoch
    :ivar covered_s: how many of its seconds were counted; 0: the gateway did not run, and `counts` says nothing
    :ivar counts: by group, in the order of `Series.groups`; of a distribution by bucket
    """

    at: int
    covered_s: int
    counts: tuple[int, ...]


@attrs.frozen
class Series:
    """Counts over time.

    :ivar groups: the largest first
    :ivar totals: of each
    :ivar since: when the first step began that is kept at all; None: nothing is
    """

    measure: str
    group_by: str
    step_s: int
    begin: int
    end: int
    since: int | None
    groups: tuple[str, ...]
    totals: tuple[int, ...]
    steps: tuple[Step, ...]


@attrs.frozen
class Part:
    """One distribution.

    :ivar counts: by bucket; one more than there are bounds
    :ivar p50, p95, p99: so many of 100 values are no larger, as exactly as the buckets tell; None without a value
    """

    name: str
    count: int
    total: float
    counts: tuple[int, ...]
    p50: float | None
    p95: float | None
    p99: float | None


@attrs.frozen
class Distribution:
    """Distributions of a time, and how all of them together changed in it.

    :ivar bounds: upper ends of the buckets but the last, which has none
    """

    of: str
    unit: str
    group_by: str
    step_s: int
    begin: int
    end: int
    since: int | None
    bounds: tuple[float, ...]
    parts: tuple[Part, ...]
    steps: tuple[Step, ...]


def covered(rows: Iterable[Row], step_s: int) -> Counter[int]:
    """Seconds that were counted, by step."""
    out: Counter[int] = Counter()
    for name, at, counts in rows:
        if name == COVERED:
            out[at // step_s * step_s] += sum(value for value in counts.values() if isinstance(value, int))
    return out


def series(
    rows: Sequence[Row],
    measure: Measure,
    group_by: str,
    step_s: int,
    begin: int,
    end: int,
    since: int | None = None,
    only: Mapping[str, str] | None = None,
) -> Series:
    """Rows by group and step.

    :param only: labels that a count must have
    """
    labels = measure.groups
    place = labels.index(group_by) if group_by else -1
    wanted = [(labels.index(name), value) for name, value in (only or {}).items()]
    table: dict[int, Counter[str]] = {}
    totals: Counter[str] = Counter()
    for name, at, counts in rows:
        if name != measure.metric:
            continue
        here = table.setdefault(at // step_s * step_s, Counter())
        for key, value in counts.items():
            if len(key) != len(labels) or not isinstance(value, int) or any(key[i] != word for i, word in wanted):
                continue
            group = key[place] if place >= 0 else "all"
            here[group] += value
            totals[group] += value
    groups = tuple(sorted(totals, key=lambda group: (-totals[group], group)))
    seconds = covered(rows, step_s)
    nothing: Counter[str] = Counter()
    steps = []
    for at in range(begin // step_s * step_s, end, step_s):
        here = table.get(at, nothing)
        steps.append(Step(at, min(step_s, seconds[at]), tuple(here[group] for group in groups)))
    sums = tuple(totals[group] for group in groups)
    return Series(measure.name, group_by, step_s, begin, end, since, groups, sums, tuple(steps))


def quantile(bounds: Sequence[float], counts: Sequence[int], part: float) -> float | None:
    """The value that a part of all values do not exceed, evenly spread inside its bucket as Prometheus'
    histogram_quantile takes it; the last bound where it is above all of them."""
    total = sum(counts)
    if not total:
        return None
    wanted, running = part * total, 0
    for number, count in enumerate(counts):
        if count and running + count >= wanted:
            if number == len(bounds):
                return bounds[-1]
            low = bounds[number - 1] if number else min(0.0, bounds[0])
            return low + (bounds[number] - low) * (wanted - running) / count
        running += count
    return bounds[-1]


def distribution(
    rows: Sequence[Row],
    spread: Spread,
    group_by: str,
    step_s: int,
    begin: int,
    end: int,
    since: int | None = None,
    only: Mapping[str, str] | None = None,
) -> Distribution:
    """Rows as distributions by group, and all of them by step."""
    size = len(spread.bounds) + 1
    labels = spread.groups
    place = labels.index(group_by) if group_by else -1
    wanted = [(labels.index(name), value) for name, value in (only or {}).items()]
    parts: dict[str, list[float]] = {}
    table: dict[int, list[float]] = {}
    for name, at, counts in rows:
        if name != spread.metric:
            continue
        for key, value in counts.items():
            # Of a version that had other buckets: they cannot be added to these.
            if not isinstance(value, list) or len(value) != size + 1 or len(key) != len(labels):
                continue
            if any(key[i] != word for i, word in wanted):
                continue
            for sums in (
                parts.setdefault(key[place] if place >= 0 else "all", [0.0] * (size + 1)),
                table.setdefault(at // step_s * step_s, [0.0] * (size + 1)),
            ):
                for number, one in enumerate(value):
                    sums[number] += one
    seconds = covered(rows, step_s)
    nothing = [0.0] * size
    steps = tuple(
        Step(at, min(step_s, seconds[at]), tuple(map(int, table.get(at, nothing)[:size])))
        for at in range(begin // step_s * step_s, end, step_s)
    )
    made = tuple(sorted((_part(name, spread, sums) for name, sums in parts.items()), key=lambda one: -one.count))
    return Distribution(spread.name, spread.unit, group_by, step_s, begin, end, since, spread.bounds, made, steps)


def _part(name: str, spread: Spread, sums: list[float]) -> Part:
    counts = tuple(map(int, sums[:-1]))
    found = [quantile(spread.bounds, counts, part) for part in (0.5, 0.95, 0.99)]
    return Part(name, sum(counts), sums[-1], counts, *found)


def by_hour_of_week(
    rows: Sequence[Row], metric: str, zone: Callable[[int], tuple[int, int]]
) -> list[list[float | None]]:
    """Counts an hour by weekday (Monday is 0) and hour of the day, on average over the hours that were counted; None
    where none was.

    :param zone: weekday and hour of a time
    """
    sums = [[0.0] * 24 for _ in range(7)]
    hours = [[0.0] * 24 for _ in range(7)]
    for name, at, counts in rows:
        day, hour = zone(at)
        numbers = [value for value in counts.values() if isinstance(value, int)]
        if name == metric:
            sums[day][hour] += sum(numbers)
        elif name == COVERED:
            hours[day][hour] += sum(numbers) / 3600
    return [[total / time if time else None for total, time in zip(line, spent)] for line, spent in zip(sums, hours)]


def bucket_of(bounds: Sequence[float], value: float) -> int:
    """The bucket that a value is in."""
    return bisect_right(bounds, math.nextafter(value, -math.inf))
