"""Mail of the history decided again: what was decided then, and what would be now."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

import attrs

#: Nothing was decided over the whole message: it ended before, by the gateway, a backend or its client.
NONE: Final = "none"
#: It cannot be decided again from what is kept.
UNKNOWN: Final = "unknown"
#: Decisions, mildest first.
DECISIONS: Final = ("accept", "tag", "quarantine", "discard", "redirect", "defer", "reject", NONE, UNKNOWN)
#: Rows of changed messages, and ids of the unchanged of one cell.
ROWS: Final = 2000
IDS: Final = 20


def decided(message: Mapping[str, Any]) -> str:
    """What was decided over a message of the history (`policy.record`), by us and not by its backend."""
    verdict = message["verdict"]
    if verdict is not None:
        return "accept" if verdict["action"] == "note" else str(verdict["action"])
    return "accept" if message["end_ms"] is not None else NONE


@attrs.frozen
class Decided:
    """What one configuration decides.

    :ivar why: who decided; of UNKNOWN why it cannot be known
    """

    action: str
    score: float = 0.0
    why: str = ""


@attrs.frozen
class Row:
    """One message.

    :ivar held: id of its held content; "" where there is none
    :ivar is_whole: it was tried with its content, and not decided from what is kept
    """

    id: str
    at: float
    sender: str
    recipient: str
    subject: str
    old: str
    new: str
    old_score: float
    new_score: float
    why: str
    held: str = ""
    is_whole: bool = False


@attrs.frozen
class Cell:
    """Messages of one old and one new decision, with the ids of some."""

    old: str
    new: str
    count: int
    ids: tuple[str, ...]


@attrs.frozen
class Replayed:
    """Many messages.

    :ivar of: the revision that decided anew; `left_out`: what of it cannot be played again
    :ivar changed: those that are decided otherwise, or cannot be decided, the newest first, ROWS at most
    :ivar whole: how many were tried with their content
    :ivar is_cut: it was ended before it was through
    """

    of: str
    messages: int
    since: float
    until: float
    cells: tuple[Cell, ...]
    changed: tuple[Row, ...]
    changes: int
    whole: int
    left_out: tuple[str, ...] = ()
    is_cut: bool = False


def summed(of: str, rows: Iterable[Row], left_out: tuple[str, ...], is_cut: bool) -> Replayed:
    """All rows in one, the newest first."""
    counts: dict[tuple[str, str], int] = {}
    ids: dict[tuple[str, str], list[str]] = {}
    changed: list[Row] = []
    changes = whole = messages = 0
    since, until = float("inf"), 0.0
    for row in sorted(rows, key=lambda one: (one.at, one.id), reverse=True):
        place = row.old, row.new
        counts[place] = counts.get(place, 0) + 1
        named = ids.setdefault(place, [])
        if len(named) < IDS:
            named.append(row.id)
        if row.old != row.new:
            changes += row.new != UNKNOWN
            if len(changed) < ROWS:
                changed.append(row)
        whole += row.is_whole
        messages += 1
        since, until = min(since, row.at), max(until, row.at)
    order = {name: number for number, name in enumerate(DECISIONS)}
    cells = [
        Cell(old, new, count, tuple(ids[old, new]))
        for (old, new), count in sorted(counts.items(), key=lambda one: (order[one[0][0]], order[one[0][1]]))
    ]
    since = since if messages else 0.0
    return Replayed(of, messages, since, until, tuple(cells), tuple(changed), changes, whole, left_out, is_cut)


#: What a try comes to, by its outcome, where no verdict says it.
OUTCOMES: Final[Mapping[str, str]] = {"held": "quarantine", "discarded": "discard", "redirected": "redirect"}


def tried(message: Mapping[str, Any] | None) -> Decided:
    """What a try of the whole message came to."""
    if message is None:
        return Decided(NONE, 0.0, "it came to no message")
    verdict = message["verdict"]
    by = verdict["decided_by"] if verdict is not None else None
    why = f"{by['filter']}: {by['reason']}" if by is not None else ""
    action = OUTCOMES.get(message["outcome"]) or decided(message)
    return Decided(action, verdict["score"] if verdict is not None else 0.0, why)


#: Points of one bar, and the ends behind which all is one bar each.
WIDTH: Final = 1.0
LOW, HIGH = -10.0, 30.0


@attrs.frozen
class Weighed:
    """The sum of one message, and what it comes to by two scales."""

    score: float
    before: str
    after: str


@attrs.frozen
class Scores:
    """How sums are spread.

    :ivar bars: (where it begins, messages), WIDTH points each, from the first that has any to the last
    :ivar counts: by decision, messages now and with the other thresholds
    :ivar moved: (decision now, with the others, messages), where they differ
    """

    messages: int
    bars: tuple[tuple[float, int], ...]
    counts: Mapping[str, tuple[int, int]]
    moved: tuple[tuple[str, str, int], ...]


def spread(weighed: Iterable[Weighed]) -> Scores:
    """All of them."""
    bars: dict[int, int] = {}
    before: dict[str, int] = {}
    after: dict[str, int] = {}
    moved: dict[tuple[str, str], int] = {}
    messages = 0
    for one in weighed:
        place = math.floor(min(max(one.score, LOW), HIGH) / WIDTH)
        bars[place] = bars.get(place, 0) + 1
        before[one.before] = before.get(one.before, 0) + 1
        after[one.after] = after.get(one.after, 0) + 1
        if one.before != one.after:
            moved[one.before, one.after] = moved.get((one.before, one.after), 0) + 1
        messages += 1
    places = range(min(bars), max(bars) + 1) if bars else range(0)
    counts: dict[str, tuple[int, int]] = {}
    for name in DECISIONS:
        if name in before or name in after:
            counts[name] = before.get(name, 0), after.get(name, 0)
    return Scores(
        messages,
        tuple((place * WIDTH, bars.get(place, 0)) for place in places),
        counts,
        tuple((old, new, count) for (old, new), count in moved.items()),
    )
