"""The traffic plot as SVG made here: stacked bars by the minute, in whole numbers, without a style attribute.

It stands on the page whether scripts run or not; where they run, uPlot draws the same numbers over it.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from smtpgate.admin.numbers import Point

WIDTH, HEIGHT = 720, 160
_LEFT, _BOTTOM, _TOP = 40, 20, 8
#: What is stacked, from the ground up.
KINDS = ("accepted", "deferred", "refused")


@attrs.frozen
class Block:
    """One rectangle."""

    kind: str
    x: float
    y: float
    width: float
    height: float


@attrs.frozen
class Plot:
    """All that the template draws."""

    blocks: tuple[Block, ...]
    lines: tuple[tuple[float, int], ...]
    labels: tuple[tuple[float, str], ...]
    width: int = WIDTH
    height: int = HEIGHT


def nice_top(value: int) -> int:
    """The round number at or above a value: 1, 2 or 5 and zeros."""
    top = 1
    while True:
        for factor in (1, 2, 5):
            if top * factor >= value:
                return top * factor
        top *= 10


def draw(points: Sequence[Point]) -> Plot:
    """Blocks, lines and labels of a plot."""
    room = HEIGHT - _BOTTOM - _TOP
    top = nice_top(max((sum(getattr(point, kind) for kind in KINDS) for point in points), default=0) or 1)
    step = (WIDTH - _LEFT) / max(len(points), 1)
    blocks = []
    for number, point in enumerate(points):
        ground = float(HEIGHT - _BOTTOM)
        for kind in KINDS:
            count = getattr(point, kind)
            if count:
                height = max(count / top * room, 1.0)
                ground -= height
                blocks.append(
                    Block(
                        kind,
                        round(_LEFT + number * step + 0.5, 1),
                        round(ground, 1),
                        round(max(step - 1, 1), 1),
                        round(height, 1),
                    )
                )
    lines = tuple(
        (round(HEIGHT - _BOTTOM - value / top * room, 1), value) for value in dict.fromkeys((0, top // 2, top))
    )
    every = max(1, len(points) // 6)
    labels = tuple(
        (round(_LEFT + number * step, 1), point.time[11:16])
        for number, point in enumerate(points)
        if number % every == 0 and number + every // 2 < len(points)
    )
    return Plot(tuple(blocks), lines, labels)
