"""What the API says of numbers over time, as JSON and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from smtpgate.admin.record import View
from smtpgate.admin.text import cell, moment
from smtpgate.control import statistics as s
from smtpgate.control import timeline as t
from smtpgate.control.top import TopList
from smtpgate.policy.sketch import PLACES


class StepModel(View):
    """One step of time. `counts` are in the order of `groups`, of a distribution in that of its buckets; null where the
    gateway did not run."""

    time: str
    covered_s: int
    counts: list[int] | None


class SeriesModel(View):
    """Counts over time; `groups` are the largest first. What was before `since` is not known."""

    measure: str
    group_by: str
    step_s: int
    time_from: str
    time_to: str
    since: str | None
    groups: list[str]
    totals: list[int]
    items: list[StepModel]


class PartModel(View):
    """One distribution; percentiles are as exact as its buckets, null where there is no value."""

    name: str
    count: int
    sum: float
    counts: list[int]
    p50: float | None
    p95: float | None
    p99: float | None


class DistributionModel(View):
    """Distributions by group, and all together by step. `bounds` are upper ends; the last bucket has none."""

    of: str
    unit: str
    group_by: str
    step_s: int
    time_from: str
    time_to: str
    since: str | None
    bounds: list[float]
    parts: list[PartModel]
    items: list[StepModel]


class DayModel(View):
    """Messages of one day in UTC, in the order of the report's `directions` and `verdicts`."""

    day: str
    covered_s: int
    by_direction: list[int]
    by_verdict: list[int]


class ReportModel(View):
    """Messages by day, the newest first, and an hour's messages by weekday (Monday first) and hour of the day; null
    where nothing was counted."""

    since: str | None
    directions: list[str]
    verdicts: list[str]
    days: list[DayModel]
    week: list[list[float | None]]


class TalkerModel(View):
    """One name. `counts` are messages in the order of the list's `verdicts`; `before` is null where nothing is kept of
    the time before; `is_new`: seen in this hour, and not among those kept of the 24 hours before."""

    name: str
    count: int
    counts: list[int]
    before: int | None
    is_new: bool


class TopModel(View):
    """The largest of one kind, of whole hours up to 48 of them and of whole days above. Whoever is not here was seen
    `missing` times at most, and a count is short by no more."""

    kind: str
    verdicts: list[str]
    time_from: str
    time_to: str
    missing: int
    items: list[TalkerModel]


def top_model(view: TopList) -> TopModel:
    """Of a view of `control`."""
    items = [
        TalkerModel(name=one.name, count=one.count, counts=list(one.counts), before=one.before, is_new=one.is_new)
        for one in view.talkers
    ]
    return TopModel(
        kind=view.kind,
        verdicts=list(PLACES),
        time_from=moment(view.begin) or "",
        time_to=moment(view.end) or "",
        missing=view.missing,
        items=items,
    )


def top_rows(view: TopList) -> Iterable[Sequence[object]]:
    """A table: a line for each name."""
    yield ("name", "count", *PLACES, "before", "is_new")
    for one in view.talkers:
        yield (one.name, one.count, *one.counts, one.before, "yes" if one.is_new else "no")


def _steps(steps: Iterable[t.Step]) -> list[StepModel]:
    return [
        StepModel(
            time=moment(one.at) or "", covered_s=one.covered_s, counts=list(one.counts) if one.covered_s else None
        )
        for one in steps
    ]


def series_model(view: t.Series) -> SeriesModel:
    """Of a view of `control`."""
    return SeriesModel(
        measure=view.measure,
        group_by=view.group_by,
        step_s=view.step_s,
        time_from=moment(view.begin) or "",
        time_to=moment(view.end) or "",
        since=moment(view.since or 0),
        groups=list(view.groups),
        totals=list(view.totals),
        items=_steps(view.steps),
    )


def distribution_model(view: t.Distribution) -> DistributionModel:
    """Of a view of `control`."""
    parts = [
        PartModel(name=p.name, count=p.count, sum=p.total, counts=list(p.counts), p50=p.p50, p95=p.p95, p99=p.p99)
        for p in view.parts
    ]
    return DistributionModel(
        of=view.of,
        unit=view.unit,
        group_by=view.group_by,
        step_s=view.step_s,
        time_from=moment(view.begin) or "",
        time_to=moment(view.end) or "",
        since=moment(view.since or 0),
        bounds=list(view.bounds),
        parts=parts,
        items=_steps(view.steps),
    )


def report_model(days: s.Days, week: s.Week) -> ReportModel:
    """Of views of `control`."""
    return ReportModel(
        since=moment(days.since or 0),
        directions=list(days.directions),
        verdicts=list(days.verdicts),
        days=[
            DayModel(day=(moment(at) or "")[:10], covered_s=covered, by_direction=list(ways), by_verdict=list(verdicts))
            for at, covered, ways, verdicts in days.rows
        ],
        week=[list(line) for line in week.hours],
    )


def as_csv(rows: Iterable[Sequence[object]]) -> bytes:
    """Rows for a spreadsheet. What it would take for a formula begins with an apostrophe."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    for row in rows:
        writer.writerow([_plain(one) for one in row])
    return out.getvalue().encode("utf-8", "replace")


def _plain(value: object) -> object:
    if isinstance(value, str):
        return cell(value)
    return "" if value is None else value


def series_rows(view: t.Series) -> Iterable[Sequence[object]]:
    """A table: a line for each step; empty cells where nothing was counted."""
    yield ("time", "covered_s", *view.groups)
    for one in view.steps:
        yield (moment(one.at), one.covered_s, *(one.counts if one.covered_s else [None] * len(view.groups)))


def distribution_rows(view: t.Distribution) -> Iterable[Sequence[object]]:
    """A table: a line for each bucket of each part."""
    yield ("part", f"up_to_{view.unit}", "count")
    for part in view.parts:
        for bound, count in zip((*view.bounds, None), part.counts):
            yield (part.name, bound, count)


def report_rows(report: ReportModel) -> Iterable[Sequence[object]]:
    """A table: a line for each day."""
    yield ("day", "covered_s", *report.directions, *report.verdicts)
    for one in report.days:
        yield (one.day, one.covered_s, *one.by_direction, *one.by_verdict)
