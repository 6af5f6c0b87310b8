"""The API of numbers over time: counts, distributions, reports; as CSV where that is what is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from smtpgate.admin import models_stats as m
from smtpgate.admin.answer import Answer
from smtpgate.admin.params import Free, Moment, OneOf, Param, Whole
from smtpgate.admin.record import View
from smtpgate.admin.routes import Ask, Route
from smtpgate.control.statistics import DAY, STEPS, Range
from smtpgate.control.timeline import MEASURES, SPREADS
from smtpgate.control.views import Invalid

_BASE = "/api/v1/stats"
#: All that anything can be told apart by.
GROUPS: Final = tuple(
    sorted({group for one in MEASURES.values() for group in one.groups}
           | {group for one in SPREADS.values() for group in one.groups})
)  # fmt: skip
#: Days of a report.
MOST_DAYS: Final = 400

RANGE: Final[Mapping[str, Param]] = {
    "time_from": Moment("not before; a day back by default"),
    "time_to": Moment("before; now by default"),
    "step": OneOf("length of a step; one that suits the time by default", tuple(STEPS)),
}
_ONLY: Final = Free("only what has these labels, as listener:mx,direction:in")


def asked_range(ask: Ask, params: Mapping[str, Any]) -> Range:
    """The time that parameters name."""
    found: Range = ask.office.control.statistics.range(params["time_from"], params["time_to"], params["step"])
    return found


def read_only(text: str) -> dict[str, str]:
    """Labels as `only` has them. Raises Invalid."""
    out = {}
    for word in filter(None, text.split(",")):
        name, colon, value = word.partition(":")
        if not colon:
            raise Invalid("only: give label:value, joined by commas")
        out[name.strip()] = value.strip()
    return out


def wants_csv(ask: Ask) -> bool:
    """Whether a table is asked for and JSON is not."""
    accept = ask.request.header("accept")
    return "text/csv" in accept and "json" not in accept


def answer(ask: Ask, model: View, rows: Iterable[Sequence[object]], name: str) -> Answer:
    """A model, or its rows as a file."""
    if wants_csv(ask):
        return table(rows, name)
    return Answer(model.model_dump_json().encode(), 200, "application/json", {"Vary": "Accept"})


def table(rows: Iterable[Sequence[object]], name: str) -> Answer:
    """Rows as a file."""
    headers = {"Content-Disposition": f'attachment; filename="{name}.csv"', "Vary": "Accept"}
    return Answer(m.as_csv(rows), 200, "text/csv; charset=utf-8", headers)


async def stats_series(ask: Ask) -> Answer:
    """Counts over time."""
    p = ask.params
    view = await ask.office.control.statistics.series(
        p["measure"] or "messages", p["group_by"], asked_range(ask, p), read_only(p["only"])
    )
    return answer(ask, m.series_model(view), m.series_rows(view), view.measure)


async def distributions(ask: Ask) -> Answer:
    """How values were spread, and how that changed."""
    p = ask.params
    view = await ask.office.control.statistics.distribution(
        p["of"] or "duration", p["group_by"], asked_range(ask, p), read_only(p["only"])
    )
    return answer(ask, m.distribution_model(view), m.distribution_rows(view), view.of)


async def reports(ask: Ask) -> Answer:
    """Messages by day, and by hour of the week, of the last days."""
    report = await report_of(ask, ask.params["days"])
    return answer(ask, report, m.report_rows(report), "report")


async def report_of(ask: Ask, days: int) -> m.ReportModel:
    """The report of so many days."""
    statistics = ask.office.control.statistics
    by_day = await statistics.days(days)
    now = ask.office.wall()
    week = await statistics.week(statistics.range(now - days * DAY, 0, "1h" if days <= 100 else "6h"))
    return m.report_model(by_day, week)


ROUTES = (
    Route(
        "GET",
        f"{_BASE}/series",
        "stats:read",
        stats_series,
        summary="Counts over time",
        answer=m.SeriesModel,
        query={
            "measure": OneOf("what is counted; messages by default", tuple(MEASURES)),
            "group_by": OneOf("a label of that measure to tell counts apart by", GROUPS),
            "only": _ONLY,
            **RANGE,
        },
    ),
    Route(
        "GET",
        f"{_BASE}/distributions",
        "stats:read",
        distributions,
        summary="Distributions over time",
        answer=m.DistributionModel,
        query={
            "of": OneOf("what is spread; duration by default", tuple(SPREADS)),
            "group_by": OneOf("a label to tell parts by", GROUPS),
            "only": _ONLY,
            **RANGE,
        },
    ),
    Route(
        "GET",
        f"{_BASE}/reports",
        "stats:read",
        reports,
        summary="Messages by day and by hour of the week",
        answer=m.ReportModel,
        query={"days": Whole("how many days back", MOST_DAYS, 30)},
    ),
)
