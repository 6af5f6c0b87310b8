"""The page of filters: the chain in its order, and what each took of the time."""

from __future__ import annotations

from typing import Any, Final

import attrs

from smtpgate.admin import api_engine, api_filters
from smtpgate.admin.answer import Answer
from smtpgate.admin.routes import Ask, Route
from smtpgate.control.views import Unavailable

#: Filters with a colour of their own in the bar of all.
COLOURS: Final = 7


@attrs.frozen
class Slice:
    """One filter's part of the bar of all, in hundredths from the left."""

    name: str
    kind: str
    x: float
    width: float
    words: str


def slices(found: list[api_filters.FilterFiguresModel]) -> list[Slice]:
    """The time of all filters in one bar, in the order of the chain; the least of more than `COLOURS` are one."""
    ranked = sorted((one for one in found if one.share > 0), key=lambda one: -one.share)
    own = {one.name for one in ranked[: COLOURS if len(ranked) <= COLOURS else COLOURS - 1]}
    out: list[Slice] = []
    x = rest = 0.0
    for one in found:
        if one.name in own:
            part = one.share * 100
            words = f"{one.name}: {part:.1f} % of the time of all, {one.mean_ms or 0.0:.3g} ms for a call"
            out.append(Slice(one.name, f"c{len(out)}", round(x, 2), round(part, 2), words))
            x += part
        else:
            rest += one.share * 100
    if rest > 0:
        out.append(Slice("others", "rest", round(x, 2), round(rest, 2), f"others: {rest:.1f} % of the time of all"))
    return out


@attrs.frozen
class Budget:
    """One bar of the picture: mean and 95 of 100, in hundredths of the longest.

    :ivar words: what a pointer over it reads, and what stands in its place for who does not see it
    """

    name: str
    mean: float
    p95: float
    words: str


def budgets(found: list[api_filters.FilterFiguresModel]) -> list[Budget]:
    """Bars of those that were called."""
    called = [one for one in found if one.mean_ms is not None]
    longest = max((max(one.p95_ms or 0.0, one.mean_ms or 0.0) for one in called), default=0.0) or 1.0
    return [
        Budget(
            one.name,
            round((one.mean_ms or 0.0) / longest * 100, 2),
            round((one.p95_ms or 0.0) / longest * 100, 2),
            f"{one.name}: {one.mean_ms:.3g} ms on average, 95 of 100 within {one.p95_ms or 0.0:.3g} ms",
        )
        for one in called
    ]


async def filters(ask: Ask) -> Answer:
    """The chain of filters, and the time that each takes."""
    figures: list[api_filters.FilterFiguresModel] = []
    status, trouble = 200, ""
    try:
        figures = await api_filters.figures_of(ask)
    except Unavailable as error:
        status, trouble = 503, str(error)
    by_name: dict[str, Any] = {one.name: one for one in figures}
    return await ask.office.templates.page(
        ask,
        "filters.html",
        status,
        here="filters",
        filters=[(view, by_name.get(view.name)) for view in api_engine.details(ask)],
        overrides=api_engine.tunings_of(ask),
        budgets=budgets(figures),
        slices=slices(figures),
        trouble=trouble,
    )


ROUTES = (
    Route("GET", "/filters", "config:read", filters, "page", (filters.__doc__ or "").strip(), doors=frozenset({"web"})),
)
