"""How the sums of scores are spread over the history, and what other thresholds would make of it: API and page."""

from __future__ import annotations

from typing import Annotated, Any, Final

import attrs
from pydantic import Field

from smtpgate.admin.answer import Answer
from smtpgate.admin.api_look import answer_of
from smtpgate.admin.record import View
from smtpgate.admin.routes import Ask, Order, Route
from smtpgate.control.replays import MOST
from smtpgate.control.views import Refused
from smtpgate.policy.replayed import Scores
from smtpgate.policy.verdict import Scale

#: Actions that have a threshold, mildest first.
ACTIONS: Final = ("tag", "quarantine", "defer", "reject")
_Points = Annotated[float, Field(ge=-1000, le=1000)] | None
#: Of the picture: its width, height of the bars, room below them.
_WIDE, _HIGH = 1000, 200


class ScoresOrder(Order):
    """The newest `last` messages, and thresholds in place of those at work; null: none; left out: as it is."""

    last: Annotated[int, Field(ge=1, le=MOST)] = 1000
    tag: _Points = None
    quarantine: _Points = None
    defer: _Points = None
    reject: _Points = None


class BarModel(View):
    """Messages with sums from `begin` to under the begin of the next."""

    begin: float
    count: int


class CountModel(View):
    """Messages that come to an action now, and with the other thresholds."""

    action: str
    now: int
    then: int


class MovedModel(View):
    """Messages that would come to another action."""

    now: str
    then: str
    count: int


class ScoresModel(View):
    """How sums are spread, and what becomes of the messages now and with other thresholds."""

    messages: int
    bars: list[BarModel]
    now: dict[str, float | None]
    then: dict[str, float | None]
    counts: list[CountModel]
    moved: list[MovedModel]


async def weighed(ask: Ask, body: ScoresOrder) -> ScoresModel:
    """Weigh the history. Raises Refused."""
    now = ask.office.control.settings.scale
    given = {name: getattr(body, name) for name in ACTIONS if name in body.model_fields_set}
    then: Scale = attrs.evolve(now, **given)
    found: Scores = await ask.office.control.replays.scores(body.last, then)
    return ScoresModel(
        messages=found.messages,
        bars=[BarModel(begin=begin, count=count) for begin, count in found.bars],
        now={name: getattr(now, name) for name in ACTIONS},
        then={name: getattr(then, name) for name in ACTIONS},
        counts=[CountModel(action=name, now=a, then=b) for name, (a, b) in found.counts.items()],
        moved=[MovedModel(now=a, then=b, count=count) for a, b, count in found.moved],
    )


async def weigh_history(ask: Ask) -> Answer:
    """Weigh the newest messages of the history with other thresholds; nothing is changed."""
    return answer_of(await weighed(ask, ask.body))


async def scores_page(ask: Ask) -> Answer:
    """The same as a picture, with the thresholds in the address."""
    said, found, status = "", None, 200
    given = {name: ask.query.get(name, "").strip()[:20] for name in ACTIONS}
    last = ask.query.get("last", "1000")
    values: dict[str, Any] = {}
    for name, text in given.items():
        if text and text != "-":
            try:
                values[name] = float(text)
            except ValueError:
                said, status = f"{name}: write a number of points, or - for none.", 422
        elif text:
            values[name] = None
    wanted = int(last) if last.isdecimal() and len(last) < 6 else 0
    if not 1 <= wanted <= MOST or any(not abs(value or 0.0) <= 1000 for value in values.values()):
        said, status = f"Up to {MOST} messages, and up to 1000 points.", 422
    if not said:
        try:
            found = await weighed(ask, ScoresOrder(last=wanted, **values))
        except Refused as refused:
            said, status = f"{refused}.", 409
    return await ask.office.templates.page(
        ask,
        "scores.html",
        status,
        here="rules",
        said=said,
        found=found,
        given=given,
        last=wanted or 1000,
        actions=ACTIONS,
        plot=_plot(found) if found is not None and found.bars else None,
        words=_words(found) if found is not None else [],
    )


def _plot(found: ScoresModel) -> dict[str, Any]:
    """Bars and lines with their places in the picture."""
    low, high = found.bars[0].begin, found.bars[-1].begin + 1.0
    limits = [value for side in (found.now, found.then) for value in side.values() if value is not None]
    low, high = min([low, *limits]), max([high, *[one + 0.5 for one in limits]])
    most = max(bar.count for bar in found.bars)
    scale = _WIDE / (high - low)

    def place(points: float) -> int:
        return round((points - low) * scale)

    lines = []
    for side, kind in ((found.now, "now"), (found.then, "then")):
        for name, value in side.items():
            if value is not None and (kind == "now" or found.now[name] != value):
                lines.append({"x": place(value), "words": f"{name} {value:g}", "kind": kind})
    return {
        "bars": [
            {
                "x": place(bar.begin),
                "width": max(round(scale) - 2, 1),
                "height": max(round(bar.count / most * _HIGH), 1) if bar.count else 0,
                "words": f"{bar.begin:g} to {bar.begin + 1:g}: {bar.count}",
            }
            for bar in found.bars
        ],
        "lines": lines,
        "low": low,
        "high": high,
    }


def _words(found: ScoresModel) -> list[str]:
    """What the other thresholds would do, a sentence for each action that has another."""
    counts = {one.action: one.then - one.now for one in found.counts}
    verbs = {"tag": "tagged", "quarantine": "held", "defer": "deferred", "reject": "refused"}
    out = []
    for name in ACTIONS:
        if found.now[name] == found.then[name]:
            continue
        before, after = (f"{side[name]:g}" if side[name] is not None else "none" for side in (found.now, found.then))
        change = counts.get(name, 0)
        much = f"{abs(change):,} of {found.messages:,} {'more' if change > 0 else 'fewer'}"
        out.append(
            f"{name} from {after} instead of {before}: {much if change else 'no message more or fewer'} {verbs[name]}"
        )
    return out


ROUTES = (
    Route(
        "POST",
        "/api/v1/rules/scores",
        "test:run",
        weigh_history,
        is_question=True,
        summary="How sums are spread, and what other thresholds would do",
        body=ScoresOrder,
        answer=ScoresModel,
        may_wait=True,
    ),
    Route("GET", "/rules/scores", "test:run", scores_page, "page", "How sums are spread", doors=frozenset({"web"})),
)
