"""How much the gateway is pressed, and what it sheds then: the cheapest first, and the least deserving first.

A level comes up at once and goes down one at a time, each after some seconds below it, so that it does not flutter.
What is shed stands in one table, from what costs a client nothing to what costs most: the greeting waits, a class has
no more sessions than its guaranteed part, 421 in place of the greeting, 452 at RCPT, 451 at the end of data.

Precedents: Postfix stress-adaptive behaviour, Envoy's overload manager (triggers with thresholds, actions that scale),
KumoMTA (memory headroom, then 421), Haraka toobusy (70 ms of lag).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import attrs

from smtpgate.traffic.classes import KNOWN, SUSPECT, UNKNOWN

#: From none to all.
LEVELS: Final = ("normal", "busy", "high", "severe", "critical")

#: The greeting waits.
DELAY: Final = "delay"
#: No session beyond the guaranteed part of the class.
FEWER: Final = "fewer"
#: 421 in place of the greeting.
BANNER: Final = "banner"
#: 452 at RCPT.
RCPT: Final = "rcpt"
#: 451 at the end of data.
DOT: Final = "dot"
ACTIONS: Final = (DELAY, FEWER, BANNER, RCPT, DOT)

#: Of who is not pressed.
NOTHING: Final[frozenset[str]] = frozenset()
#: What each level sheds of each class. Trusted senders lose nothing but what there is not.
TABLE: Final[Mapping[str, Mapping[str, frozenset[str]]]] = MappingProxyType(
    {
        "normal": {},
        "busy": {SUSPECT: frozenset({DELAY})},
        "high": {SUSPECT: frozenset({DELAY, FEWER}), UNKNOWN: frozenset({DELAY})},
        "severe": {SUSPECT: frozenset({BANNER}), UNKNOWN: frozenset({DELAY, FEWER})},
        "critical": {
            SUSPECT: frozenset({BANNER, RCPT, DOT}),
            UNKNOWN: frozenset({BANNER, RCPT}),
            KNOWN: frozenset({DELAY, FEWER}),
        },
    }
)

#: The part of the errors and junk commands that a session may make, by level and class; at least one. Who is not named
#: may make all of them. Postfix under stress allows one error of everybody (smtpd_hard_error_limit = ${stress?1}).
BUDGETS: Final[Mapping[str, Mapping[str, float]]] = MappingProxyType(
    {
        "normal": {SUSPECT: 0.5},
        "busy": {SUSPECT: 0.25},
        "high": {SUSPECT: 0.0, UNKNOWN: 0.25},
        "severe": {SUSPECT: 0.0, UNKNOWN: 0.0},
        "critical": {SUSPECT: 0.0, UNKNOWN: 0.0},
    }
)
#: From this level on the next command of a class that is named above is waited for so long at most, seconds (Postfix
#: smtpd_timeout under stress).
HURRY: Final = 2
HURRY_S: Final = 10.0

#: A level is left after so long below it.
CALM_S: Final = 3.0
#: Thresholds of each level above normal: the reactor's lag as a multiple of what was configured, and parts of what
#: there is of memory and sessions.
_LAG: Final = (1.0, 2.5, 5.0, 10.0)
_PART: Final = (0.75, 0.85, 0.93, 0.98)
#: A backend or a filter without a free slot makes its own messages wait or fail; of the others it only asks this much.
SLOTS_LEVEL: Final = 2
#: Readings in a row that must say that somebody waits for a slot.
IN_A_ROW: Final = 4


@attrs.frozen
class Reading:
    """What was measured at one moment.

    :ivar lag_s: how late timers are
    :ivar memory: part of the memory that may be used; `sessions`: part of those that may be
    :ivar backends: part of the slots in use of the backend that has most left, 1.0 where somebody waits there
    :ivar filters: the same of the filter that has least left
    """

    lag_s: float = 0.0
    memory: float = 0.0
    sessions: float = 0.0
    backends: float = 0.0
    filters: float = 0.0


def _step(value: float, thresholds: tuple[float, ...]) -> int:
    return sum(1 for threshold in thresholds if value >= threshold)


class Pressure:
    """The level now.

    :ivar level: index into LEVELS
    :ivar lag_s: how late timers may be before the level is "busy"
    :ivar reason: what brought it to this level
    """

    __slots__ = ("level", "reason", "lag_s", "_below_since", "_before")

    def __init__(self, lag_s: float) -> None:
        self.level = 0
        self.reason = ""
        self.lag_s = lag_s
        self._below_since = 0.0
        self._before: list[Reading] = []

    @property
    def name(self) -> str:
        """The level as a word."""
        return LEVELS[self.level]

    def feel(self, reading: Reading, now: float) -> bool:
        """One more reading; whether the level is another.

        One late timer is no pressure, nor are slots that were all in use for a moment: lag and slots count by the least
        of some readings in a row.
        """
        self._before = [*self._before[1 - IN_A_ROW :], reading]
        recent = self._before
        is_settled = len(recent) == IN_A_ROW
        lag_s = min(one.lag_s for one in recent[-2:]) if len(recent) > 1 else 0.0
        parts = {
            "reactor lag": _step(lag_s / self.lag_s, _LAG),
            "memory": _step(reading.memory, _PART),
            "sessions": _step(reading.sessions, _PART),
            "backend slots": SLOTS_LEVEL if is_settled and all(one.backends >= 1 for one in recent) else 0,
            "filter slots": SLOTS_LEVEL if is_settled and all(one.filters >= 1 for one in recent) else 0,
        }
        reason = max(parts, key=lambda name: parts[name])
        level = parts[reason]
        if level > self.level:
            self.level, self.reason, self._below_since = level, reason, now
            return True
        if level == self.level:
            self._below_since = now
        elif now - self._below_since >= CALM_S:
            self.level -= 1
            self._below_since = now
            self.reason = reason if self.level else ""
            return True
        return False

    def budget(self, name: str, most: int) -> int:
        """How many of `most` errors a session of that class may make at this level."""
        return max(1, int(most * BUDGETS[LEVELS[self.level]].get(name, 1.0)))

    def patience(self, name: str, seconds: float) -> float:
        """How long the next command of that class is waited for, where it would be `seconds`."""
        hurries = self.level >= HURRY and name in BUDGETS[LEVELS[self.level]]
        return min(seconds, HURRY_S) if hurries else seconds

    def sheds(self, name: str) -> frozenset[str]:
        """What is shed of a class at this level."""
        return TABLE[LEVELS[self.level]].get(name, NOTHING) if self.level else NOTHING
