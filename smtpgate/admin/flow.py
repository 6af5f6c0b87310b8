"""The picture of where mail goes: listeners, what is decided, backends and ends, from left to right by their rates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import attrs

from smtpgate.admin.charts import Word, number

WIDTH: Final = 720
_LEFT, _MIDDLE, _RIGHT, _NODE = 170, 340, 520, 12
#: All bands together are so high, and one that carries nothing is this thin.
_ROOM, _THIN = 200.0, 2.0
_GAP, _TOP = 18.0, 26.0


@attrs.frozen
class Node:
    """A place of the picture.

    :ivar kind: listener, policy, backend or end
    """

    kind: str
    x: float
    y: float
    height: float
    name: str
    word: Word
    link: str


@attrs.frozen
class Band:
    """From one node to the next; `is_on`: what was asked for goes this way."""

    kind: str
    path: str
    about: str
    is_on: bool


@attrs.frozen
class Flow:
    """All that is drawn."""

    about: str
    nodes: tuple[Node, ...]
    bands: tuple[Band, ...]
    width: int
    height: int


def draw(
    listeners: Sequence[tuple[str, int]],
    ends: Sequence[tuple[str, str, int]],
    span: str,
    links: Mapping[tuple[str, str], str],
    on: frozenset[tuple[str, str]] = frozenset(),
) -> Flow:
    """The picture.

    :param listeners: name, and messages in the time
    :param ends: kind ("backend" or "end"), name, and messages in the time
    :param links: where a node leads, by kind and name
    :param on: nodes that an address goes through
    """
    most = max(sum(count for _, count in listeners), sum(count for _, _, count in ends), 1)
    nodes, bands = [], []

    def high(count: int) -> float:
        return max(_THIN, count / most * _ROOM)

    left, right = sum(high(count) for _, count in listeners), sum(high(count) for _, _, count in ends)
    tall = max(left + _GAP * len(listeners), right + _GAP * len(ends), 80.0)
    whole = max(left, right, _THIN)
    middle = _TOP + (tall - whole) / 2
    title = Word(_MIDDLE + _NODE / 2, round(middle - 8, 1), "filters and routes", "middle")
    link = links.get(("policy", ""), "")
    nodes.append(Node("policy", _MIDDLE, round(middle, 1), round(whole, 1), "policy", title, link))
    y, at = _TOP + (tall - left - _GAP * len(listeners)) / 2, middle
    for name, count in listeners:
        height = high(count)
        word = Word(_LEFT - 8, round(y + height / 2 + 4, 1), f"{_short(name)} {number(count)}", "end")
        nodes.append(
            Node("listener", _LEFT, round(y, 1), round(height, 1), name, word, links.get(("listener", name), ""))
        )
        about = f"{name}: {count} messages in {span}"
        bands.append(Band("listener", _curve(_LEFT + _NODE, y, _MIDDLE, at, height), about, ("listener", name) in on))
        y, at = y + height + _GAP, at + height
    y, at = _TOP + (tall - right - _GAP * len(ends)) / 2, middle
    for kind, name, count in ends:
        height = high(count)
        word = Word(_RIGHT + _NODE + 8, round(y + height / 2 + 4, 1), f"{_short(name)} {number(count)}")
        nodes.append(Node(kind, _RIGHT, round(y, 1), round(height, 1), name, word, links.get((kind, name), "")))
        about = f"{name}: {count} messages in {span}"
        bands.append(Band(kind, _curve(_MIDDLE + _NODE, at, _RIGHT, y, height), about, (kind, name) in on))
        y, at = y + height + _GAP, at + height
    came, went = sum(count for _, count in listeners), sum(count for kind, _, count in ends if kind == "backend")
    about = f"{came} messages came in by {len(listeners)} listeners in {span}; backends answered {went}."
    return Flow(about, tuple(nodes), tuple(bands), WIDTH, int(_TOP + tall + 10))


def _curve(x1: float, y1: float, x2: float, y2: float, height: float) -> str:
    half = (x1 + x2) / 2
    return (
        f"M{x1:g} {y1:.1f}C{half:g} {y1:.1f} {half:g} {y2:.1f} {x2:g} {y2:.1f}V{y2 + height:.1f}"
        f"C{half:g} {y2 + height:.1f} {half:g} {y1 + height:.1f} {x1:g} {y1 + height:.1f}Z"
    )


def _short(name: str) -> str:
    return name if len(name) <= 18 else f"{name[:17]}…"
