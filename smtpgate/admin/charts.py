"""Pictures of numbers over time as values that `chart.html` writes as SVG: no style, no script, a word for each thing.

Every picture has its numbers in a table beside it; this module only measures out where things stand.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import attrs

from smtpgate.control.timeline import Distribution, Series, Step, bucket_of, quantile

WIDTH, HEIGHT = 720, 190
_LEFT, _RIGHT, _BOTTOM, _TOP = 46, 6, 20, 8
#: Verdicts from the ground up; the rest above them.
VERDICTS: Final = ("accept", "tag", "redirect", "quarantine", "defer", "reject", "discard", "abort", "error")
#: Groups that have a colour of their own; what comes after is drawn as one.
PALETTE: Final = 7


#: Points of one piece of a line.
_PIECE: Final = 36


@attrs.frozen
class Box:
    """One rectangle.

    :ivar kind: its class: a verdict, or c0 and on
    :ivar about: what a pointer over it reads
    :ivar shade: 0 to 1
    :ivar link: where it leads; "": nowhere
    """

    kind: str
    x: float
    y: float
    width: float
    height: float
    about: str = ""
    shade: float = 1.0
    link: str = ""


@attrs.frozen
class Curve:
    """A line: "x,y x,y ..." of its points."""

    kind: str
    points: str


@attrs.frozen
class Word:
    """A text; `anchor` is start, middle or end."""

    x: float
    y: float
    text: str
    anchor: str = "start"


@attrs.frozen
class Picture:
    """All that is drawn.

    :ivar about: one line that says what it shows, for who does not see it
    :ivar begin, end: the time from left to right, seconds since the epoch, where there is one; 0 otherwise
    :ivar legend: (kind, words, number)
    """

    about: str
    boxes: tuple[Box, ...] = ()
    curves: tuple[Curve, ...] = ()
    words: tuple[Word, ...] = ()
    grid: tuple[float, ...] = ()
    legend: tuple[tuple[str, str, int], ...] = ()
    begin: int = 0
    end: int = 0
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = _RIGHT


def number(value: float) -> str:
    """A count in few letters."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def seconds(value: float) -> str:
    """A span of time in few letters."""
    if value < 1:
        return f"{value * 1000:g} ms"
    return f"{value:g} s" if value < 60 else f"{value / 60:g} min"


def span(value: float) -> str:
    """A span of time that was measured, in few letters."""
    if value < 1:
        return f"{value * 1000:.3g} ms"
    if value < 120:
        return f"{value:.3g} s"
    return f"{value / 60:.3g} min" if value < 7200 else f"{value / 3600:.3g} h"


def points(value: float) -> str:
    """A sum of scores."""
    return f"{value:g}"


def size(value: float) -> str:
    """Octets in few letters."""
    for unit, letters in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if value >= unit:
            return f"{value / unit:g} {letters}"
    return f"{value:g} B"


UNITS: Final[Mapping[str, Callable[[float], str]]] = {"s": seconds, "B": size, "points": points}


def clock(at: int, step_s: int, begin: int, end: int) -> str:
    """A time on an axis, UTC."""
    moment = datetime.fromtimestamp(at, UTC)
    if step_s >= 86400 or end - begin > 8 * 86400:
        return moment.strftime("%m-%d")
    return moment.strftime("%a %H:%M" if end - begin > 86400 * 1.5 else "%H:%M")


def nice_top(value: float) -> float:
    """The round number at or above a value: 1, 2 or 5 and zeros."""
    if value <= 1:
        return 1
    power = 10 ** math.floor(math.log10(value))
    return next((factor * power for factor in (1, 2, 5, 10) if factor * power >= value), 10 * power)


def _time_axis(steps: Sequence[Step], step_s: int) -> list[Word]:
    begin, end = steps[0].at, steps[-1].at + step_s
    room, every = WIDTH - _LEFT - _RIGHT, max(1, len(steps) // 6)
    return [
        Word(round(_LEFT + place * room / len(steps), 1), HEIGHT - 5, clock(one.at, step_s, begin, end))
        for place, one in enumerate(steps)
        if place % every == 0 and place + every // 2 < len(steps)
    ]


def _gaps(steps: Sequence[Step], width: float) -> list[Box]:
    """Where nothing was counted: that is no zero."""
    out: list[Box] = []
    for place, one in enumerate(steps):
        if one.covered_s:
            continue
        x = _LEFT + place * width
        last = out[-1] if out else None
        if last is not None and abs(last.x + last.width - x) < 0.2:
            out[-1] = attrs.evolve(last, width=round(last.width + width, 2))
        else:
            out.append(Box("gap", round(x, 2), _TOP, round(width, 2), HEIGHT - _TOP - _BOTTOM, "nothing was counted"))
    return out


def stacked(
    view: Series,
    about: str,
    order: Sequence[str] = (),
    is_log: bool = False,
    link: Callable[[int, int, str], str] | None = None,
) -> Picture:
    """Columns by step, groups upon each other. On a logarithmic scale the whole column is, and its parts keep shares.

    :param link: where a part leads to: when its step began, how long that is, its group
    :param order: groups from the ground up, each a class of its own; the others follow in palette colours
    """
    groups = [group for group in order if group in view.groups]
    others = [group for group in view.groups if group not in groups]
    if not order:
        others = others[:PALETTE]
    kinds = {group: group for group in groups} | {group: f"c{place}" for place, group in enumerate(others[:PALETTE])}
    places = [(group, view.groups.index(group)) for group in kinds]
    rest = [place for place, group in enumerate(view.groups) if group not in kinds]
    steps = view.steps
    room, width = HEIGHT - _BOTTOM - _TOP, (WIDTH - _LEFT - _RIGHT) / max(1, len(steps))
    top = nice_top(max((sum(one.counts) for one in steps), default=0))

    def level(value: float) -> float:
        part = math.log1p(value) / math.log1p(top) if is_log else value / top
        return part * room

    boxes = _gaps(steps, width)
    begin, end = (steps[0].at, steps[-1].at + view.step_s) if steps else (0, 0)
    for place, one in enumerate(steps):
        total = sum(one.counts)
        if not total:
            continue
        whole, ground = level(total), float(HEIGHT - _BOTTOM)
        parts = [(kinds[group], group, one.counts[at]) for group, at in places]
        parts.append(("rest", "others", sum(one.counts[at] for at in rest)))
        for kind, group, count in parts:
            if not count:
                continue
            height = max(whole * count / total, 0.7)
            ground -= height
            reads = f"{clock(one.at, view.step_s, begin, end)}: {count} {group}"
            boxes.append(
                Box(kind, round(_LEFT + place * width, 2), round(ground, 1), round(max(width - 0.6, 0.6), 2),
                    round(height, 1), reads, link=link(one.at, view.step_s, group) if link else "")
            )  # fmt: skip
    marks = [1, 10, 100, 1000, 10_000, 100_000, 1_000_000] if is_log else [0, top / 2, top]
    marks = [mark for mark in marks if mark <= top]
    ys = [round(HEIGHT - _BOTTOM - level(mark), 1) for mark in marks]
    words = [Word(_LEFT - 6, y + 4, number(mark), "end") for y, mark in zip(ys, marks)]
    if steps:
        words += _time_axis(steps, view.step_s)
    totals = dict(zip(view.groups, view.totals))
    legend = [(kind, group, totals[group]) for group, kind in kinds.items() if totals[group]]
    others_sum = sum(view.totals[at] for at in rest)
    if others_sum:
        legend.append(("rest", "others", others_sum))
    return Picture(about, tuple(boxes), (), tuple(words), tuple(ys), tuple(legend), begin, end)


def columns(
    bounds: Sequence[float], counts: Sequence[int], unit: str, about: str, thresholds: Mapping[str, float] | None = None
) -> Picture:
    """A histogram; thresholds stand as lines, each between the buckets that it parts."""
    room, width = HEIGHT - _BOTTOM - _TOP, (WIDTH - _LEFT - _RIGHT) / len(counts)
    top = nice_top(max(counts, default=0))
    boxes, words = [], []
    say = UNITS[unit]
    for place, count in enumerate(counts):
        x = _LEFT + place * width
        upto = f"up to {say(bounds[place])}" if place < len(bounds) else f"more than {say(bounds[-1])}"
        if count:
            height = max(count / top * room, 1.0)
            y = HEIGHT - _BOTTOM - height
            boxes.append(
                Box("c0", round(x + 1, 1), round(y, 1), round(width - 2, 1), round(height, 1), f"{upto}: {count}")
            )
        if place < len(bounds) and (len(bounds) <= 10 or place % 2 == 0):
            words.append(Word(round(x + width, 1), HEIGHT - 5, say(bounds[place]), "middle"))
    curves = []
    for name, threshold in sorted((thresholds or {}).items(), key=lambda one: one[1]):
        place = bucket_of(bounds, threshold)
        low = bounds[place - 1] if place else bounds[0]
        share = (threshold - low) / (bounds[place] - low) if 0 < place < len(bounds) and bounds[place] > low else 0.5
        x = round(_LEFT + (place + share) * width, 1)
        curves.append(Curve(f"threshold {name}", f"{x},{_TOP} {x},{HEIGHT - _BOTTOM}"))
        words.append(Word(x + 3, _TOP + 10, f"{name} {threshold:g}"))
    ys = [round(HEIGHT - _BOTTOM - mark / top * room, 1) for mark in (0, top / 2, top)]
    words += [Word(_LEFT - 6, y + 4, number(mark), "end") for y, mark in zip(ys, (0, top / 2, top))]
    return Picture(about, tuple(boxes), tuple(curves), tuple(words), tuple(ys))


def _curve(kind: str, points: Sequence[str]) -> list[Curve]:
    """A line in pieces: a page shows no text that is longer than 500 letters."""
    return [Curve(kind, " ".join(points[at : at + _PIECE + 1])) for at in range(0, max(0, len(points) - 1), _PIECE)]


def heat(view: Distribution, about: str, link: Callable[[int, int, int], str]) -> Picture:
    """Time from left to right, buckets upward, how many as a shade; lines of 50, 95 and 99 of 100 over them.

    :param link: where a cell leads: of when it begins, its length in seconds, and its bucket
    """
    steps, size_ = view.steps, len(view.bounds) + 1
    used = [place for place in range(size_) if any(one.counts[place] for one in steps)]
    low, high = (min(used), max(used)) if used else (0, size_ - 1)
    low, high = max(0, low - 1), min(size_ - 1, high + 1)
    rows = high - low + 1
    room, width = HEIGHT - _BOTTOM - _TOP, (WIDTH - _LEFT - _RIGHT) / max(1, len(steps))
    tall = room / rows
    most = max((count for one in steps for count in one.counts), default=0)
    say = UNITS[view.unit]
    boxes = _gaps(steps, width)
    begin, end = (steps[0].at, steps[-1].at + view.step_s) if steps else (0, 0)
    ground = HEIGHT - _BOTTOM
    for place, one in enumerate(steps):
        for row in range(low, high + 1):
            count = one.counts[row]
            if count:
                upto = f"up to {say(view.bounds[row])}" if row < size_ - 1 else f"over {say(view.bounds[-1])}"
                boxes.append(
                    Box("heat", round(_LEFT + place * width, 2), round(ground - (row - low + 1) * tall, 1),
                        round(width, 2), round(tall, 1),
                        f"{clock(one.at, view.step_s, begin, end)}, {upto}: {count}",
                        round(0.15 + 0.85 * math.log1p(count) / math.log1p(most), 2),
                        link(one.at, view.step_s, row))
                )  # fmt: skip
    curves: list[Curve] = []
    for part, kind in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99")):
        points: list[str] = []
        for place, one in enumerate(steps):
            value = quantile(view.bounds, one.counts, part)
            if value is None:
                # A line over a gap would say what nobody knows.
                curves += _curve(kind, points)
                points = []
                continue
            row = min(bucket_of(view.bounds, value), size_ - 1)
            bottom = view.bounds[row - 1] if row else 0.0
            top = view.bounds[row] if row < size_ - 1 else bottom * 2
            share = (value - bottom) / (top - bottom) if top > bottom else 0.5
            y = ground - (row - low + min(1.0, share)) * tall
            points.append(f"{round(_LEFT + (place + 0.5) * width, 1)},{round(max(_TOP, y), 1)}")
        curves += _curve(kind, points)
    words = [
        Word(_LEFT - 6, round(ground - (row - low + 1) * tall + 4, 1), say(view.bounds[row]), "end")
        for row in range(low, min(high, size_ - 2) + 1)
        if (row - low) % max(1, rows // 6) == 0
    ]
    if steps:
        words += _time_axis(steps, view.step_s)
    return Picture(about, tuple(boxes), tuple(curves), tuple(words), (), (), begin, end)


#: Words for what a server was, in the order in which they are said.
WAS: Final = {
    "up": "up", "unready": "not ready", "drain": "drained", "maint": "in maintenance", "ejected": "put out",
    "down": "down", "unknown": "not seen", "off": "gateway off",
}  # fmt: skip


def ribbon(stretches: Sequence[tuple[float, float, str]], now: float, length_s: float = 86400.0) -> Picture:
    """A thing's last day from left to right; where nothing is known it is empty.

    :param stretches: begin, end, state (a key of WAS), in order
    """
    boxes, sums = [], dict.fromkeys(WAS, 0.0)
    for begin, end, state in stretches:
        x, width = (begin - now + length_s) / length_s * WIDTH, (end - begin) / length_s * WIDTH
        sums[state] += end - begin
        about = f"{clock(int(begin), 60, 0, 0)} to {clock(int(end), 60, 0, 0)} UTC: {WAS[state]}"
        # What was short is still seen.
        boxes.append(Box(f"was-{state}", round(x, 2), 0, round(max(width, 1.5), 2), 14, about))
    said = [f"{WAS[state]} {span(total)}" for state, total in sums.items() if total]
    about = f"The last 24 hours: {', '.join(said)}." if said else "Nothing is known of the last 24 hours."
    return Picture(about, tuple(boxes), height=14)


DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def calendar(hours: Sequence[Sequence[float | None]], about: str) -> Picture:
    """Squares of weekday and hour."""
    width, tall = (WIDTH - _LEFT - _RIGHT) / 24, 22.0
    most = max((value for line in hours for value in line if value), default=0.0)
    boxes = []
    for day, line in enumerate(hours):
        for hour, value in enumerate(line):
            x, y = round(_LEFT + hour * width, 1), _TOP + day * tall
            if value is None:
                boxes.append(
                    Box("gap", x, y, round(width - 1, 1), tall - 1, f"{DAYS[day]} {hour:02}: nothing was counted")
                )
            else:
                shade = round(0.12 + 0.88 * value / most, 2) if value and most else 0.04
                about_it = f"{DAYS[day]} {hour:02}:00 UTC: {number(value)} messages an hour"
                boxes.append(Box("heat", x, y, round(width - 1, 1), tall - 1, about_it, shade))
    words = [Word(_LEFT - 6, _TOP + day * tall + 15, name, "end") for day, name in enumerate(DAYS)]
    words += [Word(round(_LEFT + hour * width, 1), _TOP + 7 * tall + 14, f"{hour:02}") for hour in range(0, 24, 3)]
    return Picture(about, tuple(boxes), (), tuple(words), height=int(_TOP + 7 * tall + 20))


@attrs.frozen
class Bar:
    """One of a list, split into parts: (kind, x, width) in hundredths of the longest."""

    name: str
    count: int
    parts: tuple[tuple[str, str, float, float], ...]


def bars(rows: Sequence[tuple[str, Sequence[tuple[str, str, int]]]]) -> list[Bar]:
    """Bars beside names, the longest a hundred wide.

    :param rows: name, and its parts as (kind, words, count)
    """
    most = max((sum(count for _, _, count in parts) for _, parts in rows), default=0) or 1
    out = []
    for name, parts in rows:
        x, drawn = 0.0, []
        for kind, words, count in parts:
            if count:
                width = round(count / most * 100, 2)
                drawn.append((kind, f"{words}: {count}", round(x, 2), width))
                x += width
        out.append(Bar(name, sum(count for _, _, count in parts), tuple(drawn)))
    return out
