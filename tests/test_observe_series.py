"""Tests of smtpgate.observe.series: rings that turn, and time that stands, jumps or runs back."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.observe.series import COUNTED, MINUTES, SECONDS, Series

#: The start of a minute.
START = 1_795_585_020
WIDTH = len(COUNTED)


class SeriesTests(SynchronousTestCase):
    """`Series`."""

    def setUp(self) -> None:
        """A clock at the start of a minute."""
        self.clock = Clock()
        self.clock.advance(START)
        self.series = Series()

    def count(self, column: int = 0, times: int = 1) -> None:
        """Something happens now, counted as the owner does."""
        self.series.turn(int(self.clock.seconds()))[column] += times

    def look(self) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
        """Seconds and minutes in which something happened, by their time."""
        seen: Any = self.series.look(self.clock.seconds())
        self.assertEqual(seen["counted"], list(COUNTED))
        for name, step, size in (("seconds", 1, SECONDS), ("minutes", 60, MINUTES)):
            times = [row[0] for row in seen[name]]
            last = int(self.clock.seconds()) // step * step
            self.assertEqual(times, list(range(last - step * (size - 1), last + 1, step)), name)
            self.assertEqual({len(row) for row in seen[name]}, {WIDTH + 1}, name)
        return (
            {row[0]: row[1:] for row in seen["seconds"] if any(row[1:])},
            {row[0]: row[1:] for row in seen["minutes"] if any(row[1:])},
        )

    def row(self, **counts: int) -> list[int]:
        """A row with these counts."""
        return [counts.get(name, 0) for name in COUNTED]

    def test_nothing_happened(self) -> None:
        """Both rings are there, with zeros."""
        self.assertEqual(self.look(), ({}, {}))

    def test_each_column_counts_for_itself(self) -> None:
        """In the order that is named, the running second included."""
        for column in range(WIDTH):
            self.count(column, column + 1)
        wanted = list(range(1, WIDTH + 1))
        self.assertEqual(self.look(), ({START: wanted}, {START: wanted}))

    def test_looking_changes_nothing(self) -> None:
        """Not within a second, nor over its end, nor over that of a minute."""
        self.count()
        for _ in range(70):
            self.clock.advance(1)
            self.look()
            self.look()
        self.count()
        self.assertEqual(
            self.look(),
            (
                {START: self.row(accepted=1), START + 70: self.row(accepted=1)},
                {START: self.row(accepted=1), START + 60: self.row(accepted=1)},
            ),
        )

    def test_seconds_add_up_to_their_minute(self) -> None:
        """Those of a minute that is over, of the running one, and the running second."""
        for _ in range(90):
            self.count(0)
            self.count(5, 2)
            self.clock.advance(1)
        self.count(0)
        seconds, minutes = self.look()
        self.assertEqual(len(seconds), 91)
        self.assertEqual(
            minutes,
            {START: self.row(accepted=60, sessions=120), START + 60: self.row(accepted=31, sessions=60)},
        )

    def test_parts_of_a_second(self) -> None:
        """They belong to their second."""
        for _ in range(4):
            self.count()
            self.clock.advance(0.25)
        self.assertEqual(self.look()[0], {START: self.row(accepted=4)})

    def test_gaps_are_zeros(self) -> None:
        """Hours in which nothing happened, and nobody looked."""
        self.count()
        self.clock.advance(5 * 3600 + 7)
        self.count()
        seconds, minutes = self.look()
        self.assertEqual(seconds, {START + 18007: self.row(accepted=1)})
        self.assertEqual(minutes, {START: self.row(accepted=1), START + 18000: self.row(accepted=1)})

    def test_a_second_leaves_its_ring(self) -> None:
        """After 300 of them, not earlier; its minute stays."""
        self.count()
        self.clock.advance(SECONDS - 1)
        self.assertEqual(self.look()[0], {START: self.row(accepted=1)})
        self.clock.advance(1)
        self.assertEqual(self.look(), ({}, {START: self.row(accepted=1)}))

    def test_the_seconds_wrap_around(self) -> None:
        """A full ring holds the newest, each once, and no more."""
        for number in range(SECONDS * 2 + 50):
            self.count(0, number + 1)
            self.clock.advance(1)
        seconds, _ = self.look()
        newest = range(SECONDS + 51, SECONDS * 2 + 50)
        self.assertEqual(seconds, {START + number: self.row(accepted=number + 1) for number in newest})

    def test_the_minutes_wrap_around(self) -> None:
        """After two days the oldest minute goes, and none before."""
        for number in range(MINUTES):
            self.count(0, number + 1)
            self.clock.advance(60)
        self.clock.advance(-60)
        self.assertEqual(len(self.look()[1]), MINUTES)
        self.clock.advance(60)
        self.count(0, MINUTES + 1)
        _, minutes = self.look()
        self.assertEqual(
            minutes, {START + 60 * number: self.row(accepted=number + 1) for number in range(1, MINUTES + 1)}
        )

    def test_what_is_held_is_bounded(self) -> None:
        """However long it runs, whether or not anybody looks."""
        for _ in range(MINUTES + 1000):
            self.count()
            self.clock.advance(60)
        self.assertLessEqual(len(self.series._seconds), SECONDS)
        self.assertLessEqual(len(self.series._minutes), MINUTES)

    def test_a_clock_set_back_a_little(self) -> None:
        """It goes on in the old row, so nothing is lost and no time comes twice."""
        self.count()
        self.clock.advance(-100)
        self.count()
        seen: Any = self.series.look(self.clock.seconds())
        self.assertEqual(seen["seconds"][-1], [START, *self.row(accepted=2)])
        self.clock.advance(101)
        self.count()
        self.assertEqual(
            self.look(),
            ({START: self.row(accepted=2), START + 1: self.row(accepted=1)}, {START: self.row(accepted=3)}),
        )

    def test_a_clock_that_was_wrong(self) -> None:
        """A year ahead, and put right: it counts at once, and what lay before is still there."""
        self.count()
        self.clock.advance(61)
        self.count()
        self.clock.advance(365 * 86400)
        self.count(0, 7)
        self.look()
        self.clock.advance(1 - 365 * 86400)
        self.count()
        self.assertEqual(self.look()[0], {START + at: self.row(accepted=1) for at in (0, 61, 62)})
        self.clock.advance(200)
        self.count()
        self.assertEqual(self.look()[1][START], self.row(accepted=1))
