"""Counts of one step of time, by metric and labels, and what is done with them: added, compared, written as text.

A count is a whole number; a histogram is the counts of its buckets with the sum of its values behind them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

Value = int | list[float]
#: By the values of a metric's labels.
Counts = dict[tuple[str, ...], Value]
#: By the name of the metric.
Rows = dict[str, Counts]

#: The name under which is kept how many seconds of a step were counted at all: without it a step is a gap, not a zero.
COVERED = "covered"


def plus(first: Value, second: Value) -> Value:
    """Both together. Buckets that changed their number meanwhile are not added: the newer ones stand."""
    if isinstance(first, list) and isinstance(second, list):
        return [a + b for a, b in zip(first, second)] if len(first) == len(second) else second
    if isinstance(first, list) or isinstance(second, list):
        return second
    return first + second


def add(counts: Counts, more: Mapping[tuple[str, ...], Value]) -> None:
    """Add counts to counts."""
    for labels, value in more.items():
        counts[labels] = plus(counts[labels], value) if labels in counts else value


def since(now: Rows, before: Rows) -> Rows:
    """What was counted between two looks, without zeros. What is smaller than it was began anew, from zero."""
    out: Rows = {}
    for name, counts in now.items():
        old = before.get(name, {})
        changed: Counts = {}
        for labels, value in counts.items():
            found = _less(value, old[labels]) if labels in old else value
            if any(found[:-1]) if isinstance(found, list) else found:
                changed[labels] = found
        if changed:
            out[name] = changed
    return out


def _less(value: Value, old: Value) -> Value:
    if isinstance(value, list):
        if not isinstance(old, list) or len(old) != len(value) or any(a < b for a, b in zip(value[:-1], old)):
            return value
        return [a - b for a, b in zip(value, old)]
    return value - old if isinstance(old, int) and old <= value else value


def as_text(counts: Counts) -> str:
    """For a store."""
    rows = [[*labels, _short(value)] for labels, value in counts.items()]
    return json.dumps(rows, separators=(",", ":"))


def _short(value: Value) -> Value:
    return [*map(int, value[:-1]), round(value[-1], 4)] if isinstance(value, list) else value


def of_text(text: str) -> Counts:
    """What `as_text` wrote. Raises ValueError for anything else."""
    found: Any = json.loads(text)
    if not isinstance(found, list) or not all(isinstance(row, list) and row for row in found):
        raise ValueError("not a list of counts")
    return {tuple(map(str, row[:-1])): row[-1] for row in found}
