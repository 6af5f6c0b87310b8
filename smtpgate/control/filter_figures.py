"""How much of the time each filter takes, and what became of its calls, over a time that is asked for."""

from __future__ import annotations

from typing import Final

import attrs

from smtpgate.control.statistics import Range, Statistics

#: What may come of a call beside nothing.
RESULTS: Final = ("hit", "shadow", "timeout", "error", "skip")


@attrs.frozen
class FilterFigures:
    """One filter.

    :ivar calls: that were timed; `share`: of the time of all filters, 0 to 1
    :ivar p50_s, p95_s: half of its calls and 95 of 100 took no longer, as exactly as buckets tell; None without a call
    :ivar results: calls by what came of them, those of `RESULTS` that there were
    """

    name: str
    calls: int
    share: float
    mean_s: float | None
    p50_s: float | None
    p95_s: float | None
    results: dict[str, int]


async def figures(statistics: Statistics, names: list[str], asked: Range) -> list[FilterFigures]:
    """Of all filters named, in that order. Raises Unavailable."""
    spread = await statistics.distribution("filter", "filter", asked)
    parts = {part.name: part for part in spread.parts}
    by_result: dict[str, dict[str, int]] = {}
    for result in RESULTS:
        found = await statistics.series("filter_runs", "filter", asked, {"result": result})
        by_result[result] = dict(zip(found.groups, found.totals))
    whole = sum(parts[name].total for name in names if name in parts)
    out = []
    for name in names:
        part = parts.get(name)
        results = {result: by_result[result][name] for result in RESULTS if by_result[result].get(name)}
        if part is None or not part.count:
            out.append(FilterFigures(name, 0, 0.0, None, None, None, results))
        else:
            share = part.total / whole if whole else 0.0
            mean = part.total / part.count
            out.append(FilterFigures(name, part.count, share, mean, part.p50, part.p95, results))
    return out
