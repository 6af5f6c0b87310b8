"""Numbers for pages, plots and Prometheus.

The plot is of what `control.outcomes` counts by the minute; everything for Prometheus is what `observe.metrics`
collects.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from smtpgate.admin.record import View
from smtpgate.admin.text import moment
from smtpgate.control import Control
from smtpgate.control.outcomes import KEPT_MINUTES

#: Minutes that the first page's plot shows.
MINUTES = 60


class Point(View):
    """One minute."""

    time: str
    accepted: int = 0
    refused: int = 0
    deferred: int = 0


class Series(View):
    """Counts by the minute, the oldest first; the last minute is not over yet."""

    step_s: int = 60
    points: tuple[Point, ...] = ()


class Numbers:
    """Counts by the minute, and the metrics' text."""

    def __init__(self, control: Control, metrics: Any) -> None:
        self._control = control
        self._metrics = metrics

    def series(self, minutes: int = MINUTES) -> Series:
        """Traffic of the last minutes; nothing is known of those before the start."""
        now = int(self._control.engine.wall()) // 60
        first = now - min(minutes, KEPT_MINUTES) + 1
        counts = {row[0]: row for row in self._control.outcomes.rows if row[0] >= first}
        nothing = [0, 0, 0, 0]
        points = []
        for minute in range(first, now + 1):
            _, accepted, refused, deferred = counts.get(minute, nothing)
            time = moment(minute * 60) or ""
            points.append(Point(time=time, accepted=accepted, refused=refused, deferred=deferred))
        return Series(points=tuple(points))

    def p95_ms(self) -> float | None:
        """How long 95 of 100 messages took at most; None where the metrics do not say."""
        found = getattr(self._metrics, "p95_ms", None)
        return found() if callable(found) else found

    async def exposition(self, accept: str, in_thread: Callable[..., Any]) -> tuple[str, bytes]:
        """Content type and text for Prometheus: the numbers of this moment, written out in a thread."""
        encode, content_type = choose_encoder(accept)
        registry = CollectorRegistry(auto_describe=False)
        snapshot = getattr(self._metrics, "snapshot", None)
        if snapshot is not None:
            registry.register(snapshot())
        return content_type, await in_thread(encode, registry)
