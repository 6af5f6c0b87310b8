"""The page of numbers over time, and its tables as files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

import attrs

from smtpgate.admin import api_stats, charts, params
from smtpgate.admin import models_stats as m
from smtpgate.admin.answer import Answer
from smtpgate.admin.chart_marks import direction_terms, to_messages, verdict_terms, with_changes
from smtpgate.admin.guard import Refusal
from smtpgate.admin.params import OneOf, Param
from smtpgate.admin.routes import Ask, Route
from smtpgate.admin.text import moment
from smtpgate.control.statistics import DAY, HOUR, STEPS, Range
from smtpgate.control.timeline import MEASURES, SPREADS, Distribution, Series
from smtpgate.control.top import KINDS, TopList
from smtpgate.control.views import Invalid, Unavailable
from smtpgate.policy.sketch import PLACES

#: Lengths of time that a click chooses, by name: words, seconds.
RANGES: Final = {
    "1h": ("1 hour", HOUR),
    "6h": ("6 hours", 6 * HOUR),
    "24h": ("24 hours", DAY),
    "7d": ("7 days", 7 * DAY),
    "30d": ("30 days", 30 * DAY),
    "400d": ("400 days", 400 * DAY),
}
#: Rows of a list of bars.
ROWS: Final = 15
_QUERY: Final[Mapping[str, Param]] = {
    **api_stats.RANGE,
    "range": OneOf("how far back", tuple(RANGES)),
    "scale": OneOf("of the pictures", ("lin", "log")),
    "compare": OneOf("with the time before", ("1",)),
}
_TABLE_QUERY: Final[Mapping[str, Param]] = {
    **api_stats.RANGE,
    "measure": OneOf("what is counted", tuple(MEASURES)),
    "of": OneOf("what is spread", tuple(SPREADS)),
    "top": OneOf("whose list", KINDS),
    "group_by": OneOf("a label", api_stats.GROUPS),
}


def _read(ask: Ask, query: Mapping[str, Param]) -> dict[str, Any]:
    """The parameters of a page; what it does not know is left alone."""
    return params.read(query, {name: [ask.query[name]] for name in query if name in ask.query})


@attrs.frozen
class Change:
    """A count and what it was in the time before; `part` is how much more, None where it was nothing."""

    name: str
    count: int
    before: int

    @property
    def part(self) -> float | None:
        """-1.0 for nothing left, 1.0 for twice as much."""
        return (self.count - self.before) / self.before if self.before else None


async def stats(ask: Ask) -> Answer:
    """Numbers over time."""
    given = _read(ask, _QUERY)
    statistics, now = ask.office.control.statistics, ask.office.wall()
    name = given["range"] or ("" if given["time_from"] else "24h")
    begin = now - RANGES[name][1] if name else given["time_from"]
    common = {"here": "stats", "ranges": RANGES, "range": name, "scale": given["scale"] or "lin"}
    common |= {
        "charts": charts,
        "range_of": range,
        "compare": bool(given["compare"]),
        "zoom": None,
        "said": "",
        "shown": None,
    }
    try:
        asked = statistics.range(begin, 0 if name else given["time_to"], given["step"])
        if not name:
            common["zoom"] = (moment(asked.begin), moment(asked.end))
        shown = await _shown(ask, asked, given)
        shown["tops"] = await _tops(ask, asked) if ask.who.may("traffic:read") else []
    except (Invalid, Unavailable) as refused:
        status = 503 if isinstance(refused, Unavailable) else 400
        return await ask.office.templates.page(ask, "stats.html", status, **{**common, "said": str(refused)})
    return await ask.office.templates.page(ask, "stats.html", **{**common, "shown": shown})


async def _shown(ask: Ask, asked: Range, given: Mapping[str, Any]) -> dict[str, Any]:
    """All that the page has pictures of."""
    statistics = ask.office.control.statistics
    is_log, applied = given["scale"] == "log", ask.office.control.configuration.applied

    async def series(measure: str, group_by: str, only: Mapping[str, str] | None = None) -> Series:
        found: Series = await statistics.series(measure, group_by, asked, only)
        return found

    async def spread(of: str, group_by: str = "") -> Distribution:
        found: Distribution = await statistics.distribution(of, group_by, asked)
        return found

    verdicts, ways = await series("messages", "verdict"), await series("messages", "direction")
    reasons, stages = await series("refusals", "reason"), await spread("stage", "stage")
    score, size, duration = await spread("score"), await spread("size"), await spread("duration")
    proofs = {
        name: await series("authentication", "result", {"method": name}) for name in ("spf", "dkim", "dmarc", "arc")
    }
    protection = await series("encryption", "result", {"method": "tls"})
    handshakes = await series("handshakes", "result", {"side": "client"})
    entered = await series("connections", "result", {"result": "accepted"})
    servers, backend = await series("backend_replies", "server"), await spread("backend", "server")
    week = await statistics.week(statistics.range(max(asked.begin, asked.end - 90 * DAY), asked.end, "1h"))
    changes = []
    if given["compare"]:
        before = await statistics.series("messages", "verdict", asked.before)
        was, now = dict(zip(before.groups, before.totals)), dict(zip(verdicts.groups, verdicts.totals))
        names = [name for name in charts.VERDICTS if name in was or name in now]
        changes = [Change(name, now.get(name, 0), was.get(name, 0)) for name in names]
    total = sum(verdicts.totals)
    accepted = dict(zip(verdicts.groups, verdicts.totals)).get("accept", 0)
    scale = ask.office.control.settings.scale
    thresholds = {name: value for name in ("tag", "quarantine", "defer", "reject")
                  if (value := getattr(scale, name)) is not None}  # fmt: skip
    share = _share(protection, "ok")
    secured = dict(zip(handshakes.groups, handshakes.totals)).get("ok", 0)
    opened = sum(entered.totals)
    spans = [part for part in duration.parts if part.p95 is not None]
    p95 = spans[0].p95 if spans else None

    def link(at: int, step_s: int, row: int) -> str:
        return "/stats?" + urlencode({"time_from": moment(at), "time_to": moment(at + step_s)}) if step_s > 60 else ""

    return {
        "asked": asked,
        "changed": any(asked.begin <= one.at <= asked.end for one in applied),
        "since": verdicts.since,
        "total": total,
        "step": next(name for name, seconds in STEPS.items() if seconds == asked.step_s),
        "verdicts": verdicts,
        "traffic": with_changes(
            charts.stacked(
                verdicts,
                f"Messages by verdict: {total} in all, {accepted} accepted.",
                charts.VERDICTS,
                is_log,
                to_messages(verdict_terms) if ask.who.may("messages:read") else None,
            ),
            applied,
        ),
        "ways": ways,
        "directions": with_changes(
            charts.stacked(
                ways,
                f"Messages by direction: {_words(ways)}.",
                _WAYS,
                is_log,
                to_messages(direction_terms) if ask.who.may("messages:read") else None,
            ),
            applied,
        ),
        "changes": changes,
        "reasons": charts.bars([(name, [("reject", "refused", count)]) for name, count in _largest(reasons)]),
        "refusals": sum(reasons.totals),
        "score": score,
        "scores": _columns(score, "Sums of scores", thresholds),
        "size": size,
        "sizes": _columns(size, "Sizes of messages"),
        "duration": duration,
        "latency": charts.heat(duration, _latency_words(p95, duration), link),
        "stages": stages,
        "proofs": [(name, view) for name, view in proofs.items() if sum(view.totals)],
        "proof_bars": charts.bars(
            [(name, [(_PROOF.get(group, "rest"), group, count) for group, count in zip(view.groups, view.totals)])
             for name, view in proofs.items() if sum(view.totals)]
        ),
        "tls_in": (secured, opened, secured / opened if opened else None),
        "tls_out": (dict(zip(protection.groups, protection.totals)).get("ok", 0), sum(protection.totals), share),
        "servers": servers,
        "server_bars": charts.bars([(name, [("c0", "replies", count)]) for name, count in _largest(servers)]),
        "backend": backend,
        "week": week,
        "calendar": charts.calendar(week.hours, "Messages an hour by weekday and hour of the day, in UTC."),
    }  # fmt: skip


#: Kinds of talkers with their words.
TOPS: Final = (
    ("client", "Networks of clients"), ("sender", "Domains of senders"), ("recipient", "Domains of recipients"),
    ("user", "Users"), ("rule", "Rules"), ("reason", "Reasons"),
)  # fmt: skip
#: The class of each part of a bar.
_KINDS: Final = ("accept", "quarantine", "defer", "reject", "rest")
TOP_ROWS: Final = 10


@attrs.frozen
class TopShown:
    """A list of top talkers as the page has it."""

    kind: str
    words: str
    view: TopList
    bars: list[charts.Bar]


async def _tops(ask: Ask, asked: Range) -> list[TopShown]:
    out = []
    for kind, words in TOPS:
        view = await ask.office.control.top.top(kind, asked, TOP_ROWS)
        rows = [(one.name, list(zip(_KINDS, PLACES, one.counts))) for one in view.talkers]
        out.append(TopShown(kind, words, view, charts.bars(rows)))
    return out


_WAYS: Final = ("in", "out", "internal")
_PROOF: Final = {"pass": "accept", "fail": "reject", "softfail": "defer", "permerror": "error", "temperror": "error"}


def _largest(view: Series) -> list[tuple[str, int]]:
    return list(zip(view.groups, view.totals))[:ROWS]


def _share(view: Series, group: str) -> float | None:
    total = sum(view.totals)
    return dict(zip(view.groups, view.totals)).get(group, 0) / total if total else None


def _words(view: Series) -> str:
    return ", ".join(f"{count} {name}" for name, count in zip(view.groups, view.totals)) or "none"


def _columns(view: Distribution, about: str, thresholds: Mapping[str, float] | None = None) -> charts.Picture:
    counts = [sum(one) for one in zip(*(part.counts for part in view.parts))] or [0] * (len(view.bounds) + 1)
    return charts.columns(view.bounds, counts, view.unit, f"{about}: {sum(counts)} messages.", thresholds)


def _latency_words(p95: float | None, view: Distribution) -> str:
    count = sum(part.count for part in view.parts)
    tail = f", 95 of 100 within {charts.span(p95)}" if p95 is not None else ""
    return f"How long messages took, from MAIL to the last reply: {count} messages{tail}."


async def csv(ask: Ask) -> Answer:
    """A table of the page as a file."""
    given = _read(ask, _TABLE_QUERY)
    statistics = ask.office.control.statistics
    asked = api_stats.asked_range(ask, given)
    if given["top"]:
        if not ask.who.may("traffic:read"):
            raise Refusal("forbidden", 403, "this role may not see who sends")
        return api_stats.table(m.top_rows(await ask.office.control.top.top(given["top"], asked, 200)), given["top"])
    if given["of"]:
        view = await statistics.distribution(given["of"], given["group_by"], asked)
        return api_stats.table(m.distribution_rows(view), view.of)
    found = await statistics.series(given["measure"] or "messages", given["group_by"], asked)
    return api_stats.table(m.series_rows(found), found.measure)


ROUTES = (
    Route("GET", "/stats", "stats:read", stats, "page", "Numbers over time", doors=frozenset({"web"})),
    Route("GET", "/stats/csv", "stats:read", csv, "page", "A table as a file", doors=frozenset({"web"})),
)
