"""From scores to figures: how much is found at how many false alarms."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence

import attrs


@attrs.frozen
class Row:
    """One line of the table.

    :ivar threshold: the lowest at which no more good mail is flagged than was allowed
    :ivar found: share of each other group at or over the threshold
    :ivar area: probability that a message of the group scores over a good one (area under the curve)
    """

    name: str
    allowed: float
    threshold: float
    flagged: float
    found: Mapping[str, float]
    area: Mapping[str, float]


def threshold(good: Sequence[float], allowed: float) -> float:
    """The lowest score at which at most so large a share of good mail is flagged.

    Scores of good mail are the only candidates: between two of them nothing changes.
    """
    ranked = sorted(good, reverse=True)
    most = int(allowed * len(ranked))
    # One more than may be flagged must stay below.
    return float("-inf") if most >= len(ranked) else _above(ranked[most])


def _above(score: float) -> float:
    return score + 1e-9


def area(bad: Sequence[float], good: Sequence[float]) -> float:
    """The area under the curve, ties counted half."""
    ranked = sorted(good)
    total = 0.0
    for score in bad:
        low, high = bisect_left(ranked, score), bisect_right(ranked, score)
        total += low + (high - low) / 2
    return total / (len(bad) * len(good)) if bad and good else 0.0


def row(name: str, scores: Mapping[str, Sequence[float]], allowed: float, good: str = "easy-ham") -> Row:
    """One line: scores by group, and the share of good mail that may be flagged."""
    least = threshold(scores[good], allowed)
    over = {group: sum(score >= least for score in held) / len(held) if held else 0.0 for group, held in scores.items()}
    others = [group for group in scores if group != good]
    return Row(
        name,
        allowed,
        least,
        over[good],
        {group: over[group] for group in others},
        {group: area(scores[group], scores[good]) for group in others},
    )


def table(rows: Sequence[Row], groups: Sequence[str]) -> str:
    """The lines as text in columns."""
    lines = [f"{'what':28} {'allowed':>8} {'score':>7} {'flagged':>8}" + "".join(f"{group:>12}" for group in groups)]
    for one in rows:
        found = "".join(f"{one.found.get(group, 0.0):12.1%}" for group in groups)
        lines.append(f"{one.name:28} {one.allowed:8.1%} {one.threshold:7.2f} {one.flagged:8.2%}{found}")
    return "\n".join(lines)
