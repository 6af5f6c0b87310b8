"""What of the messages that fit can be said in numbers: how many, when, of which kinds, and what keeps the rest out.

The same for the API and for the page over the list, which draws it as bars and chips that are links.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlencode

import attrs

from smtpgate.admin.lookup import owned
from smtpgate.admin.plot import nice_top
from smtpgate.admin.record import View
from smtpgate.admin.text import moment
from smtpgate.policy.found import Counted, Without
from smtpgate.policy.query import Query, QueryError, term
from smtpgate.policy.reach import Reach

WIDTH, HEIGHT = 720, 90
_LEFT, _BOTTOM, _TOP = 44, 18, 6
#: Bars of the picture at most; the store gives some sixty stretches.
_MOST: Final = 120
_WEEK_S: Final = 7 * 86400.0
_WORDS: Final = {"verdict": "Result", "reason": "Reason", "rule": "Rule", "backend": "Backend", "listener": "Listener"}


class StretchModel(View):
    """Messages of one stretch of time, from `time` on."""

    time: str | None
    count: int


class FacetModel(View):
    """What the newest messages have, by value."""

    field: str
    values: dict[str, int]


class WithoutModel(View):
    """How many messages would fit without one term."""

    term: str
    total: int
    is_partial: bool


class Summary(View):
    """Messages that fit, counted.

    :ivar total: how many; at least so many where `is_partial`, since `since`
    :ivar facets: of the newest `facets_of` alone
    :ivar without: where nothing fits: what would without each term, the most first
    """

    query: str
    total: int
    is_partial: bool
    since: str | None
    step_s: float
    histogram: list[StretchModel]
    facets: list[FacetModel]
    facets_of: int
    without: list[WithoutModel]


async def look(office: Any, reach: Reach, query: Query) -> tuple[Counted, tuple[Without, ...]]:
    """What can be said of a query's messages in reach."""
    if office.control.history is None:
        return Counted(), ()
    asked = owned(query, reach)
    counted: Counted = await office.control.history.count(asked)
    if counted.total or counted.is_partial or not query.clauses:
        return counted, ()
    return counted, await office.control.history.without(asked)


def summary_model(query: Query, counted: Counted, without: Sequence[Without]) -> Summary:
    """For the API."""
    return Summary(
        query=query.text,
        total=counted.total,
        is_partial=counted.is_partial,
        since=moment(counted.since) if counted.is_partial else None,
        step_s=counted.step,
        histogram=[StretchModel(time=moment(at), count=rows) for at, rows in counted.histogram],
        facets=[FacetModel(field=field, values=dict(values)) for field, values in counted.facets.items()],
        facets_of=counted.of,
        without=[
            WithoutModel(term=query.clauses[one.clause].text, total=one.total, is_partial=one.is_partial)
            for one in without
        ],
    )


# For the page


@attrs.frozen
class Bar:
    """One stretch of time, as a link to its messages."""

    x: float
    y: float
    width: float
    height: float
    words: str
    count: int
    place: str


@attrs.frozen
class Chip:
    """One value of a facet, as a link; `is_asked`: the query asks for it, and the link takes it away."""

    value: str
    count: int
    place: str
    is_asked: bool


@attrs.frozen
class Hint:
    """A term, or a bound of time, that could be left out."""

    words: str
    total: str
    place: str


@attrs.frozen
class Said:
    """All that the page says.

    :ivar first, step: when the picture begins and how long each stretch is, seconds; `step_x`: its width
    :ivar base: the query without bounds of time
    """

    total: str
    bars: tuple[Bar, ...]
    labels: tuple[tuple[float, str], ...]
    lines: tuple[tuple[float, int], ...]
    facets: tuple[tuple[str, tuple[Chip, ...]], ...]
    of: int
    is_of_all: bool
    hints: tuple[Hint, ...]
    week: str
    first: float
    step: float
    step_x: float
    base: str
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT


def place_of(text: str) -> str:
    """The address of the list for a query's text."""
    return f"/messages?{urlencode({'q': text})}" if text else "/messages"


def said(query: Query, counted: Counted, without: Sequence[Without], now: float) -> Said:
    """The numbers as links and lengths.

    :param now: seconds since the epoch
    """
    base = query.at_any_time()
    step, first = counted.step, counted.histogram[0][0] if counted.histogram else 0.0
    count = round((counted.histogram[-1][0] - first) / step) + 1 if counted.histogram else 0
    count = min(count, _MOST)
    step_x = (WIDTH - _LEFT) / max(count, 1)
    room = HEIGHT - _BOTTOM - _TOP
    shown = [(round((at - first) / step), at, rows) for at, rows in counted.histogram]
    shown = [one for one in shown if one[0] < count]
    top = nice_top(max((rows for _, _, rows in shown), default=1))
    bars = []
    for number, at, rows in shown:
        high = max(rows / top * room, 1.0)
        between = _between(base, at, at + step)
        bars.append(
            Bar(
                round(_LEFT + number * step_x + 0.5, 1),
                round(HEIGHT - _BOTTOM - high, 1),
                round(max(step_x - 1, 1), 1),
                round(high, 1),
                f"{_day(at)}: {rows}",
                rows,
                place_of(between),
            )
        )
    every = max(1, -(-count // 5))
    labels = tuple(
        (round(_LEFT + number * step_x, 1), _day(first + number * step)[: 10 if step >= 86400 else 16])
        for number in range(0, max(count - every // 2, 1) if count else 0, every)
    )
    lines = tuple((round(HEIGHT - _BOTTOM - value / top * room, 1), value) for value in dict.fromkeys((0, top)))
    facets = tuple(
        (_WORDS[field], chips) for field, values in counted.facets.items() if (chips := _chips(query, field, values))
    )
    hints = tuple(
        Hint(
            query.clauses[one.clause].text,
            f"{'more than ' if one.is_partial else ''}{one.total:,}",
            place_of(query.without(query.clauses[one.clause]).text),
        )
        for one in without
    )
    return Said(
        _total(counted) if query.clauses or not counted.is_partial else f"more than {counted.total:,} messages",
        tuple(bars),
        labels,
        lines if bars else (),
        facets,
        counted.of,
        counted.of >= counted.total and not counted.is_partial,
        hints,
        _wider(query, base, now),
        first,
        step,
        step_x,
        base.text,
    )


def _total(counted: Counted) -> str:
    words = f"{counted.total:,} message{'' if counted.total == 1 else 's'}"
    if counted.is_partial:
        return f"at least {words}, back to {_day(counted.since)} UTC"
    return words


def _day(at: float) -> str:
    return (moment(at) or "")[:16].replace("T", " ")


def _between(base: Query, first: float, last: float) -> str:
    """A query between two times."""
    after, before = ((moment(at) or "")[:19] + "Z" for at in (first, last))
    return f"{base.text} after:{after} before:{before}".strip()


def _chips(query: Query, field: str, values: Any) -> tuple[Chip, ...]:
    asked = {value.text for clause in query.clauses if clause.field == field for value in clause.values}
    there = next((clause for clause in query.clauses if clause.field == field and not clause.is_negated), None)
    chips = []
    for value, count in values.items():
        is_asked = value.lower() in asked
        if is_asked and there is not None:
            text = query.without(there).text
        else:
            try:
                text = f"{query.text} {term(field, value, 0.0).text}".strip()
            except QueryError:
                continue
        chips.append(Chip(value, count, place_of(text), is_asked))
    return tuple(chips)


def _wider(query: Query, base: Query, now: float) -> str:
    """The list of seven days, where a shorter time is asked for; "" for none."""
    since = [value.number for clause in query.clauses if clause.field == "after" for value in clause.values]
    if base == query or not since or max(since) <= now - _WEEK_S:
        return ""
    return place_of(f"{base.text} last:7d".strip())
