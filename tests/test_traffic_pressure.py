"""Pressure: up at once, down by degrees, and the cheapest is shed first, of the least deserving."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.traffic.classes import CLASSES
from smtpgate.traffic.pressure import (
    ACTIONS,
    BANNER,
    CALM_S,
    DELAY,
    DOT,
    IN_A_ROW,
    LEVELS,
    RCPT,
    TABLE,
    Pressure,
    Reading,
)


def feel(pressure: Pressure, reading: Reading, readings: int, now: float = 0.0) -> None:
    """The same reading several times, four a second."""
    for number in range(readings):
        pressure.feel(reading, now + number * 0.25)


class PressureTests(SynchronousTestCase):
    """The level."""

    def test_up_at_once(self) -> None:
        """By the worst of what is measured for a second, and it says which."""
        for reading, level, reason in (
            (Reading(lag_s=0.1), "busy", "reactor lag"),
            (Reading(lag_s=0.3), "high", "reactor lag"),
            (Reading(lag_s=5.0), "critical", "reactor lag"),
            (Reading(memory=0.8), "busy", "memory"),
            (Reading(memory=0.99, lag_s=0.3), "critical", "memory"),
            (Reading(sessions=0.94), "severe", "sessions"),
            (Reading(backends=1.0), "high", "backend slots"),
            (Reading(filters=1.0), "high", "filter slots"),
            (Reading(lag_s=0.09, memory=0.74, sessions=0.74, backends=0.99, filters=0.99), "normal", ""),
        ):
            pressure = Pressure(0.1)
            feel(pressure, reading, IN_A_ROW)
            self.assertEqual((pressure.name, pressure.reason), (level, reason), reading)

    def test_says_when_it_changes(self) -> None:
        """Once, and not again while it stays."""
        pressure = Pressure(0.1)
        heard = [pressure.feel(Reading(memory=0.8), number * 0.25) for number in range(4)]
        self.assertEqual(heard, [True, False, False, False])

    def test_a_moment_is_no_pressure(self) -> None:
        """One late timer, and slots that are waited for now and then, are how a busy gateway works; memory counts at
        once."""
        for reading, first in (
            (Reading(lag_s=5.0), 2),
            (Reading(backends=1.0), IN_A_ROW),
            (Reading(filters=1.0), IN_A_ROW),
            (Reading(memory=0.99), 1),
            (Reading(sessions=0.99), 1),
        ):
            pressure = Pressure(0.1)
            for _ in range(3):
                feel(pressure, reading, first - 1)
                self.assertEqual(pressure.name, "normal", reading)
                pressure.feel(Reading(), 1.0)
                self.assertEqual(pressure.name, "normal", reading)
            feel(pressure, reading, first)
            self.assertNotEqual(pressure.name, "normal", reading)

    def test_down_one_at_a_time(self) -> None:
        """Each after some seconds below it, so that it does not flutter."""
        pressure = Pressure(0.1)
        pressure.feel(Reading(memory=0.99), 0.0)
        now, seen = 0.0, []
        while pressure.level:
            now += 0.25
            if pressure.feel(Reading(), now):
                seen.append((pressure.name, now))
        self.assertEqual([name for name, _ in seen], ["severe", "high", "busy", "normal"])
        self.assertEqual([at for _, at in seen], [CALM_S * number for number in (1, 2, 3, 4)])

    def test_a_short_calm_changes_nothing(self) -> None:
        """The time below begins anew with each reading at the level."""
        pressure = Pressure(0.1)
        for number in range(100):
            pressure.feel(Reading(memory=0.86 if number % 8 == 0 else 0.0), number * 0.25)
        self.assertEqual(pressure.name, "high")

    @given(st.lists(st.builds(Reading, st.floats(0, 10), st.floats(0, 2), st.floats(0, 2)), max_size=50))
    def test_any_readings(self, readings: list[Reading]) -> None:
        """The level is one there is, and never falls by more than one."""
        pressure = Pressure(0.1)
        for number, reading in enumerate(readings):
            before = pressure.level
            pressure.feel(reading, float(number))
            self.assertIn(pressure.name, LEVELS)
            self.assertGreaterEqual(pressure.level, before - 1)


class TableTests(SynchronousTestCase):
    """What each level sheds."""

    def test_the_less_deserving_first(self) -> None:
        """At each level a class is hit at least as hard as any that deserves more."""

        def hardest(actions: frozenset[str]) -> int:
            return max((ACTIONS.index(one) for one in actions), default=-1)

        for level in LEVELS:
            hits = [hardest(TABLE[level].get(name, frozenset())) for name in CLASSES]
            self.assertEqual(hits, sorted(hits), level)
            self.assertEqual(hits[0], -1, "trusted senders are not shed")

    def test_harder_with_each_level(self) -> None:
        """And the cheapest first: the reply to the end of data is the last to be lost."""
        for name in CLASSES:
            hits = [
                max((ACTIONS.index(one) for one in TABLE[level].get(name, frozenset())), default=-1) for level in LEVELS
            ]
            self.assertEqual(hits, sorted(hits), name)
        self.assertEqual(ACTIONS[0], DELAY)
        self.assertEqual(ACTIONS[-1], DOT)
        first = {
            action: min(n for n, level in enumerate(LEVELS) if any(action in one for one in TABLE[level].values()))
            for action in (DELAY, BANNER, RCPT, DOT)
        }
        self.assertEqual(sorted(first.values()), list(first.values()))
