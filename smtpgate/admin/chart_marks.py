"""What is put over pictures over time: the moments at which a configuration was put to work, and links from a column to
the messages behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final
from urllib.parse import urlencode

import attrs

from smtpgate.admin.charts import HEIGHT, Box, Picture
from smtpgate.admin.text import clock_time, moment

#: Verdicts of the metrics as what is looked for; those that are not here have no word of their own there.
_OUTCOMES: Final = {"accept": "delivered", "tag": "delivered", "quarantine": "held", "defer": "deferred",
                    "reject": "refused", "discard": "discarded", "redirect": "redirected", "abort": "aborted",
                    "error": "unknown"}  # fmt: skip

Link = Callable[[int, int, str], str]


def with_changes(picture: Picture, applied: Iterable[Any]) -> Picture:
    """With a line for each configuration that was put to work in its time.

    :param applied: `at` (seconds since the epoch), `number` and `id` of each
    """
    span = picture.end - picture.begin
    if span <= 0:
        return picture
    room = picture.width - picture.left - picture.right
    lines = []
    for one in applied:
        if picture.begin <= one.at <= picture.end:
            x = picture.left + (one.at - picture.begin) / span * room
            about = f"{clock_time(one.at)}: {f'revision {one.number}' if one.number else one.id} was put to work"
            lines.append(Box("change", round(x, 2), 0, 1.5, HEIGHT, about, link="/config"))
    return attrs.evolve(picture, boxes=(*picture.boxes, *lines))


def to_messages(terms: Callable[[str], str]) -> Link:
    """Links from the columns of a picture.

    :param terms: what to look for beside the time, of a group; "" for nothing more
    """

    def link(at: int, step_s: int, group: str) -> str:
        until = (moment(at + step_s) or "")[:16]
        words = f"{terms(group)} after:{(moment(at) or '')[:16]}Z before:{until}Z".strip()
        return "/messages?" + urlencode({"q": words})

    return link


def verdict_terms(verdict: str) -> str:
    """A verdict of the metrics as what is looked for."""
    return f"verdict:{_OUTCOMES[verdict]}" if verdict in _OUTCOMES else ""


def direction_terms(direction: str) -> str:
    """A direction of the metrics as what is looked for."""
    return f"direction:{direction}" if direction in ("in", "out") else ""
