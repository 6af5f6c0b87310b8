"""A bounded queue of events for whoever watches the gateway."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

#: Events that a slow watcher may fall behind before the oldest are dropped.
WATCH_EVENTS = 1000


class Watch:
    """A bounded queue of events for one listener; what it misses is counted."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self.events: deque[Any] = deque(maxlen=WATCH_EVENTS)
        self.dropped = 0
        self._wake = wake

    def put(self, event: Any) -> None:
        """Add one."""
        if len(self.events) == WATCH_EVENTS:
            self.dropped += 1
        self.events.append(event)
        self._wake()

    def take(self) -> tuple[list[Any], int]:
        """All that came, and how many were dropped since the last time."""
        events, dropped = list(self.events), self.dropped
        self.events.clear()
        self.dropped = 0
        return events, dropped
