"""The API about what filters do: their part of the time, and what came of their calls in the last day."""

from __future__ import annotations

from smtpgate.admin.answer import Answer
from smtpgate.admin.api_look import answer_of
from smtpgate.admin.record import View
from smtpgate.admin.routes import Ask, Route
from smtpgate.admin.text import moment
from smtpgate.control.filter_figures import FilterFigures, figures


class FilterFiguresModel(View):
    """One filter: its calls of the last day, its part of the time of all filters, and what came of its calls.

    :ivar results: calls by hit, shadow, timeout, error and skip, those that there were
    """

    name: str
    calls: int
    share: float
    mean_ms: float | None
    p50_ms: float | None
    p95_ms: float | None
    results: dict[str, int]


class FilterFiguresList(View):
    """All filters in their order; `since`: from when on anything is counted."""

    items: list[FilterFiguresModel]
    since: str | None


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)


def figures_model(one: FilterFigures) -> FilterFiguresModel:
    """One filter."""
    return FilterFiguresModel(
        name=one.name,
        calls=one.calls,
        share=round(one.share, 4),
        mean_ms=_ms(one.mean_s),
        p50_ms=_ms(one.p50_s),
        p95_ms=_ms(one.p95_s),
        results=one.results,
    )


async def figures_of(ask: Ask) -> list[FilterFiguresModel]:
    """All filters at work; raises Unavailable."""
    control = ask.office.control
    names = [view.name for view in control.filters()]
    found = await figures(control.statistics, names, control.statistics.range(0, 0)) if names else []
    return [figures_model(one) for one in found]


async def filter_figures(ask: Ask) -> Answer:
    """How much of the time each filter took in the last day, and what came of its calls."""
    since = await ask.office.control.statistics.since()
    items = await figures_of(ask)
    return answer_of(FilterFiguresList(items=items, since=moment(since) if since is not None else None))


ROUTES = (
    Route(
        "GET",
        "/api/v1/filter-figures",
        "config:read",
        filter_figures,
        summary="What filters did in the last day",
        answer=FilterFiguresList,
    ),
)
